"""`BinaryCounts`: the counts with their criteria, and the intervals of these."""

from ironstep.metrics._confidence_interval import interval_of_counts
from ironstep.metrics._counts import Counts
from ironstep.metrics._estimate import Estimate


class BinaryCounts(Counts):
    """True and false positives and negatives, with all criteria that are formulas over them.

    Parameters
    ----------
    tp, fp, fn, tn : int, float or array-like
        How many are true positive, false positive, false negative and true negative; floats for
        sums of weights; arrays of one shape, for several thresholds, say.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        What a criterion is where its denominator is 0. ``"sklearn"``: what scikit-learn's function
        of that name gives, with its warning; criteria that it does not have, and its likelihood
        ratios, are NaN with a warning. ``"raise"``: ValueError. ``"warn"``: NaN with an
        `UndefinedMetricWarning`. ``"nan"`` or a number: that, without a word.

    Raises
    ------
    TypeError
        If a count is no number.
    ValueError
        If a count is negative, or the arrays' shapes differ.

    Notes
    -----
    With integers a criterion is computed exactly and rounded once; with arrays of integers up to
    2³¹ cases, to a few units in the last place. A value divided by 0 is undefined, not infinite.

    Examples
    --------
    >>> from ironstep.metrics import BinaryCounts
    >>> counts = BinaryCounts(tp=90, fp=30, fn=10, tn=870)
    >>> counts.sensitivity, counts.specificity, counts.ppv
    (0.9, 0.9666666666666667, 0.75)
    >>> counts.f1, counts.mcc
    (0.8181818181818182, 0.8000946913656628)
    >>> BinaryCounts(tp=[90, 80], fp=[30, 10], fn=[10, 20], tn=[870, 890]).youden_j
    array([0.86666667, 0.78888889])
    """

    __slots__ = ()

    def interval(
        self,
        criterion: str,
        *,
        method: str = "auto",
        confidence_level: float = 0.95,
        n_resamples: int = 9999,
        random_state: int | None = None,
    ) -> Estimate:
        """Value of a criterion with its confidence interval.

        Parameters
        ----------
        criterion : str
            A name of a criterion of this class, or scikit-learn's name of it.
        method, confidence_level, n_resamples, random_state
            As in `confidence_interval`.

        Returns
        -------
        Estimate

        Examples
        --------
        >>> from ironstep.metrics import BinaryCounts
        >>> print(BinaryCounts(tp=90, fp=30, fn=10, tn=870).interval("sensitivity"))
        0.900 [0.826, 0.945] (95%, wilson)
        """
        return interval_of_counts(
            self, criterion, method, confidence_level, n_resamples, random_state
        )
