"""Statistics for prediction, measured over many batches with the parameters as they are now."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def estimate_population_statistics(model: nn.Module, loader: Iterable[Any]) -> None:
    """Set the running statistics to those of the population, estimated from batches.

    ::

        running_mean = (1/m) Σ mean(batch i)
        running_var  = (1/m) Σ n/(n−1) · var(batch i)        n values per channel in the batch

    over m batches, all seen with the present parameters, where training's moving average mixes
    those of many steps. It is the prediction mode of the original algorithm, also known as precise
    batch normalization.

    Parameters
    ----------
    model : Module
        Called on each batch in training mode, without gradients. All of its batch normalizations
        that track statistics are set, of torch's classes or ours; frozen ones are not, and
        `num_batches_tracked` becomes m. Nothing else in the model is changed: modes, gradients and
        all other buffers are as found.
    loader : iterable of Tensor, or of tuples and lists that begin with one
        The batches, as `torch.optim.swa_utils.update_bn` takes them.

    Raises
    ------
    ValueError
        If there is no batch, or one with a single value per channel. After any error, also one of
        the loader's and also Ctrl-C, all statistics are as before.

    References
    ----------
    Ioffe & Szegedy (2015), Batch Normalization, algorithm 2; Wu & Johnson (2021), Rethinking
    "Batch" in BatchNorm.

    Examples
    --------
    >>> import torch
    >>> from ironstep.nn import BatchNorm1d, estimate_population_statistics
    >>> layer = BatchNorm1d(1)
    >>> batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [8.0]])]
    >>> estimate_population_statistics(layer, batches)
    >>> layer.running_mean, layer.running_var
    (tensor([3.5000]), tensor([5.]))
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        and module.running_mean is not None
        and module.running_var is not None
        and module.track_running_stats
        and not getattr(module, "frozen", False)
    ]
    modules = list(model.modules())
    modes = [module.training for module in modules]
    buffers = [dict(module._buffers) for module in modules]
    values = [buffer.clone() for own in buffers for buffer in own.values() if buffer is not None]
    measured = [_Measured(layer) for layer in layers]
    try:
        model.train()
        batches = 0
        with torch.no_grad():
            for batch in loader:
                model(batch[0] if isinstance(batch, (list, tuple)) else batch)
                batches += 1
        if batches == 0:
            raise ValueError("loader: got no batch; at least one expected")
    finally:
        for one in measured:
            one.take_down()
        for module, training, own in zip(modules, modes, buffers, strict=True):
            module.training = training
            module._buffers.update(own)
        # Training mode may have moved other layers' statistics.
        found = (buffer for own in buffers for buffer in own.values() if buffer is not None)
        for buffer, value in zip(found, values, strict=True):
            if not torch.equal(buffer, value):
                buffer.copy_(value)
    seen = [one for one in measured if one.batches > 0]
    try:
        for one in seen:
            one.store()
    except BaseException:
        for one in seen:
            one.put_back()
        raise


class _Measured:
    """The statistics of a layer's batches, which it writes to buffers of ours in the meantime."""

    def __init__(self, layer: _BatchNorm) -> None:
        self.layer: Any = layer
        self.batches = 0
        self.buffers: dict[str, Tensor] = {
            name: buffer
            for name, buffer in layer._buffers.items()
            if name in ("running_mean", "running_var", "num_batches_tracked") and buffer is not None
        }
        self.before = {name: buffer.clone() for name, buffer in self.buffers.items()}
        self.momentum = layer.momentum
        self.mean = torch.zeros_like(self.buffers["running_mean"], dtype=_widest(layer))
        self.var = torch.zeros_like(self.mean)
        layer._buffers |= {name: buffer.clone() for name, buffer in self.buffers.items()}
        layer.momentum = 1.0  # the buffers hold the last batch alone
        self.hook = layer.register_forward_hook(self.add)

    def add(self, *_: Any) -> None:
        self.mean += self.layer.running_mean
        self.var += self.layer.running_var
        self.batches += 1

    def take_down(self) -> None:
        self.hook.remove()
        self.layer.momentum = self.momentum

    def store(self) -> None:
        with torch.no_grad():
            self.buffers["running_mean"].copy_(self.mean / self.batches)
            self.buffers["running_var"].copy_(self.var / self.batches)
            if "num_batches_tracked" in self.buffers:
                self.buffers["num_batches_tracked"].fill_(self.batches)

    def put_back(self) -> None:
        with torch.no_grad():
            for name, buffer in self.buffers.items():
                buffer.copy_(self.before[name])


def _widest(layer: _BatchNorm) -> torch.dtype:
    """The type to add up in: float64, where the device has it."""
    mean = layer.running_mean
    return torch.float32 if mean is not None and mean.device.type == "mps" else torch.float64
