"""The folder: what is in it, that it is whole or not there, and that the input is nowhere markup."""

import csv
import html.parser
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from evaluate.cases import WORKED_EXAMPLE, predictions, worked_example
from ironstep.evaluate import Evaluation, InputError, Table, _figures
from ironstep.evaluate._checklist import CHECKLISTS, checked
from ironstep.evaluate._tables import tables

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("scipy")

NASTY = {
    "script": '<script>alert("x")</script>',
    "attribute": '"><img src=x onerror=alert(1)>',
    "template": "{{ 7 * 7 }}{% raw %}",
    "mathematics": r"$\frac{$",
    "formula": "=HYPERLINK(1)",
    "LaTeX": r"\input{/etc/passwd} & % #",
    "Markdown": "[x](javascript:alert(1)) | `y`",
    "hidden": "_hidden",
    "control": "a\x00b\x1b[31m\nc",
    "other script": "模型",
    "entity": "&lt;b&gt;",
    "end of a comment": "--><b>",
    "an id": ' id="roc" url(#x)',
}


def evaluate(**options):
    columns = predictions(200)
    scores = {name: columns[name] for name in ("model_a", "model_b")}
    options = {"by": {"site": columns["site"]}, "groups": columns["patient"], **options}
    return Evaluation(columns["y"], scores, n_resamples=20, threshold="youden", **options)


