"""The criteria of an evaluation, in the order in which they are shown."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from ._targets import Kind


class Criterion(NamedTuple):
    """A criterion's name in `ironstep.metrics`, how it is called for readers, and what it is over."""

    key: str
    title: str
    of: Literal["called", "score", "probability"] = "called"
    """What a model calls positive, its scores, or scores that are probabilities."""
    params: dict[str, Any] | None = None


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
OF_SCORES = (
    Criterion("auc", "AUC", "score"),
    Criterion("average_precision", "Average precision", "score"),
    Criterion("brier_score_loss", "Brier score", "probability"),
    Criterion("log_loss", "Log loss", "probability"),
)

_AUC, _SENSITIVITY, _SPECIFICITY = (
    Criterion("auc", "AUC", "score"),
    Criterion("sensitivity", "Sensitivity"),
    Criterion("specificity", "Specificity"),
)
_ACCURACY = Criterion("accuracy", "Accuracy")
OF_READERS = (_SENSITIVITY, _SPECIFICITY, _ACCURACY)
"""What a model and a human reader are compared by."""

# Macro: the mean over classes or findings. Micro: over all answers, each case a cluster of them.
_MACRO = (
    Criterion("macro_auc", "Macro AUC", "score"),
    Criterion("macro_average_precision", "Macro average precision", "score"),
    Criterion("macro_sensitivity", "Macro sensitivity (recall)"),
    Criterion("macro_specificity", "Macro specificity"),
    Criterion("macro_ppv", "Macro positive predictive value (precision)"),
    Criterion("macro_f1", "Macro F1"),
)
OVERALL: dict[Kind, tuple[Criterion, ...]] = {
    "binary": (),
    "multiclass": (
        Criterion("accuracy", "Accuracy (micro sensitivity, precision, F1)"),
        *(each._replace(title=f"{each.title}, one against the rest") if each.of == "score" else each
          for each in _MACRO),
        Criterion("kappa", "Cohen's kappa"),
        Criterion("mcc", "Matthews correlation coefficient"),
        Criterion("brier_score_loss", "Brier score", "probability"),
        Criterion("log_loss", "Log loss", "probability"),
    ),
    "multilabel": (
        *_MACRO,
        Criterion("micro_sensitivity", "Micro sensitivity (recall)"),
        Criterion("micro_specificity", "Micro specificity"),
        Criterion("micro_ppv", "Micro positive predictive value (precision)"),
        Criterion("micro_f1", "Micro F1"),
        Criterion("exact_match", "All findings right"),
    ),
}  # fmt: skip
FEWEST_FOR_TOP_K = 6
"""Classes: the class among the best 5 of 5 says nothing."""


def overall_criteria(kind: Kind, n_targets: int) -> tuple[Criterion, ...]:
    """Return those over all classes or findings."""
    if kind != "multiclass" or n_targets < FEWEST_FOR_TOP_K:
        return OVERALL[kind]
    top = [
        Criterion("top_k_accuracy", f"Top-{k} accuracy", "score", {"k": k})
        for k in (2, 3, 5)
        if 2 * k < n_targets or k == 5
    ]
    first, *others = OVERALL[kind]
    return (first, *top, *others)


IN_SUBGROUPS: dict[Kind, tuple[Criterion, ...]] = {
    "binary": (_AUC, _SENSITIVITY, _SPECIFICITY),
    "multiclass": (
        _ACCURACY,
        Criterion("macro_auc", "Macro AUC", "score"),
        Criterion("macro_sensitivity", "Macro sensitivity"),
    ),
    "multilabel": (
        Criterion("macro_auc", "Macro AUC", "score"),
        Criterion("macro_sensitivity", "Macro sensitivity"),
        Criterion("macro_specificity", "Macro specificity"),
    ),
}
COMPARED: dict[Kind, tuple[Criterion, ...]] = {
    "binary": (_AUC, _SENSITIVITY, _SPECIFICITY, _ACCURACY),
    "multiclass": IN_SUBGROUPS["multiclass"],
    "multilabel": IN_SUBGROUPS["multilabel"],
}
"""What two models are compared by, and non-inferior in."""
COMPARED_BY_FINDING = (_AUC,)
"""And for each finding: one test each, for Holm counts them all."""
OF_TARGETS = ("sensitivity", "specificity", "ppv", "npv", "f1", "auc")
"""Criteria of single classes and findings, in their table; all are in report.json."""
