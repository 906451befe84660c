"""A training that stops after any epoch, and goes on from there as if it had not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation
from torch.optim import lr_scheduler

import ironstep.nn
import ironstep.optim
from ironstep import metrics
from ironstep._input_error import InputError

from ._augment import augmentation, augmented
from ._data import Data, Part
from ._distributed import World, synchronize_batchnorm
from ._mixup import draw_mixup, mix
from ._models import Standardize, check_model, last_layer, load_weights, make_model
from ._options import Options
from ._transfer import cached_features, feature_extractor, unfreeze_top

ALONE = World(0, 1, torch.device("cpu"))
_OPTIMIZERS = {name.lower(): getattr(ironstep.optim, name) for name in ironstep.optim.__all__}
# What each stream of random numbers is for.
_ORDER, _MIXUP, _AUGMENT, _ANY = range(4)


class TrainingError(RuntimeError):
    """The training cannot go on; the message is one line that says why."""


class Training:
    """Network, loss, optimizer and schedule by the options, on some data.

    All random numbers of an epoch are drawn anew from the seed and the epoch's number: what a training
    does next depends on its state alone, and not on how it came there.
    """

    def __init__(self, data: Data, options: Options, world: World = ALONE) -> None:
        self.data, self.options, self.world = data, options, world
        inputs = data.train.inputs
        n_classes = len(data.classes)
        _seed_all(_seed(options.seed, 0, _ANY))
        network, channels = make_model(options.model, tuple(inputs.shape[1:]), n_classes)
        self.prepare = Standardize.of(inputs, channels)
        check_model(options.model, network, self.prepare(inputs[:2]), n_classes)
        if options.weights is not None:
            load_weights(network, options.weights)
        if world.size > 1:
            synchronize_batchnorm(network, world.device)
        else:
            ironstep.nn.convert_batchnorm(network)
        self.network = network.to(world.device)
        self.prepare = self.prepare.to(world.device)
        self.loss = _Loss(options, several=data.train.labels.dim() == 2)
        self.augment = None
        if options.augmentations:
            if inputs.dim() != 4:
                raise InputError("augment: is for images, and the data are a table")
            height, width = inputs.shape[2:]
            self.augment = augmentation(options.augmentations, (height, width))
        least = 2 * world.size
        if options.batch_size < least or len(data.train) < least:
            raise InputError(f"batch_size: {least} cases at least for {world.size} processes")
        self.optimizer = _optimizer(_groups(self.network, options), options)
        self.schedule = _schedule(self.optimizer, options)
        self._run = world.wrap(self.network)
        self._features: dict[int, Tensor] | None = None
        if options.unfreeze_top == "1" and not (self.augment or options.mixup or world.size > 1):
            self._train_on_features()
        self.epochs_done = 0

    def _train_on_features(self) -> None:
        """Compute what is frozen once, where a linear layer alone is trained and it comes last."""
        _, last = last_layer(self.network)
        if not isinstance(last, nn.Linear):
            return
        self.network.eval()
        with torch.no_grad():
            inputs = self._inputs(self.data.train, torch.arange(2))
            if torch.allclose(self.network(inputs), last(feature_extractor(self.network)(inputs))):
                self._run, self._features = last, {}

    def epoch(self, on_batch: Callable[[], object] = lambda: None) -> dict[str, float]:
        """Train an epoch; learning rate, losses and criteria of the validation part.

        Raises
        ------
        TrainingError
            If a loss is not finite. Weights and optimizer are then of no use.
        """
        options, world, part = self.options, self.world, self.data.train
        number = self.epochs_done + 1
        order = np.random.default_rng(_seed(options.seed, number, _ORDER)).permutation(len(part))
        mixing = torch.Generator().manual_seed(_seed(options.seed, number, _MIXUP))
        seeds = torch.from_numpy(
            np.random.default_rng(_seed(options.seed, number, _AUGMENT)).integers(
                2**63, size=len(part)
            )
        )
        _seed_all(_seed(options.seed, number, _ANY) + world.rank)
        learning_rate = max(group["lr"] for group in self.optimizer.param_groups)
        self.network.train()
        total = torch.zeros((), dtype=torch.float64)
        for place, rows in enumerate(self._batches(order), 1):
            of_rank = slice(world.rank, None, world.size)
            own = rows[of_rank]
            inputs = self._inputs(part, own, seeds)
            target: Any = part.labels[own].to(world.device)
            if options.mixup:
                mode: Any = options.mixup_mode
                partner, lam = draw_mixup(len(rows), options.mixup, mode, generator=mixing)
                if isinstance(lam, Tensor):
                    lam = lam[of_rank].to(world.device)
                others = rows[partner[of_rank]]
                # The partner may be another process's: it is made here once more.
                with_whom = (
                    inputs[partner.to(world.device)]
                    if world.size == 1
                    else self._inputs(part, others, seeds)
                )
                inputs = mix(inputs, with_whom, lam)
                target = (target, part.labels[others].to(world.device), lam)
            self.optimizer.zero_grad()
            loss = self.loss(self._run(inputs), target)
            # DDP takes the mean over the processes, of which some may have a row less.
            weight = 1.0 if world.size == 1 else world.size * len(own) / len(rows)
            backward: Any = loss if weight == 1 else loss * weight
            backward.backward()
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingError(
                    f"epoch {number}, batch {place}: the loss is {value}; a smaller learning rate than "
                    f"{learning_rate:g}, or --clip-grad-norm 1, may help"
                )
            self.optimizer.step()
            total += value * len(own)
            on_batch()
        self.schedule.step()
        self.epochs_done = number
        row: dict[str, float] = {
            "epoch": number,
            "learning_rate": learning_rate,
            "train_loss": world.sum(total).item() / len(part),
        }
        found = criteria(self.predict(self.data.validation), self.data.validation.labels)
        if not math.isfinite(found["loss"]):
            raise TrainingError(f"epoch {number}: the validation loss is {found['loss']}")
        return row | {f"validation_{name}": value for name, value in found.items()}

    @torch.no_grad()
    def predict(self, part: Part) -> Tensor:
        """Return the logits of a part, (N, K) on the CPU; the same in all processes."""
        self.network.eval()
        own = torch.arange(self.world.rank, len(part), self.world.size)
        logits = [self._run(self._inputs(part, rows)) for rows in torch.split(own, _at_once(part))]
        return self.world.gather(torch.cat(logits), len(part)).float().cpu()

    def state_dict(self) -> dict[str, Any]:
        """Return what the next epoch depends on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "epochs_done": self.epochs_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epochs_done = state["epochs_done"]

    @property
    def n_batches(self) -> int:
        """Steps of an epoch."""
        return len(self._batches(np.arange(len(self.data.train))))

    def _batches(self, order: NDArray[np.int64]) -> list[Tensor]:
        parts = list(torch.split(torch.from_numpy(order), self.options.batch_size))
        # Batch norm wants two cases in each process.
        if len(parts) > 1 and len(parts[-1]) < 2 * self.world.size:
            parts[-2:] = [torch.cat(parts[-2:])]
        return parts

    def _inputs(self, part: Part, rows: Tensor, seeds: Tensor | None = None) -> Tensor:
        if self._features is not None:
            if id(part) not in self._features:
                extractor = feature_extractor(self.network)
                self._features[id(part)] = cached_features(
                    extractor, part.inputs, prepare=self.prepare, batch_size=_at_once(part)
                )
            return self._features[id(part)][rows].to(self.world.device)
        inputs = part.inputs[rows]
        if seeds is not None and self.augment is not None:
            inputs = augmented(self.augment, inputs, seeds[rows])
        prepared: Tensor = self.prepare(inputs.to(self.world.device))
        return prepared


