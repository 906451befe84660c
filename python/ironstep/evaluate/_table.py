"""A table, and how it is written as CSV, Markdown, LaTeX and HTML."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

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
