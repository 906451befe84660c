"""What is measured: the table of cases."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from ironstep.bench.report import LIMIT, Target

Shapes = tuple[tuple[int, ...], ...]

# Ways to run torch's step without compiling it; the first that a case names is what all others
# are compared with.
EAGER = ("for-loop", "foreach", "fused", "fused, clip foreach", "default")


def dense(*widths: int) -> Shapes:
    """Return the shapes of weights and biases of a fully connected network."""
    pairs = zip(widths[1:], widths, strict=False)
    return tuple(shape for out, into in pairs for shape in ((out, into), (out,)))


def resnet50() -> Shapes:
    """Return the shapes of ResNet-50's 161 parameters, in the order of its modules."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    channels = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            convolutions = [(width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            if block == 0:
                convolutions.append((4 * width, channels, 1, 1))
            for shape in convolutions:
                shapes += [shape, shape[:1], shape[:1]]
            channels = 4 * width
    return (*shapes, (1000, channels), (1000,))


SIZES = {f"size-1e{power}": 10**power for power in range(10)} | {"size-above-2e31": 2**31 + 2**20}
WORKS: dict[str, Shapes] = {
    "25m": ((25_000_000,),),
    "resnet50": resnet50(),
    "1000-small": ((64, 64),) * 1000,
    "mlp": dense(784, 512, 256, 10),
    "tiny": dense(30, 32, 2),
    "1000-elements": ((1000,),),
    "4096x4096": ((4096, 4096),),
    **{name: ((size,),) for name, size in SIZES.items()},
}
BATCH = {"mlp": 128, "tiny": 32}
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 1e-2, "momentum": 0.9}),
    "adagrad": ("Adagrad", {"lr": 1e-2}),
    "rmsprop": ("RMSprop", {"lr": 1e-3}),
    "rmsprop-centered": ("RMSprop", {"lr": 1e-3, "centered": True, "momentum": 0.9}),
    "adam": ("Adam", {"lr": 1e-3}),
    "adam-amsgrad": ("Adam", {"lr": 1e-3, "amsgrad": True}),
    "adamw": ("AdamW", {"lr": 1e-3}),
    "adamw-amsgrad": ("AdamW", {"lr": 1e-3, "amsgrad": True}),
}


@dataclass(frozen=True)
class Case:
    """One row of the benchmark.

    `kind` is what is timed: "step"; "backward", a step right after a forward and backward pass;
    "iteration", all of zero_grad, forward, backward and step; "busy", a step while another process
    keeps one core busy; "cold", the first step of a process.
    """

    rule: str
    work: str
    targets: tuple[Target, ...] = ()  # with 2 threads
    kind: str = "step"
    dtype: torch.dtype = torch.float32
    peers: tuple[str, ...] = EAGER
    round_robin: bool = False
    clip: bool = False
    transposed: bool = False
    on_request: bool = False  # long, or beyond what the project promises: only by its own name
    cut: bool = False

    @property
    def name(self) -> str:
        """How the case is asked for."""
        parts = [self.rule, self.work]
        parts += ["clip"] if self.clip else []
        parts += ["transposed"] if self.transposed else []
        parts += [self.kind] if self.kind != "step" else []
        parts += ["round-robin"] if self.round_robin else []
        parts += ["bf16"] if self.dtype == torch.bfloat16 else []
        return "-".join(parts)

    @property
    def shapes(self) -> Shapes:
        """The shapes of the parameters."""
        shapes = WORKS[self.work]
        if self.cut:
            return tuple(tuple(min(n, 16) for n in shape) for shape in shapes[:10])
        return shapes

    @property
    def elements(self) -> int:
        """Elements of all parameters."""
        return sum(map(math.prod, self.shapes))

    def asked(self, threads: int) -> tuple[Target, ...]:
        """Targets at this number of threads."""
        if threads == 1 and self.kind in ("step", "backward", "iteration"):
            return (Target("best", 0.97),) if self.peers else ()
        return self.targets if threads == 2 else ()

    def quick(self) -> "Case":
        """Return the same case cut down to a size for tests."""
        return replace(self, cut=True)


def _cases() -> dict[str, Case]:
    bf16 = torch.bfloat16
    memory = (Target("fused", 0.97), Target(LIMIT, 0.95))
    small = Target(LIMIT, 0.7)
    beside = (Target("serial", 1 / 1.3), Target("fused", 5))
    cold = (Target("beyond_first_step", 5, at_most=True),)
    fused = ("fused",)
    cases = [
        Case("adam", "25m", (*memory, Target("default", 5))),
        Case("adamw", "25m", memory),
        Case("sgd", "25m", memory),
        Case("adagrad", "25m", memory),
        Case("rmsprop", "25m", (Target("best", 5),)),
        Case("rmsprop-centered", "25m"),
        Case("adam-amsgrad", "25m"),
        Case("adam", "1000-small", (Target("best", 2.8, 4), small)),
        Case("rmsprop", "1000-small", (Target("best", 6, 8), small)),
        Case("sgd", "1000-small", (Target("best", 1.5, 2), small)),
        Case("adam", "resnet50", (Target("fused", 1.05, 1.1),)),
        Case("adam", "4096x4096", (Target("for-loop", 5),), transposed=True),
        Case("adam", "25m", (Target("best", 1.3),), clip=True),
        Case("adam", "1000-small", (Target("best", 3),), clip=True),
        Case("adam", "mlp"),
        Case("adam", "mlp", round_robin=True),
        Case("adam", "mlp", (Target("fused", 2, 3),), kind="backward"),
        Case("adam", "tiny", (Target("best", 10), Target("wrapper", 1))),
        Case("adam", "tiny", round_robin=True),
        Case("adam", "tiny", kind="backward"),
        Case("adam", "tiny", (Target("removed", 0.85),), kind="iteration"),
        Case("adam", "1000-elements"),
        Case("adam", "1000-small", beside, kind="busy", peers=fused),
        Case("adam", "mlp", beside, kind="busy", peers=fused),
        Case("adam", "mlp", cold, kind="cold", peers=("default", "fused")),
        *(Case(rule, "25m", dtype=bf16) for rule in ("adam", "sgd", "rmsprop")),
        *(Case(rule, "1000-small", dtype=bf16) for rule in ("adam", "sgd", "rmsprop")),
        Case("adam", "resnet50", dtype=bf16),
        Case("adam", "mlp", dtype=bf16),
        *(Case("adam", f"size-1e{power}", peers=fused) for power in range(9)),
        # 16 GB for the two of them; then 17 GB for ours alone, which is checked at both ends.
        Case("adam", "size-1e9", dtype=bf16, peers=fused, on_request=True),
        Case("adam", "size-above-2e31", dtype=bf16, peers=(), on_request=True),
    ]
    grid = [
        Case(rule, work, dtype=dtype, on_request=True)
        for dtype in (torch.float32, bf16)
        for work in ("25m", "resnet50", "1000-small", "mlp", "1000-elements")
        for rule in RULES
    ]
    named = {case.name: case for case in cases}
    return named | {case.name: case for case in grid if case.name not in named}


CASES = _cases()
