"""One sort, many answers: everything that the order of the scores decides."""

import secrets
from typing import Any, Literal, NamedTuple

import numpy as np

from ironstep import _native
from ironstep.metrics._inputs import Array, check_sample_weight, column
from ironstep.metrics._ranking import _cases
from ironstep.metrics._scores import check_lengths, score_column

Statistic = Literal[
    "auc",
    "partial_auc",
    "average_precision",
    "sensitivity_at_specificity",
    "specificity_at_sensitivity",
    "youden",
]


class OperatingPoint(NamedTuple):
    """A threshold and what it gives: cases with a score of at least `threshold` are called positive."""

    threshold: float
    sensitivity: float
    specificity: float


class ScoreIndex:
    """Cases of two classes in descending order of their scores, sorted once.

    Scores are never changed; only their order counts. Ties are exact, infinite scores are allowed.
    All results have the same bits for any number of threads.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of two classes; without `pos_label` {0, 1} or {-1, 1}.
    y_score : array-like of shape (n_samples,)
        Scores, larger for the positive class. At most 2**30.
    pos_label : int, float, bool or str, default=None
        The positive class; 1 if None.

    Attributes
    ----------
    n_positive, n_negative : int
        How many cases there are of each class.
    tps, fps : ndarray of shape (n_thresholds,), int64
        Positive and negative cases whose score is at least the threshold.
    thresholds : ndarray of shape (n_thresholds,)
        The distinct scores, descending.
    order : ndarray of shape (n_samples,), int64
        The rows by descending score; positive ones first among ties, then by their number.

    Raises
    ------
    ValueError
        If lengths differ, there are more than two classes, no class is known to be the positive
        one, or a score is NaN (the error names the first index).

    Examples
    --------
    >>> index = ScoreIndex([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> index.auc()
    0.75
    >>> index.youden()
    OperatingPoint(threshold=0.8, sensitivity=0.5, specificity=1.0)
    """

    def __init__(self, y_true: Any, y_score: Any, *, pos_label: Any = None) -> None:
        labels, positive = _cases(y_true, pos_label)
        self._scores = score_column(y_score)
        check_lengths(labels, self._scores.values)
        self._native = _native.ScoreIndex(
            labels, self._scores.values, positive, half=self._scores.half
        )
        self.n_positive, self.n_negative = self._native.totals()

    def __len__(self) -> int:
        return self.n_positive + self.n_negative

    def __repr__(self) -> str:
        return f"ScoreIndex(n_positive={self.n_positive}, n_negative={self.n_negative})"

    @property
    def tps(self) -> Array:
        return self._native.counts()[0]

    @property
    def fps(self) -> Array:
        return self._native.counts()[1]

    @property
    def thresholds(self) -> Array:
        return self._scores.thresholds(self._native.counts()[2])

    @property
    def order(self) -> Array:
        return self._native.order()

    def auc(self, *, sample_weight: Any = None) -> float:
        """Area under the ROC curve, exact without weights; NaN if a class has no case."""
        if sample_weight is None:
            return self._native.auc()
        return self._native.weighted_auc(self._weight(sample_weight))

    def partial_auc(self, max_fpr: float, *, standardized: bool = True) -> float:
        """Area up to a false positive rate in (0, 1].

        Standardised (McClish 1989), it is one half for chance and 1 at best; otherwise at most
        `max_fpr`.
        """
        if not 0 < max_fpr <= 1:
            raise ValueError(f"Expected max_fpr in range (0, 1], got: {max_fpr!r}")
        area = self._native.partial_auc(max_fpr)
        chance = max_fpr**2 / 2
        return 0.5 * (1 + (area - chance) / (max_fpr - chance)) if standardized else area

    def average_precision(self, *, sample_weight: Any = None) -> float:
        """Return Σ (Rₙ − Rₙ₋₁) Pₙ; NaN without a positive case."""
        if sample_weight is None:
            return self._native.average_precision()
        return self._native.weighted_average_precision(self._weight(sample_weight))

    def roc_curve(self, *, drop_intermediate: bool = True) -> tuple[Array, Array, Array]:
        """Return what the function `roc_curve` returns."""
        fpr, tpr, thresholds = self._native.roc(drop_intermediate)
        if self._scores.table is not None:
            thresholds[1:] = self._scores.thresholds(thresholds[1:])
        return fpr, tpr, thresholds

    def precision_recall_curve(
        self, *, drop_intermediate: bool = False
    ) -> tuple[Array, Array, Array]:
        """Return what the function `precision_recall_curve` returns, the thresholds in float64."""
        precision, recall, thresholds = self._native.precision_recall(drop_intermediate)
        return precision, recall, self._scores.thresholds(thresholds)

    def counts_at(self, threshold: Any) -> tuple[Array, Array]:
        """True and false positives where cases with a score of at least `threshold` are positive.

        Parameters
        ----------
        threshold : float or array-like
            Any numbers, among the scores or not.

        Returns
        -------
        tps, fps : ndarray of int64, shaped as `threshold`
        """
        threshold = np.asarray(threshold, dtype=np.float64)
        if np.isnan(threshold).any():
            raise ValueError("threshold: got NaN; numbers expected")
        tps, fps, _ = self._native.counts()
        # How many distinct scores are at least the threshold; -1 is none.
        last = np.searchsorted(-self.thresholds, -threshold, side="right")
        tps, fps = np.concatenate(([0], tps)), np.concatenate(([0], fps))
        return tps[last], fps[last]

    def youden(self) -> OperatingPoint:
        """Return the point with the largest sensitivity + specificity − 1, compared exactly.

        Of several the one with the highest threshold (Youden 1950, Cancer 3:32).
        """
        return self._point(self._native.youden())

    def sensitivity_at_specificity(self, specificity: float) -> OperatingPoint:
        """Return the point with the highest sensitivity whose specificity is at least this."""
        self._check_share(specificity, "specificity")
        return self._point(self._native.sensitivity_at_specificity(specificity))

    def specificity_at_sensitivity(self, sensitivity: float) -> OperatingPoint:
        """Return the point with the highest specificity whose sensitivity is at least this."""
        self._check_share(sensitivity, "sensitivity")
        return self._point(self._native.specificity_at_sensitivity(sensitivity))

    def placements(self) -> Array:
        """For each case the share of the other class that is on the right side of it.

        Of a positive case the share of the negative ones with a lower score, of a negative case
        that of the positive ones with a higher score; ties count one half. In the input's order;
        the mean over either class is the AUC.
        """
        return self._native.placements()

    def influence(self, metric: Literal["auc"] = "auc") -> Array:
        """How much each case moves the criterion, in the input's order.

        For the AUC it is (placement − AUC) / n_positive for a positive case and
        (placement − AUC) / n_negative for a negative one. The influences of each class sum to zero.
        With each class's squares multiplied by n / (n − 1), n being the number of its cases, their
        sum is DeLong's variance of the AUC; without, the variance by the infinitesimal jackknife.
        The same sum of products of two indices over the same cases gives DeLong's covariance; sums
        of influences within clusters, in the place of single ones, that of Obuchowski (1997).

        Parameters
        ----------
        metric : {"auc"}

        Returns
        -------
        ndarray of shape (n_samples,)

        References
        ----------
        DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44:837-845.
        """
        if metric != "auc":
            raise ValueError(f"metric: got {metric!r}; 'auc' expected")
        return self._native.influence()

    def delong_variance(self) -> float:
        """DeLong's variance of the AUC, in integers until the last division.

        NaN if a class has fewer than two cases.
        """
        if min(self.n_positive, self.n_negative) < 2:
            return float("nan")
        return self._native.delong_variance()

    def auc_of_counts(self, counts: Any) -> float:
        """AUC where each case counts as often as `counts` says, exact; NaN if a class has none.

        Parameters
        ----------
        counts : array-like of shape (n_samples,)
            Whole numbers of at least 0 in the input's order: how often a case was drawn, say.
        """
        counts = np.asarray(counts)
        if counts.dtype.kind not in "biu" or counts.shape != (len(self),):
            raise ValueError(
                f"counts: got {counts.dtype} of shape {counts.shape}; integers of shape "
                f"({len(self)},) expected"
            )
        if counts.size and (counts.min() < 0 or counts.max() > np.iinfo(np.uint32).max):
            raise ValueError("counts: numbers from 0 to 2**32 - 1 expected")
        return self._native.auc_of_counts(np.ascontiguousarray(counts, dtype=np.uint32))

    def bootstrap(
        self,
        metric: Statistic = "auc",
        *,
        value: float | None = None,
        n_resamples: int = 9999,
        stratify: bool = True,
        scheme: Literal["multinomial", "poisson"] = "multinomial",
        random_state: int | None = None,
        first: int = 0,
    ) -> Array:
        """Return the criterion in resamples of the cases, drawn with replacement.

        Draw i of resample r depends on the seed, r and i alone (Philox4x32-7): on no thread and
        not on the scores, so that two models of the same cases are judged on the same resamples.

        Parameters
        ----------
        metric : str
            ``"auc"``, ``"partial_auc"`` (up to the false positive rate `value`, not standardised),
            ``"average_precision"``, ``"sensitivity_at_specificity"``,
            ``"specificity_at_sensitivity"`` (of at least `value`, the cut chosen anew in every
            resample) or ``"youden"`` (the largest sensitivity + specificity − 1).
        value : float, default=None
            What the metric asks for.
        n_resamples : int, default=9999
        stratify : bool, default=True
            Whether as many cases of each class are drawn as there are.
        scheme : {"multinomial", "poisson"}, default="multinomial"
            ``"poisson"`` draws each case by itself, a number of times that is Poisson-distributed with
            mean 1, whatever `stratify` says: for many cases the same, and faster.
        random_state : int, default=None
            The seed, from 0 to 2**64 - 1; None takes one at random.
        first : int, default=0
            The number of the first resample: parts of a long run may be made one after another.

        Returns
        -------
        ndarray of shape (n_resamples,)
            NaN where the criterion is undefined, for a class is missing.
        """
        needs = ("partial_auc", "sensitivity_at_specificity", "specificity_at_sensitivity")
        if (value is not None) != (metric in needs):
            wanted = "a number" if metric in needs else "None"
            raise ValueError(f"value: got {value!r}; {wanted} expected for {metric!r}")
        if value is not None:
            self._check_share(value, "value")
        if n_resamples < 0:
            raise ValueError(f"n_resamples: got {n_resamples}; at least 0 expected")
        if first < 0:
            raise ValueError(f"first: got {first}; at least 0 expected")
        seed = secrets.randbits(64) if random_state is None else _seed(random_state)
        return self._native.bootstrap(
            metric,
            0.0 if value is None else float(value),
            draws=_draws(stratify, scheme),
            seed=seed,
            first=first,
            n_resamples=n_resamples,
        )

    def resample_counts(
        self,
        resample: int,
        *,
        stratify: bool = True,
        scheme: Literal["multinomial", "poisson"] = "multinomial",
        random_state: int = 0,
    ) -> Array:
        """How often each case is drawn in one of the resamples of `bootstrap`, in the input's order."""
        if resample < 0:
            raise ValueError(f"resample: got {resample}; at least 0 expected")
        return self._native.resample_counts(_draws(stratify, scheme), _seed(random_state), resample)

    def _point(self, point: tuple[float, float, float]) -> OperatingPoint:
        threshold, sensitivity, specificity = point
        if self._scores.table is not None and np.isfinite(threshold):
            threshold = float(self._scores.table[int(threshold)])
        return OperatingPoint(threshold, sensitivity, specificity)

    def _check_share(self, value: float, name: str) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: got {value!r}; a number from 0 to 1 expected")

    def _weight(self, sample_weight: Any) -> Array:
        weight = check_sample_weight(column(sample_weight, "sample_weight"), len(self))
        return np.ascontiguousarray(weight, dtype=np.float64)


