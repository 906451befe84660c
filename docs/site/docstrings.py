"""Docstrings in numpy's form, turned to Markdown as they stand, for the reference.

The generator's own reader takes types for Python expressions ("array-like" is a subtraction to it), and
gives all names of one line the default of the first.
"""

import re

import griffe

ITEMS = ("Parameters", "Returns", "Yields", "Raises", "Warns", "Attributes")
PROSE = ("Notes", "References", "Examples", "See Also")


def markdown(text, entries):
    """The docstring's text, sections as bold words, items as a list, examples as code."""
    text = re.sub(r"((?:^>>> .*\n?)(?:^(?!$).*\n?)*)", r"```pycon\n\1\n```\n", text, flags=re.M)
    pieces = re.split(rf"^({'|'.join(ITEMS + PROSE)})\n-+\n", text, flags=re.M)
    parts = [pieces[0]]
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        parts.append(f"**{title}**\n")
        parts.append(_items(body, title) if title in ITEMS else body)
    return _linked("\n".join(parts), entries)


def _items(body, title):
    lines = []
    for line in body.splitlines():
        if line.startswith(" ") or not line:
            lines.append(line)
            continue
        name, colon, kind = line.partition(" : ")
        name = f"**{name}**" if colon or title == "Parameters" else name
        lines += ["", f"- {name}{colon}{kind}", ""]
    return "\n".join(lines)


def _linked(text, entries):
    """Single names in code that are public lead to their entries."""

    def name(match):
        entry = entries.get(match[1])
        return f"[`{match[1]}`][{entry}]" if entry else match[0]

    parts = re.split(r"(^```.*?^```$)", text, flags=re.S | re.M)
    parts[::2] = [
        re.sub(r"(?<![\[`])`([A-Za-z_][\w.]*)`(?![`\]])", name, part) for part in parts[::2]
    ]
    return "".join(parts)


class Docstrings(griffe.Extension):
    """What griffe asks each object for."""

    def __init__(self, entries):
        super().__init__()
        self.entries = entries

    def on_object(self, *, obj, loader, **kwargs):
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value, self.entries)
