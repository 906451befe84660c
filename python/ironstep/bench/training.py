"""Whole trainings against the same loop in plain torch: `python -m ironstep bench training`."""

import copy
import math
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ironstep.bench.report import OURS, Target
from ironstep.bench.work import ROUNDS_AND_RATIOS, Benchmark, Work
from ironstep.nn import revert_batchnorm
from ironstep.train import Data, Part, _files, load_data
from ironstep.train._options import Options
from ironstep.train._run import run as train
from ironstep.train._training import Training, criteria, probabilities

SIZES = {"train": 4708, "validation": 524, "test": 624}  # PneumoniaMNIST's
PROTOCOL = (
    "A whole `ironstep train`, from the data in memory to the files of the run, on as many images of 28×28 "
    "as PneumoniaMNIST has (digits, enlarged, with noise), batches of 64, AdamW. The peer is the same loop "
    "in plain torch: default optimizer (or fused), torch's batch norm and loss, batches by an index into the "
    "images as here (a DataLoader would be slower), the same validation each epoch, torch.save of the last "
    "and the best checkpoint, and the same files at the end. Before the timing the losses of a first epoch, "
    f"with the same weights and batches, are compared with float64. {ROUNDS_AND_RATIOS}"
)


@cache
def data() -> Data:
    """Digits as a MedMNIST set."""
    draw, found, parts = torch.Generator().manual_seed(0), load_data("digits"), {}
    for name, part in found.parts().items():
        n = SIZES[name]
        rows = torch.arange(n) % len(part)
        images = interpolate(part.inputs[rows].float(), size=(28, 28), mode="bilinear")
        noise = torch.randn(images.shape, generator=draw) * 20
        parts[name] = Part(
            inputs=(images + noise).clamp(0, 255).to(torch.uint8),
            labels=part.labels[rows],
            ids=tuple(map(str, range(n))),
        )
    return Data(name="digits", classes=found.classes, **parts)


def _by_torch(options: Options, folder: Path, **arguments: Any) -> float:
    """Train as people do without a library; the last training loss."""
    found = data()
    part, validation, test = found.train, found.validation, found.test
    torch.manual_seed(0)
    network = revert_batchnorm(_network(options))
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, **arguments)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    loss_of = nn.CrossEntropyLoss()
    pixels = part.inputs.double()
    mean, deviation = pixels.mean().float(), pixels.std().float()

    def predict(of: Part) -> Tensor:
        network.eval()
        with torch.no_grad():
            return torch.cat(
                [network((x - mean) / deviation) for x in torch.split(of.inputs, 1024)]
            )

    history: list[dict[str, float]] = []
    best = 0, math.inf
    for epoch in range(1, options.epochs + 1):
        network.train()
        total = 0.0
        for rows in torch.split(torch.randperm(len(part)), options.batch_size):
            inputs, labels = (part.inputs[rows] - mean) / deviation, part.labels[rows]
            optimizer.zero_grad()
            loss = loss_of(network(inputs), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        judged = criteria(predict(validation), validation.labels)
        rate: Any = schedule.get_last_lr()[0]
        row: dict[str, float] = {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": float(total / len(part)),
        }
        schedule.step()
        history.append(row | {f"validation_{name}": value for name, value in judged.items()})
        if judged["loss"] < best[1]:
            best = epoch, judged["loss"]
            torch.save(network.state_dict(), folder / "best.pt")
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, folder / "last.pt")
        _files.write_history(folder / "history.csv", history)
    network.load_state_dict(torch.load(folder / "best.pt", weights_only=True))
    logits = predict(test)
    _files.write_predictions(
        folder / "predictions.csv", found, test, probabilities(logits, test.labels)
    )
    _files.draw_history(folder / "history.png", history, best[0], "plain torch")
    return float(history[-1]["train_loss"])


def _network(options: Options) -> nn.Module:
    return Training(data(), options).network


def _whole(options: Options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        given = options.as_dict() | {"data": "ironstep.bench.training:data"}
        code = train(given, Path(folder) / "run", quiet=True)
        if code:
            raise RuntimeError(f"ironstep train ended with {code}")


def _in_folder(options: Options, **arguments: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _by_torch(options, Path(folder), **arguments)


class _Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


def _first_epoch(options: Options) -> dict[str, float]:
    """How far the loss of a first epoch is from float64's, relatively."""
    found = data()
    losses = {}
    for name, dtype in ((OURS, None), ("default", torch.float32), ("float64", torch.float64)):
        training = Training(found, options)
        if dtype is not None:
            network = revert_batchnorm(copy.deepcopy(training.network)).to(dtype)
            training.network = training._run = network
            training.optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate)
            training.schedule = torch.optim.lr_scheduler.ConstantLR(training.optimizer, 1.0)
            training.prepare = nn.Sequential(training.prepare, _Cast(dtype))  # type: ignore[assignment]
            training.loss = nn.CrossEntropyLoss()  # type: ignore[assignment]
        losses[name] = training.epoch()["train_loss"]
    exact = losses.pop("float64")
    return {name: abs(loss / exact - 1) for name, loss in losses.items()}


def _work(model: str, epochs: int, least: float) -> Work:
    options = Options(data="digits", model=model, epochs=epochs)
    return Work(
        partial(_whole, options),
        {
            "default": partial(_in_folder, options),
            "fused": partial(_in_folder, options, fused=True),
        },
        epochs * SIZES["train"] * 28 * 28,
        [Target("default", least)],
        differences=partial(_first_epoch, options),
        # Adam divides by what is small at first and grows what is rounded; over 74 steps 1e-4 is seen.
        tolerance=1e-3,
    )


CASES: dict[str, Callable[[], Work]] = {
    "mlp": partial(_work, "mlp", 20, 1.3),
    "small-cnn": partial(_work, "small-cnn", 2, 1.2),
}

run = Benchmark("Whole trainings: ironstep and torch", "training", PROTOCOL, CASES).run
