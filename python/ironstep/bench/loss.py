"""The losses against torch's: `python -m ironstep bench loss`."""

import fnmatch
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own abbreviation)

import ironstep
from ironstep.bench.protocol import (
    AT_LEAST,
    ROUNDS,
    WARM_UP,
    Contestant,
    measure,
    quartiles_of_ratio,
)
from ironstep.bench.report import OURS, Report, Row, Target
from ironstep.bench.run import OnRound, run_jobs
from ironstep.nn import CrossEntropyLoss

N = 4096
PROTOCOL = (
    "Forward and backward through the module with autograd, logits of 4,096 rows in float32 unless the "
    "case says otherwise. torch gets what it takes: labels with label_smoothing, a matrix of probabilities "
    "(made before the timing), or for mixup two losses mixed; the best of them is the peer. Losses and "
    "gradients are compared before the timing. Rounds interleave all contestants in random order and "
    "repeat each for at least 2 ms; a time is the median over the rounds, a ratio is that of the medians "
    "(above 1: ironstep is faster), its quartiles are those of the ratio taken round by round."
)


@dataclass
class Work:
    """A loss of given logits, by everybody."""

    logits: Tensor
    ours: Callable[[Tensor], Tensor]
    peers: dict[str, Callable[[Tensor], Tensor]]
    least: float | None


def _work(
    kind: str,
    n_classes: int,
    least: float | None,
    dtype: torch.dtype = torch.float32,
    pixels: tuple[int, ...] = (),
) -> Work:
    generator = torch.Generator().manual_seed(0)
    rows = (16, *pixels) if pixels else (N,)
    logits = torch.randn(rows[0], n_classes, *pixels, generator=generator).to(dtype)
    a, b = (torch.randint(n_classes, rows, generator=generator) for _ in range(2))
    one_hot = [F.one_hot(each, n_classes).movedim(-1, 1).to(dtype) for each in (a, b)]
    torch_loss, ours, share, alpha = torch.nn.CrossEntropyLoss(), CrossEntropyLoss(), 0.3, 0.1
    if kind == "mixup":
        mixed = (share * one_hot[0] + (1 - share) * one_hot[1]).contiguous()
        return Work(
            logits,
            lambda x: ours(x, (a, b, share)),
            {
                "two losses": lambda x: share * torch_loss(x, a) + (1 - share) * torch_loss(x, b),
                "probabilities": lambda x: torch_loss(x, mixed),
            },
            least,
        )
    if kind == "smoothed":
        smoothed = ((1 - alpha) * one_hot[0] + alpha / n_classes).contiguous()
        ours_smoothed = CrossEntropyLoss(label_smoothing=alpha)
        torch_smoothed = torch.nn.CrossEntropyLoss(label_smoothing=alpha)
        return Work(
            logits,
            lambda x: ours_smoothed(x, a),
            {
                "labels": lambda x: torch_smoothed(x, a),
                "probabilities": lambda x: torch_loss(x, smoothed),
            },
            least,
        )
    return Work(logits, lambda x: ours(x, a), {"labels": lambda x: torch_loss(x, a)}, least)


CASES: dict[str, Callable[[], Work]] = {
    **{
        f"{kind}-{n_classes}": partial(_work, kind, n_classes, None if kind == "plain" else least)
        for n_classes, least in ((10, 3.0), (100, 2.0), (1000, 1.2))
        for kind in ("plain", "smoothed", "mixup")
    },
    "plain-10-bfloat16": partial(_work, "plain", 10, None, torch.bfloat16),
    "plain-1000-bfloat16": partial(_work, "plain", 1000, None, torch.bfloat16),
    "pixels-21": partial(_work, "plain", 21, None, torch.float32, (64, 64)),
}


def run(
    cases: Sequence[str] | None = None,
    threads: Sequence[int] | None = None,
    rounds: int = ROUNDS,
    out: Path | str | None = None,
    quick: bool = False,
) -> int:
    """Measure the cases, show the tables and write loss.md and loss.json into `out`.

    Parameters and exit code are those of `ironstep.bench.optim.run`; threads are 2 if left out.
    """
    console = Console()
    chosen = [name for name in CASES if not cases or any(fnmatch.fnmatch(name, c) for c in cases)]
    if not chosen:
        console.print(f"no such case; there are: {', '.join(CASES)}", style="red")
        return 2
    report = Report("Losses: ironstep and torch", PROTOCOL, {}, quick)
    jobs = [(name, name, count) for name in chosen for count in threads or (2,)]

    def measure_one(name: str, count: int, on_round: OnRound) -> Row:
        return measure_case(name, count, rounds, quick=quick, on_round=on_round)

    before = torch.get_num_threads()
    try:
        return run_jobs(report, jobs, measure_one, console, out, "loss")
    finally:
        torch.set_num_threads(before)
        ironstep.set_num_threads(None)


def measure_case(
    name: str,
    threads: int,
    rounds: int = ROUNDS,
    *,
    quick: bool = False,
    on_round: OnRound = lambda _: None,
) -> Row:
    """Check and time all contestants of one case."""
    gc.collect()
    torch.set_num_threads(threads)
    ironstep.set_num_threads(threads)
    work = CASES[name]()
    targets = [Target("best", work.least)] if work.least is not None and threads == 2 else []
    row = Row(name, threads, work.logits.numel(), targets=targets)
    exact = next(iter(work.peers.values()))
    expected = _loss_and_gradient(work.logits.double(), exact)
    contestants = []
    for contestant, function in {**work.peers, OURS: work.ours}.items():
        logits = work.logits.clone()
        difference = max(
            (a.double() - b).abs().max().item() / b.abs().max().item()
            for a, b in zip(_loss_and_gradient(logits, function), expected, strict=True)
        )
        row.differences[contestant] = difference
        # A few units of rounding, of the largest gradient and of the loss.
        if not difference <= 16 * torch.finfo(work.logits.dtype).eps:
            row.failure = f"{contestant} differs from float64 by {difference:.1e}"
            return row
        contestants.append(Contestant(contestant, partial(_step, logits, function)))
    row.timings = measure(
        contestants,
        rounds=min(rounds, 2) if quick else rounds,
        warm_up=1 if quick else WARM_UP,
        at_least=0 if quick else AT_LEAST,
        on_round=on_round,
    )
    times = {contestant: timing.median for contestant, timing in row.timings.items()}
    row.figures = {peer: time / times[OURS] for peer, time in times.items() if peer != OURS}
    row.best = min(work.peers, key=times.__getitem__)
    row.figures["best"] = times[row.best] / times[OURS]
    row.quartiles = quartiles_of_ratio(row.timings[row.best], row.timings[OURS])
    return row


def _step(logits: Tensor, function: Callable[[Tensor], Tensor]) -> None:
    logits.grad = None
    function(logits).backward()  # type: ignore[no-untyped-call]


def _loss_and_gradient(
    logits: Tensor, function: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    logits.requires_grad_()
    loss = function(logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient
