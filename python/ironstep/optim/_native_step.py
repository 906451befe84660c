"""What the five optimizers have in common: the native step, and the way back to torch's."""

import inspect
from collections.abc import Callable, Sequence
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    SupportsFloat,
    SupportsIndex,
    get_args,
)

import torch
from torch.optim import optimizer as torch_optimizer

from ironstep import _native

Backend = Literal["auto", "native", "torch"]
_BACKENDS = get_args(Backend)
Place = tuple[int, int]
"""A parameter: the index of its group, and its own index there."""


class HandedOver(NamedTuple):
    """A parameter that torch updated, and why."""

    group: int
    """Index of its param group."""
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks for here
    """Its index in the group's ``params``."""
    reason: str


class Dispatch(NamedTuple):
    """Who updated what in a step."""

    native: int
    """How many parameters the native step updated."""
    torch: tuple[HandedOver, ...]
    """Those that torch updated."""


def check_run_options(backend: object, clip_grad_norm: object) -> None:
    """Raise a ValueError or TypeError if an option that is not part of the rule is wrong."""
    check_choice("backend", backend, _BACKENDS)
    if clip_grad_norm is None:
        return
    if not isinstance(clip_grad_norm, (SupportsFloat, SupportsIndex)):
        got = type(clip_grad_norm).__name__
        raise TypeError(f"clip_grad_norm: got {got}; a number or None expected")
    if not float(clip_grad_norm) >= 0:
        raise ValueError(f"clip_grad_norm: got {clip_grad_norm}; a norm >= 0 or None expected")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise a ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}; one of {', '.join(map(repr, choices))} expected")


