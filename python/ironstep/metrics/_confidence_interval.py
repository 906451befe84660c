"""`confidence_interval`: any criterion with its interval."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from ironstep.metrics import _resampling
from ironstep.metrics._arguments import check_options, group_codes, note_on_groups, weighed
from ironstep.metrics._counts import Counts
from ironstep.metrics._estimate import Estimate
from ironstep.metrics._limits import Codes
from ironstep.metrics._named import statistic, statistics_of_counts
from ironstep.metrics._statistics import (
    Progress,
    Statistic,
    counts_statistic,
    per_unit,
)

_RESAMPLING = ("percentile", "bca")


def confidence_interval(
    metric: str | Callable[..., Any],
    y_true: Any,
    y_score_or_pred: Any,
    *,
    metric_params: dict[str, Any] | None = None,
    pos_label: Any = 1,
    method: str = "auto",
    confidence_level: float = 0.95,
    groups: Any = None,
    sample_weight: Any = None,
    weight_type: str | None = None,
    stratify: bool | str = "auto",
    n_resamples: int = 9999,
    random_state: int | None = None,
    progress: Progress = None,
) -> Estimate:
    """Value of a criterion and its confidence interval.

    Parameters
    ----------
    metric : str or callable
        The name of a criterion (those of `BinaryCounts` and their scikit-learn names; ``"auc"``,
        ``"partial_auc"``, ``"average_precision"``, ``"sensitivity_at_specificity"``,
        ``"specificity_at_sensitivity"``, ``"youden"``; ``"brier_score_loss"``, ``"log_loss"``,
        ``"net_benefit"``), or any function of ``(y_true, y_score_or_pred)`` that returns a number.
        Of several classes, or several findings at once: ``"macro_"`` before one of these, its mean
        over them, and ``"micro_"``, over all answers, a case being a cluster of them;
        ``"top_k_accuracy"``; ``"accuracy"``, ``"kappa"``, ``"mcc"``, ``"brier_score_loss"``,
        ``"log_loss"``.
    y_true : array-like of shape (n_samples,), or (n_samples, n_findings)
        True labels; of findings 0 and 1.
    y_score_or_pred : array-like of shape (n_samples,), or (n_samples, n_classes or n_findings)
        Predicted labels, scores or probabilities, as the metric wants. Scores of classes have one
        column for each, in the order of the labels or of ``metric_params["labels"]``.
    metric_params : dict, optional
        What else the metric asks for: ``{"specificity": 0.9}``, say.
    pos_label : int, float, bool or str, default=1
        The positive class.
    method : str, default="auto"
        ``"auto"`` takes the first of: for a proportion ``"wilson"``, ``"clopper-pearson"``,
        ``"jeffreys"``, ``"agresti-coull"`` (F1 by the Jaccard index, of which it is a function);
        for the AUC ``"delong-logit"``, ``"delong"``, with groups ``"obuchowski-logit"``,
        ``"obuchowski"``; MCC ``"fisher-z"``; likelihood ratios and odds ratio ``"log"``; kappa
        ``"delta"``; balanced accuracy and Youden's J ``"mover"``; average precision ``"logit"``,
        ``"delta"``; Brier score, log loss and net benefit ``"t"``; all else ``"percentile"``.
        ``"percentile"`` and ``"bca"`` resample any of them (BCa where its acceleration is known).
    confidence_level : float in (0, 1), default=0.95
    groups : array-like of shape (n_samples,), optional
        To which patient each case belongs: cases of one patient are not independent. Below 20
        patients there is a warning, below 5 no interval.
    sample_weight : array-like of shape (n_samples,), optional
        What each case weighs, at least 0; cases of weight 0 are left out. `weight_type` has to say what
        that means.
    weight_type : {"frequency", "sampling"}, optional
        ``"frequency"``: the case stands for so many alike, a whole number; the same as repeating it.
        ``"sampling"``: the case was sampled, with a probability of which the weight is the inverse, and
        stands for the cases that were not. The value is the weighted one, its variance is linearised
        (with groups: of sums within groups), with Student's t on one less than Kish's effective number
        of cases or groups. Shares take Wilson's interval on the effective number of cases of that
        variance; the AUC ``"logit"`` or ``"delta"``. Resampling draws cases with their weights, and a
        function is called with ``sample_weight=``.
    stratify : bool or "auto", default="auto"
        Whether each resample has as many cases of each class as there are; "auto": where the
        criterion does not depend on the share of positives. With groups, whole groups are drawn.
    n_resamples : int, default=9999
    random_state : int, optional
        Seed of the resamples; drawn and reported if None.
    progress : callable, optional
        Called with the number of resamples done and that of all.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If an argument is not among those above, lengths differ, the metric is undefined, or weights
        are given without a word of what they mean.

    References
    ----------
    Weights: Kish (1965), Survey Sampling, section 11.7; Binder (1983), Int Stat Rev 51:279; Korn &
    Graubard (1998), Surv Methodol 24:193.

    Examples
    --------
    >>> from ironstep.metrics import confidence_interval
    >>> y_true = [0] * 20 + [1] * 10
    >>> y_pred = [0] * 18 + [1] * 11 + [0]
    >>> print(confidence_interval("sensitivity", y_true, y_pred))
    0.900 [0.596, 0.982] (95%, wilson)

    Of the negative cases only each fifth was sampled:

    >>> weight = [5 if label == 0 else 1 for label in y_true]
    >>> options = {"sample_weight": weight, "weight_type": "sampling"}
    >>> print(confidence_interval("ppv", y_true, y_pred, **options))
    0.474 [0.131, 0.843] (95%, wilson, effective n, t)
    """
    check_options(confidence_level, stratify, n_resamples, random_state)
    (y_true, y, groups), weight = weighed(
        sample_weight, weight_type, y_true=y_true, y=y_score_or_pred, groups=groups
    )
    codes = group_codes(groups)
    params = {} if metric_params is None else dict(metric_params)
    chosen = statistic(metric, y_true, y, params, pos_label, codes, weight)
    return _estimate(
        chosen, codes, method, confidence_level, stratify, n_resamples, random_state, progress
    )


def intervals_of_counts(
    criteria: Sequence[tuple[str, dict[str, Any]]],
    y_true: Any,
    y_pred: Any,
    *,
    pos_label: Any = 1,
    confidence_level: float = 0.95,
    groups: Any = None,
    sample_weight: Any = None,
    weight_type: str | None = None,
    n_resamples: int = 9999,
    random_state: int | None = None,
) -> list[Estimate | ValueError]:
    """`confidence_interval` of several criteria of the same 2×2 table, which is counted once.

    `criteria` are names with their ``metric_params``. In the place of what is undefined stands its error.
    """
    check_options(confidence_level, "auto", n_resamples, random_state)
    (y_true, y, groups), weight = weighed(
        sample_weight, weight_type, y_true=y_true, y=y_pred, groups=groups
    )
    codes = group_codes(groups)
    found: list[Estimate | ValueError] = []
    for chosen in statistics_of_counts(criteria, y_true, y, pos_label, codes, weight):
        try:
            found.append(
                _estimate(
                    chosen, codes, "auto", confidence_level, "auto", n_resamples, random_state, None
                )
            )
        except ValueError as error:
            found.append(error)
    return found


def interval_of_counts(
    counts: Counts,
    criterion: str,
    method: str = "auto",
    confidence_level: float = 0.95,
    n_resamples: int = 9999,
    random_state: int | None = None,
) -> Estimate:
    """Value of a criterion over known counts and its interval, as `confidence_interval`."""
    check_options(confidence_level, "auto", n_resamples, random_state)
    chosen = counts_statistic(criterion, counts)
    return _estimate(
        chosen, None, method, confidence_level, "auto", n_resamples, random_state, None
    )


def _estimate(
    chosen: Statistic,
    codes: Codes | None,
    method: str,
    level: float,
    stratify: bool | str,
    n_resamples: int,
    random_state: int | None,
    progress: Progress,
) -> Estimate:
    if math.isnan(chosen.value):
        raise ValueError("metric: undefined for these cases: a class or a prediction is missing")
    allowed = (*chosen.formulas, *_RESAMPLING)
    if method != "auto" and method not in allowed:
        raise ValueError(f"method: got {method!r}; auto, {', '.join(allowed)} expected")
    method = allowed[0] if method == "auto" else method
    n_groups = None if codes is None else int(codes.max()) + 1
    common = dict(
        value=chosen.value,
        confidence_level=level,
        n=chosen.n,
        n_groups=n_groups,
        n_effective=chosen.n_effective,
    )
    notes, enough = note_on_groups(codes)
    if not enough:
        nothing = dict(low=math.nan, high=math.nan, method="none")
        return Estimate(**common, **nothing, notes=notes)  # type: ignore[arg-type]
    if method in chosen.formulas:
        limits = chosen.limits(method, level)
        return Estimate(
            **common,  # type: ignore[arg-type]
            low=limits.low,
            high=limits.high,
            method=limits.method,
            standard_error=limits.standard_error,
            notes=notes + limits.notes,
        )

    influences = None
    if method == "bca":
        influences = chosen.influences()
        if influences is None:
            raise ValueError("method: 'bca' needs influence values, which this metric has not")
        influences = per_unit(influences, codes)
    found = _resampling.resampled(
        lambda n, stratified, seed: chosen.resample(n, stratified, seed, progress),
        n_resamples,
        stratify=stratify,
        of_classes=chosen.of_classes,
        in_groups=codes is not None,
        random_state=random_state,
    )
    if influences is None:
        low, high = _resampling.percentile(found.values, level)
    else:
        low, high = _resampling.bca(found.values, chosen.value, influences, level)
    return Estimate(
        **common,  # type: ignore[arg-type]
        low=low,
        high=high,
        method=f"{method} bootstrap, {found.kind}",
        notes=notes + found.notes,
        **found.reported,
    )
