"""Criteria for classifiers: scikit-learn's functions by its names, and those of the lecture and of medicine.

Integers are counted exactly; results are the same for any number of threads. scikit-learn is not
needed. `ironstep.metrics.streaming` has those that take their cases part by part.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from ironstep.metrics._binary_counts import BinaryCounts
from ironstep.metrics._calibration import Calibration, calibration
from ironstep.metrics._classification import (
    accuracy_score,
    balanced_accuracy_score,
    class_likelihood_ratios,
    classification_report,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    fbeta_score,
    jaccard_score,
    matthews_corrcoef,
    multilabel_confusion_matrix,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)
from ironstep.metrics._compare import (
    Comparison,
    DelongTest,
    McnemarTest,
    compare,
    compare_unpaired,
    delong_test,
    holm,
    mcnemar_test,
)
from ironstep.metrics._confidence_interval import confidence_interval
from ironstep.metrics._decision_curve import DecisionCurve, decision_curve
from ironstep.metrics._estimate import Estimate
from ironstep.metrics._operating_point import (
    ChosenPoint,
    Corrected,
    choose_and_judge,
    choose_threshold,
)
from ironstep.metrics._planning import sample_size_auc, sample_size_proportion
from ironstep.metrics._probability import brier_score_loss, log_loss
from ironstep.metrics._ranking import (
    auc,
    average_precision_score,
    confusion_matrix_at_thresholds,
    det_curve,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
    top_k_accuracy_score,
)
from ironstep.metrics._rates import (
    diagnostic_odds_ratio,
    false_discovery_rate,
    false_negative_rate,
    false_positive_rate,
    negative_likelihood_ratio,
    negative_predictive_value,
    positive_likelihood_ratio,
    sensitivity_score,
    specificity_score,
    youden_j,
)
from ironstep.metrics._score_index import (
    OperatingPoint,
    ScoreIndex,
    delong,
    delong_covariance,
)
from ironstep.metrics._undefined import UndefinedMetricWarning

if TYPE_CHECKING:
    from ironstep.metrics import streaming as streaming

__all__ = [
    "BinaryCounts",
    "Calibration",
    "ChosenPoint",
    "Comparison",
    "Corrected",
    "DecisionCurve",
    "DelongTest",
    "Estimate",
    "McnemarTest",
    "OperatingPoint",
    "ScoreIndex",
    "UndefinedMetricWarning",
    "accuracy_score",
    "auc",
    "average_precision_score",
    "balanced_accuracy_score",
    "brier_score_loss",
    "calibration",
    "choose_and_judge",
    "choose_threshold",
    "class_likelihood_ratios",
    "classification_report",
    "cohen_kappa_score",
    "compare",
    "compare_unpaired",
    "confidence_interval",
    "confusion_matrix",
    "confusion_matrix_at_thresholds",
    "decision_curve",
    "delong",
    "delong_covariance",
    "delong_test",
    "det_curve",
    "diagnostic_odds_ratio",
    "f1_score",
    "false_discovery_rate",
    "false_negative_rate",
    "false_positive_rate",
    "fbeta_score",
    "holm",
    "jaccard_score",
    "log_loss",
    "matthews_corrcoef",
    "mcnemar_test",
    "multilabel_confusion_matrix",
    "negative_likelihood_ratio",
    "negative_predictive_value",
    "positive_likelihood_ratio",
    "precision_recall_curve",
    "precision_recall_fscore_support",
    "precision_score",
    "recall_score",
    "roc_auc_score",
    "roc_curve",
    "sample_size_auc",
    "sample_size_proportion",
    "sensitivity_score",
    "specificity_score",
    "top_k_accuracy_score",
    "youden_j",
]


def __getattr__(name: str) -> ModuleType:
    if name == "streaming":
        return importlib.import_module("ironstep.metrics.streaming")
    raise AttributeError(f"module 'ironstep.metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "streaming"})
