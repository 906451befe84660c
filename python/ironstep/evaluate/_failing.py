"""What a caller may ask to fail on: `ironstep evaluate --fail-on`.

warning                 anything that a reader must be careful about
inferior                a model that is not shown to be non-inferior by the margin
auc<0.9                 a criterion below, or above, a value, of any model
sensitivity.low<0.8     the same of a limit of its interval
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ironstep._input_error import InputError, shown

from ._findings import findings, is_noninferior
from ._numbers import number
from ._results import Model, Overall, Results

Condition = Callable[[Results], Iterator[str]]

_BOUND = re.compile(
    r"(?P<key>[a-z_0-9]+)(\.(?P<limit>low|high))?\s*(?P<sign>[<>])\s*(?P<value>[-+.\de]+)"
)


def parse_condition(text: str) -> Condition:
    """Return a function: what of some results meets the condition, one sentence each."""
    if text == "warning":
        return _warnings
    if text == "inferior":
        return _inferior
    found = _BOUND.fullmatch(text.strip())
    try:
        value = float(found["value"]) if found else None
    except ValueError:
        value = None
    if found is None or value is None:
        raise InputError(
            f"fail-on: got {shown(text)}; warning, inferior, or a bound as auc<0.9 or sensitivity.low<0.8 "
            "expected"
        )
    return _beyond(found["key"], found["limit"] or "value", found["sign"], value)


def _warnings(results: Results) -> Iterator[str]:
    n = sum(finding.kind == "warning" for finding in findings(results))
    if n:
        yield f"{n} warnings"


def _inferior(results: Results) -> Iterator[str]:
    if results.options["margin"] is None or not results.comparisons:
        raise InputError("fail-on: inferior: needs a margin, and two models or a reader")
    for pair in results.comparisons:
        if pair.noninferiority is None or not is_noninferior(pair.noninferiority):
            yield f"{pair.title}: {pair.model} is not shown to be non-inferior to {pair.reference}"


def _beyond(key: str, limit: str, sign: str, bound: float) -> Condition:
    def beyond(results: Results) -> Iterator[str]:
        known = {row.key for model in results.judged for row in model.rows}
        if key not in known:
            raise InputError(
                f"fail-on: got {shown(key)}; one of {', '.join(sorted(known))} expected"
            )
        of_all = any(row.key == key for model in results.overall for row in model.rows)
        judged: tuple[Model | Overall, ...] = results.overall if of_all else results.models
        for model in judged:
            title = getattr(model, "title", model.name)
            estimate = model.estimate(key)
            if estimate is None:
                yield f"{title}: {key} is undefined"
                continue
            value = getattr(estimate, limit)
            # Not the other way round: a limit that is NaN does not meet what is asked for.
            if not (value >= bound if sign == "<" else value <= bound):
                yield (
                    f"{title}: {key}{'' if limit == 'value' else f'.{limit}'} is {number(value)}, "
                    + (f"{'below' if sign == '<' else 'above'} {bound:g}")
                )

    return beyond
