"""The report's page in a real browser: `make test-browser`.

IRONSTEP_SCREENSHOTS=docs/pictures keeps the two pictures that docs/worked-example.md shows.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evaluate.cases import csv_text, predictions, worked_example

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("pyarrow")
axe_playwright = pytest.importorskip(
    "axe_playwright_python.sync_playwright",
    reason="axe-playwright-python is not here: make test-browser installs it",
)

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
SCREENS = {"desktop": DESKTOP, "phone": PHONE}
NASTY = {
    "script": '<script>window.hit = 1</script>',
    "handler": '"><img src=x onerror="window.hit = 1">',
    "style": "</style><style>* { background: url(https://example.com/a) }",
    "entity": "&lt;b&gt;{{ 7 * 7 }}",
}  # fmt: skip


def report(folder, columns, *options):
    """A folder with the report of `ironstep evaluate`, everything on."""
    table = folder / "predictions.csv"
    table.write_text(csv_text(columns), encoding="utf-8")
    command = [sys.executable, "-m", "ironstep", "evaluate", table, "--out", folder / "report"]
    command += ["--label", "y", "--group", "patient", "--by", "site", "--id", "image"]
    command += ["--threshold", "youden", "--prevalence", "0.02", "--resamples", "200", "--quiet"]
    subprocess.run([*command, *options], check=True, timeout=300)
    return folder / "report"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    scores = ("--score", "model_a", "--score", "model_b", "--margin", "0.1")
    return report(tmp_path_factory.mktemp("browser"), predictions(400), *scores)


class Opened:
    """A page, and what it did: what it asked for, what it said on the console."""

    def __init__(self, browser, folder, **how):
        self.context = browser.new_context(**how)
        self.asked, self.said = [], []
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.goto((folder / "index.html").as_uri(), wait_until="load")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


def complaints(page):
    """What axe says against a page, and how many of its rules were met."""
    answer = (
        axe_playwright.Axe().run(page, options={"resultTypes": ["violations", "passes"]}).response
    )
    found = [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in answer["violations"]
        for node in rule["nodes"]
    ]
    return found, len(answer["passes"])


def wider_than_the_screen(page):
    """Elements that stick out of the window to the right, but for those in a region that scrolls."""
    # Not innerWidth: a phone makes that as wide as what sticks out.
    return page.evaluate(
        """() => [...document.body.querySelectorAll("*")].filter(one =>
            one.getBoundingClientRect().right > document.documentElement.clientWidth + 1
            && !one.closest("svg") && !one.closest("[tabindex='0']")?.matches("[role=region]")
        ).map(one => one.outerHTML.slice(0, 200))"""
    )


def brightness(page, what):
    """Of the body's `color` or `backgroundColor`, from 0 to 1."""
    color = page.evaluate(f"getComputedStyle(document.body).{what}")
    red, green, blue = (int(part) for part in re.findall(r"\d+", color)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_the_page_on_a_screen(browser, folder, tmp_path, screen, scheme):
    with Opened(browser, folder, color_scheme=scheme, **SCREENS[screen]) as opened:
        page = opened.page
        assert opened.asked == [(folder / "index.html").as_uri()]  # all else is in the page
        assert opened.said == []
        assert page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        assert wider_than_the_screen(page) == []
        paper, ink = brightness(page, "backgroundColor"), brightness(page, "color")
        assert (paper < 0.2 < 0.7 < ink) if scheme == "dark" else (ink < 0.2 < 0.9 < paper)
        pictures = page.locator("figure svg")
        assert pictures.count() >= 6
        for number in range(pictures.count()):
            box = pictures.nth(number).bounding_box()
            assert box["width"] > 200
            assert box["height"] > 100
        found, met = complaints(page)
        assert found == []
        assert met > 15
        page.screenshot(path=tmp_path / "whole.png", full_page=True)  # to be looked at


def test_the_checks_can_fail(browser, folder):
    with Opened(browser, folder, **PHONE) as opened:
        opened.page.evaluate(
            """() => {
                const one = document.createElement("div");
                one.innerHTML = '<img src="https://example.com/a.png"><p style="width: 900px">wide</p>'
                    + '<p style="color: #bbb; background: #fff">pale</p>';
                document.querySelector("main").append(one);
            }"""
        )
        found, _ = complaints(opened.page)
        assert {complaint.split(":")[0] for complaint in found} == {"image-alt", "color-contrast"}
        assert any("wide" in each for each in wider_than_the_screen(opened.page))
        assert opened.said  # the policy of the page has stopped the picture
        assert "Content Security Policy" in "".join(opened.said)


def test_at_the_narrowest_and_at_twice_the_size_nothing_is_cut_off(browser, folder):
    for width in (320, 640):
        with Opened(browser, folder, viewport={"width": width, "height": 500}) as opened:
            assert opened.page.evaluate(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            )
            assert wider_than_the_screen(opened.page) == []


def test_the_keyboard_reaches_all_that_scrolls_and_skips_the_contents(browser, folder):
    with Opened(browser, folder, **PHONE) as opened:
        page = opened.page
        page.keyboard.press("Tab")
        assert "Skip" in page.evaluate("document.activeElement.textContent")
        assert page.locator(":focus").bounding_box()["x"] >= 0  # seen, once it has the focus
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#findings"
        assert page.evaluate(
            """() => [...document.querySelectorAll("*")].every(one =>
                one.scrollWidth <= one.clientWidth + 1 || getComputedStyle(one).overflowX === "visible"
                || one.tabIndex >= 0 || one.closest("svg"))"""
        )


def test_without_colours_of_its_own_everything_is_there(browser, folder):
    with Opened(browser, folder, forced_colors="active", **DESKTOP) as opened:
        found, _ = complaints(opened.page)
        assert found == []


def test_on_paper(browser, folder, tmp_path):
    with Opened(browser, folder, color_scheme="dark", **DESKTOP) as opened:
        page = opened.page
        pdf = tmp_path / "report.pdf"
        page.pdf(
            path=pdf, format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
        )
        written = pdf.read_bytes()
        assert written.startswith(b"%PDF")
        assert 3 <= len(re.findall(rb"/Type /Page\b(?!s)", written)) <= 40
        # As wide as the paper within its margins, at 96 dots an inch.
        page.set_viewport_size({"width": round((210 - 30) / 25.4 * 96), "height": 1000})
        page.emulate_media(media="print")
        assert brightness(page, "backgroundColor") > 0.9  # also where the screen is dark
        assert brightness(page, "color") < 0.1
        assert not page.locator("nav").is_visible()
        # What cannot be scrolled may not be cut off.
        assert page.evaluate(
            """() => [...document.querySelectorAll("table")].filter(table =>
                table.getBoundingClientRect().right > document.documentElement.clientWidth
            ).map(table => table.caption?.textContent)"""
        ) == []  # fmt: skip


def test_nothing_of_the_input_runs_or_asks_a_network(browser, tmp_path):
    columns = predictions(200)
    for name in ("site", "image"):
        columns[name] = [
            f"{list(NASTY.values())[row % len(NASTY)]} {row % 8}" for row in range(200)
        ]
    columns = {
        name: [str(cell).replace('"', "'") for cell in column] for name, column in columns.items()
    }
    scores = []
    for name in (NASTY["script"], NASTY["style"]):
        columns[name] = columns["model_a"]
        scores += ["--score", name]
    folder = report(tmp_path, columns, *scores)
    with Opened(browser, folder, **DESKTOP) as opened:
        assert opened.asked == [(folder / "index.html").as_uri()]
        assert opened.said == []
        assert opened.page.evaluate("window.hit") is None
        assert "window.hit = 1" in opened.page.inner_text("main")
        found, _ = complaints(opened.page)
        assert found == []


def test_the_report_of_the_worked_example(browser, tmp_path):
    """And the pictures that the page in the docs shows of it."""
    folder = worked_example(tmp_path)
    for name, place, how in (
        ("desktop", "body", {"viewport": {"width": 1000, "height": 700}}),
        ("phone", "#curves", {"color_scheme": "dark", **PHONE}),
    ):
        with Opened(browser, folder, **how) as opened:
            assert opened.said == []
            assert complaints(opened.page)[0] == []
            opened.page.locator(place).evaluate("one => one.scrollIntoView()")
            opened.page.screenshot(path=tmp_path / f"report-{name}.png")
        if "IRONSTEP_SCREENSHOTS" in os.environ:
            from PIL import Image

            picture = Image.open(tmp_path / f"report-{name}.png").quantize(64)
            picture.save(
                Path(os.environ["IRONSTEP_SCREENSHOTS"]) / f"report-{name}.png", optimize=True
            )