def _seed(random_state: int) -> int:
    if not 0 <= random_state < 2**64:
        raise ValueError(f"random_state: got {random_state}; a seed from 0 to 2**64 - 1 expected")
    return random_state


def _draws(stratify: bool, scheme: str) -> str:
    if scheme not in ("multinomial", "poisson"):
        raise ValueError(f"scheme: got {scheme!r}; 'multinomial' or 'poisson' expected")
    return "poisson" if scheme == "poisson" else "stratified" if stratify else "cases"


def delong(y_true: Any, y_score: Any, *, pos_label: Any = None) -> tuple[float, float]:
    """Return the area under the ROC curve and DeLong's variance of it.

    The same numbers as `ScoreIndex.auc` and `ScoreIndex.delong_variance`, by a sort that keeps no
    rows: in less time and memory.

    Parameters
    ----------
    y_true, y_score, pos_label
        As of `ScoreIndex`.

    Returns
    -------
    auc, variance : float
        NaN where a class has no case, or fewer than two for the variance.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44:837-845.
    """
    labels, positive = _cases(y_true, pos_label)
    scores = score_column(y_score)
    check_lengths(labels, scores.values)
    auc, variance, n_positive, n_negative = _native.delong(
        labels, scores.values, positive, half=scores.half
    )
    return auc, variance if min(n_positive, n_negative) >= 2 else float("nan")


def delong_covariance(*indices: ScoreIndex) -> Array:
    """Return DeLong's covariance matrix of the areas of several scores of the same cases.

    Sums are exact until the last division; two scores that order the cases alike have the
    covariance matrix of one, to the last bit.

    Parameters
    ----------
    *indices : ScoreIndex
        One for each model, with the same labels in the same order.

    Returns
    -------
    ndarray of shape (n_models, n_models)

    Raises
    ------
    ValueError
        If the indices have different labels, or a class has fewer than two cases.
    """
    if not indices:
        raise ValueError("indices: got none; at least one expected")
    if min(indices[0].n_positive, indices[0].n_negative) < 2:
        raise ValueError("indices: at least two cases of each class expected")
    matrix = _native.delong_covariance([index._native for index in indices])
    if matrix is None:
        raise ValueError("indices: their labels differ; the same cases in the same order expected")
    return matrix.reshape(len(indices), -1)
