"""Batch normalization with native kernels on the CPU."""

import copy
import inspect
import sys
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fusion

from ironstep.nn._normalize import Options, Refusal, apply_natively, in_torch, is_watched, normalize

Activation = Literal["relu"]


class BatchNorm(_BatchNorm):
    """What `BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d` have in common."""

    _torch_class: ClassVar[type[_BatchNorm]]
    """The class whose place this one takes."""

    # Defaults of the class: a module that torch made needs no more than another class to be ours.
    activation: Activation | None = None
    frozen: bool = False
    _converted: bool = False
    """Whether `convert_batchnorm` made it of torch's."""
    _fused: Literal["relu", "add and relu"] | None = None
    """What `convert_batchnorm` took in from the layers that follow."""

    def __init__(self, *args: Any, activation: Activation | None = None, **kwargs: Any) -> None:
        _check_activation(activation)
        super().__init__(*args, **kwargs)
        if activation is not None:
            self.activation = activation

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "_torch_class" in cls.__dict__:
            cls.__signature__ = _signature(cls._torch_class)  # type: ignore[attr-defined]
        elif "__init__" in cls.__dict__:
            cls.__signature__ = None  # type: ignore[attr-defined]  # a user's own, not ours

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:  # noqa: A002
        """Normalize, add the residual if there is one, and apply the activation if there is one.

        Parameters
        ----------
        input : Tensor of shape (N, C) or (N, C, ...)
            As for torch's class.
        residual : Tensor of the same shape, optional
            Added after the normalization, before the activation.

        Returns
        -------
        Tensor
            Of the input's shape.

        Raises
        ------
        ValueError
            For a wrong number of dimensions, for one value per channel in training, for
            ``eps <= 0`` in training, and for a residual of another shape.
        RuntimeError
            For numbers of channels that do not agree; and if the layer was fused with an addition
            and gets no residual: then something else than the converted block calls it.
        """
        if self._fused == "add and relu" and residual is None:
            raise RuntimeError(
                "residual: got None; this layer was fused with the addition that follows it in its "
                "block, and is called without: revert_batchnorm(model) before taking it elsewhere"
            )
        plain = type(input) is Tensor and (residual is None or type(residual) is Tensor)
        if plain and not is_watched() and input.is_cpu and input.layout is torch.strided:
            self._check_input_dim(input)  # type: ignore[no-untyped-call]
            options = self._options()
            # An empty batch, or what torch has an error for, is torch's.
            if self.eps > 0 and (input.numel() > input.shape[1] or not options.training):
                try:
                    return self._natively(input, residual, options)
                except Refusal:
                    pass
        return self._in_torch(input, residual)

    def _natively(self, x: Tensor, residual: Tensor | None, options: Options) -> Tensor:
        # The dictionary: an attribute that is no plain one costs half a microsecond.
        parameters = self._parameters
        try:
            weight, bias = parameters["weight"], parameters["bias"]
        except KeyError:  # a parametrization, or a wrapper that sets plain attributes
            weight, bias = self.weight, self.bias
        if torch.is_grad_enabled() and (
            x.requires_grad
            or (weight is not None and weight.requires_grad)
            or (bias is not None and bias.requires_grad)
            or (residual is not None and residual.requires_grad)
        ):
            return apply_natively(x, weight, bias, residual, options)  # type: ignore[no-any-return]
        return normalize(x, weight, bias, residual, options)[0]

    def _in_torch(self, x: Tensor, residual: Tensor | None) -> Tensor:
        operands: tuple[object, ...] = (x, residual)
        for operand in operands:
            if isinstance(operand, torch.fx.Proxy):
                return self._as_a_leaf(operand, x, residual)
        _check_activation(self.activation)
        self._check_input_dim(x)  # type: ignore[no-untyped-call]
        # A trace by torch.jit holds what it saw; that two shapes were equal is no part of it.
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if residual is not None and not tracing and residual.shape != x.shape:
            raise ValueError(
                f"residual: got shape {tuple(residual.shape)}; that of input, {tuple(x.shape)}, expected"
            )
        options = self._options()
        if options.counter is not None:
            options.counter.add_(1)  # before all else, as in torch, whose errors come after it
        return in_torch(x, self.weight, self.bias, residual, options)

    def _options(self) -> Options:
        """Which statistics to use and to update, as torch's class decides it."""
        buffers = self._buffers
        try:
            mean, var = buffers["running_mean"], buffers["running_var"]
        except KeyError:
            mean, var = self.running_mean, self.running_var
        activation = self.activation
        if activation is not None:
            _check_activation(activation)
        momentum, counter = self.momentum, None
        training = self.training and not self.frozen
        if training:
            if self.track_running_stats:
                try:
                    counter = buffers["num_batches_tracked"]
                except KeyError:
                    counter = self.num_batches_tracked
            else:
                mean = var = None
            if momentum is None:
                momentum = 0.0 if counter is None else 1.0 / float(counter + 1)
        else:
            momentum = momentum or 0.0
            training = mean is None and var is None
        return Options(mean, var, training, momentum, self.eps, activation is not None, counter)

    def _as_a_leaf(self, proxy: torch.fx.Proxy, *operands: Any) -> Tensor:
        """Stand in a traced graph as one call of this module, as torch's modules do."""
        tracer = proxy.tracer
        args = operands if operands[-1] is not None else operands[:-1]
        target = tracer.path_of_module(self)  # type: ignore[attr-defined]
        call: Any = tracer.create_proxy("call_module", target, args, {})
        return call  # type: ignore[no-any-return]  # stands for a tensor

    def freeze(self, *, parameters: bool = True) -> Self:
        """Normalize by the running statistics from now on, whatever `train` says, and keep them.

        Parameters
        ----------
        parameters : bool
            Also set ``requires_grad`` of weight and bias to False.

        Returns
        -------
        BatchNorm
            Itself.

        Raises
        ------
        RuntimeError
            If there are no running statistics.

        Examples
        --------
        >>> from ironstep.nn import BatchNorm1d
        >>> layer = BatchNorm1d(2).freeze()
        >>> layer.train().frozen
        True
        >>> layer.weight.requires_grad
        False
        >>> layer.unfreeze().weight.requires_grad
        True
        """
        if self.running_mean is None or self.running_var is None:
            raise RuntimeError(
                "freeze: this layer has no running statistics (track_running_stats=False)"
            )
        before: dict[str, bool] = self.__dict__.setdefault("_requires_grad", {})
        if parameters:
            for name, parameter in self._affine():
                before.setdefault(name, parameter.requires_grad)
                parameter.requires_grad_(False)
        self.frozen = True
        return self

    def unfreeze(self) -> Self:
        """Undo `freeze`: ``requires_grad`` of weight and bias is what it was before.

        Returns
        -------
        BatchNorm
            Itself.
        """
        before = self.__dict__.pop("_requires_grad", {})
        for name, parameter in self._affine():
            if name in before:
                parameter.requires_grad_(before[name])
        self.__dict__.pop("frozen", None)
        return self

    def _affine(self) -> Iterator[tuple[str, Tensor]]:
        for name in ("weight", "bias"):
            parameter = getattr(self, name)
            if parameter is not None:
                yield name, parameter

    def extra_repr(self) -> str:
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        if self.activation is not None:
            text += f", activation={self.activation!r}"
        return text + (", frozen=True" if self.frozen else "")

    def __getattr__(self, name: str) -> Any:
        # Parameters and buffers are found here. These functions read them to build another module,
        # and know nothing of what ours does beside.
        if not torch.compiler.is_dynamo_compiling():
            caller = sys._getframe().f_back  # none where a thread runs no Python but this
            if caller is not None and caller.f_code in _FORGETFUL:
                self._refuse_to_be_copied(caller.f_code.co_name)
        return super().__getattr__(name)

    def _refuse_to_be_copied(self, by: str) -> None:
        if self.activation is not None:
            what = f"activation={self.activation!r}"
        elif self.frozen and not by.startswith("fuse"):  # which wants eval, and makes it for good
            what = "freeze()"
        else:
            return
        raise RuntimeError(
            f"{by} would drop {what} of {type(self).__name__}: "
            "revert_batchnorm(model), or make the layer without, first"
        )

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what torch.jit.script is to compile: torch's module, on the same parameters."""
        self._refuse_to_be_copied("torch.jit.script")
        if type(self) is not _OWN.get(self._torch_class):
            return self
        scriptable = copy.copy(self)
        scriptable.__class__ = self._torch_class  # type: ignore[assignment]
        return scriptable


