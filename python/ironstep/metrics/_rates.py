"""The criteria of a binary decision that scikit-learn lacks, each as a function of two columns."""

from collections.abc import Callable
from typing import Any

from ironstep.metrics._counts import Counts

_DOC = """Return {what}.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted labels: at most two different ones, numbers or strings.
    pos_label : int, float, bool or str, default=1
        The label that is called positive.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    undefined : {{"sklearn", "raise", "warn", "nan"}} or float, default="sklearn"
        What to return where the denominator is 0: see `BinaryCounts`.

    Returns
    -------
    float {range}

    Raises
    ------
    ValueError
        If the lengths differ, there are more than two labels, or `pos_label` is none of them.

    References
    ----------
    {source}

    Examples
    --------
    >>> from ironstep.metrics import {name}
    >>> {name}([1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 1, 0])
    {value}
    """

_ALTMAN = "Altman & Bland (1994), Diagnostic tests 1, 2: BMJ 308:1552, 309:102."
_DEEKS = "Deeks & Altman (2004), Diagnostic tests 4: likelihood ratios. BMJ 329:168."


def _rate(
    name: str, criterion: str, what: str, value: str, source: str, range_: str = "in [0, 1]"
) -> Callable[..., Any]:
    def function(
        y_true: Any,
        y_pred: Any,
        *,
        pos_label: Any = 1,
        sample_weight: Any = None,
        undefined: str | float = "sklearn",
    ) -> Any:
        counts = Counts.from_labels(
            y_true, y_pred, pos_label=pos_label, sample_weight=sample_weight, undefined=undefined
        )
        return getattr(counts, criterion)

    # pickle and inspect find it as if it were written out.
    function.__name__ = function.__qualname__ = name
    function.__doc__ = _DOC.format(what=what, value=value, source=source, range=range_, name=name)
    return function


sensitivity_score = _rate(
    "sensitivity_score",
    "sensitivity",
    "the share of positives that are called positive, TP / (TP + FN); also recall",
    "0.75",
    _ALTMAN,
)
specificity_score = _rate(
    "specificity_score",
    "specificity",
    "the share of negatives that are called negative, TN / (TN + FP)",
    "0.75",
    _ALTMAN,
)
false_positive_rate = _rate(
    "false_positive_rate",
    "fpr",
    "the share of negatives that are called positive, FP / (TN + FP)",
    "0.25",
    _ALTMAN,
)
false_negative_rate = _rate(
    "false_negative_rate",
    "fnr",
    "the share of positives that are called negative, FN / (TP + FN)",
    "0.25",
    _ALTMAN,
)
false_discovery_rate = _rate(
    "false_discovery_rate",
    "fdr",
    "the share of those called positive that are negative, FP / (TP + FP)",
    "0.25",
    "Benjamini & Hochberg (1995), for a single table.",
)
negative_predictive_value = _rate(
    "negative_predictive_value",
    "npv",
    "the share of those called negative that are negative, TN / (TN + FN)",
    "0.75",
    _ALTMAN,
)
positive_likelihood_ratio = _rate(
    "positive_likelihood_ratio",
    "lr_positive",
    "sensitivity / (1 − specificity): by how much a positive result raises the odds",
    "3.0",
    _DEEKS,
    "from 0 on",
)
negative_likelihood_ratio = _rate(
    "negative_likelihood_ratio",
    "lr_negative",
    "(1 − sensitivity) / specificity: by how much a negative result changes the odds",
    "0.3333333333333333",
    _DEEKS,
    "from 0 on",
)
diagnostic_odds_ratio = _rate(
    "diagnostic_odds_ratio",
    "diagnostic_odds_ratio",
    "the odds of a positive result in positives over those in negatives, TP · TN / (FP · FN)",
    "9.0",
    "Glas et al. (2003), J Clin Epidemiol 56:1129.",
    "from 0 on",
)
youden_j = _rate(
    "youden_j",
    "youden_j",
    "sensitivity + specificity − 1",
    "0.5",
    "Youden (1950), Cancer 3:32.",
    "in [-1, 1]",
)
