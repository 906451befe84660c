"""Counts by torch's operations, where the tensors lie: tables of labels, curves, areas, ranks.

All of it is counted in integers and divided on the host, so that the results have the bits of the
native ones. Here are the usual cases alone. What is unusual (weights, indicator matrices, strings)
or wrong (NaN, lengths that differ) gives None, and is left to the native functions and a copy on the
host, which know the errors' words.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ironstep.metrics._inputs import Array, array, check_pos_label
from ironstep.metrics._scores import Scores

Tensor = Any
"""torch is imported only if somebody has a tensor, or asks for it."""

# Labels this close together are counted without looking for them first: the table, with the labels
# that do not occur, takes 8 MiB.
_NEAR = 1024
# More labels than this have no table on the device, which would take 128 MiB.
_MOST = 4096


def uses_torch(backend: Any, **values: Any) -> bool:
    """Whether torch computes it, of these tensors and arrays, of which some may be None."""
    if not isinstance(backend, str) or backend not in ("auto", "native", "torch"):
        raise ValueError(f"backend: got {backend!r}; 'auto', 'native' or 'torch' expected")
    torch = sys.modules.get("torch")
    # The usual arrays first: torch takes its time to say what is a tensor.
    if torch is None or not any(
        type(value) is not np.ndarray and isinstance(value, torch.Tensor)
        for value in values.values()
    ):
        return backend == "torch"
    devices: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            devices[name] = str(value.device)
            if devices[name] == "meta" or type(value).__name__ == "FakeTensor":
                raise ValueError(
                    f"{name}: got a tensor without values, {type(value).__name__} on "
                    f"{devices[name]}; one with values expected"
                )
        elif value is not None:
            devices[name] = "cpu"
    if len(set(devices.values())) > 1:
        places = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"one device expected; got {places}")
    elsewhere = next((name for name, device in devices.items() if device != "cpu"), None)
    if elsewhere is None:
        return backend == "torch"
    if backend == "native":
        raise ValueError(
            f"backend='native' reads the CPU's memory; got {elsewhere} on {devices[elsewhere]}"
        )
    return True


def to_host(*values: Any) -> tuple[Any, ...]:
    """Return tensors as tensors on the CPU, and all else as it is."""
    torch = sys.modules.get("torch")
    return tuple(
        value.detach().cpu() if torch is not None and isinstance(value, torch.Tensor) else value
        for value in values
    )


# --- what was given, as tensors ---


def _tensor(values: Any, name: str) -> Tensor | None:
    """Return a tensor of numbers that torch can compare and sort."""
    import torch

    if not isinstance(values, torch.Tensor):
        given = array(values, name)
        if given.dtype.kind not in "biuf" or given.dtype.name not in _NUMBERS:
            return None
        native = given.dtype.newbyteorder("=")
        values = torch.from_numpy(np.require(given, native, ("C", "A", "W")))
    known = str(values.dtype).removeprefix("torch.") in _NUMBERS and values.layout is torch.strided
    return values.detach() if known and values.numel() else None


_NUMBERS = {"bool", "float16", "bfloat16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def _dtype(values: Any, name: str) -> np.dtype[Any]:
    """Return numpy's type of the values, as they have it on the host."""
    if str(getattr(values, "device", "cpu")) != "cpu":
        values = values[:0].cpu()
    return array(values, name).dtype


def _one_column(values: Tensor | None) -> Tensor | None:
    if values is not None and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return values if values is not None and values.ndim == 1 else None


def _whole(values: Tensor | None) -> Tensor | None:
    """Return numbers as int64, if they all are such."""
    if values is None:
        return None
    integers = values.long()
    if values.is_floating_point():
        # The largest integer as a float is one more than it.
        fits = (integers == values) & (values.abs() < 2**63)
        return integers if bool(fits.all()) else None
    if str(values.dtype) == "torch.uint64" and int(integers.min()) < 0:
        return None
    return integers


def _labels(values: Any, name: str) -> Tensor | None:
    return _whole(_one_column(_tensor(values, name)))


def _scores(values: Any) -> Tensor | None:
    """Return finite scores, without −0.0: a sort by bits would put it below 0.0."""
    values = _tensor(values, "y_score")
    if values is not None and values.is_floating_point():
        return values + 0.0 if bool(values.isfinite().all()) else None
    values = _whole(values)
    if values is None or max(abs(int(end)) for end in values.aminmax()) > 2**53:
        return None
    return values


# --- labels ---


def count_equal(y_true: Any, y_pred: Any) -> tuple[int, int] | None:
    """Count how many labels of two columns are equal, and how many there are."""
    y_true, y_pred = _labels(y_true, "y_true"), _labels(y_pred, "y_pred")
    if y_true is None or y_pred is None or y_true.shape != y_pred.shape:
        return None
    return int((y_true == y_pred).sum()), len(y_true)


