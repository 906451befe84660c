"""The criteria of an evaluation, in the order in which they are shown."""

from __future__ import annotations

from typing import NamedTuple


class Criterion(NamedTuple):
    """A criterion's name in `ironstep.metrics`, and how it is called for readers."""

    key: str
    title: str


AT_THRESHOLD = (
    Criterion("sensitivity", "Sensitivity (recall, TPR)"),
    Criterion("specificity", "Specificity (TNR)"),
    Criterion("ppv", "Positive predictive value (precision)"),
    Criterion("npv", "Negative predictive value"),
    Criterion("accuracy", "Accuracy"),
    Criterion("balanced_accuracy", "Balanced accuracy"),
    Criterion("f1", "F1"),
    Criterion("mcc", "Matthews correlation coefficient"),
    Criterion("youden_j", "Youden's J"),
    Criterion("kappa", "Cohen's kappa"),
    Criterion("fpr", "False positive rate (FPR)"),
    Criterion("fnr", "False negative rate"),
    Criterion("fdr", "False discovery rate (FDR)"),
    Criterion("for_", "False omission rate"),
    Criterion("lr_positive", "Positive likelihood ratio"),
    Criterion("lr_negative", "Negative likelihood ratio"),
    Criterion("diagnostic_odds_ratio", "Diagnostic odds ratio"),
)
OF_ORDER = (
    Criterion("auc", "AUC"),
    Criterion("average_precision", "Average precision"),
)
OF_PROBABILITIES = (
    Criterion("brier_score_loss", "Brier score"),
    Criterion("log_loss", "Log loss"),
)
IN_SUBGROUPS = (
    Criterion("auc", "AUC"),
    Criterion("sensitivity", "Sensitivity"),
    Criterion("specificity", "Specificity"),
)
COMPARED = (
    Criterion("auc", "AUC"),
    Criterion("sensitivity", "Sensitivity"),
    Criterion("specificity", "Specificity"),
    Criterion("accuracy", "Accuracy"),
)
"""What two models are compared by, and non-inferior in."""
