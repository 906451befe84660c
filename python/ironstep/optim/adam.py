"""Adam and AdamW."""

import torch

from ironstep.optim._native_step import NativeStep


class Adam(NativeStep, torch.optim.Adam):
    """`torch.optim.Adam` with a native CPU step. Arguments, state and behaviour are torch's.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, amsgrad, foreach, maximize, capturable, differentiable, \
fused, decoupled_weight_decay
        As in torch. ``foreach`` and ``fused`` choose among torch's own steps, where torch is asked.
    bias_correction : {"both", "second"}
        Which moments' bias to correct: both as torch does, or the second alone. torch has no such
        option: with ``"second"`` a parameter that the native step does not know raises a
        RuntimeError.
    backend, clip_grad_norm
        As in `SGD`.

    References
    ----------
    Kingma & Ba (2015), arXiv 1412.6980; Reddi, Kale & Kumar (2018), arXiv 1904.09237 (amsgrad).

    Examples
    --------
    >>> import torch, ironstep
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = ironstep.optim.Adam([weight], lr=0.5)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [0.5, 1.5]
    """

    _rule = "adam"
    _torch_class = torch.optim.Adam
    _own_options = {"bias_correction": ("both", "second")}


class AdamW(NativeStep, torch.optim.AdamW):
    """`torch.optim.AdamW` with a native CPU step. Arguments, state and behaviour are torch's.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, amsgrad, maximize, foreach, capturable, differentiable, \
fused
        As in torch. ``foreach`` and ``fused`` choose among torch's own steps, where torch is asked.
    bias_correction
        As in `Adam`.
    backend, clip_grad_norm
        As in `SGD`.

    References
    ----------
    Loshchilov & Hutter (2019), arXiv 1711.05101.

    Examples
    --------
    >>> import torch, ironstep
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = ironstep.optim.AdamW([weight], lr=0.5, weight_decay=0.1)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [0.45, 1.4]
    """

    _rule = "adam"
    _torch_class = torch.optim.AdamW
    _own_options = {"bias_correction": ("both", "second")}