def count_pairs(
    y_true: Any, y_pred: Any
) -> tuple[Array, Array | None, tuple[Array, Array] | None] | None:
    """Return labels in order, their table, and for too many of them their codes in its place."""
    import torch

    given = y_true, y_pred
    y_true, y_pred = _labels(y_true, "y_true"), _labels(y_pred, "y_pred")
    if y_true is None or y_pred is None or y_true.shape != y_pred.shape:
        return None
    low = min(int(y_true.min()), int(y_pred.min()))
    n = max(int(y_true.max()), int(y_pred.max())) - low + 1
    if n <= _NEAR:
        labels = np.arange(low, low + n)
        y_true, y_pred = y_true - low, y_pred - low
    else:
        both: Tensor = torch.cat((y_true, y_pred))
        found, codes = both.unique(return_inverse=True)
        y_true, y_pred = codes[: len(y_true)], codes[len(y_true) :]
        labels, n = found.cpu().numpy(), len(found)
    dtype = np.result_type(_dtype(given[0], "y_true"), _dtype(given[1], "y_pred"))
    if dtype.kind in "bf":
        labels = labels.astype(dtype)
    if n > _MOST:
        return labels, None, (y_true.cpu().numpy(), y_pred.cpu().numpy())
    table = (y_true * n + y_pred).bincount(minlength=n * n).reshape(n, n).cpu().numpy()
    present = np.flatnonzero(table.any(axis=0) | table.any(axis=1))
    return labels[present], table[np.ix_(present, present)], None


# --- scores ---


class Cases:
    """Unweighted cases of two classes with their scores: the answers of `_ranking`'s `_Binary`."""

    def __init__(self, positive: Tensor, y_score: Tensor, dtype: Any) -> None:
        self.scores = Scores(np.empty(0), None, dtype, None)
        values, order = y_score.sort(descending=True)
        tps = positive[order].cumsum(0)
        last = values.new_ones(len(values)).bool()
        last[:-1] = values[1:] != values[:-1]
        (places,) = last.nonzero(as_tuple=True)
        self._thresholds = values[places]
        self._tps = tps[places]
        self._fps = places + 1 - self._tps

    def counts(self) -> tuple[Array, Array, Array]:
        return self._points(slice(None))

    def _points(self, kept: Any) -> tuple[Array, Array, Array]:
        """True and false positives and thresholds on the host, in float64."""
        tps, fps, thresholds = (
            values[kept].cpu().to(dtype=_float64())
            for values in (self._tps, self._fps, self._thresholds)
        )
        return tps.numpy(), fps.numpy(), thresholds.numpy()

    def _kept(self, inner: Any, drop: bool) -> Any:
        """Return the points to keep: the ends, and those between them that `inner` tells."""
        if not drop:
            return slice(None)
        kept = self._tps.new_ones(len(self._tps)).bool()
        kept[1:-1] = inner
        return kept

    def roc(self, drop_intermediate: bool) -> tuple[Array, Array, Array]:
        tps, fps = self._tps, self._fps
        turns = (fps[2:] + fps[:-2] != 2 * fps[1:-1]) | (tps[2:] + tps[:-2] != 2 * tps[1:-1])
        tps, fps, thresholds = self._points(self._kept(turns, drop_intermediate))
        with np.errstate(invalid="ignore"):
            fpr, tpr = (np.append(0.0, counts) / counts[-1] for counts in (fps, tps))
        return fpr, tpr, np.append(np.inf, thresholds)

    def precision_recall(self, drop_intermediate: bool) -> tuple[Array, Array, Array]:
        changes = self._tps[1:] != self._tps[:-1]
        kept = self._kept(changes[1:] | changes[:-1], drop_intermediate)
        tps, fps, thresholds = (values[::-1] for values in self._points(kept))
        recall = tps / tps[0] if tps[0] else np.ones(len(tps))
        return np.append(tps / (tps + fps), 1.0), np.append(recall, 0.0), thresholds.copy()

    def average_precision(self) -> float:
        """Within the last bits of the native one, which adds floats in another order."""
        gains = self._tps.clone()
        gains[1:] -= self._tps[:-1]
        floats = gains.double() * (self._tps.double() / (self._tps + self._fps).double())
        # Three integers for each float, 31 bits after 31 bits: the gains are less than 2^31
        # together and in number, so that the sums fit, and are the same in any order.
        total = 0
        for _ in range(3):
            floats = floats * 2.0**31
            whole = floats.long()
            total = (total << 31) + int(whole.sum())
            floats = floats - whole
        positives = int(self._tps[-1])
        return total / 2**93 / positives if positives else np.nan

    def auc(self, max_fpr: float | None = None) -> float:
        assert max_fpr is None
        positives, negatives = int(self._tps[-1]), int(self._fps[-1])
        if not positives or not negatives:
            return np.nan
        # 2U, not U: ties count one half, and integers have no halves. At most 2PN: below 2^63 for
        # less than 2^32 cases.
        before_tps, before_fps = self._tps.roll(1), self._fps.roll(1)
        before_tps[0] = before_fps[0] = 0
        two_u = int(((self._fps - before_fps) * (before_tps + self._tps)).sum())
        return two_u / (2 * positives * negatives)


