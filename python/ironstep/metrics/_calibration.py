"""Whether predicted probabilities mean what they say."""

import math
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep import _native
from ironstep.metrics._arguments import check_options, group_codes
from ironstep.metrics._distributions import two_sided_quantile
from ironstep.metrics._estimate import Estimate
from ironstep.metrics._inputs import check_consistent_length, column
from ironstep.metrics._limits import Codes
from ironstep.metrics._statistics import OfMean, Progress, per_unit, positives

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far probabilities are from what happened."""

    intercept: Estimate
    """Of a logistic regression of the outcome on the probabilities' logits with slope 1: 0 at best,
    below it where too much is predicted."""
    slope: Estimate
    """Of such a regression with a free intercept: 1 at best, below it where predictions are too
    extreme."""
    brier_score: Estimate
    miscalibration: float
    """What recalibration by isotonic regression would take off the Brier score; 0 at best."""
    discrimination: float
    """What it would be better than the share of positives alone."""
    uncertainty: float
    """The Brier score of the share of positives: brier = miscalibration − discrimination + this."""
    expected_calibration_error: float
    """Mean over the bins of |share of positives − mean probability|, weighted by their cases."""
    expected_calibration_error_if_calibrated: float
    """What it is on average where every probability is true: it cannot be expected to be less."""
    probability: Floats
    """The distinct probabilities, ascending."""
    recalibrated: Floats
    """The CORP reliability curve at them: shares of positives by isotonic regression."""
    band_low: Floats
    """Where that curve lies in `confidence_level` of the cases if every probability is true."""
    band_high: Floats
    n_resamples: int
    seed: int

    def __str__(self) -> str:
        ece, least = (
            self.expected_calibration_error,
            self.expected_calibration_error_if_calibrated,
        )
        return (
            f"intercept {self.intercept}, slope {self.slope}, Brier score {self.brier_score}, "
            f"ECE {ece:.3f} (calibrated: {least:.3f})"
        )


def calibration(
    y_true: Any,
    y_proba: Any,
    *,
    pos_label: Any = 1,
    groups: Any = None,
    n_bins: int = 15,
    decimals: int | None = None,
    confidence_level: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | None = None,
    progress: Progress = None,
) -> Calibration:
    """Intercept and slope, Brier score with its parts, reliability curve, calibration error.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of two classes.
    y_proba : array-like of shape (n_samples,)
        Probabilities of the positive class, in [0, 1].
    pos_label : int, float, bool or str, default=1
    groups : array-like of shape (n_samples,), optional
        To which patient each case belongs: standard errors of intercept, slope and Brier score are
        then those of clusters.
    n_bins : int, default=15
        Bins of equal width for the expected calibration error.
    decimals : int, optional
        Round the probabilities to so many for the curve, its band and the error to expect: of very many
        different ones the band takes long.
    confidence_level : float in (0, 1), default=0.95
    n_resamples : int, default=1000
        Outcomes drawn with the predicted probabilities: for the band and the error to expect.
    random_state, progress
        As in `confidence_interval`.

    Returns
    -------
    Calibration
        The expected calibration error has no interval: it is biased, and a bootstrap's holds the
        true value about never. Where a probability is 0 or 1, intercept and slope are NaN.

    References
    ----------
    Cox (1958), Biometrika 45:562; Van Calster et al. (2019), BMC Medicine 17:230; Dimitriadis,
    Gneiting & Jordan (2021), PNAS 118:e2016191118; Bröcker & Smith (2007), Weather and Forecasting
    22:651.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.metrics import calibration
    >>> random = np.random.default_rng(0)
    >>> probability = random.random(500)
    >>> found = calibration(random.random(500) < probability, probability, random_state=0)
    >>> found.slope.low < 1 < found.slope.high
    True
    """
    check_options(confidence_level, "auto", n_resamples, random_state)
    if n_bins < 1:
        raise ValueError(f"n_bins: got {n_bins!r}; at least 1 expected")
    n = check_consistent_length(y_true, y_proba, groups)
    codes = group_codes(groups)
    truth = positives(y_true, pos_label)
    share = np.asarray(column(y_proba, "y_proba"), dtype=np.float64)
    if (wrong := ~((share >= 0) & (share <= 1))).any():
        at = int(wrong.argmax())
        raise ValueError(f"y_proba: got {share[at]} at index {at}; numbers from 0 to 1 expected")
    if truth.all() or not truth.any():
        raise ValueError("y_true: one class has no case; cases of both expected")

    brier = OfMean((share - truth) ** 2, codes)
    brier_limits = brier.limits("t", confidence_level)
    intercept, slope = _regressions(truth, share, codes, confidence_level)
    values, group = np.unique(share, return_inverse=True)
    totals, happened = np.bincount(group), np.bincount(group, truth).astype(np.int64)
    curve = _curve(happened, totals)
    recalibrated = float(((curve[group] - truth) ** 2).mean())
    uncertainty = float(truth.mean() * (1 - truth.mean()))
    bins = np.minimum((share * n_bins).astype(np.intp), n_bins - 1)
    gaps = np.bincount(bins, truth - share, minlength=n_bins)
    if decimals is not None:
        # Not to 0 or 1, where nothing would be left to chance.
        rounded = values.round(decimals).clip(values[0], values[-1])
        values, of = np.unique(rounded, return_inverse=True)
        totals, happened = (np.bincount(of, each).astype(np.int64) for each in (totals, happened))
        curve = _curve(happened, totals)
    # Cases with one probability are in one bin.
    bins = np.minimum((values * n_bins).astype(np.intp), n_bins - 1)
    expected = totals * values

    def error(positives: Any) -> float:
        return float(np.abs(np.bincount(bins, positives - expected, minlength=n_bins)).sum() / n)

    seed = secrets.randbits(63) if random_state is None else int(random_state)
    random = np.random.default_rng(seed)
    curves, errors = np.empty((n_resamples, len(values))), np.empty(n_resamples)
    for resample in range(n_resamples):
        # Of cases with one probability only their number counts: no case has to be drawn by itself.
        drawn = random.binomial(totals, values)
        curves[resample] = _curve(drawn, totals)
        errors[resample] = error(drawn)
        if progress is not None:
            progress(resample + 1, n_resamples)
    tails = [(1 - confidence_level) / 2, (1 + confidence_level) / 2]
    band_low, band_high = np.quantile(curves, tails, axis=0)
    return Calibration(
        intercept=intercept,
        slope=slope,
        brier_score=Estimate(
            value=brier.value,
            low=brier_limits.low,
            high=brier_limits.high,
            confidence_level=confidence_level,
            method=brier_limits.method,
            standard_error=brier_limits.standard_error,
            n=n,
            n_groups=None if codes is None else int(codes.max()) + 1,
        ),
        miscalibration=brier.value - recalibrated,
        discrimination=uncertainty - recalibrated,
        uncertainty=uncertainty,
        expected_calibration_error=float(np.abs(gaps).sum() / n),
        expected_calibration_error_if_calibrated=float(errors.mean()),
        probability=values,
        recalibrated=curve,
        band_low=band_low,
        band_high=band_high,
        n_resamples=n_resamples,
        seed=seed,
    )


def _curve(positives: Any, totals: Any) -> Floats:
    return _native.isotonic_shares(positives.astype(np.uint64), totals.astype(np.uint64))


def _regressions(
    truth: Any, share: Floats, codes: Codes | None, level: float
) -> tuple[Estimate, Estimate]:
    """Calibration intercept (slope 1) and slope, by maximum likelihood with Wald's intervals."""
    common = dict(
        confidence_level=level,
        n=len(truth),
        n_groups=None if codes is None else int(codes.max()) + 1,
    )
    if ((share == 0) | (share == 1)).any():
        nothing = dict(value=math.nan, low=math.nan, high=math.nan, method="none")
        note = "a probability of 0 or 1 has no logit"
        missing = Estimate(**common, **nothing, notes=(note,))  # type: ignore[arg-type]
        return missing, missing
    logit = np.log(share) - np.log1p(-share)
    ones = np.ones((len(truth), 1))
    found = []
    for design, offset in ((ones, logit), (np.column_stack((ones, logit)), np.zeros(len(truth)))):
        coefficients, covariance = _logistic(truth, design, offset, codes)
        value, error = float(coefficients[-1]), math.sqrt(covariance[-1, -1])
        quantile = two_sided_quantile(level, None if codes is None else int(codes.max()))
        found.append(
            Estimate(
                **common,  # type: ignore[arg-type]
                value=value,
                low=value - quantile * error,
                high=value + quantile * error,
                method="wald" if codes is None else "wald, clusters, t",
                standard_error=error,
            )
        )
    return found[0], found[1]


