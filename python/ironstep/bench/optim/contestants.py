"""Who does the work of a case, and the check that all do the same."""

import contextlib
import inspect
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

import ironstep
import ironstep.optim
from ironstep.bench.optim.cases import BATCH, CASES, EAGER, RULES, Case
from ironstep.bench.protocol import Contestant
from ironstep.bench.report import LIMIT, OURS

MAX_NORM = 1000.0  # below the norm of the gradients in the large cases: clipping changes them
COMPILED_AT_MOST = 10  # tensors: measured, 161 of them take torch.compile two minutes
STEPS = 3  # of each contestant before they are compared


@dataclass(kw_only=True)
class Entrant(Contestant):
    """A contestant with its own parameters."""

    params: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    step: Callable[[], object]
    backward: Callable[[], object] | None = None

    def tensors(self) -> Iterator[Tensor]:
        """All that a step writes: parameters and states, always in the same order."""
        for param in self.params:
            state = self.optimizer.state[param]
            yield param.detach()
            yield from (state[key] for key in sorted(state) if torch.is_tensor(state[key]))


def has_compiler() -> bool:
    """Tell whether torch.compile finds a C++ compiler."""
    return any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++", "cl"))))


def names(case: Case) -> list[str]:
    """Contestants of a case, ironstep last."""
    fused = "fused" in inspect.signature(getattr(torch.optim, RULES[case.rule][0])).parameters
    found = [name for name in case.peers if fused or not name.startswith("fused")]
    if not case.clip:
        found = [name for name in found if "clip" not in name]
    few = len(case.shapes) <= COMPILED_AT_MOST and not case.cut
    if few and case.kind == "step" and case.peers == EAGER and has_compiler():
        found.append("compiled")
    if case.kind == "iteration":
        found.append("empty")
    if case.kind == "step" and case.work == "tiny":
        found.append("wrapper")
    if case.kind == "busy":
        found.append("serial")
    return [*found, OURS]


def enter(case: Case, name: str, threads: int) -> Entrant:
    """Make one contestant with its own copy of the case's data."""
    model = _network(case) if case.kind in ("backward", "iteration", "cold") else None
    params = _params(case) if model is None else list(model.parameters())
    optimizer = _optimizer(case, name, params)
    step = _step(case, name, optimizer, params)
    entrant = Entrant(name, step, params=params, optimizer=optimizer, step=step)
    if model is not None:
        entrant.backward = backward = _backward(case, model, optimizer)
        if case.kind == "iteration":
            entrant.run = lambda: (backward(), step())
        else:
            entrant.before = backward
    if case.kind == "busy":
        count = 1 if name == "serial" else threads

        def settle() -> None:
            # One step more, so that a pool that starts anew is not in the timing.
            ironstep.set_num_threads(count)
            step()

        entrant.settle = settle
    return entrant


def _optimizer(case: Case, name: str, params: list[nn.Parameter]) -> torch.optim.Optimizer:
    rule, options = RULES[case.rule]
    how: dict[str, Any] = {}
    if name in ("empty", "wrapper"):
        return (_BareEmptyStep if name == "empty" else _EmptyStep)(params)
    if name in (OURS, "serial"):
        how = {"clip_grad_norm": MAX_NORM if case.clip else None}
    elif name in ("for-loop", "foreach"):
        how = {"foreach": name == "foreach"}
    elif name.startswith("fused"):
        how = {"fused": True}
    module = ironstep.optim if name in (OURS, "serial") else torch.optim
    optimizer: torch.optim.Optimizer = getattr(module, rule)(params, **options, **how)
    return optimizer


def _step(
    case: Case, name: str, optimizer: torch.optim.Optimizer, params: list[nn.Parameter]
) -> Callable[[], object]:
    step: Callable[[], object] = optimizer.step
    if name == "compiled":
        torch.compiler.reset()  # after eight variants of one function it would run uncompiled
        step = torch.compile(step)
    if case.clip and name != OURS:
        foreach = True if "foreach" in name else None
        return lambda: (clip_grad_norm_(params, MAX_NORM, foreach=foreach), step())
    return step


class _EmptyStep(torch.optim.Optimizer):
    """A step that does nothing, inside the wrapper that torch puts around every step."""

    def __init__(self, params: list[nn.Parameter]) -> None:
        super().__init__(params, {})

    def step(self, closure: Any = None) -> Any:
        """Do nothing."""


class _BareEmptyStep(_EmptyStep):
    """A step that does nothing, without the wrapper."""

    def step(self, closure: Any = None) -> Any:
        """Do nothing."""

    step.hooked = True  # type: ignore[attr-defined] # so torch leaves it as it is


def _params(case: Case) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)

    def filled(shape: tuple[int, ...]) -> Tensor:
        # A million numbers over and over: quick to make, and no kernel's time depends on them.
        block = (torch.randn(min(math.prod(shape), 2**20), generator=draw) * 0.1).to(case.dtype)
        tensor = torch.empty(math.prod(shape), dtype=case.dtype)
        for start in range(0, len(tensor), len(block)):
            part = tensor[start : start + len(block)]
            part.copy_(block[: len(part)])
        return tensor.view(shape)

    params = [nn.Parameter(filled(shape)) for shape in case.shapes]
    for param in params:
        grad = filled(param.shape)
        param.grad = grad.t() if case.transposed else grad
    return params


def _network(case: Case) -> nn.Module:
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for out, into in case.shapes[::2]:
            layers += [nn.Linear(into, out, dtype=case.dtype), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _backward(
    case: Case, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Callable[[], object]:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(BATCH[case.work], case.shapes[0][1], generator=draw).to(case.dtype)
    labels = torch.randint(case.shapes[-1][0], (len(inputs),), generator=draw)

    def backward() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(inputs), labels))

    return backward