def _float64() -> Any:
    import torch

    return torch.float64


def _two_classes(y_true: Any, y_score: Any) -> tuple[Tensor, list[int], Tensor] | None:
    """Return labels, which at most two of them there are, and scores."""
    labels, scores = _labels(y_true, "y_true"), _one_column(_scores(y_score))
    if labels is None or scores is None or labels.shape != scores.shape:
        return None
    low, high = (int(end) for end in labels.aminmax())
    if not bool(((labels == low) | (labels == high)).all()):
        return None
    return labels, [low] if low == high else [low, high], scores


def cases(y_true: Any, y_score: Any, pos_label: Any) -> Cases | None:
    """Return the cases of two classes; the positive one is found as `_ranking` finds it."""
    found = _two_classes(y_true, y_score)
    if found is None:
        return None
    labels, classes, scores = found
    given = np.array(classes).astype(_dtype(y_true, "y_true"))
    positive = check_pos_label(pos_label, given)
    label = next((label for label in classes if label == positive), None)
    is_positive = labels.new_zeros(len(labels)).bool() if label is None else labels == label
    return Cases(is_positive, scores, _dtype(y_score, "y_score"))


def roc_auc(y_true: Any, y_score: Any) -> float | None:
    """Return the area under the ROC curve, the larger of two labels being positive."""
    found = _two_classes(y_true, y_score)
    if found is None or len(found[1]) != 2:
        return None
    labels, classes, scores = found
    return Cases(labels == classes[1], scores, None).auc()


def column_aucs(y_true: Any, y_score: Any, one_vs_rest: bool) -> tuple[Array, Array] | None:
    """Return for each column of scores its area and how many cases are positive.

    They are the ones of an indicator matrix or, for `one_vs_rest`, those of the column's label.
    """
    labels, scores = _tensor(y_true, "y_true"), _scores(y_score)
    if scores is None or scores.ndim != 2:
        return None
    n, n_columns = scores.shape
    if labels is not None and labels.ndim == 2 and n_columns > 1:
        labels = _whole(labels)
        if labels is None or labels.shape != scores.shape:
            return None
        if [int(end) for end in labels.aminmax()] != [0, 1]:
            return None
        classes = labels.new_ones(n_columns)
    else:
        labels = _whole(_one_column(labels))
        if labels is None or len(labels) != n or n_columns < 3 or not one_vs_rest:
            return None
        classes = labels.unique()
        # Where the sum is in doubt, the host decides.
        off = (scores.double().sum(dim=1) - 1).abs().max()
        if len(classes) != n_columns or float(off) > 0.9e-5:
            return None
    areas, support = np.empty(n_columns), np.empty(n_columns, dtype=np.int64)
    for column in range(n_columns):
        positive = (labels if labels.ndim == 1 else labels[:, column]) == classes[column]
        support[column] = int(positive.sum())
        areas[column] = Cases(positive, scores[:, column], None).auc()
    return None if np.isnan(areas).any() else (areas, support)


def top_k_ranks(y_true: Any, y_score: Any, k: int, labels: Any) -> Callable[[str], Array] | None:
    """Return a function: for each sample of several classes how many scores come before its own.

    Those that are greater, and of the equal ones the ``"later"``, ``"all"`` or ``"none"``.
    """
    import torch

    found, scores = _labels(y_true, "y_true"), _scores(y_score)
    if found is None or scores is None or scores.ndim != 2 or len(found) != len(scores):
        return None
    classes = found.unique() if labels is None else _labels(labels, "labels")
    if classes is None or len(classes) != scores.shape[1] or len(classes) <= max(k, 2):
        return None
    classes = classes.to(found)
    place = torch.searchsorted(classes, found).clamp(max=len(classes) - 1)[:, None]
    if not bool((classes[place[:, 0]] == found).all() & (classes[1:] > classes[:-1]).all()):
        return None
    own = scores.gather(1, place)
    number = torch.ones_like(classes).cumsum(0) - 1

    def rank(equal: str) -> Array:
        others = number > place if equal == "later" else number != place
        before = scores > own
        if equal != "none":
            before = before | (scores == own) & others
        ranks: Array = before.sum(dim=1).cpu().numpy()
        return ranks

    return rank