_FORGETFUL = (
    nn.SyncBatchNorm.convert_sync_batchnorm.__func__.__code__,  # type: ignore[attr-defined]
    fusion.fuse_conv_bn_eval.__code__,
    fusion.fuse_linear_bn_eval.__code__,
)


def _signature(torch_class: type[nn.Module]) -> inspect.Signature:
    """The signature of torch's class, with our keyword."""
    theirs = inspect.signature(torch_class)
    ours = inspect.signature(BatchNorm.__init__).parameters["activation"]
    return theirs.replace(parameters=[*theirs.parameters.values(), ours])


class BatchNorm1d(BatchNorm, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` with native kernels on the CPU; see `BatchNorm2d`.

    Takes inputs of shape (N, C) and (N, C, L).

    Examples
    --------
    >>> import torch
    >>> from ironstep.nn import BatchNorm1d
    >>> BatchNorm1d(1, affine=False)(torch.tensor([[-3.0], [3.0]]))
    tensor([[-1.0000],
            [ 1.0000]])
    """

    _torch_class = nn.BatchNorm1d


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with native kernels on the CPU, and what follows it in the same pass.

    ::

        out = activation(weight · (x − mean) / √(var + eps) + bias + residual)

    Arguments, parameters, buffers, state dict and behaviour are torch's. Real inputs of float64,
    float32, bfloat16 and float16 on the CPU, contiguous or channels_last, are normalized natively,
    and so is their backward; torch's own operations run for everything else: other devices and
    strides, tensor subclasses, autocast, forward-mode differentiation, `torch.func`,
    `torch.compile`, export, tracing, and double backward.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype, ...
        As in torch's class.
    activation : {None, "relu"}
        Applied to the output. With it the layer saves one activation less for backward than
        torch's two layers.

    See Also
    --------
    convert_batchnorm : give the layers of a whole model these kernels.

    References
    ----------
    Ioffe & Szegedy (2015), Batch Normalization, algorithms 1 and 2.

    Examples
    --------
    >>> import torch
    >>> from ironstep.nn import BatchNorm2d
    >>> layer = BatchNorm2d(8, activation="relu")
    >>> x = torch.randn(4, 8, 5, 5)
    >>> layer(x).min()
    tensor(0., grad_fn=<MinBackward1>)
    >>> layer(x, residual=x).shape
    torch.Size([4, 8, 5, 5])
    """

    _torch_class = nn.BatchNorm2d


class BatchNorm3d(BatchNorm, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` with native kernels on the CPU; see `BatchNorm2d`.

    Takes inputs of shape (N, C, D, H, W).

    Examples
    --------
    >>> import torch
    >>> from ironstep.nn import BatchNorm3d
    >>> BatchNorm3d(2)(torch.randn(3, 2, 4, 4, 4)).shape
    torch.Size([3, 2, 4, 4, 4])
    """

    _torch_class = nn.BatchNorm3d


_OWN: dict[type[_BatchNorm], type[BatchNorm]] = {
    cls._torch_class: cls for cls in (BatchNorm1d, BatchNorm2d, BatchNorm3d)
}


def _check_activation(activation: object) -> None:
    if activation is not None and activation != "relu":
        raise ValueError(f"activation: got {activation!r}; None or 'relu' expected")
