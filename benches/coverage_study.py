"""How often the intervals of `ironstep.metrics` hold the true value: `make coverage-study`.

Proportions are enumerated. For the rest cases are drawn from the binormal model, whose criteria are
known: scores are normal with variance 1, with mean 0 for negative and `shift` for positive cases. In
clusters, a share `icc` of the variance is the cluster's. Where a share is `sampled`, it is of the cases
below the cut, each of which then weighs its inverse; those above are all taken.
"""

import math
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import scipy.integrate
import scipy.stats
import typer
from rich.progress import track

from ironstep.metrics import BinaryCounts, Estimate, calibration, confidence_interval
from ironstep.metrics._proportion import METHODS

NORMAL = NormalDist()


@dataclass(frozen=True)
class Model:
    """Where cases are drawn from; a test calls positive what scores above `cut`."""

    auc: float = 0.85
    n: int = 200
    prevalence: float = 0.5
    cut: float = 0.8
    icc: float = 0.0
    per_cluster: int = 1
    sampled: float = 1.0

    @property
    def shift(self) -> float:
        return math.sqrt(2) * NORMAL.inv_cdf(self.auc)

    @property
    def rates(self) -> tuple[float, float]:
        """True positive and false positive rate."""
        return 1 - NORMAL.cdf(self.cut - self.shift), 1 - NORMAL.cdf(self.cut)

    def counts(self) -> BinaryCounts:
        """Expected shares of the four cells."""
        tpr, fpr = self.rates
        p, n = self.prevalence, 1 - self.prevalence
        return BinaryCounts(tp=p * tpr, fn=p * (1 - tpr), fp=n * fpr, tn=n * (1 - fpr))

    def draw(self, random: np.random.Generator, fixed: bool) -> tuple[Any, Any, Any, Any]:
        """Labels, scores, groups and weights; with `fixed`, as many of each class as expected."""
        if fixed:
            y_true = np.zeros(self.n, dtype=np.int64)
            y_true[: round(self.n * self.prevalence)] = 1
            random.shuffle(y_true)
        else:
            y_true = (random.random(self.n) < self.prevalence).astype(np.int64)
        groups = np.arange(self.n) // self.per_cluster
        shared = random.normal(size=groups[-1] + 1)[groups]
        own = random.normal(size=self.n)
        score = math.sqrt(self.icc) * shared + math.sqrt(1 - self.icc) * own + self.shift * y_true
        in_clusters = groups if self.per_cluster > 1 else None
        if self.sampled == 1:
            return y_true, score, in_clusters, None
        chance = np.where(score >= self.cut, 1.0, self.sampled)
        taken = random.random(self.n) < chance
        if in_clusters is not None:
            in_clusters = in_clusters[taken]
        return y_true[taken], score[taken], in_clusters, 1 / chance[taken]


def probability(model: Model, score: Any) -> Any:
    """P(positive | score) under the model."""
    odds = model.prevalence / (1 - model.prevalence)
    return 1 / (1 + np.exp(-(model.shift * score - model.shift**2 / 2)) / odds)


def integral(model: Model, function: Callable[[Any, int], Any]) -> float:
    """Mean of a function of score and label over the model."""
    total = 0.0
    for label, share in ((1, model.prevalence), (0, 1 - model.prevalence)):
        mean = model.shift * label
        total += (
            share
            * scipy.integrate.quad(
                lambda s, m=mean, y=label: function(s, y) * NORMAL.pdf(s - m),
                mean - 9,
                mean + 9,
                limit=200,
            )[0]
        )
    return total


def truth(model: Model, metric: str, params: dict[str, Any]) -> float:
    """The value that the interval has to hold."""
    norm = scipy.stats.norm
    if metric == "auc":
        return model.auc
    if metric == "average_precision":
        tpr = lambda s: norm.sf(s - model.shift) * model.prevalence  # noqa: E731
        fpr = lambda s: norm.sf(s) * (1 - model.prevalence)  # noqa: E731
        precision = lambda s: tpr(s) / (tpr(s) + fpr(s)) * norm.pdf(s - model.shift)  # noqa: E731
        return scipy.integrate.quad(precision, model.shift - 8, model.shift + 8)[0]
    if metric == "sensitivity_at_specificity":
        return float(norm.sf(norm.ppf(params["specificity"]) - model.shift))
    if metric == "partial_auc":
        curve = lambda fpr: norm.sf(norm.isf(fpr) - model.shift)  # noqa: E731
        return scipy.integrate.quad(curve, 0, params["max_fpr"])[0]
    if metric == "brier_score_loss":
        return integral(model, lambda s, y: (probability(model, s) - y) ** 2)
    if metric == "log_loss":
        return integral(model, lambda s, y: -np.log(abs(1 - y - probability(model, s)) + 1e-300))
    if metric == "net_benefit":
        at = params["threshold"]
        weight = {1: 1.0, 0: -at / (1 - at)}
        return integral(model, lambda s, y: weight[y] * (probability(model, s) >= at))
    if "prevalence" in params:
        model = replace(model, prevalence=params["prevalence"])
    if metric.startswith("calibration"):
        return {"calibration slope": 1.0, "calibration intercept": 0.0}[metric]
    return float(getattr(model.counts(), metric))


