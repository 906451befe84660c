"""The normalization as a function of tensors: native, by torch's operations, and its gradient."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from ironstep import _native
from ironstep.nn import _memory


class Options(NamedTuple):
    """What a normalization has beside its differentiable operands."""

    running_mean: Tensor | None
    running_var: Tensor | None
    training: bool
    """Whether to normalize by the batch's own statistics."""
    momentum: float
    eps: float
    relu: bool
    counter: Tensor | None
    """What counts the batches, if this one counts."""


class Refusal(Exception):  # noqa: N818  # no error: torch does it, or says what is wrong
    """Not for the kernels, which have written nothing."""


def is_watched() -> bool:
    """Whether somebody wants to see, or to change, each operation: no kernel may go past them."""
    return (
        torch.compiler.is_dynamo_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._is_tracing()
        or forward_ad._current_level >= 0
        or torch._C._is_any_autocast_enabled()
    )


def in_torch(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    options: Options,
) -> Tensor:
    """The same by torch's operations."""
    mean, var, training, momentum, eps, relu, _ = options
    output = functional.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    if residual is not None:
        output = output + residual
    return torch.relu(output) if relu else output


def normalize(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    options: Options,
) -> tuple[Tensor, Tensor]:
    """The output, and the statistics that it was normalized by: mean, 1/√(var + eps)."""
    mean, var, training, momentum, eps, relu, counter = options
    output = _memory.empty_like(x)
    saved = torch.empty(2, x.shape[1], dtype=torch.float64, device="cpu")
    if counter is not None:
        # Before all else, as in torch. Measured: add_(1) takes 3 µs more.
        counter.fill_(counter.item() + 1)
    try:
        _native.batch_norm_forward(
            x, weight, bias, mean, var, residual, output, saved,
            training=training, momentum=momentum, eps=eps, relu=relu,
        )  # fmt: skip
    except (TypeError, ValueError):
        if counter is not None:
            counter.fill_(counter.item() - 1)
        raise Refusal from None
    return output, saved


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None,
        options: Options,
    ) -> Tensor:
        output, saved = normalize(x, weight, bias, residual, options)
        # Where the input gives the mask of the activation, the output need not be kept.
        masked_by_output = options.relu and residual is not None
        ctx.save_for_backward(
            x,
            weight,
            bias if options.relu and not masked_by_output else None,
            output if masked_by_output else None,
            saved,
        )
        ctx.options = options
        if weight is None and bias is not None:
            ctx.bias_dtype = bias.dtype
        ctx.set_materialize_grads(False)
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_output is None:
            return None, None, None, None, None
        x, weight, bias, output, saved = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, needs_residual, _ = ctx.needs_input_grad
        if not torch.is_grad_enabled() and type(grad_output) is Tensor and not is_watched():
            training, relu = ctx.options.training, ctx.options.relu
            masks_residual = needs_residual and relu
            grad = grad_output
            if grad.stride() != x.stride():
                try:
                    grad = torch.empty_like(x).copy_(grad)
                except RuntimeError:  # a batch of gradients at once (is_grads_batched)
                    return _backward_in_torch(ctx, grad_output)
            grad_x = _memory.empty_like(x) if needs_x else None
            grad_weight = torch.empty_like(weight) if needs_weight else None
            grad_bias = None
            if needs_bias and weight is not None:
                grad_bias = torch.empty_like(weight)
            elif needs_bias:
                grad_bias = torch.empty(x.shape[1], dtype=ctx.bias_dtype)
            grad_residual = _memory.empty_like(x) if masks_residual else None
            try:
                _native.batch_norm_backward(
                    grad, x, weight, bias, output, saved,
                    grad_x, grad_residual, grad_weight, grad_bias,
                    training=training, relu=relu,
                )  # fmt: skip
            except (TypeError, ValueError):
                pass  # a hook gave back something else than what was saved
            else:
                if needs_residual and not masks_residual:
                    grad_residual = grad
                return grad_x, grad_weight, grad_bias, grad_residual, None
        return _backward_in_torch(ctx, grad_output)


# torch's Function.apply looks for functorch's wrappers first; those never come here.
apply_natively = super(torch.autograd.Function, _Normalize).apply


def _backward_in_torch(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by torch's operations, which can be differentiated once more."""
    x, weight, bias, output, saved = ctx.saved_tensors
    needs_x, needs_weight, needs_bias, needs_residual, _ = ctx.needs_input_grad
    others = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)

    x_wide, grad = x.double(), grad_output.double()
    scale = 1.0 if weight is None else weight.double().view(shape)
    mean, inverse_sd = saved[0].view(shape), saved[1].view(shape)
    if ctx.options.relu:
        if output is None:
            shift = 0.0 if bias is None else bias.double().view(shape)
            output = (x_wide - mean) * inverse_sd * scale + shift
        grad = grad.masked_fill(output <= 0, 0.0)  # NaN passes, as in torch's ReLU
    if ctx.options.training and torch.is_grad_enabled():
        # The statistics as functions of x.
        mean = x_wide.mean(others, keepdim=True)
        inverse_sd = ((x_wide - mean).square().mean(others, keepdim=True) + ctx.options.eps).rsqrt()
    normalized = (x_wide - mean) * inverse_sd

    grad_x = grad_weight = grad_bias = None
    if needs_x:
        inner = grad
        if ctx.options.training:
            along = (grad * normalized).mean(others, keepdim=True)
            inner = grad - grad.mean(others, keepdim=True) - normalized * along
        grad_x = (scale * inverse_sd * inner).to(x.dtype)
    if needs_weight:
        grad_weight = (grad * normalized).sum(others).to(weight.dtype)
    if needs_bias:
        grad_bias = grad.sum(others)  # autograd gives it the bias's dtype
    return grad_x, grad_weight, grad_bias, grad.to(x.dtype) if needs_residual else None, None
