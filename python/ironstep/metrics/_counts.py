"""Counts: the four numbers of a binary decision, and every criterion that is a formula over them."""

import math
from numbers import Integral
from typing import Any, Self

import numpy as np

from ironstep.metrics._inputs import Array, is_number
from ironstep.metrics._pairs import LabelPairs, compare
from ironstep.metrics._undefined import check_undefined, value_where_undefined

Number = int | float
Value = float | Array


class Counts:
    """The four counts, and every criterion over them: `BinaryCounts` without its intervals."""

    __slots__ = ("fn", "fp", "tn", "tp", "undefined")

    def __init__(
        self, *, tp: Any, fp: Any, fn: Any, tn: Any, undefined: str | float = "sklearn"
    ) -> None:
        check_undefined(undefined)
        self.tp, self.fp, self.fn, self.tn = (
            _number(value, name) for value, name in ((tp, "tp"), (fp, "fp"), (fn, "fn"), (tn, "tn"))
        )
        shapes = {np.shape(count) for count in (self.tp, self.fp, self.fn, self.tn)} - {()}
        if len(shapes) > 1:
            raise ValueError(f"tp, fp, fn, tn: got shapes {sorted(shapes)}; one shape expected")
        if shapes:
            self._widen()
        self.undefined = undefined

    def _widen(self) -> None:
        """Give integers that products would overflow the type of Python's own."""
        n = self.n
        if n.dtype.kind in "iu" and n.size and n.max() >= 2**31:
            self.tp, self.fp, self.fn, self.tn = (
                np.asarray(count, dtype=object) for count in (self.tp, self.fp, self.fn, self.tn)
            )

    @classmethod
    def from_labels(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        pos_label: Any = 1,
        sample_weight: Any = None,
        undefined: str | float = "sklearn",
    ) -> Self:
        """Count two columns of labels.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,)
            True and predicted labels: at most two different ones, numbers or strings.
        pos_label : int, float, bool or str, default=1
            The label that is called positive.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; integers are added exactly.
        undefined : {"sklearn", "raise", "warn", "nan"} or float
            As for the class.

        Returns
        -------
        Self

        Raises
        ------
        ValueError
            If the lengths differ, there are more than two labels, or `pos_label` is none of them.

        Examples
        --------
        >>> from ironstep.metrics import BinaryCounts
        >>> BinaryCounts.from_labels([0, 0, 1, 1], [0, 1, 1, 1])
        BinaryCounts(tp=2, fp=1, fn=0, tn=1)
        """
        check_undefined(undefined)
        pairs = compare(y_true, y_pred, sample_weight)
        if not isinstance(pairs, LabelPairs) or pairs.kind != "binary":
            raise ValueError(f"Target is {pairs.kind}; two labels, positive and negative, expected")
        return cls.of_pairs(pairs, pos_label, undefined)

    @classmethod
    def of_pairs(cls, pairs: LabelPairs, pos_label: Any, undefined: str | float) -> Self:
        """Take the counts from a table of at most two labels."""
        table = pairs.table.tolist()
        at: Any = pairs.positions.get(pos_label)
        if at is None and len(table) == 2:
            raise ValueError(
                f"pos_label={pos_label} is not a valid label. It should be one of {pairs.labels}"
            )
        counts = object.__new__(cls)
        counts.undefined = undefined
        if len(table) == 2:
            other = 1 - at
            counts.tp, counts.fn = table[at][at], table[at][other]
            counts.fp, counts.tn = table[other][at], table[other][other]
        else:
            # All have one label.
            counts.fp = counts.fn = 0
            counts.tp, counts.tn = (0, table[0][0]) if at is None else (table[0][0], 0)
        return counts

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={getattr(self, name)!r}" for name in ("tp", "fp", "fn", "tn"))
        return f"BinaryCounts({counts})"

    def _ratio(
        self,
        name: str,
        numerator: Any,
        denominator: Any,
        why: str,
        sklearn: float = math.nan,
        warns: bool = True,
    ) -> Any:
        """A quotient, or what the policy says where the denominator is 0."""
        if not isinstance(denominator, np.ndarray):
            if denominator != 0:
                return numerator / denominator
            return value_where_undefined(
                self.undefined, f"{name} is undefined: {why}", sklearn=sklearn, warns=warns
            )
        zero = denominator == 0
        if not zero.any():
            return (numerator / denominator).astype(np.float64)
        value = value_where_undefined(
            self.undefined, f"{name} is undefined in places: {why}", sklearn=sklearn, warns=warns
        )
        quotient = numerator / np.where(zero, 1, denominator)
        return np.where(zero, value, quotient).astype(np.float64)

    # Sums

    @property
    def n(self) -> Any:
        """All: TP + FP + FN + TN."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def positives(self) -> Any:
        """Those that are positive: TP + FN."""
        return self.tp + self.fn

    @property
    def negatives(self) -> Any:
        """Those that are negative: FP + TN."""
        return self.fp + self.tn

    # Of those that are positive, or negative

    @property
    def tpr(self) -> Any:
        """True positive rate, sensitivity, recall: TP / (TP + FN)."""
        return self._ratio("sensitivity", self.tp, self.positives, _NO_POSITIVE, sklearn=0.0)

    sensitivity = tpr
    recall = tpr

    @property
    def fnr(self) -> Any:
        """False negative rate, miss rate: FN / (TP + FN)."""
        return self._ratio("false negative rate", self.fn, self.positives, _NO_POSITIVE)

    @property
    def tnr(self) -> Any:
        """True negative rate, specificity: TN / (TN + FP)."""
        return self._ratio("specificity", self.tn, self.negatives, _NO_NEGATIVE)

    specificity = tnr

    @property
    def fpr(self) -> Any:
        """False positive rate, fall-out: FP / (TN + FP)."""
        return self._ratio("false positive rate", self.fp, self.negatives, _NO_NEGATIVE)

    # Of those that were called positive, or negative

    @property
    def ppv(self) -> Any:
        """Positive predictive value, precision: TP / (TP + FP)."""
        return self._ratio("precision", self.tp, self.tp + self.fp, _NO_CALLED, sklearn=0.0)

    precision = ppv

    @property
    def fdr(self) -> Any:
        """False discovery rate: FP / (TP + FP)."""
        return self._ratio("false discovery rate", self.fp, self.tp + self.fp, _NO_CALLED)

    @property
    def npv(self) -> Any:
        """Negative predictive value: TN / (TN + FN)."""
        why = "nothing is predicted negative"
        return self._ratio("negative predictive value", self.tn, self.tn + self.fn, why)

    @property
    def for_(self) -> Any:
        """False omission rate: FN / (TN + FN)."""
        why = "nothing is predicted negative"
        return self._ratio("false omission rate", self.fn, self.tn + self.fn, why)

    # Of all

    @property
    def accuracy(self) -> Any:
        """Share that is right: (TP + TN) / n."""
        return self._ratio("accuracy", self.tp + self.tn, self.n, _NOTHING)

    @property
    def error_rate(self) -> Any:
        """Share that is wrong: (FP + FN) / n."""
        return self._ratio("error rate", self.fp + self.fn, self.n, _NOTHING)

    @property
    def prevalence(self) -> Any:
        """Share that is positive: (TP + FN) / n."""
        return self._ratio("prevalence", self.positives, self.n, _NOTHING)

    @property
    def balanced_accuracy(self) -> Any:
        """Mean of sensitivity and specificity."""
        p, n = self.positives, self.negatives
        return self._ratio("balanced accuracy", self.tp * n + self.tn * p, 2 * p * n, _ONE_CLASS)

    @property
    def youden_j(self) -> Any:
        """Youden's J, informedness: sensitivity + specificity − 1."""
        p, n = self.positives, self.negatives
        return self._ratio("Youden's J", self.tp * self.tn - self.fp * self.fn, p * n, _ONE_CLASS)

    # Both kinds of error in one number

    @property
    def f1(self) -> Any:
        """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)."""
        return self.fbeta(1)

    def fbeta(self, beta: float) -> Any:
        """F-score in which recall weighs β times as much: (1+β²) TP / ((1+β²) TP + β² FN + FP)."""
        check_beta(beta)
        if math.isinf(beta):
            return self.recall
        over, under = squared(beta, exact=isinstance(self.tp, int))
        hits = (over + under) * self.tp
        misses = over * self.fn + under * self.fp
        return self._ratio("F-score", hits, hits + misses, _NO_POSITIVE_AT_ALL, sklearn=0.0)

    @property
    def jaccard(self) -> Any:
        """Jaccard index, critical success index: TP / (TP + FP + FN)."""
        union = self.tp + self.fp + self.fn
        return self._ratio("Jaccard index", self.tp, union, _NO_POSITIVE_AT_ALL, sklearn=0.0)

    @property
    def mcc(self) -> Any:
        """Matthews' correlation coefficient, φ (Matthews 1975)."""
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        excess = tp * tn - fp * fn
        p, n, called, not_called = tp + fn, fp + tn, tp + fp, fn + tn
        why = "a row or a column of the table is empty"
        if isinstance(excess, int):
            square = p * n * called * not_called
            if square != 0:
                return over_root(excess, square)
            return self._ratio("MCC", 0, 0, why, sklearn=0.0, warns=False)
        # Two roots: the product of all four would overflow.
        product = _root(p * n) * _root(called * not_called)
        return self._ratio("MCC", excess, product, why, sklearn=0.0, warns=False)

    @property
    def kappa(self) -> Any:
        """Cohen's κ: agreement beyond what chance gives (Cohen 1960)."""
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        chance = (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn)
        return self._ratio(
            "kappa", 2 * (tp * tn - fp * fn), chance, "all have one and the same label"
        )

    # Ratios

    @property
    def lr_positive(self) -> Any:
        """Positive likelihood ratio: sensitivity / (1 − specificity)."""
        return self._ratio(
            "positive likelihood ratio",
            self.tp * self.negatives,
            self.fp * self.positives,
            "there is no false positive, or nothing is positive",
        )

    @property
    def lr_negative(self) -> Any:
        """Negative likelihood ratio: (1 − sensitivity) / specificity."""
        return self._ratio(
            "negative likelihood ratio",
            self.fn * self.negatives,
            self.tn * self.positives,
            "there is no true negative, or nothing is positive",
        )

    @property
    def diagnostic_odds_ratio(self) -> Any:
        """Diagnostic odds ratio: TP · TN / (FP · FN) (Glas et al. 2003)."""
        return self._ratio(
            "diagnostic odds ratio",
            self.tp * self.tn,
            self.fp * self.fn,
            "there is no false positive or no false negative",
        )


