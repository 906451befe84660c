"""Turn an optimizer that somebody else made into ours."""

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
    inner: Any = optimizer
    seen = set()
    while type(inner) not in _OURS and id(inner) not in seen:
        seen.add(id(inner))
        wrapped = getattr(inner, "optimizer", None)
        inner = wrapped if isinstance(wrapped, torch.optim.Optimizer) else inner
    ours = _OURS.get(type(inner))
    if ours is None:
        names = ", ".join(sorted(f"torch.optim.{cls.__name__}" for cls in _OURS))
        got = type(optimizer).__name__
        raise TypeError(f"optimizer: got {got}; one of {names} expected")
    calls = _calls(inner.__dict__.get("step"), type(inner).step)
    if "step" in inner.__dict__ and not calls:
        raise TypeError("optimizer: its step was replaced by a function that does not call torch's")
    inner.__class__ = ours
    for cell in calls:
        cell.cell_contents = NativeStep.step
    inner.backend = backend
    inner.clip_grad_norm = clip_grad_norm
    inner._set_own_options({name: forms[0] for name, forms in ours._own_options.items()})
    return optimizer


def _calls(function: Any, step: Any) -> list[Any]:
    """The cells through which a wrapper (a scheduler leaves one on the instance) calls `step`."""
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        if cell.cell_contents is step:
            found.append(cell)
        elif callable(cell.cell_contents):
            found += _calls(cell.cell_contents, step)
    return found
