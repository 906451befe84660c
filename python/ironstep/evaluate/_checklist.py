"""What guidelines for reporting ask of a paper, and where a report has it.

The items are in our own words and short; what counts are the words of their authors.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from ._results import Results


class Item(NamedTuple):
    """An item, and where it stands: a section of the page, or None for the author to supply."""

    number: str
    what: str
    section: str | None = None
    remark: str = ""


class Checklist(NamedTuple):
    """A guideline's items."""

    name: str
    source: str
    remark: str
    items: tuple[Item, ...]


def checked(checklist: Checklist, results: Results, sections: Container[str | None]) -> list[Item]:
    """Return the items of a list; `sections` are those that the page has."""
    origins = {model.threshold.origin for model in results.models}
    threshold = (
        "Chosen on these cases: to be reported as exploratory."
        if "chosen here" in origins
        else "Chosen on other cases; say which, and when."
        if "chosen elsewhere" in origins
        else "The class with the highest score is called."
        if "highest score" in origins
        else "Say why, and whether before the data were seen."
    )
    return [
        item._replace(
            section=item.section if item.section in ALWAYS or item.section in sections else None,
            remark=item.remark.format(threshold=threshold),
        )
        for item in checklist.items
    ]


ALWAYS = ("findings", "cases", "confusion", "criteria", "curves", "method")
"""Sections that every page has."""

