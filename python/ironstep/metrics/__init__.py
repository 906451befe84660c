"""Criteria for classifiers: scikit-learn's functions by its names, and those of the lecture and of medicine.

Integers are counted exactly; results are the same for any number of threads. scikit-learn is not
needed.
"""

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
from ironstep.metrics._counts import BinaryCounts
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
from ironstep.metrics._undefined import UndefinedMetricWarning

__all__ = [
    "BinaryCounts",
    "UndefinedMetricWarning",
    "accuracy_score",
    "balanced_accuracy_score",
    "class_likelihood_ratios",
    "classification_report",
    "cohen_kappa_score",
    "confusion_matrix",
    "diagnostic_odds_ratio",
    "f1_score",
    "false_discovery_rate",
    "false_negative_rate",
    "false_positive_rate",
    "fbeta_score",
    "jaccard_score",
    "matthews_corrcoef",
    "multilabel_confusion_matrix",
    "negative_likelihood_ratio",
    "negative_predictive_value",
    "positive_likelihood_ratio",
    "precision_recall_fscore_support",
    "precision_score",
    "recall_score",
    "sensitivity_score",
    "specificity_score",
    "youden_j",
]
