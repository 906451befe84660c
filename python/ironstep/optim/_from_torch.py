"""Turn an optimizer that somebody else made into ours."""

from types import MethodType
from typing import Any, TypeVar

import torch

from ironstep.optim._native_step import Backend, NativeStep, check_run_options
from ironstep.optim.adagrad import Adagrad
from ironstep.optim.adam import Adam, AdamW
from ironstep.optim.rmsprop import RMSprop
from ironstep.optim.sgd import SGD

OptimizerT = TypeVar("OptimizerT", bound=torch.optim.Optimizer)

_OURS: dict[type, type[NativeStep]] = {
    ours._torch_class: ours for ours in (SGD, Adagrad, RMSprop, Adam, AdamW)
}


def from_torch(
    optimizer: OptimizerT, *, backend: Backend = "auto", clip_grad_norm: float | None = None
) -> OptimizerT:
    """Give an optimizer of torch's the native step, in place.

    Param groups, state, hooks and schedulers stay as they are.

    Parameters
    ----------
    optimizer : SGD, Adagrad, RMSprop, Adam or AdamW of `torch.optim`
        Not a subclass. A wrapper that has it as its ``optimizer``, as those of accelerate and
        Lightning do, is looked through.
    backend, clip_grad_norm
        As in the classes of `ironstep.optim`.

    Returns
    -------
    Optimizer
        The same object.

    Raises
    ------
    TypeError
        If it is of another class.

    Examples
    --------
    >>> import torch, ironstep
    >>> optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))])
    >>> ironstep.optim.from_torch(optimizer) is optimizer
    True
    >>> type(optimizer)
    <class 'ironstep.optim.adam.Adam'>
    """
    check_run_options(backend, clip_grad_norm)
    wrappers: list[Any] = []
    inner: Any = optimizer
    while type(inner) not in _OURS and not any(inner is wrapper for wrapper in wrappers):
        wrappers.append(inner)
        wrapped = getattr(inner, "optimizer", None)
        inner = wrapped if isinstance(wrapped, torch.optim.Optimizer) else inner
    ours = _OURS.get(type(inner))
    if ours is None:
        names = ", ".join(sorted(f"torch.optim.{cls.__name__}" for cls in _OURS))
        got = type(optimizer).__name__
        raise TypeError(f"optimizer: got {got}; one of {names} expected")
    calls = _Calls(inner)
    if "step" in inner.__dict__ and not calls.find(inner, "step"):
        raise TypeError("optimizer: its step was replaced by a function that does not call torch's")
    for wrapper in wrappers:
        for name in getattr(wrapper, "__dict__", ()):
            calls.find(wrapper, name)
    inner.__class__ = ours
    calls.redirect()
    inner.backend = backend
    inner.clip_grad_norm = clip_grad_norm
    inner._set_own_options({name: forms[0] for name, forms in ours._own_options.items()})
    return optimizer


class _Calls:
    """Where others hold the step of an optimizer.

    A scheduler puts a function around it on the instance; accelerate's wrapper keeps such functions
    as attributes of its own.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.step = type(optimizer).step
        self.seen: set[int] = set()
        self.places: list[tuple[Any, str]] = []

    def find(self, holder: Any, name: str) -> bool:
        """Note the attribute, or the cells behind the function there, that hold the step."""
        try:
            value = getattr(holder, name)
        except (AttributeError, ValueError):  # an empty cell
            return False
        if self._is_step(value):
            self.places.append((holder, name))
            return True
        if not callable(value) or id(value) in self.seen:
            return False
        self.seen.add(id(value))
        cells = getattr(value, "__closure__", None) or ()
        found = [self.find(cell, "cell_contents") for cell in cells]  # all of them
        return any(found)

    def redirect(self) -> None:
        """Put our step in all these places."""
        for holder, name in self.places:
            bound = hasattr(getattr(holder, name), "__self__")
            step = NativeStep.step
            setattr(holder, name, MethodType(step, self.optimizer) if bound else step)

    def _is_step(self, value: Any) -> bool:
        if isinstance(value, MethodType):
            return value.__func__ is self.step and value.__self__ is self.optimizer
        return value is self.step