class NativeStep(torch.optim.Optimizer):
    """Base in front of a torch optimizer: `step` updates what it can by the native kernels."""

    _rule: ClassVar[str]
    """The kernels' name of the rule."""
    _torch_class: ClassVar[type[torch.optim.Optimizer]]
    """The class whose place this one takes."""
    _own_options: ClassVar[dict[str, tuple[object, ...]]] = {}
    """Options that torch's rule lacks, in each param group: what they may be, torch's form first."""

    backend: Backend = "auto"
    clip_grad_norm: float | None = None

    def __init__(
        self,
        params: Any,
        *args: Any,
        backend: Backend = "auto",
        clip_grad_norm: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_run_options(backend, clip_grad_norm)
        own = {name: kwargs.pop(name, forms[0]) for name, forms in self._own_options.items()}
        for name, value in own.items():
            check_choice(name, value, self._own_options[name])
        super().__init__(params, *args, **kwargs)
        self.backend = backend
        self.clip_grad_norm = clip_grad_norm
        self._set_own_options(own)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "_torch_class" in cls.__dict__:
            cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]
        elif "__init__" in cls.__dict__:
            cls.__signature__ = None  # type: ignore[attr-defined]  # a user's own, not ours

    def _set_own_options(self, own: dict[str, Any]) -> None:
        """Give the options to every param group that lacks them, and to groups added later.

        An option that has torch's form is left out: groups and state dict are torch's then.
        """
        own = {name: value for name, value in own.items() if value != self._own_options[name][0]}
        self.defaults.update(own)
        for group in self.param_groups:
            for name, value in own.items():
                group.setdefault(name, value)

    def __getstate__(self) -> dict[str, Any]:
        own = {"backend": self.backend, "clip_grad_norm": self.clip_grad_norm}
        return super().__getstate__() | own

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Also called by load_state_dict, whose groups may come from torch's class.
        super().__setstate__(state)
        forms = self._own_options.items()
        self._set_own_options({name: self.defaults.get(name, form[0]) for name, form in forms})

    @property
    def last_dispatch(self) -> Dispatch | None:
        """Who updated what in the last step; None before the first."""
        native, elsewhere = self.__dict__.get("_last", (None, ()))
        if native is None:
            return None
        return Dispatch(native, tuple(HandedOver(*parameter) for parameter in elsewhere))

    @property
    def last_grad_norm(self) -> torch.Tensor | None:
        """The norm of the last step's gradients before clipping; None without ``clip_grad_norm``."""
        norm = self.__dict__.get("_last_norm")
        return None if norm is None else torch.tensor(norm)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Perform a single optimization step.

        Parameters
        ----------
        closure : callable, optional
            Reevaluates the model and returns the loss, which is returned.
        """
        observed = (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or torch_optimizer._global_optimizer_pre_hooks
            or torch_optimizer._global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()  # type: ignore[attr-defined]
        )
        if observed and not _runs_hooks(type(self).step):
            return _observed_step(self, *args, **kwargs)
        return self._step(*args, **kwargs)

    # torch wraps every step for hooks and the profiler, which costs more than the update of a small
    # network. Ours goes through that wrapper only where there is something for it to do.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        # Both are plain attributes, and may be set to anything.
        if self.clip_grad_norm is not None or self.backend not in _BACKENDS:
            check_run_options(self.backend, self.clip_grad_norm)
        if torch.compiler.is_dynamo_compiling() and self._is_torchs_own():
            return _unhooked_step(self._torch_class)(self, closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        own = self.__dict__
        if ("found_inf" in own or "grad_scale" in own) and not self._unscale():
            return loss
        if self.backend == "torch":
            self._last, self._last_norm = self._all_in_torch()
        else:
            self._last, self._last_norm = self._native_first()
        return loss

    def _native_first(self) -> tuple[tuple[int, Sequence[tuple[int, int, str]]], float | None]:
        """Update natively what can be, and the rest by torch."""
        stepper = self.__dict__.get("_stepper")
        if stepper is None:
            # Made here, not in the constructor: copies and unpickled objects have none.
            stepper = self._stepper = _native.Stepper(self._rule)
        only_native = self.backend == "native" or self._has_own_form()
        groups, state, max_norm = self.param_groups, self.state, self.clip_grad_norm
        native, norm, elsewhere, fresh = stepper.step(
            groups, state, max_norm=max_norm, all_or_none=True
        )
        if not fresh and not elsewhere:
            return (native, elsewhere), norm

        if fresh:
            self._make_states(fresh)
        done = False
        try:
            if fresh:
                native, norm, elsewhere, _ = stepper.step(
                    groups, state, fresh=fresh, max_norm=max_norm, all_or_none=True
                )
            if elsewhere:
                if only_native:
                    raise RuntimeError(self._not_native(*elsewhere[0]))
                places = [(group, index) for group, index, _ in elsewhere]
                # Their states made here were made for nothing: torch makes its own.
                self._drop_states(sorted(set(fresh).intersection(places)))
                norm_elsewhere = None
                if norm is not None:
                    norm_elsewhere = float(torch.nn.utils.get_total_norm(self._grads(places)))
                    norm = _native.total_norm(norm, norm_elsewhere)
                # First, for torch may raise: then nothing has been changed here.
                self._in_torch(places, norm)
                native, norm, _, _ = stepper.step(
                    groups, state, fresh=fresh, max_norm=max_norm, norm_elsewhere=norm_elsewhere
                )
            done = True
        finally:
            if not done:
                self._drop_states(fresh)
        return (native, elsewhere), norm

    def _all_in_torch(self) -> tuple[tuple[int, Sequence[tuple[int, int, str]]], float | None]:
        places = [
            (g, i)
            for g, group in enumerate(self.param_groups)
            for i, param in enumerate(group["params"])
            if param.grad is not None
        ]
        elsewhere = [(group, index, "backend='torch'") for group, index in places]
        if self._has_own_form() and places:
            raise RuntimeError(self._not_native(*elsewhere[0]))
        norm = None
        if self.clip_grad_norm is not None:
            norm = float(torch.nn.utils.get_total_norm(self._grads(places)))
        self._in_torch(places, norm)
        return (0, elsewhere), norm

    def _in_torch(self, places: Sequence[Place], norm: float | None) -> None:
        """Let torch's own step update these parameters, with gradients clipped by `norm`."""
        groups: list[dict[str, Any]] = [{**group, "params": []} for group in self.param_groups]
        for group, index in places:
            groups[group]["params"].append(self.param_groups[group]["params"][index])
        # An optimizer of torch's class that shares our state and has only these parameters.
        deputy = object.__new__(self._torch_class)
        deputy.__dict__ = self.__dict__ | {"param_groups": [g for g in groups if g["params"]]}
        step = _unhooked_step(self._torch_class)
        if norm is None or self.clip_grad_norm is None:
            step(deputy)
            return
        coefficient = _native.clip_coefficient(norm, self.clip_grad_norm)
        params = [param for group in groups for param in group["params"]]
        unclipped = [param.grad for param in params]
        try:
            for param in params:
                param.grad = param.grad * coefficient
            step(deputy)
        finally:
            for param, grad in zip(params, unclipped, strict=True):
                param.grad = grad

    def _unscale(self) -> bool:
        """Do what GradScaler leaves to a fused step; say whether there is a step to make."""
        found_inf = self.__dict__.get("found_inf")
        if found_inf is not None and found_inf.item() != 0:
            return False
        scale = self.__dict__.get("grad_scale")
        if scale is not None:
            inverse = 1.0 / scale.item()
            grads = (param.grad for group in self.param_groups for param in group["params"])
            for grad in grads:
                if grad is not None:
                    grad.mul_(inverse)
            self.grad_scale = None
        return True

    def _make_states(self, places: Sequence[Place]) -> None:
        """Make the states that these parameters lack, as torch makes them."""
        # Counted in torch's class: a subclass may take any arguments and pass them on.
        init_group = self._torch_class._init_group  # type: ignore[attr-defined]
        n_lists = len(inspect.signature(init_group).parameters) - len(("self", "group"))
        for group, index in places:
            params = [self.param_groups[group]["params"][index]]
            lists: list[list[Any]] = [[] for _ in range(n_lists)]
            self._init_group({**self.param_groups[group], "params": params}, *lists)  # type: ignore[attr-defined]

    def _drop_states(self, places: Sequence[Place]) -> None:
        for group, index in places:
            self.state.pop(self.param_groups[group]["params"][index], None)

    def _grads(self, places: Sequence[Place]) -> list[torch.Tensor]:
        return [self.param_groups[group]["params"][index].grad for group, index in places]

    def _is_torchs_own(self) -> bool:
        """Whether torch's step does all that ours is asked for."""
        return self.clip_grad_norm is None and not self._has_own_form()

    def _has_own_form(self) -> bool:
        for name, forms in self._own_options.items():
            for group in self.param_groups:
                form = group.get(name, forms[0])
                if form != forms[0]:
                    check_choice(name, form, forms)
                    return True
        return False

    def _not_native(self, group: int, index: int, reason: str) -> str:
        place = f"param_groups[{group}]['params'][{index}]"
        if self.backend == "native":
            return f"backend='native', but {place} is not for the native step: {reason}"
        own = ", ".join(self._own_options)
        return f"{place} is not for the native step ({reason}), and torch has no option {own}"


