"""torch's cross-entropy with a native forward and backward in one pass."""

import numbers
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ironstep import _native
from ironstep.functional._loss import coefficients
from ironstep.nn import _loss_in_torch, _memory
from ironstep.nn._normalize import is_watched

Target: TypeAlias = Tensor | tuple[Tensor, Tensor, float | Tensor]

_FLOATS = frozenset((torch.float64, torch.float32, torch.bfloat16, torch.float16))


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """torch.nn.CrossEntropyLoss with native kernels on the CPU: loss and gradient in one pass.

    Arguments and behaviour are torch's, and a module of either class is a module of the other by its
    ``__class__``. New are other forms of label smoothing, pairs of labels for mixup that are never made
    a matrix of targets, and weights of single rows. What the kernels do not know (CUDA and other
    devices, `torch.compile`, `torch.func`, forward-mode and second derivatives, autocast, tensor
    subclasses, …) is computed by torch's own operations.

    Parameters
    ----------
    weight : Tensor of shape (C,), optional
        A weight for each class, of the logits' dtype.
    size_average, reduce : bool, optional
        torch's older forms of `reduction`.
    ignore_index : int
        A class that does not count.
    reduction : {"mean", "sum", "none"}
        The mean is the weighted one: the sum of the losses, divided by the sum of the rows' weights.
        A row has the weight of its class (of its two, in their shares), times its `sample_weight`;
        with probabilities as targets, `sample_weight` alone.
    label_smoothing : float in [0, 1]
        α, what is taken from the true class.
    smoothing : {"szegedy", "lecture", "normalized"}
        What becomes of α among K classes, where y is 1 for the true class and 0 otherwise:

        - "szegedy", torch's: (1 - α)·y + α/K;
        - "lecture": (1 - α)·y + (α/K)·(1 - y), which sums to 1 - α/K;
        - "normalized": (1 - α)·y + α/(K - 1)·(1 - y), which sums to 1.

    Raises
    ------
    IndexError
        If a target is no class; the message names its row, counted over all rows.
    ValueError, RuntimeError
        As torch does, for shapes and dtypes that do not fit.

    Notes
    -----
    Logits may be float64, float32, bfloat16 or float16; the latter two are computed in float32 and
    rounded once. Results have the same bits for any number of threads and any instruction set. The
    gradient of a row that is ignored is 0, or NaN where its logits are not finite, as torch's is.

    References
    ----------
    Szegedy et al. (2016), Rethinking the Inception architecture, section 7. Zhang et al. (2018),
    mixup: beyond empirical risk minimization.

    Examples
    --------
    >>> import torch, ironstep
    >>> logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]], requires_grad=True)
    >>> a, b = torch.tensor([0, 2]), torch.tensor([1, 2])
    >>> ironstep.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, a)
    tensor(1.0129, grad_fn=<_CrossEntropyBackward>)
    >>> ironstep.nn.CrossEntropyLoss()(logits, (a, b, 0.7))
    tensor(1.2795, grad_fn=<_CrossEntropyBackward>)
    """

    smoothing = "szegedy"  # for modules that were torch's

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        smoothing: str = "szegedy",
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        coefficients(smoothing, 0.0, 2)  # is it one?
        self.smoothing = smoothing

    def extra_repr(self) -> str:
        """Say what is not torch's default."""
        return "" if self.smoothing == "szegedy" else f"smoothing={self.smoothing!r}"

    def forward(
        self,
        input: Tensor,  # noqa: A002 (torch's name)
        target: Target,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        input : Tensor of shape (C,), (N, C) or (N, C, d1, ...)
            Logits.
        target : Tensor or (Tensor, Tensor, float or Tensor)
            Classes (int64), of the shape of `input` without C; or probabilities, of `input`'s shape and
            dtype; or ``(labels_a, labels_b, lam)``: classes, of which the first has the share `lam` in
            [0, 1], one number or a tensor of their shape, and the second the rest.
        sample_weight : Tensor, optional
            A weight for each row, of the shape of `input` without C.

        Returns
        -------
        Tensor
            A scalar, or the rows' losses if `reduction` is "none".
        """
        other: Tensor | None = None
        share: float | Tensor | None = None
        if isinstance(target, (tuple, list)):
            target, other, share = _mixed(input, target)
        if sample_weight is not None:
            _check_shape("sample_weight", sample_weight, input)
        case = _Case(
            target,
            other,
            share,
            self.weight,
            sample_weight,
            self.ignore_index,
            self.reduction,
            self.label_smoothing,
            self.smoothing,
        )
        if is_watched():
            return case.by_torch(input)
        if isinstance(share, Tensor):
            _check_share(share)
        if not case.is_native(input):
            return case.by_torch(input)
        if input.requires_grad and torch.is_grad_enabled():
            loss: Tensor = _CrossEntropy.apply(input, case)
            return loss
        return case.by_kernel(input, None)[0]


def _mixed(
    logits: Tensor, target: tuple[Any, ...] | list[Any]
) -> tuple[Tensor, Tensor, float | Tensor]:
    """Return both lists of labels and the first one's share, checked."""
    if len(target) != 3:
        raise ValueError(f"target: got {len(target)} items; (labels_a, labels_b, lam) expected")
    first, second, share = target
    for place, labels in enumerate((first, second)):
        _check_shape(f"target[{place}]", labels, logits)
    if isinstance(share, Tensor):
        if share.dim():
            _check_shape("target[2]", share, logits)
    elif not isinstance(share, numbers.Real) or not 0 <= float(share) <= 1:
        raise ValueError(f"target[2]: got {share!r}; a share from 0 to 1, or a tensor, expected")
    return first, second, share


def _check_shape(name: str, tensor: Any, logits: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: got {type(tensor).__name__}; a tensor expected")
    if tensor.shape != _shape_of_rows(logits):
        raise ValueError(
            f"{name}: got shape {tuple(tensor.shape)}; {tuple(_shape_of_rows(logits))} expected"
        )


def _check_share(share: Tensor) -> None:
    """Refuse what is outside [0, 1], where it can be seen without waiting for a device."""
    if _is_on_cpu(share, _FLOATS):
        least, most = (
            (float(each) for each in share.detach().aminmax()) if share.numel() else (0, 1)
        )
        if not 0 <= least <= most <= 1:
            raise ValueError(
                f"target[2]: got values from {least} to {most}; shares from 0 to 1 expected"
            )


def _shape_of_rows(logits: Tensor) -> torch.Size:
    shape = logits.shape
    return shape[:1] + shape[2:] if len(shape) > 1 else shape[:0]


def _is_on_cpu(tensor: Any, dtypes: frozenset[torch.dtype]) -> bool:
    """Whether this is a plain tensor that numpy could have."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.dtype in dtypes
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not tensor.is_neg()
        and (tensor.data_ptr() != 0 or not tensor.numel())  # a storage that was resized to nothing
    )


_LABELS = frozenset((torch.int64,))


@dataclass(slots=True)
class _Case:
    """All but the logits."""

    target: Tensor
    other: Tensor | None
    share: float | Tensor | None
    weight: Tensor | None
    sample_weight: Tensor | None
    ignore_index: int
    reduction: str
    label_smoothing: float
    smoothing: str

    def tensors(self) -> list[Tensor]:
        """All tensors, in no order that matters."""
        given = (self.target, self.other, self.share, self.weight, self.sample_weight)
        return [each for each in given if isinstance(each, Tensor)]

    def is_native(self, logits: Tensor) -> bool:
        """Whether the kernel takes this; torch's operations compute, or refuse, what it doesn't."""
        if not (_is_on_cpu(logits, _FLOATS) and logits.dim() and logits.numel()):
            return False
        target, weight, rows = self.target, self.weight, _shape_of_rows(logits)
        if target.shape == logits.shape:
            # torch refuses a class to be ignored that could be one, and so shall torch.
            if self.other is not None or self.ignore_index >= 0 or target.dtype != logits.dtype:
                return False
        elif target.shape != rows or target.dtype is not torch.int64:
            return False
        if weight is not None and (
            weight.dtype != logits.dtype or weight.shape != _classes(logits)
        ):
            return False
        return (
            0 <= self.label_smoothing <= 1
            and self.reduction in ("mean", "sum", "none")
            and (self.other is None or self.other.dtype is torch.int64)
            and all(_is_on_cpu(each, _FLOATS | _LABELS) for each in self.tensors())
            and not any(each.requires_grad for each in self.tensors())
        )

    def by_kernel(
        self, logits: Tensor, gradient: Tensor | None, *, scaled: bool = True
    ) -> tuple[Tensor, float]:
        """Return the loss, and by what the sum over the rows was divided."""
        target = _as_walked(self.target) if self.target.shape == logits.shape else None
        share = self.share
        if isinstance(share, Tensor):
            share = _as_numbers(share) if share.dim() else share.item()
        hit, spread = coefficients(self.smoothing, self.label_smoothing, _classes(logits)[0])
        losses = None
        if self.reduction == "none":
            losses = torch.empty(_shape_of_rows(logits), dtype=logits.dtype)
        loss, divisor = _native.cross_entropy(
            _as_walked(logits),
            _as_numbers(self.target) if target is None else target,
            other=None if self.other is None else _as_numbers(self.other),
            share=share,
            weight=None if self.weight is None else _as_numbers(self.weight),
            sample_weight=None if self.sample_weight is None else _as_numbers(self.sample_weight),
            ignore_index=self.ignore_index,
            hit=hit,
            spread=spread,
            reduction=self.reduction,
            losses=losses,
            gradient=gradient,
            scaled=scaled,
        )
        return torch.tensor(loss, dtype=logits.dtype) if losses is None else losses, divisor

    def by_torch(self, logits: Tensor) -> Tensor:
        """Compute the same in torch's operations, which know everything else."""
        return _loss_in_torch.cross_entropy(
            logits,
            self.target,
            self.other,
            self.share,
            weight=self.weight,
            sample_weight=self.sample_weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            smoothing=self.smoothing,
        )


def _classes(logits: Tensor) -> torch.Size:
    return logits.shape[1:2] if logits.dim() > 1 else logits.shape


def _as_walked(tensor: Tensor) -> Tensor:
    """Return it, or a copy where the dimensions behind the classes are not one in memory."""
    if tensor.dim() < 4 or tensor.is_contiguous():
        return tensor
    if tensor.movedim(1, -1).is_contiguous():
        return tensor
    return tensor.detach().contiguous()


def _as_numbers(tensor: Tensor) -> Any:
    """Return it flattened, as a numpy array of int64 or float64."""
    if tensor.is_floating_point():
        tensor = tensor.double()
    return tensor.contiguous().reshape(-1).numpy()


class _CrossEntropy(torch.autograd.Function):
    """The gradient is computed with the loss, and multiplied by what comes from behind."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, case: _Case) -> Tensor:
        # float16 has not the range for a division by the number of rows: the loss scale comes first.
        scaled = logits.dtype is not torch.float16
        gradient = _memory.empty_like(_as_walked(logits))
        loss, divisor = case.by_kernel(logits, gradient, scaled=scaled)
        ctx.save_for_backward(gradient)
        ctx.factor = 1.0 if scaled or not divisor else 1.0 / divisor
        ctx.case = case
        # Not saved, for torch lets one write to the logits: only a second derivative reads them.
        ctx.logits = logits
        ctx.versions = _versions(ctx)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable(ctx, grad_loss), None
        if _is_batched(grad_loss):
            return gradient * (_spread_over(grad_loss, gradient) * ctx.factor), None
        is_kept = torch._C._autograd._get_current_graph_task_keep_graph()
        if not is_kept:  # as saved tensors are, they are let go of
            ctx.logits = ctx.case = None
        factor = (
            _spread_over(grad_loss, gradient) if grad_loss.dim() else grad_loss.item() * ctx.factor
        )
        if is_kept:  # for a later backward: nobody else may have it, nor may it change
            return gradient * factor, None
        if grad_loss.dim() or factor != 1.0:
            gradient.mul_(factor)
        return gradient, None


def _versions(ctx: Any) -> list[int | None]:
    tensors = (ctx.logits, *ctx.case.tensors())
    return [None if each.is_inference() else each._version for each in tensors]


def _is_batched(tensor: Tensor) -> bool:
    """Whether it stands for many, by `torch.func` or by what autograd itself vectorizes."""
    functorch = torch._C._functorch
    return functorch.is_functorch_wrapped_tensor(tensor) or functorch.is_legacy_batchedtensor(
        tensor
    )


def _spread_over(grad_loss: Tensor, gradient: Tensor) -> Tensor:
    """Return what comes from behind, with a dimension for the classes."""
    return grad_loss.unsqueeze(1) if gradient.dim() > 1 and grad_loss.dim() else grad_loss


def _differentiable(ctx: Any, grad_loss: Tensor) -> Tensor:
    """Compute the gradient in operations that have derivatives themselves."""
    if ctx.versions != _versions(ctx):
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace "
            "operation: the logits or targets of CrossEntropyLoss, whose second derivative is asked for"
        )
    loss = ctx.case.by_torch(ctx.logits)
    gradients: tuple[Tensor, ...] = torch.autograd.grad(
        loss, ctx.logits, grad_loss, create_graph=True
    )
    return gradients[0]