@pytest.fixture(autouse=True, scope="module")
def small_pictures():
    """Enough to see that they are there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_figures, "DPI", 40)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return evaluate(margin=0.1).report(tmp_path_factory.mktemp("report") / "out").parent


class Page(html.parser.HTMLParser):
    """What a browser would find."""

    EMPTY = {"meta", "link", "br", "img", "hr", "input"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.open, self.words = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        assert len(named) == len(attributes), f"{tag}: an attribute twice"
        self.tags.append((tag, named))
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named[key] for key in ("href", "src", "xlink:href") if key in named]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_everything_is_there(folder):
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    pictures = (
        "roc",
        "precision-recall",
        "confusion",
        "calibration",
        "decision-curve",
        "subgroups",
    )
    names = ("flow", "confusion", "criteria", "corrected", "calibration", "comparisons", "subgroups",
             "mistakes")  # fmt: skip
    assert found == {
        "index.html",
        "report.json",
        *(f"pictures/{name}.{suffix}" for name in pictures for suffix in ("svg", "pdf", "png")),
        *(f"tables/{name}.{suffix}" for name in names for suffix in ("csv", "md", "tex")),
    }
    assert list(folder.parent.iterdir()) == [folder]


def test_json_is_what_as_json_says_and_nothing_is_rounded(folder):
    numbers = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    made = evaluate(margin=0.1)
    assert numbers == made.as_json()
    assert (
        numbers["models"][0]["rows"][0]["estimate"]["value"]
        == made.models[0].estimate("sensitivity").value
    )


def test_the_same_input_gives_the_same_files(folder, tmp_path):
    again = evaluate(margin=0.1).report(tmp_path / "out").parent
    for path in folder.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(folder)).read_bytes(), path.name


def test_the_page_is_well_formed_and_its_links_resolve(folder, page):
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert not re.match(r"[a-z]+:", link), link  # no request leaves the page
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (folder / link).is_file()
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_the_page_can_be_read_aloud(page):
    kinds = [tag for tag, _ in page.tags]
    assert dict(page.tags)["html"]["lang"] == "en"
    assert kinds.count("h1") == 1
    assert kinds.count("caption") == kinds.count("table") > 5
    assert kinds.count("figcaption") == kinds.count("figure") == 6
    pictures = [named for tag, named in page.tags if tag == "svg"]
    assert len(pictures) == 6
    assert all(named["role"] == "img" and named["aria-label"] for named in pictures)
    assert all("scope" in named for tag, named in page.tags if tag == "th")


def test_the_page_has_every_table_cell_and_finding(page):
    words = "".join(page.words)
    made = evaluate(margin=0.1)
    for finding in made.findings:
        assert finding.text in words
    for table in tables(made.results).values():
        for row in table.rows:
            assert all(cell in words for cell in row)


def test_the_checklists_have_their_items(page):
    words = "".join(page.words)
    assert "A filled list is no proof" in words
    results = evaluate().results
    found = {each.name: checked(each, results, tables(results)) for each in CHECKLISTS}
    sizes = {"STARD 2015": 34, "STARD-AI": 3, "TRIPOD+AI": 52, "CLAIM 2024": 44}
    assert {name: len(items) for name, items in found.items()} == sizes
    for each in CHECKLISTS:
        assert each.source in words
        numbers = [item.number for item in each.items]
        assert len(set(numbers)) == len(numbers)
    stard = {item.number: item for item in found["STARD 2015"]}
    assert stard["23"].section == "confusion"
    assert stard["30"].section is None
    assert "exploratory" in stard["12a"].remark
    sections = {item.section for items in found.values() for item in items} - {None}
    assert sections <= set(page.ids)


def test_a_checklist_names_no_section_that_the_page_lacks():
    results = evaluate(by=None).results
    for each in CHECKLISTS:
        sections = {item.section for item in checked(each, results, tables(results))}
        assert "subgroups" not in sections


@pytest.mark.parametrize("first", range(0, len(NASTY), 4))
def test_nothing_of_the_input_is_markup_or_formula(tmp_path, page, first):
    names = list(NASTY.values())[first : first + 4]
    name, columns = names[0], predictions(200)
    random = np.random.default_rng(0)
    made = Evaluation(
        np.array([name + "0", name + "1"])[columns["y"]],
        {each: columns["model_a"] * random.random(200) for each in names},
        positive=name + "1",
        by={name: np.array([*names, "other"])[np.arange(200) % (len(names) + 1)]},
        ids=np.array([names[row % len(names)] + str(row) for row in range(200)]),
        n_resamples=10,
        source={"name": name, "sha256": "0"},
    )
    folder = made.report(tmp_path / "out").parent
    text = (folder / "index.html").read_text(encoding="utf-8")
    found = Page(text)
    assert not found.open
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in page.tags}
    assert not [key for _, named in found.tags for key in named if key.startswith("on")]
    assert len(found.ids) == len(set(found.ids))
    assert all(model.name in "".join(found.words) for model in made.models)
    assert not {"\x00", "\x1b"} & set(text)
    for path in (folder / "pictures").glob("*.svg"):
        ElementTree.parse(path)
    for path in (folder / "tables").glob("*.csv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    for path in (folder / "tables").glob("*.tex"):
        written = path.read_text(encoding="utf-8")
        assert r"\input" not in written
        assert r"\frac" not in written
    for path in (folder / "tables").glob("*.md"):
        written = path.read_text(encoding="utf-8")
        assert "<script" not in written
        assert not re.search(r"(?<!\\)\]\(", written)
        rows = [line for line in written.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_numbers_in_csv_stay_numbers():
    table = Table("t", "T", "", ["=a", "b"], [["-0.5", "-1.2e-3"], ["-x", "+1"], ["@", "−0.5"]])
    rows = list(csv.reader(table.csv().splitlines()))
    assert rows == [["'=a", "b"], ["-0.5", "-1.2e-3"], ["'-x", "+1"], ["'@", "−0.5"]]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, MemoryError])
@pytest.mark.parametrize("at", ["tables", "picture: calibration", "page"])
def test_what_is_stopped_leaves_nothing(tmp_path, stop, at):
    def progress(part):
        if part == at:
            raise stop

    made = evaluate()
    made._progress = progress
    with pytest.raises(stop):
        made.report(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_stopped_leaves_the_earlier_report(tmp_path):
    made = evaluate()
    made.report(tmp_path / "out")
    before = (tmp_path / "out" / "report.json").read_bytes()

    def progress(part):
        if part == "page":
            raise KeyboardInterrupt

    other = evaluate(random_state=1)
    other._progress = progress
    with pytest.raises(KeyboardInterrupt):
        other.report(tmp_path / "out")
    assert (tmp_path / "out" / "report.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_earlier_report_is_replaced_as_a_whole(tmp_path):
    evaluate().report(tmp_path / "out")
    evaluate(by=None).report(tmp_path / "out")
    assert not (tmp_path / "out" / "tables" / "subgroups.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("years of work")
    with pytest.raises(InputError, match="no earlier report"):
        evaluate().report(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.docx"]
    with pytest.raises(InputError, match="no folder"):
        evaluate().report(tmp_path / "out" / "thesis.docx")


def test_an_empty_folder_and_missing_parents_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    evaluate().report(tmp_path / "empty")
    evaluate().report(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "index.html").is_file()


def test_the_worked_example_says_what_its_report_says(tmp_path):
    pytest.importorskip("pyarrow")
    text = (worked_example(tmp_path) / "report.json").read_text(encoding="utf-8")
    models = {model["name"]: model for model in json.loads(text)["models"]}
    page = WORKED_EXAMPLE.read_text(encoding="utf-8")
    for name, key in (
        ("model_a", "auc"),
        ("model_b", "auc"),
        ("model_b", "sensitivity"),
        ("model_b", "specificity"),
    ):
        rows = {row["key"]: row["estimate"] for row in models[name]["rows"]}
        value, low, high = (rows[key][part] for part in ("value", "low", "high"))
        assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in page
        assert f"{value:.2f} (95% CI {low:.2f} to {high:.2f})" in page.replace("\n", " ")
