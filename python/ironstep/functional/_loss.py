"""Cross-entropy on numpy arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ironstep import _native

SMOOTHINGS = ("szegedy", "lecture", "normalized")


def coefficients(smoothing: str, label_smoothing: float, n_classes: int) -> tuple[float, float]:
    """Return hit and spread: a smoothed target is hit·y + spread in every class."""
    if smoothing not in SMOOTHINGS:
        names = ", ".join(map(repr, SMOOTHINGS))
        raise ValueError(f"smoothing: got {smoothing!r}; one of {names} expected")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"label_smoothing must be between 0.0 and 1.0. Got: label_smoothing={label_smoothing}"
        )
    keep = 1.0 - label_smoothing
    if label_smoothing == 0 or smoothing == "szegedy":
        return keep, label_smoothing / n_classes
    others = n_classes if smoothing == "lecture" else n_classes - 1
    if others == 0:
        raise ValueError("smoothing: 'normalized' has nowhere to go with a single class")
    return keep - label_smoothing / others, label_smoothing / others


def cross_entropy(
    input: Any,  # noqa: A002 (torch's name)
    target: Any,
    *,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    smoothing: str = "szegedy",
) -> tuple[Any, npt.NDArray[Any]]:
    """Cross-entropy of logits, and its gradient.

    Parameters
    ----------
    input : ndarray of shape (C,), (N, C) or (N, C, d1, ...)
        Logits: float64, float32, float16 or bfloat16 (ml_dtypes').
    target : array-like
        Integer classes from 0 to C - 1, of the shape of `input` without C; or an ndarray of
        probabilities of `input`'s shape and dtype; or ``(labels_a, labels_b, lam)``: two such lists of
        classes, the first in the share `lam`, which is a number or an array of their shape (mixup).
    weight : array-like of shape (C,), optional
        A weight for each class.
    sample_weight : array-like, optional
        A weight for each row, of the shape of `input` without C.
    ignore_index : int
        A class that does not count.
    reduction : {"mean", "sum", "none"}
        The mean is the weighted one, divided by the sum of weight[target] · sample_weight; of
        probabilities, by that of `sample_weight` alone.
    label_smoothing : float in [0, 1]
        See `smoothing`.
    smoothing : {"szegedy", "lecture", "normalized"}
        See `ironstep.nn.CrossEntropyLoss`.

    Returns
    -------
    loss : float, or ndarray if `reduction` is "none"
    gradient : ndarray like `input`
        The derivative of the loss; of the sum of the losses if they are not reduced.

    Raises
    ------
    IndexError
        If a target is no class; the message names its row.
    TypeError, ValueError
        For a wrong dtype or shape; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.functional import cross_entropy
    >>> loss, gradient = cross_entropy(np.array([[2.0, 0.0], [0.0, 1.0]]), [0, 0])
    >>> loss
    0.7200948
    >>> gradient
    array([[-0.05960146,  0.05960146],
           [-0.36552929,  0.36552929]])
    """
    if not isinstance(input, np.ndarray) or input.ndim == 0:
        raise TypeError(f"input: got {type(input).__name__}; a numpy array of logits expected")
    logits = np.ascontiguousarray(input) if input.ndim > 3 else input
    n_classes = input.shape[min(1, input.ndim - 1)]
    shape = input.shape[:1] * (input.ndim > 1) + input.shape[2:]
    if n_classes == 0:
        raise ValueError(f"input: got shape {input.shape}; at least one class expected")
    hit, spread = coefficients(smoothing, label_smoothing, n_classes)
    options: dict[str, Any] = {}
    if isinstance(target, tuple) and len(target) == 3:
        first, second, share = target
        options["other"] = _labels(second, shape, "target[1]")
        is_number = np.ndim(share) == 0
        options["share"] = float(share) if is_number else _row_weights(share, shape, "target[2]")
        target = _labels(first, shape, "target[0]")
    elif not (isinstance(target, np.ndarray) and target.shape == input.shape and target.ndim):
        target = _labels(target, shape, "target")
    elif target.dtype != input.dtype:
        raise TypeError(f"target: got {target.dtype}; {input.dtype} expected, as input is")
    elif target.ndim > 3:
        target = np.ascontiguousarray(target)
    if weight is not None:
        options["weight"] = _row_weights(weight, (n_classes,), "weight")
    if sample_weight is not None:
        options["sample_weight"] = _row_weights(sample_weight, shape, "sample_weight")
    if reduction == "none":
        options["losses"] = np.empty(shape, input.dtype)
    gradient = np.empty_like(logits, subok=False)
    loss, _ = _native.cross_entropy(
        logits,
        target,
        ignore_index=ignore_index,
        hit=hit,
        spread=spread,
        reduction=reduction,
        gradient=gradient,
        **options,
    )
    return options.get("losses", loss), gradient


def _labels(labels: Any, shape: tuple[int, ...], name: str) -> npt.NDArray[np.int64]:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" and labels.size:
        raise TypeError(f"{name}: got {labels.dtype}; integers expected")
    return _of_shape(labels, shape, name).astype(np.int64).reshape(-1)


def _row_weights(weights: Any, shape: tuple[int, ...], name: str) -> npt.NDArray[np.float64]:
    return _of_shape(np.asarray(weights, np.float64), shape, name).reshape(-1)


def _of_shape(array: npt.NDArray[Any], shape: tuple[int, ...], name: str) -> npt.NDArray[Any]:
    if array.shape != shape:
        raise ValueError(f"{name}: got shape {array.shape}; {shape} expected")
    return array
