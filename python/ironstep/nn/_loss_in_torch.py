"""Cross-entropy in torch's operations, which know every device, transform and derivative."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own abbreviation)

from ironstep.functional._loss import coefficients


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    other: Tensor | None,
    share: float | Tensor | None,
    *,
    weight: Tensor | None,
    sample_weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    smoothing: str,
) -> Tensor:
    """Return the loss for one target; or for two lists of classes, of which the first has this share."""
    is_torch_form = smoothing == "szegedy" or label_smoothing == 0
    if is_torch_form and other is None and sample_weight is None:
        return F.cross_entropy(
            logits,
            target,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
    dim = min(1, logits.dim() - 1)
    hit, spread = coefficients(smoothing, label_smoothing, logits.shape[dim])
    negative = -F.log_softmax(logits, dim)
    weighted = negative
    if weight is not None:
        ones_behind = (1,) * (logits.dim() - dim - 1)
        weighted = negative * weight.reshape((1,) * dim + (-1,) + ones_behind)
    if target.shape == logits.shape and other is None:
        losses = (weighted * (hit * target + spread)).sum(dim)
        weights = torch.ones_like(losses)
    else:
        spread_losses = spread * weighted.sum(dim) if spread else None
        of_labels = partial(_of_labels, negative, spread_losses, hit, weight, ignore_index)
        losses, weights = of_labels(target)
        if other is not None and share is not None:
            losses_b, weights_b = of_labels(other)
            if isinstance(share, Tensor):
                share = share.to(losses.dtype)
            losses = share * losses + (1 - share) * losses_b
            weights = share * weights + (1 - share) * weights_b
    if sample_weight is not None:
        own = sample_weight.to(losses.dtype)
        losses, weights = losses * own, weights * own
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction != "mean":
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return losses.sum() / weights.sum()


def _of_labels(
    negative: Tensor,
    spread_losses: Tensor | None,
    hit: float,
    weight: Tensor | None,
    ignore_index: int,
    labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """Each row's loss and weight, for one list of classes."""
    losses = hit * F.nll_loss(
        -negative, labels, weight, ignore_index=ignore_index, reduction="none"
    )
    ignored = labels == ignore_index
    if spread_losses is not None:
        losses = losses + spread_losses.masked_fill(ignored, 0)
    classes = labels.masked_fill(ignored, 0)
    weights = torch.ones_like(losses) if weight is None else weight[classes]
    return losses, weights.masked_fill(ignored, 0)
