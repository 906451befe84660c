"""Cuts through the scores: chosen by a rule, and what they are worth."""

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics import _resampling
from ironstep.metrics._arguments import check_options, group_codes, note_on_groups
from ironstep.metrics._inputs import check_consistent_length
from ironstep.metrics._limits import Codes
from ironstep.metrics._score_index import OperatingPoint, ScoreIndex
from ironstep.metrics._statistics import Progress

Rule = Literal["youden", "sensitivity", "specificity", "cost"]
Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A value on the cases on which the cut was chosen, and what to expect of new ones."""

    apparent: float
    corrected: float
    """Without the optimism of judging a cut by the cases that chose it."""
    low: float
    """Limits of the corrected value."""
    high: float


@dataclass(frozen=True, kw_only=True)
class ChosenPoint:
    """A cut chosen and judged on the same cases."""

    threshold: float
    sensitivity: Corrected
    specificity: Corrected
    youden_j: Corrected
    rule: str
    confidence_level: float
    n_resamples: int
    seed: int
    n_groups: int | None = None
    """Clusters that were drawn; None if cases were."""
    n_undefined: int = 0
    """Resamples that lack a class among what was drawn or among what was not."""
    notes: tuple[str, ...] = ()
    """What a reader must know to judge the interval."""


def choose_threshold(
    y_true: Any,
    y_score: Any,
    rule: Rule = "youden",
    value: float | None = None,
    *,
    prevalence: float | None = None,
    pos_label: Any = 1,
) -> OperatingPoint:
    """Choose a cut: cases with a score of at least the threshold are called positive.

    To judge it, apply it to other cases, ``y_score >= point.threshold``, with `confidence_interval`.
    For a judgement on the same cases see `choose_and_judge`.

    Parameters
    ----------
    y_true, y_score : array-like of shape (n_samples,)
        Labels of two classes, and scores.
    rule : {"youden", "sensitivity", "specificity", "cost"}, default="youden"
        ``"youden"``: the largest sensitivity + specificity − 1. ``"sensitivity"``: the highest
        specificity with a sensitivity of at least `value`; ``"specificity"`` the other way round.
        ``"cost"``: the least cost, where a false negative costs `value` times a false positive.
    value : float, optional
        What the rule asks for.
    prevalence : float in (0, 1), optional
        Share of positives where the costs arise; that of the cases if None.
    pos_label : int, float, bool or str, default=1

    Returns
    -------
    OperatingPoint
        Threshold, sensitivity and specificity. Of cuts that the rule finds equal the one with the
        better other rate, then that with the highest threshold; a threshold of infinity calls
        nothing positive.

    Examples
    --------
    >>> from ironstep.metrics import choose_threshold
    >>> y_true, y_score = [0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.6, 0.8]
    >>> choose_threshold(y_true, y_score, "specificity", 1.0)
    OperatingPoint(threshold=0.6, sensitivity=0.6666666666666666, specificity=1.0)
    """
    index = ScoreIndex(y_true, y_score, pos_label=pos_label)
    choose = _rule(rule, value, prevalence)
    tps, fps = index.tps, index.fps
    at = choose(tps, fps)
    return _point(index, tps, fps, at)


def choose_and_judge(
    y_true: Any,
    y_score: Any,
    rule: Rule = "youden",
    value: float | None = None,
    *,
    prevalence: float | None = None,
    pos_label: Any = 1,
    groups: Any = None,
    confidence_level: float = 0.95,
    n_resamples: int = 2000,
    random_state: int | None = None,
    progress: Progress = None,
) -> ChosenPoint:
    """Choose a cut and judge it by the same cases, corrected for optimism.

    In every resample (as many cases of each class as there are, or as many groups) the cut is chosen
    anew, and judged by the cases that were not drawn: their mean is the corrected value (the
    leave-one-out bootstrap, Efron & Tibshirani 1997). Judged by all cases (Harrell, Lee & Mark 1996), of
    which most were drawn, a third of the optimism would stay: with 20 cases a class Youden's J is 0.15
    too high, and still 0.05. The limits are the quantiles of the values on the resamples, moved by the
    optimism (Noma et al. 2021, Statistics in Medicine 40:5691).

    Parameters
    ----------
    y_true, y_score, rule, value, prevalence, pos_label
        As in `choose_threshold`.
    groups : array-like of shape (n_samples,), optional
        To which patient each case belongs: whole patients are drawn, and those that were not drawn judge.
        Below 20 patients there is a warning, below 5 there are no limits.
    confidence_level, n_resamples, random_state, progress
        As in `confidence_interval`.

    Returns
    -------
    ChosenPoint

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.metrics import choose_and_judge
    >>> random = np.random.default_rng(0)
    >>> y_true = np.repeat([0, 1], 20)
    >>> point = choose_and_judge(y_true, random.normal(size=40) + y_true, random_state=0)
    >>> point.youden_j.corrected < point.youden_j.apparent
    True
    """
    check_options(confidence_level, "auto", n_resamples, random_state)
    check_consistent_length(y_true, y_score, groups)
    codes = group_codes(groups)
    index = ScoreIndex(y_true, y_score, pos_label=pos_label)
    choose = _rule(rule, value, prevalence)
    seed = secrets.randbits(63) if random_state is None else int(random_state)
    tps, fps = index.tps, index.fps
    point = _point(index, tps, fps, choose(tps, fps))
    judged = _judged(index, rule, value, prevalence, codes, seed, n_resamples, progress)
    inside, outside = judged[:, :2], judged[:, 2:]
    notes, enough = note_on_groups(codes)

    def corrected(of: Callable[[Any], Any]) -> Corrected:
        value = float(of(np.array(point[1:])))
        drawn, left_out = (of(each)[~np.isnan(each[:, 0])] for each in (inside, outside))
        if not len(drawn) or not len(left_out):
            return Corrected(apparent=value, corrected=math.nan, low=math.nan, high=math.nan)
        expected = float(left_out.mean())
        limits = np.array(_resampling.percentile(drawn, confidence_level))
        low, high = (limits + expected - value).tolist() if enough else (math.nan, math.nan)
        return Corrected(apparent=value, corrected=expected, low=low, high=high)

    return ChosenPoint(
        threshold=point.threshold,
        sensitivity=corrected(lambda rates: rates[..., 0]),
        specificity=corrected(lambda rates: rates[..., 1]),
        youden_j=corrected(lambda rates: rates.sum(axis=-1) - 1),
        rule=rule if value is None else f"{rule} {value:g}",
        confidence_level=confidence_level,
        n_resamples=n_resamples,
        seed=seed,
        n_groups=None if codes is None else int(codes.max()) + 1,
        n_undefined=int(np.isnan(judged).any(axis=1).sum()),
        notes=notes,
    )


def _judged(
    index: ScoreIndex,
    rule: str,
    value: float | None,
    prevalence: float | None,
    codes: Codes | None,
    seed: int,
    n_resamples: int,
    progress: Progress,
) -> NDArray[np.float64]:
    """Sensitivity and specificity by what was drawn and by what was not, for each resample."""
    groups = None if codes is None else codes.astype(np.uint32)
    n_groups = 0 if codes is None else int(codes.max()) + 1
    parts = []
    for start in range(0, n_resamples, 100):
        size = min(100, n_resamples - start)
        parts.append(
            index._native.judge(
                rule,
                0.0 if value is None else float(value),
                prevalence,
                groups,
                n_groups,
                seed=seed,
                first=start,
                n_resamples=size,
            )
        )
        if progress is not None:
            progress(start + size, n_resamples)
    return np.concatenate(parts).reshape(-1, 4)


def _rates(tps: Counts, fps: Counts, at: int) -> tuple[float, float]:
    """Sensitivity and specificity of a cut after `at` thresholds; 0: nothing is called positive."""
    tp, fp = (tps[at - 1], fps[at - 1]) if at else (0, 0)
    if not tps[-1] or not fps[-1]:
        return math.nan, math.nan
    return float(tp / tps[-1]), float(1 - fp / fps[-1])


def _point(index: ScoreIndex, tps: Counts, fps: Counts, at: int) -> OperatingPoint:
    if not tps[-1] or not fps[-1]:
        raise ValueError("y_true: one class has no case; cases of both expected")
    threshold = float(index.thresholds[at - 1]) if at else math.inf
    return OperatingPoint(threshold, *_rates(tps, fps, at))


def _rule(
    rule: str, value: float | None, prevalence: float | None
) -> Callable[[Counts, Counts], int]:
    """A function that says after how many thresholds to cut, given counts at each."""
    if rule not in ("youden", "sensitivity", "specificity", "cost"):
        raise ValueError(f"rule: got {rule!r}; youden, sensitivity, specificity or cost expected")
    if (rule == "youden") != (value is None):
        raise ValueError(f"value: got {value!r}; {rule!r} needs {'none' if value else 'a number'}")
    if prevalence is not None and (rule != "cost" or not 0 < prevalence < 1):
        raise ValueError(f"prevalence: got {prevalence!r}; in (0, 1), with rule='cost' alone")
    if value is not None and not (value > 0 if rule == "cost" else 0 <= value <= 1):
        expected = "a number > 0" if rule == "cost" else "a number from 0 to 1"
        raise ValueError(f"value: got {value!r}; {expected} expected")

    def with_none(counts: Counts) -> Counts:
        return np.concatenate(([0], counts))

    def youden(tps: Counts, fps: Counts) -> int:
        return int((with_none(tps) * fps[-1] - with_none(fps) * tps[-1]).argmax())

    def sensitivity(tps: Counts, fps: Counts) -> int:
        assert value is not None
        first = int((with_none(tps) / tps[-1] >= value).argmax())
        # Further thresholds that cost no false positive give more.
        return int(np.searchsorted(with_none(fps), with_none(fps)[first], side="right")) - 1

    def specificity(tps: Counts, fps: Counts) -> int:
        assert value is not None
        allowed = 1 - with_none(fps) / fps[-1] >= value
        return int(np.where(allowed, with_none(tps), -1).argmax())

    def cost(tps: Counts, fps: Counts) -> int:
        assert value is not None
        share = tps[-1] / (tps[-1] + fps[-1]) if prevalence is None else prevalence
        missed = (1 - with_none(tps) / tps[-1]) * share * value
        return int((missed + with_none(fps) / fps[-1] * (1 - share)).argmin())

    return {
        "youden": youden,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "cost": cost,
    }[rule]
