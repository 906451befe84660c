"""The metrics against scikit-learn's: `python -m ironstep bench metrics`."""

import contextlib
import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import sklearn
import sklearn.metrics

from ironstep import metrics
from ironstep.bench.report import LIMIT, Target
from ironstep.bench.work import ROUNDS_AND_RATIOS, Benchmark, Work
from ironstep.metrics import streaming

SKLEARN = "scikit-learn"
AT_ONCE = "roc_auc_score, all at once"
ABSENT = {"torchmetrics, torcheval": "measured where they are installed, in the AUC of 1e6 and 1e7"}
PROTOCOL = (
    "Whole calls from Python, validation and all. Every contestant gets the same arrays and is "
    f"compared with scikit-learn (or a formula in numpy) before the timing. {ROUNDS_AND_RATIOS} Where a "
    "peer resamples, it makes a small part of the resamples and its time is multiplied. A stream comes "
    "in parts of a million cases, and its peer is ironstep's function over all of them."
)


def scores(n: int) -> tuple[Any, Any]:
    """Labels and float32 scores, few of them tied."""
    random = np.random.default_rng(0)
    y_true = random.integers(0, 2, n)
    return y_true, (random.normal(size=n) + y_true).astype(np.float32)


def labels(n: int, k: int) -> tuple[Any, Any]:
    """True and predicted labels of k classes, most of them equal."""
    random = np.random.default_rng(0)
    y_true = random.integers(0, k, n)
    return y_true, np.where(random.random(n) < 0.8, y_true, random.integers(0, k, n))


def _of_scores(name: str, n: int, least: float) -> Work:
    y_true, y_score = scores(n)
    ours, theirs = getattr(metrics, name), getattr(sklearn.metrics, name)
    case = Work(
        partial(ours, y_true, y_score),
        {SKLEARN: partial(theirs, y_true, y_score)},
        n,
        [Target(SKLEARN, least)],
    )
    if name == "roc_auc_score" and n >= 10**6:
        case.peers |= _torch_aucs(y_true, y_score)
    return case


def _torch_aucs(y_true: Any, y_score: Any) -> dict[str, Callable[[], Any]]:
    """Return the peers for torch that are installed."""
    found: dict[str, Callable[[], Any]] = {}
    for module, name in (
        ("torchmetrics.functional.classification", "binary_auroc"),
        ("torcheval.metrics.functional", "binary_auroc"),
    ):
        with contextlib.suppress(ImportError):
            import torch

            function = getattr(importlib.import_module(module), name)
            label, score = torch.from_numpy(y_true), torch.from_numpy(y_score)
            # torchmetrics takes a sigmoid of what is not in [0, 1].
            found[module.partition(".")[0]] = partial(function, torch.sigmoid(score), label)
    return found


def _of_labels(name: str, n: int, k: int, least: float, **options: Any) -> Work:
    y_true, y_pred = labels(n, k)
    case = Work(
        partial(getattr(metrics, name), y_true, y_pred, **options),
        {SKLEARN: partial(getattr(sklearn.metrics, name), y_true, y_pred, **options)},
        n,
        [Target(SKLEARN, least)],
    )
    if name == "confusion_matrix":

        def fused() -> Any:
            return np.bincount(y_true * k + y_pred, minlength=k * k).reshape(k, k)

        case.peers["numpy.bincount"] = fused
        case.targets = [*case.targets, *([Target("numpy.bincount", 6)] if n >= 10**7 else [])]
    return case


def _top_k() -> Work:
    random = np.random.default_rng(0)
    y_score = random.random((50_000, 1000), dtype=np.float32)
    y_true = np.concatenate((np.arange(1000), random.integers(0, 1000, 49_000)))
    name = "top_k_accuracy_score"
    return Work(
        partial(metrics.top_k_accuracy_score, y_true, y_score, k=5),
        {SKLEARN: partial(getattr(sklearn.metrics, name), y_true, y_score, k=5)},
        y_score.size,
        [Target(SKLEARN, 100), Target(LIMIT, 0.5)],
        limit=_read(y_score),
    )


def _read(values: Any) -> Callable[[], Any]:
    """One read of an array, by torch where it is there: with all threads."""
    try:
        import torch
    except ImportError:
        return lambda: values.max()
    return lambda: torch.from_numpy(values).amax()


def _macro() -> Work:
    random = np.random.default_rng(0)
    y_true = random.integers(0, 10, 50_000)
    y_score = random.random((50_000, 10)) + np.eye(10)[y_true] / 2
    y_score /= y_score.sum(axis=1, keepdims=True)
    options: dict[str, Any] = dict(multi_class="ovr", average="macro")
    return Work(
        partial(metrics.roc_auc_score, y_true, y_score, **options),
        {SKLEARN: partial(sklearn.metrics.roc_auc_score, y_true, y_score, **options)},
        y_score.size,
        [Target(SKLEARN, 25)],
    )


