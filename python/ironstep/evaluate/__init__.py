"""From predictions to a report.

Needs the extra ``evaluate``: ``pip install "ironstep[evaluate]"``.
"""

from ironstep.evaluate._errors import InputError

__all__ = ["InputError"]