NativeStep.step.__signature__ = inspect.signature(NativeStep._step)  # type: ignore[attr-defined]
_observed_step = torch.optim.Optimizer.profile_hook_step(NativeStep._step)


def _runs_hooks(step: Callable[..., Any]) -> bool:
    """Whether a class's step is inside torch's wrapper: that of a user's subclass mostly is."""
    while step is not NativeStep.step:
        if getattr(step, "__code__", None) is _observed_step.__code__:
            return True
        if not hasattr(step, "__wrapped__"):
            break
        step = step.__wrapped__
    return False


def _unhooked_step(torch_class: type[torch.optim.Optimizer]) -> Callable[..., Any]:
    """Step of torch without the wrapper that runs the hooks: they have run, or will."""
    step: Callable[..., Any] = torch_class.step
    while getattr(step, "hooked", False):
        step = step.__wrapped__  # type: ignore[attr-defined]
    return step


def _signature(cls: type[NativeStep]) -> inspect.Signature:
    """The signature of torch's class, with our keywords."""
    theirs = inspect.signature(cls._torch_class)
    ours = inspect.signature(NativeStep.__init__).parameters
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [ours["backend"], ours["clip_grad_norm"]]
    for name, forms in cls._own_options.items():
        added.append(inspect.Parameter(name, keyword, default=forms[0], annotation=type(forms[0])))
    return theirs.replace(parameters=[*theirs.parameters.values(), *added])