@dataclass
class Field:
    """The contestants of a case that agree, and why others are left out."""

    entrants: list[Entrant]
    differences: dict[str, float]
    left_out: dict[str, str]


def admit(case: Case, wanted: Sequence[str], threads: int) -> Field:
    """Make the contestants, let each take some steps and compare what they wrote with the first.

    A difference is relative to the largest element of the same tensor. Where the case has no peer,
    for want of memory, torch's for-loop runs on both ends of the tensor and these are compared.
    """
    field = Field([], {}, {})
    first: Entrant | None = None
    for name in wanted:
        try:
            entrant = enter(case, name, threads)
            if name in ("empty", "wrapper"):
                field.entrants.append(entrant)
                continue
            if not case.peers:
                first = _on_the_ends(case, entrant)
                _take_steps(first, first)
            _take_steps(entrant, first or entrant)
        except (RuntimeError, TypeError, ValueError) as error:
            field.left_out[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            continue
        if first is None:
            first = entrant
        else:
            view = Tensor.flatten if case.peers else _ends
            difference = max(
                _difference(a.flatten(), view(b))
                for a, b in zip(first.tensors(), entrant.tensors(), strict=True)
            )
            if difference > tolerance(case):
                field.left_out[name] = f"wrong: differs from {first.name} by {difference:.1e}"
                continue
            field.differences[name] = difference
        if name == OURS and (handed := entrant.optimizer.last_dispatch.torch):  # type: ignore[attr-defined]
            field.left_out[name] = f"handed to torch: {handed[0].reason}"
            continue
        field.entrants.append(entrant)
    return field


def _take_steps(entrant: Entrant, first: Entrant) -> None:
    """Take some steps from the gradients of `first`: two backward passes may differ in a bit."""
    if entrant.backward is not None:
        entrant.backward()
        for param, source in zip(entrant.params, first.params, strict=True):
            param.grad = source.grad.clone() if source.grad is not None else None
    for _ in range(STEPS):
        entrant.step()


def tolerance(case: Case) -> float:
    """Return the largest difference that rounding explains: 8 units a step."""
    return 8 * STEPS * torch.finfo(case.dtype).eps


def _difference(wanted: Tensor, got: Tensor) -> float:
    # In parts, so that the float64 copies stay small beside the tensors.
    size = 2**24
    parts = (slice(start, start + size) for start in range(0, len(wanted), size))
    distances = [float((wanted[i].double() - got[i].double()).abs().max()) for i in parts]
    if any(map(math.isnan, distances)):
        return math.inf  # a NaN would be lost in max()
    return max(distances) / (float(wanted.abs().max()) or 1.0)


def _ends(tensor: Tensor, size: int = 2**20) -> Tensor:
    flat = tensor.flatten()
    return torch.cat((flat[:size], flat[-size:])) if len(flat) > 2 * size else flat


def _on_the_ends(case: Case, entrant: Entrant) -> Entrant:
    params = [nn.Parameter(_ends(param.detach()).clone()) for param in entrant.params]
    for param, source in zip(params, entrant.params, strict=True):
        param.grad = _ends(source.grad) if source.grad is not None else None
    optimizer = _optimizer(case, "for-loop", params)
    step = optimizer.step
    return Entrant("for-loop", step, params=params, optimizer=optimizer, step=step)


def moved(case: Case, ours: Entrant) -> int:
    """Return the bytes that a step has to read and write."""
    grads = sum(param.nbytes for param in ours.params) * (2 if case.clip else 1)
    return grads + 2 * sum(tensor.nbytes for tensor in ours.tensors() if tensor.dim())


def limit(case: Case, ours: Entrant) -> Contestant | None:
    """Return a pass over the same bytes that also reads the addresses: the least a step needs."""
    if not 16e6 <= moved(case, ours) <= 4e9:
        return None  # in cache, or too large to keep a second time
    grad = torch.ones(case.elements, dtype=case.dtype)
    roles = sum(tensor.nbytes for tensor in ours.tensors() if tensor.dim()) // grad.nbytes
    param, *states = (torch.ones_like(grad) for _ in range(roles))
    tensors = [tensor for tensor in ours.tensors() if tensor.dim()]

    def run() -> None:
        grads: list[Any] = [param.grad for param in ours.params]
        list(map(Tensor.data_ptr, [*tensors, *grads]))
        if case.clip:
            grad.amax()
        param.add_(grad, alpha=1e-9)
        for state in states:
            state.neg_()

    return Contestant(LIMIT, torch.no_grad()(run))


class ColdStart(Contestant):
    """The first step of a fresh process."""

    def __init__(self, case: Case, name: str, threads: int) -> None:
        super().__init__(name, run=lambda: None)
        call = f"print_first_step({case.name!r}, {name!r}, {threads})"
        script = f"from ironstep.bench.optim import contestants; contestants.{call}"
        self.command = [sys.executable, "-c", script]

    def sample(self) -> float:
        """Start a process and return the seconds that it prints."""
        return float(subprocess.run(self.command, check=True, stdout=subprocess.PIPE).stdout)


def print_first_step(case: str, name: str, threads: int) -> None:
    """Run one iteration of training in this process and print the seconds of its step."""
    set_threads(threads)
    print(enter(CASES[case], name, threads).sample())


def set_threads(count: int) -> None:
    """Give everybody the same number of threads."""
    torch.set_num_threads(count)
    ironstep.set_num_threads(count)


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    """Another process that keeps one core busy; it ends by itself when this one is gone."""
    spin = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"
    with subprocess.Popen([sys.executable, "-c", spin]) as process:
        try:
            yield
        finally:
            process.kill()