@dataclass(frozen=True)
class Row:
    """One line of the study; `low` and `high` bound the coverage that is accepted, in percent."""

    metric: str
    model: Model
    low: float
    high: float = 100.0
    method: str = "auto"
    params: dict[str, Any] = field(default_factory=dict)
    fixed: bool = False
    heavy: bool = False

    @property
    def name(self) -> str:
        m = self.model
        parts = [f"n = {m.n}", f"AUC {m.auc}", f"prevalence {m.prevalence}"]
        parts += [f"{name} {value}" for name, value in self.params.items()]
        if m.per_cluster > 1:
            clusters = m.n // m.per_cluster
            parts = [f"{clusters} clusters of {m.per_cluster}, ICC {m.icc}", *parts[1:]]
        if m.sampled < 1:
            parts.append(f"{m.sampled:.0%} of those below the cut")
        return ", ".join(parts)


def rows() -> list[Row]:
    """The study."""
    found: list[Row] = []
    for auc in (0.7, 0.85, 0.95):
        for n in (40, 100, 400):
            low, high = (93.5, 97) if n >= 100 else (92.5, 100)
            found.append(Row("auc", Model(auc, n), low, high, fixed=True))
            plain = (93, 96.5) if auc <= 0.85 and n >= 100 else (0, 100)
            found.append(Row("auc", Model(auc, n), *plain, method="delong", fixed=True))
        for method in ("percentile", "bca"):
            plain = (93, 96.5) if auc <= 0.85 else (0, 100)
            found.append(Row("auc", Model(auc, 100), *plain, method=method, fixed=True, heavy=True))
    for prevalence in (0.2, 0.5):
        model = Model(n=300, prevalence=prevalence)
        found += [
            Row("f1", model, 93.5, 97),
            Row("mcc", model, 93.5, 97.5),
            Row("balanced_accuracy", model, 93, 97),
            Row("youden_j", model, 93, 97),
            Row("ppv", model, 93, 97),
            Row("npv", model, 93, 97),
            Row("lr_positive", model, 93, 98),
            Row("lr_negative", model, 93, 98),
            Row("diagnostic_odds_ratio", model, 93, 98),
            Row("kappa", model, 92.5, 97),
            Row("average_precision", model, 92.5, 97),
            Row("brier_score_loss", model, 93, 96.5),
            Row("log_loss", model, 93, 96.5),
            Row("net_benefit", model, 93, 96.5, params={"threshold": 0.3}),
            Row("ppv", model, 93, params={"prevalence": 0.05}, fixed=True),
            Row("npv", model, 93, params={"prevalence": 0.05}, fixed=True),
            Row("calibration slope", model, 93, 97),
            Row("calibration intercept", model, 93, 97),
        ]
    for params, metric in (
        ({"specificity": 0.9}, "sensitivity_at_specificity"),
        ({"max_fpr": 0.1}, "partial_auc"),
    ):
        found.append(Row(metric, Model(n=200), 92.5, 97, params=params, fixed=True, heavy=True))
    for clusters in (15, 50, 100):
        for icc in (0.0, 0.3, 0.7):
            model = Model(n=5 * clusters, icc=icc, per_cluster=5)
            accepted = (92, 96) if clusters >= 50 else (91, 100)
            found += [
                Row(metric, model, *accepted)
                for metric in ("accuracy", "sensitivity", "auc", "f1", "youden_j")
            ]
    for model in (
        Model(n=400, prevalence=0.3, sampled=0.25),
        Model(n=500, prevalence=0.3, sampled=0.25, icc=0.3, per_cluster=5),
    ):
        found += [
            Row(metric, model, 92.5, 97)
            for metric in (
                *("accuracy", "sensitivity", "specificity", "npv", "f1", "mcc", "kappa"),
                *("youden_j", "auc", "average_precision", "brier_score_loss"),
            )
        ]
    few = Model(n=150, prevalence=0.3, sampled=0.25)
    found += [Row("accuracy", few, 92.5, 97), Row("sensitivity", few, 0, 100)]
    return found


OF_PROBABILITIES = (
    "brier_score_loss",
    "log_loss",
    "net_benefit",
    "calibration slope",
    "calibration intercept",
)


