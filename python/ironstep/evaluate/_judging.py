"""One model judged on one question of yes or no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep import metrics
from ironstep._input_error import InputError, plain
from ironstep.metrics import Calibration, ChosenPoint, DecisionCurve

from ._ask import row, rows_of_counts
from ._cases import Cases
from ._columns import Flags, Floats
from ._criteria import AT_THRESHOLD, OF_SCORES, Criterion
from ._options import Options
from ._results import Band, Curve, Histogram, Mistake, Model, Tested, Threshold

Progress = Callable[[str], object]

MOST_POINTS = 1000
"""Of a drawn curve: more than a printer shows."""
MOST_DISTINCT = 2000
"""Probabilities of a calibration curve; its band takes as many for each resample."""
MOST_DRAWN = 2_000_000_000
"""Cases in all resamples of a chosen threshold; of very many cases the spread is small anyway."""
N_MISTAKES = 10
BAND = (Criterion("fpr", "FPR"), Criterion("sensitivity", "Sensitivity"))


def judge(
    cases: Cases,
    name: str,
    target: str | None,
    options: Options,
    elsewhere: Cases | None,
    progress: Progress,
) -> Model:
    """Judge a model by all cases; `elsewhere` are those that choose its threshold."""
    title = plain(name) if target is None else f"{plain(name)}, {target}"
    progress(f"{title}: criteria")
    score = cases.scores[name]
    is_probability = bool(score.min() >= 0 and score.max() <= 1)
    if cases.called is None:
        other = None if elsewhere is None else (elsewhere.truth, elsewhere.scores[name])
        threshold = _threshold(cases.truth, score, is_probability, options, other)
        called = np.asarray(score >= threshold.value)
    else:
        threshold = Threshold(value=np.nan, origin="highest score", rule=None)
        called = cases.called[name]
    decides = cases.called is None
    tested = answered(cases, name, target, called, options)
    of_scores = [each for each in OF_SCORES if each.of == "score" or (is_probability and decides)]
    rows = (*tested.rows, *(row(each, cases, score, options) for each in of_scores))
    notes: list[str] = []
    if not is_probability and decides:
        notes.append(
            "scores outside 0 to 1 are no probabilities: no Brier score, log loss, calibration "
            "or decision curve"
        )
    index = metrics.ScoreIndex(cases.truth, score, pos_label=1)
    fpr, tpr, cuts = index.roc_curve()
    precision, recall, _ = index.precision_recall_curve(drop_intermediate=True)
    if cases.weights is not None:
        notes.append("ROC and precision-recall curves are drawn without the weights")
    progress(f"{title}: ROC band")
    band = _band(cases, fpr, tpr, cuts, score, options)
    chosen = None
    if threshold.origin == "chosen here":
        progress(f"{title}: threshold, judged")
        chosen = _chosen(cases, score, options, notes)
    calibration = decision_curve = None
    if is_probability and decides:
        progress(f"{title}: calibration")
        calibration = calibrated(cases, cases.truth, score, options, notes)
        decision_curve = _decision_curve(cases, score, options, notes)
    return Model(
        **{**vars(tested), "rows": rows},
        threshold=threshold,
        n_distinct=len(index.thresholds),
        chosen=chosen,
        calibration=calibration,
        decision_curve=decision_curve,
        roc=_thinned(fpr, tpr),
        roc_band=band,
        precision_recall=_thinned(recall, precision),
        histogram=_histogram(cases.truth, score, is_probability),
        mistakes=tuple(_mistakes(cases, score, called)) if decides else (),
        notes=tuple(notes),
    )


def answered(
    cases: Cases, name: str, target: str | None, called: Flags, options: Options
) -> Tested:
    """Judge answers of yes or no."""
    criteria = list(AT_THRESHOLD)
    if options.prevalence is not None:
        at = {"prevalence": options.prevalence}
        criteria += [
            each._replace(params=at) for each in AT_THRESHOLD if each.key in ("ppv", "npv")
        ]
    counts = metrics.BinaryCounts.from_labels(
        cases.truth, called, pos_label=1, sample_weight=cases.weights
    )
    return Tested(
        name=plain(name),
        target=target,
        tp=counts.tp,
        fp=counts.fp,
        fn=counts.fn,
        tn=counts.tn,
        rows=rows_of_counts(criteria, cases, called, options),
    )


def _threshold(
    truth: Flags,
    score: Floats,
    is_probability: bool,
    options: Options,
    elsewhere: tuple[Flags, Floats] | None,
) -> Threshold:
    rule = options.rule
    if isinstance(rule, float):
        return Threshold(value=rule, origin="given", rule=None)
    if rule is None:
        if is_probability:
            return Threshold(value=0.5, origin="default", rule=None)
        rule = ("youden", None)
    try:
        point = metrics.choose_threshold(
            *(elsewhere or (truth, score)),
            rule[0],  # type: ignore[arg-type]
            rule[1],
            prevalence=options.prevalence if rule[0] == "cost" else None,
        )
    except ValueError as error:
        raise InputError(f"threshold: {error}") from None
    return Threshold(
        value=point.threshold,
        origin="chosen here" if elsewhere is None else "chosen elsewhere",
        rule=rule[0] if rule[1] is None else f"{rule[0]}={rule[1]:g}",
    )


def _chosen(cases: Cases, score: Floats, options: Options, notes: list[str]) -> ChosenPoint | None:
    if cases.weights is not None:
        notes.append("the threshold is chosen without the weights; no corrected rates with them")
        return None
    rule, value = options.rule if isinstance(options.rule, tuple) else ("youden", None)
    return metrics.choose_and_judge(
        cases.truth,
        score,
        rule,  # type: ignore[arg-type]
        value,
        prevalence=options.prevalence if rule == "cost" else None,
        groups=cases.groups,
        confidence_level=options.confidence_level,
        n_resamples=min(options.n_resamples, max(100, MOST_DRAWN // len(cases))),
        random_state=options.random_state,
    )


def calibrated(
    cases: Cases, truth: Flags, share: Floats, options: Options, notes: list[str]
) -> Calibration | None:
    """Judge probabilities of what is true; why there is no judgement, or a rounded one, is noted."""
    if cases.weights is not None:
        notes.append("no calibration with sampling weights")
        return None
    common: dict[str, Any] = dict(
        pos_label=1,
        groups=cases.groups,
        confidence_level=options.confidence_level,
        n_resamples=options.n_resamples,
        random_state=options.random_state,
    )
    decimals = None
    if len(share) > MOST_DISTINCT and len(np.unique(share)) > MOST_DISTINCT:
        decimals = 3
        notes.append(
            "the calibration curve, its band and the error to expect are those of probabilities "
            "rounded to three decimals"
        )
    if cases.groups is not None:
        notes.append(
            "the calibration curve's band takes cases as independent, also those of one group"
        )
    try:
        return metrics.calibration(truth, share, decimals=decimals, **common)
    except ValueError as error:
        notes.append(f"no calibration: {error}")
        return None


def _decision_curve(
    cases: Cases, score: Floats, options: Options, notes: list[str]
) -> DecisionCurve | None:
    if cases.weights is not None:
        notes.append("no decision curve with sampling weights")
        return None
    return metrics.decision_curve(
        cases.truth,
        score,
        pos_label=1,
        groups=cases.groups,
        confidence_level=options.confidence_level,
    )


def _band(
    cases: Cases, fpr: Floats, tpr: Floats, cuts: Floats, score: Floats, options: Options
) -> Band | None:
    # Evenly along the curve; fewer where counting all cases takes long.
    n_cuts = 41 if len(score) <= 100_000 else 21
    at = np.unique(np.searchsorted(fpr + tpr, np.linspace(0, 2, n_cuts)).clip(max=len(fpr) - 1))
    found = []
    for cut in cuts[at]:
        called = score >= cut
        pair = [each.estimate for each in rows_of_counts(BAND, cases, called, options)]
        if None in pair or any(np.isnan(each.low) for each in pair if each is not None):
            return None
        found.append((cut, *pair))
    return Band(
        thresholds=np.array([cut for cut, _, _ in found]),
        fpr_low=np.array([each.low for _, each, _ in found]),
        fpr_high=np.array([each.high for _, each, _ in found]),
        sensitivity_low=np.array([each.low for _, _, each in found]),
        sensitivity_high=np.array([each.high for _, _, each in found]),
        method=found[0][2].method,
    )


def _histogram(truth: Flags, score: Floats, is_probability: bool) -> Histogram:
    low, high = (0.0, 1.0) if is_probability else (float(score.min()), float(score.max()))
    edges = np.linspace(low, high if high > low else low + 1, 41)
    positive, negative = (np.histogram(score[of], edges)[0] for of in (truth, ~truth))
    return Histogram(edges=edges, positive=positive, negative=negative)


def _mistakes(cases: Cases, score: Floats, called: Flags) -> list[Mistake]:
    found = []
    for is_positive in (False, True):
        wrong = np.flatnonzero((cases.truth == is_positive) & (called != cases.truth))
        names = ("negative", "positive")[:: 1 if is_positive else -1]
        found += [
            Mistake(
                id=plain(cases.ids[at]), label=names[1], called=names[0], score=float(score[at])
            )
            for at in most_extreme(score[wrong] if is_positive else -score[wrong], wrong)
        ]
    return found


def most_extreme(score: Floats, of: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the few with the least scores, in their order."""
    return of[np.argsort(score, kind="stable")[:N_MISTAKES]]


def _thinned(x: Any, y: Any) -> Curve:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) > MOST_POINTS:
        # Evenly along the curve, the ends kept.
        along = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))))
        at = np.searchsorted(along, np.linspace(0, along[-1], MOST_POINTS)).clip(max=len(x) - 1)
        at = np.unique(np.concatenate(([0], at, [len(x) - 1])))
        x, y = x[at], y[at]
    return Curve(x=x, y=y)