def _at_once(part: Part) -> int:
    """How many cases are predicted at once: their layers fit into memory, whatever the images' size."""
    return min(1024, max(1, 2**22 // part.inputs[0].numel()))


class _Loss:
    """Cross-entropy, of one class a case or of several, with smoothing and mixup."""

    def __init__(self, options: Options, *, several: bool) -> None:
        self.several, self.alpha = several, options.label_smoothing
        self.of_one = ironstep.nn.CrossEntropyLoss(
            label_smoothing=options.label_smoothing, smoothing=options.smoothing
        )
        if several and options.smoothing != "szegedy" and options.label_smoothing:
            raise InputError(
                f"smoothing: got {options.smoothing!r}; szegedy where a case may be of several classes"
            )

    def __call__(self, logits: Tensor, target: Any) -> Tensor:
        if not self.several:
            loss: Tensor = self.of_one(logits, target)
            return loss
        if isinstance(target, tuple):
            target = mix(*target)
        # Each class is one of two: is or is not.
        target = target * (1 - self.alpha) + self.alpha / 2
        return F.binary_cross_entropy_with_logits(logits, target)


def probabilities(logits: Tensor, labels: Tensor) -> NDArray[np.float64]:
    """Return the probability of each class, (N, K)."""
    made = logits.double()
    made = torch.sigmoid(made) if labels.dim() == 2 else torch.softmax(made, 1)
    return made.numpy()


def criteria(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return loss, accuracy and the mean one-versus-rest AUC of classes that can have one."""
    made, truth = probabilities(logits, labels), labels.numpy()
    if labels.dim() == 2:
        loss = F.binary_cross_entropy_with_logits(logits.double(), labels.double())
        accuracy = ((made > 0.5) == truth).mean()
        of_class = [truth[:, column] for column in range(made.shape[1])]
    else:
        loss = F.cross_entropy(logits.double(), labels)
        accuracy = (made.argmax(1) == truth).mean()
        of_class = [truth == column for column in range(made.shape[1])]
    columns = range(1, 2) if labels.dim() == 1 and made.shape[1] == 2 else range(made.shape[1])
    areas = [
        float(metrics.roc_auc_score(of_class[column], made[:, column]))
        for column in columns
        if 0 < of_class[column].sum() < len(truth) and np.isfinite(made[:, column]).all()
    ]
    return {
        "loss": loss.item(),
        "accuracy": float(accuracy),
        "auc": sum(areas) / len(areas) if areas else math.nan,
    }


def _groups(network: nn.Module, options: Options) -> Any:
    """Return what is trained."""
    if options.unfreeze_top is None and options.layer_decay == 1:
        return network.parameters()
    given = options.unfreeze_top
    top = int(given) if given is not None and given.isdecimal() else given
    try:
        return unfreeze_top(network, top, options.learning_rate, decay=options.layer_decay)
    except ValueError as error:
        raise InputError(f"unfreeze_top: {error}") from None


def _optimizer(parameters: Any, options: Options) -> torch.optim.Optimizer:
    arguments: dict[str, Any] = {"lr": options.learning_rate}
    if options.weight_decay is not None:
        arguments["weight_decay"] = options.weight_decay
    if options.optimizer == "sgd":
        arguments["momentum"] = options.momentum
    if options.clip_grad_norm is not None:
        arguments["clip_grad_norm"] = options.clip_grad_norm
    made: torch.optim.Optimizer = _OPTIMIZERS[options.optimizer](parameters, **arguments)
    return made


def _schedule(optimizer: torch.optim.Optimizer, options: Options) -> lr_scheduler.LRScheduler:
    rest = max(1, options.epochs - options.warmup)
    makers: dict[str, Callable[[], lr_scheduler.LRScheduler]] = {
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, 1.0),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, rest),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1.0, 1 / rest, rest),
        "step": lambda: lr_scheduler.StepLR(optimizer, max(1, -(-rest // 3))),
    }
    if not options.warmup:
        return makers[options.lr_schedule]()
    first = 1 / (options.warmup + 1)
    rising = lr_scheduler.LinearLR(optimizer, first, 1.0, options.warmup)
    return lr_scheduler.SequentialLR(
        optimizer, [rising, makers[options.lr_schedule]()], [options.warmup]
    )


def _seed(seed: int, epoch: int, stream: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0] >> 2)


def _seed_all(seed: int) -> None:
    """Seed whatever a network of the user's may draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
