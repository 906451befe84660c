"""What STARD 2015 asks of a paper on diagnostic accuracy, and where a report has it.

The items are in our own words; theirs are in Bossuyt et al. (2015), BMJ 351:h5527.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

    from ._evaluation import Evaluation


class Item(NamedTuple):
    """An item, and where it stands: a section of the page, or None for the author to supply."""

    number: str
    what: str
    section: str | None
    remark: str = ""


def checklist(evaluation: Evaluation, sections: Container[str]) -> list[Item]:
    """Return all items; `sections` are those that the page has."""
    origins = {model.threshold.origin for model in evaluation.models}
    prespecified = (
        "Chosen on these cases: to be reported as exploratory."
        if "chosen here" in origins
        else "Chosen on other cases; say which, and when."
        if "chosen elsewhere" in origins
        else "Say why, and whether before the data were seen."
    )
    subgroups = "subgroups" if "subgroups" in sections else None
    return [
        Item("1", "Title or abstract names a measure of accuracy", None),
        Item("2", "Structured abstract", None),
        Item("3", "Background, and the clinical role of the test", None),
        Item("4", "Objectives and hypotheses", None),
        Item("5", "Whether data were collected before or after the tests", None),
        Item("6", "Who was eligible", None),
        Item("7", "How the eligible were found", None),
        Item("8", "Where and when", None),
        Item("9", "Whether participants are consecutive, random or convenient", None),
        Item("10a", "The index test, so that it can be repeated", None, "Version of each model."),
        Item("10b", "The reference standard, so that it can be repeated", None),
        Item("11", "Why this reference standard", None),
        Item("12a", "Cut-offs of the index test: which, why, prespecified or not", "confusion", prespecified),
        Item("12b", "Cut-offs of the reference standard", None),
        Item("13a", "What those who did the index test knew of the patient", None),
        Item("13b", "What those who read the reference standard knew of the index test", None),
        Item("14", "Methods of estimating and comparing accuracy", "method",
             "The method of every interval stands beside it."),
        Item("15", "How indeterminate results were handled", "cases",
             "Only as far as they are missing scores."),
        Item("16", "How missing results were handled", "cases"),
        Item("17", "Analyses of variability, prespecified or exploratory", subgroups,
             "Say which subgroups were planned."),
        Item("18", "Intended sample size, and why", None,
             "ironstep.metrics.sample_size_proportion and sample_size_auc."),
        Item("19", "Flow of participants", "cases", "From the rows of the table on; not before."),
        Item("20", "Demographic and clinical characteristics", None),
        Item("21a", "How severe the condition was in those who had it", None),
        Item("21b", "What else those had who did not have it", None),
        Item("22", "Time and treatment between index test and reference standard", None),
        Item("23", "Cross tabulation of index test and reference standard", "confusion"),
        Item("24", "Estimates of accuracy with their precision", "criteria"),
        Item("25", "Adverse events", None),
        Item("26", "Limitations, bias, generalisability", None, "The warnings above are a beginning."),
        Item("27", "What it means for practice", None),
        Item("28", "Registration", None),
        Item("29", "Where the protocol is", None),
        Item("30", "Funding, and the role of funders", None),
    ]  # fmt: skip
