"""The documentation's site: that it is whole, and that what it takes to check it can fail."""

import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest

pytest.importorskip("zensical", reason="zensical is not here: make docs installs it")
pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("build_site", ROOT / "docs" / "site" / "build.py")
site = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(site)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return site.build(tmp_path_factory.mktemp("docs") / "docs-site")


def test_the_site_is_built_without_a_fault(made):
    built, wrong = made
    assert wrong == []
    pages = {path.relative_to(built).as_posix() for path in built.rglob("*.html")}
    for target in site.pages().values():
        if target.endswith(".md"):
            assert target.removesuffix(".md") + ".html" in pages
    reference = (built / "reference" / "ironstep.metrics.html").read_text(encoding="utf-8")
    assert "How many are true positive" in reference  # docstrings are there, not names alone
    assert "array-like" in reference


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_request_leaves_the_site_in_a_browser(browser, made, scheme):
    built, _ = made
    context = browser.new_context(color_scheme=scheme)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    for path in sorted(
        set(built.rglob("*.html")) - {built / "404.html"}
    ):  # that one wants a server
        page.goto(path.as_uri(), wait_until="load")
        assert page.locator("h1").count() == 1
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), path
    context.close()
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((built.as_uri(), "data:", "blob:"))] == []


def test_every_page_stands_in_the_contents():
    contents = (ROOT / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [target for target in site.pages().values() if target.endswith(".md")]
    assert [page for page in pages if f": {page}\n" not in contents] == []


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="nothing.html">', "page.html: nothing.html leads nowhere"),
        ('<a href="other.html#nothing">', "page.html: other.html#nothing: no such place"),
        ('<a href="#nothing">', "page.html: #nothing: no such place"),
        ('<img src="nothing.png">', "page.html: nothing.png leads nowhere"),
        (
            '<link rel="preconnect" href="https://example.com">',
            "page.html: asks the network for https://example.com",
        ),
        (
            '<script src="//example.com/a.js">',
            "page.html: asks the network for //example.com/a.js",
        ),
        ('<img src="http://example.com/a.png"/>', "page.html: asks the network for http://example.com/a.png"),
        ("<style>a { background: url(https://example.com/a) }</style>", "page.html: asks the network for https://example.com/a"),
    ],
)  # fmt: skip
def test_a_fault_of_a_page_is_found(tmp_path, page, fault):
    (tmp_path / "other.html").write_text(
        '<p id="place"><a id="m"><a id="m.name">', encoding="utf-8"
    )
    (tmp_path / "page.html").write_text(
        '<p id="here"><a href="#here"><a href="other.html#place"><a href="https://example.com">'
        '<img src="data:image/png;base64,">',
        encoding="utf-8",
    )
    assert list(site.faults(tmp_path, {"m": ["name"]})) == []
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    assert list(site.faults(tmp_path, {"m": ["name"]})) == [fault]


def test_a_name_without_an_entry_and_a_style_that_asks_the_network_are_found(tmp_path):
    (tmp_path / "page.html").write_text('<p id="m">', encoding="utf-8")
    (tmp_path / "style.css").write_text("@import 'https://example.com/a.css';", encoding="utf-8")
    assert list(site.faults(tmp_path, {"m": ["name"]})) == [
        "m.name: no entry in the reference",
        "style.css: asks the network for https://example.com/a.css",
    ]


def test_public_modules_are_those_that_can_be_imported():
    modules = site.public_names()
    assert {"ironstep", "ironstep.metrics", "ironstep.metrics.streaming"} <= set(modules)
    for name, names in modules.items():
        assert importlib.import_module(name).__all__ == names


@pytest.mark.parametrize("module", sorted(site.public_names()))
def test_every_public_name_says_what_it_is(module):
    for name in site.public_names()[module]:
        thing = getattr(importlib.import_module(module), name)
        if inspect.ismodule(thing) or callable(thing):
            # A class may not live on its parent's, nor a dataclass on its signature.
            doc = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
            assert doc, f"{module}.{name}"
            assert not doc.startswith(f"{name}("), f"{module}.{name}"


def test_links_and_names_are_turned_to_where_things_lie_in_the_site():
    where = {"README.md": "index.md", "docs/metrics.md": "metrics.md"}
    code = "\n\n```sh\n`auc` [a](docs/metrics.md)\n```"
    text = "[a](docs/metrics.md#x) [b](https://example.com) `auc` `auc`, [`auc`](docs/metrics.md)"
    assert site.turned(text + code, "README.md", where, {"auc": "m.auc"}) == (
        "[a](metrics.md#x) [b](https://example.com) [`auc`][m.auc] [`auc`][m.auc], [`auc`](metrics.md)"
        + code
    )
    assert site.turned("[r](../README.md)", "docs/metrics.md", where, {}) == "[r](index.md)"


def test_short_names_lead_to_entries_where_there_is_one_alone():
    modules = {"p": ["m", "f"], "p.m": ["g", "f"]}
    assert site.entries(modules) == {
        **{name: name for name in ("p", "p.m", "p.f", "p.m.g", "p.m.f")},
        "g": "p.m.g",  # f would be two, and m is a word
    }


def test_the_figures_on_intervals_are_those_of_the_coverage_study():
    def rows(page):
        lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
        table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
        return [row for row in table if row[0] not in ("metric", "method", "---")]

    study = rows("coverage.md")
    known = {tuple(row[:6]) for row in study if len(row) > 6}
    known |= {(row[0], *row[2:4]) for row in study if len(row) == 5}
    shown = [tuple(row) for row in rows("intervals.md")]
    assert len(shown) > 20
    assert [row for row in shown if row not in known] == []
