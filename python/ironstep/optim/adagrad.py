"""AdaGrad."""

import torch

from ironstep.optim._native_step import NativeStep


class Adagrad(NativeStep, torch.optim.Adagrad):
    """`torch.optim.Adagrad` with a native CPU step. Arguments, state and behaviour are torch's.

    Parameters
    ----------
    params, lr, lr_decay, weight_decay, initial_accumulator_value, eps, foreach, maximize, \
differentiable, fused
        As in torch. ``foreach`` and ``fused`` choose among torch's own steps, where torch is asked.
    backend, clip_grad_norm
        As in `SGD`.

    References
    ----------
    Duchi, Hazan & Singer (2011), Adaptive subgradient methods for online learning and stochastic
    optimization, JMLR 12:2121.

    Examples
    --------
    >>> import torch, ironstep
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = ironstep.optim.Adagrad([weight], lr=0.5)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [0.5, 1.5]
    """

    _rule = "adagrad"
    _torch_class = torch.optim.Adagrad