_STARD = Checklist(
    "STARD 2015",
    "Bossuyt et al. (2015), BMJ 351:h5527",
    "For studies of diagnostic accuracy.",
    (
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
    Item("12a", "Cut-offs of the index test: which, why, prespecified or not", "confusion", "{threshold}"),
    Item("12b", "Cut-offs of the reference standard", None),
    Item("13a", "What those who did the index test knew of the patient", None),
    Item("13b", "What those who read the reference standard knew of the index test", None),
    Item("14", "Methods of estimating and comparing accuracy", "method",
         "The method of every interval stands beside it."),
    Item("15", "How indeterminate results were handled", "cases",
         "Only as far as they are missing scores."),
    Item("16", "How missing results were handled", "cases"),
    Item("17", "Analyses of variability, prespecified or exploratory", "subgroups",
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
    ),
)  # fmt: skip

_STARD_AI = Checklist(
    "STARD-AI",
    "Sounderajah et al. (2025), Nature Medicine 31:3283",
    "It asks for what STARD 2015 asks, above, and for more of what its authors name as follows; its own "
    "numbers and words are not repeated here, and have to be looked up.",
    (
        Item("data", "The data sets: where they come from, how they were prepared, labelled and split", None,
             "Say that no patient of these cases was used for training."),
        Item("model", "The model that is tested, its version, its input and output, and how it was evaluated",
             "method", "Only how it was evaluated, and by what software."),
        Item("fairness", "Bias and fairness: accuracy in groups of patients", "subgroups",
             "Only of the groups that were named."),
    ),
)  # fmt: skip

_TRIPOD_AI = Checklist(
    "TRIPOD+AI",
    "Collins et al. (2024), BMJ 385:e078378",
    "For models that predict; items on development stand here too, and are for the author alone.",
    (
        Item("1", "Title: a model is developed or evaluated, for whom and what outcome"),
        Item("2", "Abstract, by TRIPOD+AI for Abstracts"),
        Item("3a", "The medical context, and why a model"),
        Item("3b", "For which people, at what point of care, used by whom"),
        Item("3c", "Known inequalities of health between groups of people"),
        Item("4", "Objectives: development, evaluation, or both"),
        Item("5a", "Sources of the data, why these, how representative"),
        Item("5b", "Dates of the data"),
        Item("6a", "Setting: kind of care, number and place of centres"),
        Item("6b", "Who was eligible"),
        Item("6c", "Treatments, if any, and how they were dealt with"),
        Item("7", "How data were prepared and their quality checked"),
        Item("8a", "The outcome, how and when assessed, and why"),
        Item("8b", "Where it was a matter of judgement, who judged", None),
        Item("8c", "Blinding of those who assessed the outcome"),
        Item("9a", "Which predictors were considered, and why"),
        Item("9b", "How and when each predictor was measured"),
        Item("9c", "Where it was a matter of judgement, who judged"),
        Item("10", "How the number of cases was arrived at", None,
             "ironstep.metrics.sample_size_proportion and sample_size_auc."),
        Item("11", "How missing data were handled", "cases", "Of labels, scores and patients alone."),
        Item("12a", "How the data were used: split for development and evaluation"),
        Item("12b", "How predictors were handled"),
        Item("12c", "Kind of model, how it was built and tuned, internal validation"),
        Item("12d", "How differences between centres or countries were dealt with", "subgroups",
             "Where these are the subgroups."),
        Item("12e", "Measures and pictures of performance, and how models were compared", "method",
             "Discrimination, calibration and net benefit, each with its method."),
        Item("12f", "Updating of the model after its evaluation"),
        Item("12g", "How predictions were computed in the evaluation"),
        Item("13", "Methods for imbalanced classes, and recalibration after them"),
        Item("14", "What was done for fairness, and why"),
        Item("15", "What the model gives, and how thresholds were found", "confusion", "{threshold}"),
        Item("16", "How data for development and evaluation differ"),
        Item("17", "Ethical approval and consent"),
        Item("18a", "Funding, and the role of funders"),
        Item("18b", "Conflicts of interest"),
        Item("18c", "Where the protocol is"),
        Item("18d", "Registration"),
        Item("18e", "Whether the data are available", None, "report.json holds results, not cases."),
        Item("18f", "Whether the code is available", None, "The versions are under: method."),
        Item("19", "How patients and the public were involved"),
        Item("20a", "Flow of participants, with and without the outcome", "cases",
             "From the rows of the table on; not before."),
        Item("20b", "Characteristics of the participants, by centre too"),
        Item("20c", "In an evaluation: predictors compared with those of the development"),
        Item("21", "Participants and outcomes in each analysis", "cases"),
        Item("22", "The model itself, so that others can use it"),
        Item("23a", "Performance with intervals, in subgroups too", "criteria"),
        Item("23b", "Differences of performance between centres, if examined", "subgroups"),
        Item("24", "Results of updating"),
        Item("25", "What the results mean, for fairness too"),
        Item("26", "Limitations", None, "The warnings above are a beginning."),
        Item("27a", "How poor or missing input is to be handled in use"),
        Item("27b", "What users have to do, and to know"),
        Item("27c", "Next steps"),
    ),
)  # fmt: skip

_CLAIM = Checklist(
    "CLAIM 2024",
    "Tejani et al. (2024), Radiology: Artificial Intelligence 6:e240300",
    "For artificial intelligence in medical imaging.",
    (
        Item("1", "Title: a study of AI, and of which kind"),
        Item("2", "Abstract"),
        Item("3", "Background, intended use and role"),
        Item("4", "Aims, objectives, hypotheses"),
        Item("5", "Prospective or retrospective"),
        Item("6", "Goal of the study"),
        Item("7", "Where the data come from"),
        Item("8", "Who and what was included and excluded"),
        Item("9", "How data were prepared"),
        Item("10", "How parts of the data were selected"),
        Item("11", "How identities were removed"),
        Item("12", "How missing data were handled", "cases", "Of labels, scores and patients alone."),
        Item("13", "How images were acquired"),
        Item("14", "The reference standard"),
        Item("15", "Why this reference standard"),
        Item("16", "Who annotated"),
        Item("17", "How the test set was annotated"),
        Item("18", "How far annotators agree, with each other and with themselves"),
        Item("19", "How data were divided into parts"),
        Item("20", "At what level the parts are disjoint: image, study, patient, centre"),
        Item("21", "Intended number of cases for the test", None,
             "ironstep.metrics.sample_size_proportion and sample_size_auc."),
        Item("22", "The model in detail"),
        Item("23", "Software with its versions", "method", "Of the evaluation alone."),
        Item("24", "How the model's parameters were initialised"),
        Item("25", "Training in detail"),
        Item("26", "How the final model was selected"),
        Item("27", "Ensembles, if any"),
        Item("28", "Measures of performance", "criteria"),
        Item("29", "Measures of significance and uncertainty", "method"),
        Item("30", "Robustness or sensitivity analyses", "subgroups", "Subgroups alone."),
        Item("31", "Methods that explain the model"),
        Item("32", "Evaluation on internal data", None, "If these cases are such."),
        Item("33", "Testing on external data", None, "If these cases are such."),
        Item("34", "Registration of a trial"),
        Item("35", "Patients or examinations included and excluded", "cases",
             "From the rows of the table on; not before."),
        Item("36", "Characteristics of the cases in each part"),
        Item("37", "Performance and its uncertainty", "criteria"),
        Item("38", "Estimates of accuracy and their precision", "criteria"),
        Item("39", "Analysis of failures", "mistakes", "Which cases; why is the author's to say."),
        Item("40", "Limitations", None, "The warnings above are a beginning."),
        Item("41", "What it means for practice"),
        Item("42", "Where the full protocol is"),
        Item("43", "Whether software, model and data are available"),
        Item("44", "Funding, and the role of funders"),
    ),
)  # fmt: skip

CHECKLISTS = (_STARD, _STARD_AI, _TRIPOD_AI, _CLAIM)
