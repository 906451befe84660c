"""Stochastic gradient descent, with heavy-ball or Nesterov momentum."""

from collections.abc import Sequence

import torch

from ironstep.optim._native_step import NativeStep, Place


class SGD(NativeStep, torch.optim.SGD):
    """`torch.optim.SGD` with a native CPU step. Arguments, state and behaviour are torch's.

    ``momentum`` is Polyak's heavy ball, with ``nesterov=True`` Nesterov's method.

    Parameters
    ----------
    params, lr, momentum, dampening, weight_decay, nesterov, maximize, foreach, differentiable, fused
        As in torch. ``foreach`` and ``fused`` choose among torch's own steps, where torch is asked.
    backend : {"auto", "native", "torch"}
        ``"auto"`` hands what the native step does not know to torch, ``"native"`` raises a
        RuntimeError there, ``"torch"`` hands everything over.
    clip_grad_norm : float, optional
        Scale the gradients of each step as ``torch.nn.utils.clip_grad_norm_`` over all groups
        does, but leave ``.grad`` as it is; `last_grad_norm` has the norm.

    References
    ----------
    Polyak (1964), Some methods of speeding up the convergence of iteration methods; Sutskever et
    al. (2013), On the importance of initialization and momentum in deep learning.

    Examples
    --------
    >>> import torch, ironstep
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = ironstep.optim.SGD([weight], lr=0.5, momentum=0.9)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [0.0, 0.0]
    """

    _rule = "sgd"
    _torch_class = torch.optim.SGD

    def _make_states(self, places: Sequence[Place]) -> None:
        # Filled by the first step, with the gradient.
        for group, index in places:
            param = self.param_groups[group]["params"][index]
            self.state[param]["momentum_buffer"] = torch.empty_like(param.grad, requires_grad=False)

    def _drop_states(self, places: Sequence[Place]) -> None:
        for group, index in places:
            self.state[self.param_groups[group]["params"][index]].pop("momentum_buffer", None)