def midrank_delong(y_true: Any, columns: Sequence[Any]) -> Any:
    """DeLong's covariance matrix by midranks in numpy (Sun & Xu 2014)."""
    positive = y_true == 1

    def midranks(values: Any) -> Any:
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

    m, n = int(positive.sum()), int((~positive).sum())
    of_positive, of_negative = [], []
    for values in columns:
        ranks = midranks(values)
        of_positive.append((ranks[positive] - midranks(values[positive])) / n)
        of_negative.append(1 - (ranks[~positive] - midranks(values[~positive])) / m)
    return np.cov(of_positive) / m + np.cov(of_negative) / n


def _delong(n: int, models: int) -> Work:
    y_true, y_score = scores(n)
    noise = np.random.default_rng(1).normal(size=n).astype(np.float32)
    columns = [y_score, y_score + noise][:models]

    def ours() -> Any:
        if models == 1:
            return metrics.delong(y_true, y_score)[1]
        return metrics.delong_test(y_true, columns).covariance

    return Work(ours, {"numpy": partial(midrank_delong, y_true, columns)}, n, [Target("numpy", 20)])


def _bootstrap(n: int, n_resamples: int = 2000) -> Work:
    y_true, y_score = scores(n)
    random = np.random.default_rng(2)
    positive, negative = np.flatnonzero(y_true == 1), np.flatnonzero(y_true == 0)

    def resampled() -> Any:
        for _ in range(2):
            rows = np.concatenate([random.choice(of, len(of)) for of in (positive, negative)])
            sklearn.metrics.roc_auc_score(y_true[rows], y_score[rows])

    order = np.argsort(y_score, kind="stable")
    is_positive = (y_true[order] == 1).astype(np.float64)
    shares = [is_positive / is_positive.sum(), (1 - is_positive) / (1 - is_positive).sum()]

    def presorted() -> Any:
        for _ in range(20):
            p, q = (random.multinomial(round(1 / share.max()), share) for share in shares)
            (p * (np.cumsum(q) - q / 2)).sum()

    return Work(
        partial(
            metrics.confidence_interval,
            "auc", y_true, y_score, method="percentile", n_resamples=n_resamples, random_state=0,
        ),
        {SKLEARN: resampled, "numpy": presorted},
        n * n_resamples,
        [Target(SKLEARN, 300), Target("numpy", 10)],
        share={SKLEARN: 2 / n_resamples, "numpy": 20 / n_resamples},
        differences=dict,  # random numbers, everybody's own
    )  # fmt: skip


def _stream(n: int, part: int, bins: Literal["f16"] | None) -> Work:
    """The AUC of cases that come part by part, beside that of all at once."""
    y_true, y_score = scores(n)
    y_true = y_true.astype(np.uint8)  # so that a case is 5 bytes, not 12
    parts = [slice(start, start + part) for start in range(0, n, part)]

    def ours() -> float:
        auc = streaming.ROCAUC(bins=bins)
        for rows in parts:
            auc.update(y_true[rows], y_score[rows])
        area = auc.compute()
        return area.value if isinstance(area, streaming.Binned) else area

    at_once = partial(metrics.roc_auc_score, y_true, y_score)
    case = Work(ours, {AT_ONCE: at_once}, n, [Target(AT_ONCE, 0.5)])
    if bins is not None:
        case.tolerance = 1e-4  # the bound that `compute` gives for these scores is 5e-5
    return case


CASES: dict[str, Callable[[], Work]] = {
    "auc-1e4": partial(_of_scores, "roc_auc_score", 10**4, 30),
    "auc-1e6": partial(_of_scores, "roc_auc_score", 10**6, 25),
    "auc-1e7": partial(_of_scores, "roc_auc_score", 10**7, 45),
    "roc-curve-1e6": partial(_of_scores, "roc_curve", 10**6, 15),
    "average-precision-1e6": partial(_of_scores, "average_precision_score", 10**6, 18),
    "confusion-matrix-1e4": partial(_of_labels, "confusion_matrix", 10**4, 10, 50),
    "confusion-matrix-1e7": partial(_of_labels, "confusion_matrix", 10**7, 10, 200),
    "top-5": _top_k,
    "macro-ovr": _macro,
    **{
        f"{short}-1e{power}": partial(_of_labels, name, 10**power, 2, least)
        for short, name, large in (
            ("accuracy", "accuracy_score", 50),
            ("f1", "f1_score", 200),
            ("mcc", "matthews_corrcoef", 200),
        )
        for power, least in ((4, 20), (7, large))
    },
    "delong-1e6": partial(_delong, 10**6, 1),
    "paired-delong-1e5": partial(_delong, 10**5, 2),
    "bootstrap-1e4": partial(_bootstrap, 10**4),
    "bootstrap-1e5": partial(_bootstrap, 10**5),
    "stream-auc-3e7": partial(_stream, 3 * 10**7, 10**6, None),
    "stream-auc-f16-3e7": partial(_stream, 3 * 10**7, 10**6, "f16"),
}

run = Benchmark(
    "Metrics: ironstep and scikit-learn",
    "metrics",
    PROTOCOL,
    CASES,
    absent=ABSENT,
    peers="the others",
    versions={"scikit_learn": sklearn.__version__},
).run