_NO_POSITIVE = "nothing is positive"
_NO_NEGATIVE = "nothing is negative"
_NO_CALLED = "nothing is predicted positive"
_NO_POSITIVE_AT_ALL = "nothing is positive nor predicted positive"
_ONE_CLASS = "nothing is positive, or nothing is negative"
_NOTHING = "there is nothing"


def _number(value: Any, name: str) -> Any:
    """A count as Python's int or float, or as an array of numbers."""
    result: Any
    if isinstance(value, Integral):
        result = int(value)
    elif is_number(value):
        result = float(value)
    else:
        result = np.asarray(value)
        if result.dtype.kind not in "iuf":
            raise TypeError(f"{name}: got {value!r}; a number or an array of numbers expected")
        if result.dtype.kind in "iu":
            result = result.astype(np.int64)
        if result.ndim == 0:
            return _number(result.item(), name)
    if not np.all(result >= 0):
        raise ValueError(f"{name}: got {value!r}; no negative number expected")
    return result


def check_beta(beta: Any) -> None:
    """Refuse what is no weight of recall."""
    if not is_number(beta) or not beta >= 0:
        raise ValueError(f"beta: got {beta!r}; a number >= 0 expected")


def squared(beta: float, *, exact: bool) -> tuple[Any, Any]:
    """Return β² as a fraction, of integers if `exact`: then sums of counts stay integers."""
    if exact:
        over, under = float(beta).as_integer_ratio()
        return over * over, under * under
    return float(beta) ** 2, 1.0


def _root(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return np.sqrt(values.astype(np.float64))
    return math.sqrt(values)


def over_root(numerator: int, square: int) -> float:
    """Return numerator / √square of integers, rounded once."""
    if numerator == 0:
        return 0.0
    # So many binary places that the root has 64 digits or more.
    missing = square.bit_length() - 2 * numerator.bit_length()
    places = 64 + max(0, missing // 2 + 1)
    root = math.isqrt((numerator * numerator << 2 * places) // square)
    value = root / (1 << places)
    return value if numerator > 0 else -value