def interval(row: Row, y_true: Any, y: Any, groups: Any, weight: Any, seed: int) -> Estimate:
    """What is on trial."""
    if row.metric.startswith("calibration"):
        found = calibration(y_true, y, n_resamples=1, random_state=seed)
        return found.slope if row.metric.endswith("slope") else found.intercept
    return confidence_interval(
        row.metric,
        y_true,
        y,
        metric_params=row.params,
        method=row.method,
        groups=groups,
        sample_weight=weight,
        weight_type=None if weight is None else "sampling",
        n_resamples=999,
        random_state=seed,
    )


def coverage(row: Row, replicates: int, seed: int = 0) -> tuple[int, int, int, int]:
    """Intervals that are below the truth, above it, and without limits, of how many."""
    random = np.random.default_rng(seed)
    value = truth(row.model, row.metric, row.params)
    below = above = missing = 0
    if row.heavy:
        replicates = max(1, replicates // 4)
    for replicate in range(replicates):
        y_true, y, groups, weight = row.model.draw(random, row.fixed)
        if row.metric in OF_PROBABILITIES:
            y = probability(row.model, y)
        elif hasattr(BinaryCounts, row.metric):
            y = (y >= row.model.cut).astype(np.int64)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimate = interval(row, y_true, y, groups, weight, replicate)
        except ValueError:  # undefined: a class is missing
            missing += 1
            continue
        if math.isnan(estimate.low):
            missing += 1
        below += estimate.high < value
        above += estimate.low > value
    return below, above, missing, replicates


def proportions() -> list[tuple[str, str, float, float, bool]]:
    """Least and mean coverage of each method, exactly, and whether they are accepted."""
    accepted = {
        "wilson": lambda least, mean: least >= 93.0 and 94.5 <= mean <= 96,
        "clopper-pearson": lambda least, _: least >= 95 - 1e-9,
        "jeffreys": lambda least, _: least >= 92.5,
        "agresti-coull": lambda least, _: least >= 93.5,
    }
    found = []
    for method, interval in METHODS.items():
        shares = []
        for n in (50, 100, 200, 500):
            limits = np.array([interval(x, n, 0.95) for x in range(n + 1)])
            for p in np.linspace(10 / n, 1 - 10 / n, 199):
                holds = (limits[:, 0] <= p) & (p <= limits[:, 1])
                shares.append(100 * scipy.stats.binom(n, p).pmf(np.flatnonzero(holds)).sum())
        least, mean = min(shares), float(np.mean(shares))
        where = "n = 50 to 500, n·min(p, q) >= 10"
        found.append((method, where, least, mean, accepted[method](least, mean)))
    return found


def main(replicates: int = 4000, out: Path = Path("docs/coverage.md")) -> None:
    """Run the study, print the tables and write them."""
    lines = [
        "# Coverage of the intervals",
        "",
        "How often an interval of 95% holds the true value; both tails: how often it lies wholly below",
        f"or above it. Written by `make coverage-study` ({replicates} samples a row, a quarter of that",
        "where cases are resampled, 999 times each). In rows that say *no* the method fails there;",
        "in rows without a demand it is shown as it is.",
        "",
        "Known causes: plain DeLong's interval is symmetric, and leaves out on one side what it cannot",
        "reach on the other when the AUC is near 1. In clusters whose cases are independent (ICC 0) the",
        "effective number of cases is never taken to be more than their number, though chance may say so:",
        "intervals are a little too wide there.",
        "",
        "Where a share is said to be of those below the cut, all that the test calls positive were sampled",
        "and of the others that share, each of which weighs the inverse. In the smallest such study the",
        "sensitivity rests on two or three missed cases of the weight of four.",
        "",
        "## Proportions, enumerated",
        "",
        "| method | where | least | mean | accepted |",
        "| --- | --- | --- | --- | --- |",
    ]
    for method, where, least, mean, fine in proportions():
        lines.append(
            f"| {method} | {where} | {least:.2f} | {mean:.2f} | {'yes' if fine else 'no'} |"
        )
    lines += [
        "",
        "## The rest, simulated",
        "",
        "| metric | method | cases | holds | below | above | no interval | asked | accepted |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    study = rows()
    with ProcessPoolExecutor() as pool:
        results = pool.map(coverage, study, [replicates] * len(study))
        for row, (below, above, missing, n) in track(
            zip(study, results, strict=True), total=len(study), description="coverage"
        ):
            n_defined = n - missing
            share = 100 * (1 - (below + above) / n_defined)
            # Two standard errors of the simulation belong to neither side.
            slack = 2 * math.sqrt(share * (100 - share) / n_defined)
            fine = row.low - slack <= share <= row.high + slack
            asked = "–" if (row.low, row.high) == (0, 100) else f"{row.low:g} to {row.high:g}"
            lines.append(
                f"| {row.metric} | {row.method} | {row.name} | {share:.1f} "
                f"| {100 * below / n_defined:.1f} | {100 * above / n_defined:.1f} | {missing} "
                f"| {asked} | {'–' if asked == '–' else 'yes' if fine else 'no'} |"
            )
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
