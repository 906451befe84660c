"""docs/pictures/speed.svg: every case in the tables of docs/performance.md, one dot each.

`python benches/picture.py` draws it again after new figures.
"""

import math
import re
from html import escape
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"

# A section's heading, its name in the picture, and whom the ratio is against.
ROWS = [
    ("## Figures", "Optimizer steps", "best of torch"),
    ("## Batch normalization", "Batch norm, iterations", "best of torch"),
    ("## Losses", "Losses", "best of torch"),
    ("## Metrics", "Metrics", "scikit-learn, numpy"),
]
WIDTH, LEFT, RIGHT, TOP, ROW, RADIUS = 760, 196, 736, 70, 72, 4.5
SMALLEST, LARGEST = 0.5, 500
TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
STYLE = """
    .paper { fill: #ffffff; } text { fill: #1c2430; } .soft { fill: #4d5a69; font-size: 12px; }
    .grid { stroke: #d5dce4; } .one { stroke: #6b7886; stroke-width: 1.5; }
    .dot { fill: #2f6db0; fill-opacity: .75; stroke: #ffffff; stroke-width: .5; } .slower { fill: #b4552d; }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #14181d; } text { fill: #e7ebf0; } .soft { fill: #b3bfcb; }
      .grid { stroke: #333d48; } .one { stroke: #8b98a6; }
      .dot { fill: #7fb6ee; stroke: #14181d; } .slower { fill: #ee9d76; }
    }
  """


def ratios(page, heading):
    """The cases of a section's table, and how many times as fast ironstep is as its best peer."""
    section = page.split(f"\n{heading}\n")[1].split("\n## ")[0]
    lines = [
        line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")
    ]
    header, *rows = lines
    columns = [i for i, name in enumerate(header) if name == "×" or name.startswith("best / ours")]
    found = {}
    for row in rows:
        # Where scikit-learn has no such function, numpy's way, in a later column, is the peer.
        known = [match for i in columns if (match := re.match(r"[\d.]+", row[i]))]
        if known:
            found[row[0]] = float(known[0][0])
    return found


def x_of(ratio):
    share = math.log(ratio / SMALLEST) / math.log(LARGEST / SMALLEST)
    return LEFT + share * (RIGHT - LEFT)


def places(cases):
    """Where each dot lies: above or below its row's line where others are in its place."""
    taken = []
    for name, ratio in sorted(cases.items(), key=lambda case: (case[1], case[0])):
        x = x_of(ratio)
        for step in range(20):
            y = (step + 1) // 2 * (2 * RADIUS - 1) * (-1) ** step
            if all(math.hypot(x - a, y - b) >= 2 * RADIUS - 1 for a, b in taken):
                break
        taken.append((x, y))
        yield name, ratio, x, y


def picture(page):
    """The picture of a page's tables, as SVG."""
    tables = [ratios(page, heading) for heading, _, _ in ROWS]
    bottom = TOP + ROW * len(ROWS)
    slower = sum(ratio < 1 for table in tables for ratio in table.values())
    cases = sum(map(len, tables))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 34}" role="img" '
        "aria-labelledby=\"t d\" font-family=\"system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\" "
        'font-size="14">',
        '<title id="t">Speed against peers</title>',
        f'<desc id="d">{cases} cases by how many times as fast as its best peer ironstep is; {slower} are '
        "below 1, where the peer is faster. The numbers are in docs/performance.md.</desc>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{bottom + 34}" rx="8"/>',
        '<text x="24" y="30" font-weight="600">How many times as fast as its peers, on 2 cores</text>',
        f'<text x="24" y="50" class="soft">One dot a case, all {cases} in the tables of docs/performance.md. '
        f"In {slower}, left of 1, the peer is faster.</text>",
    ]
    for tick in TICKS:
        x, kind = x_of(tick), "one" if tick == 1 else "grid"
        out.append(f'<path class="{kind}" d="M{x:.1f} {TOP}V{bottom}"/>')
        label = f"{tick:g}×"
        out.append(
            f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle" class="soft">{label}</text>'
        )
    for number, ((_, name, peer), table) in enumerate(zip(ROWS, tables, strict=True)):
        middle = TOP + ROW * (number + 0.5)
        out.append(f'<text x="24" y="{middle - 2:g}">{name}</text>')
        out.append(f'<text x="24" y="{middle + 15:g}" class="soft">against {peer}</text>')
        for case, ratio, x, y in places(table):
            kind = "dot slower" if ratio < 1 else "dot"
            out.append(
                f'<circle class="{kind}" cx="{x:.1f}" cy="{middle + y:.1f}" r="{RADIUS}">'
                f"<title>{escape(case)}: {ratio:g}</title></circle>"
            )
    return "\n".join([*out, "</svg>", ""])


if __name__ == "__main__":
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    (DOCS / "pictures" / "speed.svg").write_text(picture(page), encoding="utf-8", newline="\n")
