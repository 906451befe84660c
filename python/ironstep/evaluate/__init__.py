"""From predictions to a report: `Evaluation` judges models by the same cases and writes what it finds.

Needs the extra ``evaluate``: ``pip install "ironstep[evaluate]"``.
"""

from ironstep._input_error import InputError
from ironstep.evaluate._cases import Flow
from ironstep.evaluate._displays import (
    CalibrationDisplay,
    DetCurveDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
)
from ironstep.evaluate._evaluation import Evaluation
from ironstep.evaluate._findings import Finding
from ironstep.evaluate._results import (
    Band,
    Curve,
    Histogram,
    Mistake,
    Model,
    Overall,
    Paired,
    Results,
    Row,
    Subgroup,
    Tested,
    Threshold,
)
from ironstep.evaluate._table import Table

__all__ = [
    "Band",
    "CalibrationDisplay",
    "Curve",
    "DetCurveDisplay",
    "Evaluation",
    "Finding",
    "Flow",
    "Histogram",
    "InputError",
    "Mistake",
    "Model",
    "Overall",
    "Paired",
    "PrecisionRecallDisplay",
    "Results",
    "RocCurveDisplay",
    "Row",
    "Subgroup",
    "Table",
    "Tested",
    "Threshold",
]
