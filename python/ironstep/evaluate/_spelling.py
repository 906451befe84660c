"""Which columns a command line means: names, lists of names, and patterns with a star.

y                       the column y
resnet=p1               the column p1, called resnet
resnet=p_*              a column for each class or finding, whose name is what the star stands for
resnet=p_a,p_b          the same columns one by one, in the order of the classes or findings
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from ironstep._input_error import InputError, shown

Columns = str | dict[str, str]
"""Of a model: one, or one for each class or finding."""


def of_labels(spellings: Sequence[str], columns: Sequence[str]) -> Columns:
    """Return the column of labels, or for each finding its column."""
    found: dict[str, str] = {}
    for spelling in spellings:
        if spelling in columns or "*" not in spelling:
            found[spelling] = _present(spelling, columns)
        else:
            found |= _matching(spelling, columns)
    if not found:
        raise InputError("label: got none; the name of a column at least expected")
    return next(iter(found)) if len(found) == 1 and len(spellings) == 1 else found


def of_models(
    spellings: Sequence[str],
    columns: Sequence[str],
    targets: Sequence[str] | None,
    taken: Iterable[str],
) -> dict[str, Columns]:
    """Return for each model its columns.

    `targets`: the findings, or the classes if they were named; `taken`: columns that are something else.
    """
    found: dict[str, Columns] = {}
    free = [name for name in columns if name not in set(taken)]
    for spelling in spellings:
        name, equal, of = spelling.partition("=")
        if spelling in columns or not equal:
            name, of = "", spelling
        its_columns: Columns
        if of in columns:
            model, its_columns = name or of, of
        elif "*" in of:
            matching = _matching(of, free)
            if targets is not None:
                matching = {each: _of_target(each, matching, of) for each in targets}
            if len(matching) < 2:
                raise InputError(
                    f"score: {shown(of)}: got one column; one for each class or finding expected"
                )
            model, its_columns = name or of.replace("*", "").strip(" _-.:") or "model", matching
        elif "," in of:
            listed = [_present(each, columns) for each in of.split(",")]
            if targets is None or len(targets) != len(listed):
                raise InputError(
                    f"score: {shown(of)}: got {len(listed)} columns; as many classes expected, in their "
                    "order (on the command line --classes a,b,c)"
                )
            model, its_columns = name or "model", dict(zip(targets, listed, strict=True))
        else:
            model, its_columns = name or of, _present(of, columns)
        if model in found:
            raise InputError(f"score: {shown(model)}: two models have one name")
        found[model] = its_columns
    used = [
        each for of in found.values() for each in ([of] if isinstance(of, str) else of.values())
    ]
    if twice := {name for name in used if used.count(name) > 1 or name in set(taken)}:
        raise InputError(f"column {shown(min(twice))}: named twice as label or score")
    return found


def flat(columns: Columns) -> list[str]:
    """Return the names of all columns."""
    return [columns] if isinstance(columns, str) else list(columns.values())


def _matching(pattern: str, columns: Sequence[str]) -> dict[str, str]:
    if pattern.count("*") > 1:
        raise InputError(f"column {shown(pattern)}: got {pattern.count('*')} stars; one expected")
    before, _, after = pattern.partition("*")
    found = {
        name[len(before) : len(name) - len(after)]: name
        for name in columns
        if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    }
    if not found:
        raise InputError(f"no column is called {shown(pattern)}; {_hint(pattern, columns)}")
    return found


def _of_target(target: str, matching: dict[str, str], pattern: str) -> str:
    if target not in matching:
        wanted = pattern.replace("*", target)
        raise InputError(f"no column {shown(wanted)}, which {shown(pattern)} asks for")
    return matching[target]


def _present(name: str, columns: Sequence[str]) -> str:
    if name not in columns:
        raise InputError(f"no column {shown(name)}; {_hint(name, columns)}")
    return name


def check_present(wanted: Iterable[str], columns: Sequence[str]) -> None:
    """Refuse a name that no column has, or several."""
    for name in wanted:
        _present(name, columns)
        if columns.count(name) > 1:
            raise InputError(f"{columns.count(name)} columns are called {shown(name)}")


def _hint(name: str, columns: Sequence[str]) -> str:
    if close := difflib.get_close_matches(name, columns, 1):
        return f"did you mean {shown(close[0])}?"
    return "it has " + ", ".join(map(shown, columns[:12])) + (", …" * (len(columns) > 12))
