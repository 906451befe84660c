"""Mixup: examples and their labels, mixed in random shares."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Mode = Literal["batch", "pair", "element"]
Mixed = tuple[Tensor, Tensor, float | Tensor]
MODES = ("batch", "pair", "element")


def draw_mixup(
    n: int,
    alpha: float,
    mode: Mode = "batch",
    *,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, float | Tensor]:
    """Draw who is mixed with whom, and in which shares.

    Parameters
    ----------
    n : int
        Examples.
    alpha : float >= 0
        The shares come from Beta(alpha, alpha); 0 mixes nothing.
    mode : {"batch", "pair", "element"}
        One share for the whole batch; one for each pair, of which each is mixed with the other; one for
        each example.
    dtype : torch.dtype
        Of the shares.
    generator : torch.Generator, optional
        On the CPU; torch's own if left out.

    Returns
    -------
    partner : Tensor of int64 of shape (n,)
        Whom each is mixed with; in ``"pair"`` the partner's partner is the example itself.
    lam : float or Tensor of shape (n,)
        What each keeps of itself.

    Raises
    ------
    ValueError
        For another mode, and for an alpha that is negative or not finite.

    Examples
    --------
    >>> import torch
    >>> from ironstep.train import draw_mixup
    >>> partner, lam = draw_mixup(4, 0.2, "pair", generator=torch.Generator().manual_seed(0))
    >>> torch.equal(partner[partner], torch.arange(4)), torch.equal(lam[partner], lam)
    (True, True)
    """
    _check_mode(mode)
    if not 0 <= alpha < float("inf"):
        raise ValueError(f"alpha: got {alpha!r}; a number of 0 or more expected")
    if alpha == 0:
        return torch.arange(n), 1.0
    order = torch.randperm(n, generator=generator)
    # torch's own beta distribution takes no generator.
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    draw = np.random.default_rng(seed)
    if mode == "batch":
        return order, float(draw.beta(alpha, alpha))
    lam = torch.from_numpy(draw.beta(alpha, alpha, n)).to(dtype)
    if mode == "element":
        return order, lam
    partner = torch.arange(n)
    first, second = order[: n // 2], order[n // 2 : 2 * (n // 2)]
    partner[first], partner[second] = second, first
    lam[second] = lam[first]
    return partner, lam


def mixup(
    inputs: Tensor,
    labels: Tensor,
    alpha: float,
    mode: Mode = "batch",
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Mixed]:
    """Mix the examples of a batch: x̃ = λx + (1 - λ)x′, ỹ = λy + (1 - λ)y′, λ ~ Beta(α, α).

    Parameters
    ----------
    inputs : Tensor of shape (N, ...)
        Of floating point.
    labels : Tensor of shape (N, ...)
    alpha, mode, generator
        As in `draw_mixup`.

    Returns
    -------
    mixed : Tensor
        Of the inputs' shape.
    target : tuple (labels, labels of the partners, lam)
        As `ironstep.nn.CrossEntropyLoss` takes it; no matrix of targets is made.

    Raises
    ------
    TypeError
        For inputs that are no floating point.
    ValueError
        As in `draw_mixup`, and where there are more or fewer labels than inputs.

    References
    ----------
    Zhang et al. (2018), mixup: beyond empirical risk minimization.

    Examples
    --------
    >>> import torch, ironstep
    >>> from ironstep.train import mixup
    >>> inputs, labels = torch.randn(8, 3), torch.randint(5, (8,))
    >>> mixed, target = mixup(inputs, labels, 0.2, generator=torch.Generator().manual_seed(0))
    >>> ironstep.nn.CrossEntropyLoss()(torch.nn.Linear(3, 5)(mixed), target).shape
    torch.Size([])
    """
    _check_floating("inputs", inputs)
    if len(labels) != len(inputs):
        raise ValueError(f"labels: got {len(labels)}; {len(inputs)} as inputs expected")
    partner, lam = draw_mixup(len(inputs), alpha, mode, dtype=inputs.dtype, generator=generator)
    partner = partner.to(inputs.device)
    if isinstance(lam, Tensor):
        lam = lam.to(inputs.device)
    return mix(inputs, inputs[partner], lam), (labels, labels[partner.to(labels.device)], lam)


def mixup_real_fake(
    real: Tensor,
    fake: Tensor,
    alpha: float,
    mode: Mode = "batch",
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Mix real examples with generated ones, for a discriminator: x̃ = λx + (1 - λ)G(z) is real by λ.

    Parameters
    ----------
    real, fake : Tensor of shape (N, ...)
        Of floating point.
    alpha, mode, generator
        As in `draw_mixup`; ``"pair"`` and ``"element"`` are the same here.

    Returns
    -------
    mixed : Tensor
        Of the shape of `real`.
    label : Tensor of shape (N,)
        λ: the target of a binary cross-entropy of D(x̃).

    Raises
    ------
    TypeError, ValueError
        For tensors that are no floating point, or of different shapes; as in `draw_mixup`.

    References
    ----------
    Zhang et al. (2018), section 3.8.

    Examples
    --------
    >>> import torch
    >>> from ironstep.train import mixup_real_fake
    >>> real, fake = torch.ones(4, 2), torch.zeros(4, 2)
    >>> mixed, label = mixup_real_fake(real, fake, 0.2)
    >>> torch.equal(mixed[:, 0], label)
    True
    """
    _check_floating("real", real)
    if real.shape != fake.shape or real.dtype != fake.dtype:
        raise ValueError(
            f"fake: got {fake.dtype} of shape {tuple(fake.shape)}; {real.dtype} of shape "
            f"{tuple(real.shape)} as real expected"
        )
    _check_mode(mode)
    # Each is mixed with one that is no example itself: a pair shares nothing with another.
    mode = "batch" if mode == "batch" else "element"
    _, lam = draw_mixup(len(real), alpha, mode, dtype=real.dtype, generator=generator)
    label = torch.as_tensor(lam, dtype=real.dtype, device=real.device).expand(len(real))
    return mix(real, fake, label), label


def mix(first: Tensor, second: Tensor, lam: float | Tensor) -> Tensor:
    """Return lam · first + (1 - lam) · second, lam a number or one for each row."""
    if isinstance(lam, Tensor):
        lam = lam.reshape(-1, *(1,) * (first.dim() - 1))
    return first * lam + second * (1 - lam)


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}; {', '.join(map(repr, MODES))} expected")


def _check_floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"{name}: got {tensor.dtype}; a floating point dtype expected")
