"""RMSprop."""

import torch

from ironstep.optim._native_step import NativeStep


class RMSprop(NativeStep, torch.optim.RMSprop):
    """`torch.optim.RMSprop` with a native CPU step. Arguments, state and behaviour are torch's.

    Parameters
    ----------
    params, lr, alpha, eps, weight_decay, momentum, centered, capturable, foreach, maximize, \
differentiable
        As in torch. ``foreach`` chooses among torch's own steps, where torch is asked.
    eps_inside_sqrt : bool
        Divide by √(v + ε) instead of torch's √v + ε. torch has no such option: a parameter that
        the native step does not know raises a RuntimeError.
    backend, clip_grad_norm
        As in `SGD`.

    References
    ----------
    Tieleman & Hinton (2012), Lecture 6.5: rmsprop; Graves (2013), arXiv 1308.0850 (centered).

    Examples
    --------
    >>> import torch, ironstep
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = ironstep.optim.RMSprop([weight], lr=0.05)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [0.5, 1.5]
    """

    _rule = "rmsprop"
    _torch_class = torch.optim.RMSprop
    _own_options = {"eps_inside_sqrt": (False, True)}