def _logistic(
    truth: Any, design: Floats, offset: Floats, codes: Codes | None
) -> tuple[Floats, Floats]:
    """Fit by Newton's method; the covariance is the inverse information, or the sandwich of clusters."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(100):
        mean = 1 / (1 + np.exp(-(design @ coefficients + offset)))
        information = design.T @ (design * (mean * (1 - mean))[:, None])
        score = design.T @ (truth - mean)
        try:
            step = np.linalg.solve(information, score)
        except np.linalg.LinAlgError:
            step = np.full_like(coefficients, math.nan)
        coefficients = coefficients + step
        if not np.isfinite(coefficients).all() or np.abs(coefficients).max() > 1e6:
            raise ValueError("y_proba: it separates the classes: the slope has no finite estimate")
        if np.abs(step).max() < 1e-12 * max(1.0, float(np.abs(coefficients).max())):
            break
    inverse: Floats = np.asarray(np.linalg.inv(information), dtype=np.float64)
    if codes is None:
        return coefficients, inverse
    residual = truth - mean
    sums = np.column_stack(
        [per_unit(design[:, j] * residual, codes) for j in range(design.shape[1])]
    )
    k = len(sums)
    sandwich: Floats = inverse @ (k / (k - 1) * sums.T @ sums) @ inverse
    return coefficients, sandwich
