"""Tables: what stands in them, and how they are written as CSV, Markdown, LaTeX and HTML."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ironstep.metrics import Estimate

    from ._evaluation import Evaluation
    from ._results import Row

MINUS = "\N{MINUS SIGN}"
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?%?", re.IGNORECASE)
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
        "_": r"\_", "%": r"\%", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
        "–": "--", "χ": r"$\chi$", "²": r"\textsuperscript{2}", "−": r"$-$", "’": "'",
    }
)  # fmt: skip
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~$!])")


class Table(NamedTuple):
    """A title, what a reader must know, and cells of text."""

    name: str
    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (self.header, *self.rows)
        )

    def csv(self) -> str:
        """Return the cells as CSV; one that a spreadsheet would take for a formula gets a ' before it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        for row in (self.header, *self.rows):
            writer.writerow([_harmless(cell) for cell in row])
        return text.getvalue()

    def markdown(self) -> str:
        """Return a Markdown table (GitHub's) with title and note."""
        lines = [f"**{_in_markdown(self.title)}**", ""]
        for cells in (self.header, None, *self.rows):
            escaped = ["---"] * len(self.header) if cells is None else map(_in_markdown, cells)
            lines.append(f"| {' | '.join(escaped)} |")
        lines += ["", _in_markdown(self.note), ""] if self.note else [""]
        return "\n".join(lines)

    def latex(self) -> str:
        """Return a LaTeX table environment; it needs the packages booktabs and textcomp."""
        columns = "l" * len(self.header)
        body = [" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in self.rows]
        lines = [
            r"\begin{table}",
            rf"\caption{{{self.title.translate(_LATEX)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(cell.translate(_LATEX) for cell in self.header) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\par\footnotesize {self.note.translate(_LATEX)}"] if self.note else []),
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """Return an HTML table; every cell is escaped."""
        head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in self.header)
        body = "".join(
            f'<tr><th scope="row">{html.escape(row[0])}</th>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        caption = html.escape(self.title)
        return (
            f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{note}"
        )

    def _repr_html_(self) -> str:
        return self.html()


def _harmless(cell: str) -> str:
    # OWASP's list of what starts a formula; numbers stay numbers.
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r", "|", "%") and not _NUMBER.fullmatch(cell):
        return "'" + cell
    return cell


def _in_markdown(cell: str) -> str:
    return _MARKDOWN.sub(r"\\\1", html.escape(cell, quote=False))


# --- numbers for readers ---


def number(value: float) -> str:
    """Three digits after the point; large ones with three digits in all; a true minus sign."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return ("" if value > 0 else MINUS) + "∞"
    text = (
        f"{value:.3f}"
        if abs(value) < 10
        else f"{value:.2f}"
        if abs(value) < 100
        else f"{value:.0f}"
    )
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(value: float) -> str:
    """A share as a percentage, with no more digits than it has."""
    return f"{100 * value:.4g}%"


def p_value(value: float) -> str:
    """A p-value with its sign."""
    if math.isnan(value):
        return "p not known"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def count(value: float) -> str:
    """A number of cases, or a sum of weights."""
    return f"{value:g}" if value == int(value) and value < 1e6 else f"{value:.0f}"


def with_interval(estimate: Estimate) -> str:
    """A value and its limits."""
    if math.isnan(estimate.low):
        return f"{number(estimate.value)} (no interval)"
    return f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)})"


def _cell(row: Row | None) -> str:
    return "–" if row is None or row.estimate is None else with_interval(row.estimate)


# --- the tables ---


def tables(evaluation: Evaluation) -> dict[str, Table]:
    """Return those that have rows, by their names."""
    made = (
        _flow(evaluation),
        _confusion(evaluation),
        _criteria(evaluation),
        _corrected(evaluation),
        _calibration(evaluation),
        _comparisons(evaluation),
        _subgroups(evaluation),
        _mistakes(evaluation),
    )
    return {table.name: table for table in made if table.rows}


def _flow(evaluation: Evaluation) -> Table:
    flow = evaluation.flow
    rows = [("Rows", str(flow.n_rows)), ("Left out", str(flow.n_excluded))]
    rows += [(f"  nothing in {name}", str(n)) for name, n in flow.excluded_for.items()]
    how = evaluation.options["missing"]
    rows += [
        (f"  no score of {name}, counts as {how}", str(n)) for name, n in flow.replaced.items()
    ]
    rows += [
        ("Cases", str(flow.n_cases)),
        (f"Positive ({flow.positive_label})", str(flow.n_positive)),
        (f"Negative ({flow.negative_label})", str(flow.n_negative)),
    ]
    if flow.n_groups is not None:
        rows += [
            ("Groups (patients)", str(flow.n_groups)),
            ("  with a positive case", str(flow.n_groups_positive)),
            ("  most cases in one", str(flow.most_in_a_group)),
        ]
    rows += [
        (f"Different scores of {model.name}", str(model.n_distinct)) for model in evaluation.models
    ]
    return Table(
        "flow",
        "Cases",
        "Fewer different scores than cases: some cases are tied.",
        ["", "Number"],
        rows,
    )


def _confusion(evaluation: Evaluation) -> Table:
    note = "Cases with a score of at least the threshold are called positive."
    if evaluation.options["weight_type"] == "sampling":
        note += " Counts are sums of weights."
    return Table(
        "confusion",
        "The 2×2 table at the threshold",
        note,
        [
            "Model",
            "Threshold",
            "True positive",
            "False positive",
            "False negative",
            "True negative",
        ],
        [
            [
                model.name,
                str(model.threshold),
                *map(count, (model.tp, model.fp, model.fn, model.tn)),
            ]
            for model in evaluation.models
        ],
    )


def _criteria(evaluation: Evaluation) -> Table:
    models = evaluation.models
    keys = dict.fromkeys((row.key, row.title) for model in models for row in model.rows)
    rows = []
    for key, title in keys:
        found = [next((row for row in model.rows if row.key == key), None) for model in models]
        methods = dict.fromkeys(
            row.estimate.method if row.estimate is not None else "undefined"
            for row in found
            if row is not None
        )
        rows.append([title, *map(_cell, found), ", or ".join(methods)])
    level = percent(evaluation.options["confidence_level"])
    return Table(
        "criteria",
        "Criteria",
        f"In brackets: the {level} confidence interval. –: undefined for these cases.",
        ["Criterion", *(model.name for model in models), "Method of the interval"],
        rows,
    )


def _corrected(evaluation: Evaluation) -> Table:
    rows = []
    for model in evaluation.models:
        if model.chosen is None:
            continue
        for title, of in (
            ("Sensitivity", model.chosen.sensitivity),
            ("Specificity", model.chosen.specificity),
            ("Youden's J", model.chosen.youden_j),
        ):
            corrected = f"{number(of.corrected)} ({number(of.low)} to {number(of.high)})"
            rows.append([model.name, model.chosen.rule, title, number(of.apparent), corrected])
    resamples = {m.chosen.n_resamples for m in evaluation.models if m.chosen is not None}
    return Table(
        "corrected",
        "Rates at a threshold that these cases chose",
        "Corrected: the threshold is chosen anew in each of "
        f"{', '.join(map(str, sorted(resamples)))} resamples and judged by the cases that were not drawn.",
        ["Model", "Rule", "Criterion", "Apparent", "Corrected"],
        rows,
    )


def _calibration(evaluation: Evaluation) -> Table:
    rows = []
    for model in evaluation.models:
        if (found := model.calibration) is None:
            continue
        rows.append(
            [
                model.name,
                with_interval(found.intercept),
                with_interval(found.slope),
                with_interval(found.brier_score),
                number(found.miscalibration),
                number(found.discrimination),
                f"{number(found.expected_calibration_error)} "
                f"({number(found.expected_calibration_error_if_calibrated)})",
            ]
        )
    return Table(
        "calibration",
        "Calibration",
        "Intercept 0 and slope 1 at best. Brier score = miscalibration − discrimination + uncertainty. "
        "Expected calibration error: in brackets what it is on average where every probability is true; "
        "it has no interval, for it is biased.",
        ["Model", "Intercept", "Slope", "Brier score", "Miscalibration", "Discrimination",
         "Expected calibration error"],
        rows,
    )  # fmt: skip


def _comparisons(evaluation: Evaluation) -> Table:
    margin = evaluation.options["margin"]
    rows = []
    for pair in evaluation.comparisons:
        names = [pair.title, f"{pair.model} minus {pair.reference}"]
        found = pair.comparison
        if found is None:
            cells = [pair.reason or "–", *(["–"] * 4)]
        else:
            adjusted = math.nan if pair.p_adjusted is None else pair.p_adjusted
            cells = [
                f"{number(found.difference)} ({number(found.low)} to {number(found.high)})",
                _bare(found.p_value),
                _bare(adjusted),
                found.test,
                found.method,
            ]
        if margin is not None:
            cells.append("–" if pair.noninferiority is None else _bare(pair.noninferiority.p_value))
        rows.append([*names, *cells])
    note = "Paired: the same cases. Adjusted: by Holm over all rows of this table."
    header = [
        "Criterion",
        "Models",
        "Difference",
        "p",
        "p adjusted",
        "Test",
        "Method of the interval",
    ]
    if margin is not None:
        header.append(f"p, non-inferior by {margin:g}")
        alpha = (1 - evaluation.options["confidence_level"]) / 2
        note += f" Non-inferiority: one-sided, to be read at {alpha:.4g}; not adjusted."
    return Table("comparisons", "Models compared", note, header, rows)


def _bare(p: float) -> str:
    return "–" if math.isnan(p) else p_value(p).removeprefix("p = ").removeprefix("p ")


def _subgroups(evaluation: Evaluation) -> Table:
    rows = [
        [
            f"{group.column} = {group.value}",
            group.model,
            str(group.n_positive),
            str(group.n_negative),
            *map(_cell, group.rows),
        ]
        for group in evaluation.subgroups
    ]
    titles: list[Any] = []
    if evaluation.subgroups:
        titles = [row.title for row in evaluation.subgroups[0].rows]
    return Table(
        "subgroups",
        "Subgroups",
        "Each subgroup by its own cases; intervals that overlap are no test.",
        ["Subgroup", "Model", "Positive", "Negative", *titles],
        rows,
    )


def _mistakes(evaluation: Evaluation) -> Table:
    rows = [
        [mistake.id, model.name, "negative" if not mistake.is_positive else "positive",
         "positive" if not mistake.is_positive else "negative", f"{mistake.score:.4g}"]
        for model in evaluation.models
        for mistake in model.mistakes
    ]  # fmt: skip
    return Table(
        "mistakes",
        "The most confident mistakes",
        "Negative cases with the highest scores, positive ones with the lowest.",
        ["Id", "Model", "Is", "Is called", "Score"],
        rows,
    )
