"""The documentation's site: `make docs`, or `python docs/site/build.py`. Needs no network.

The pages are the repository's own: README.md is the first one, docs/*.md the others. They are copied,
their links turned to where things lie in the site, and a name in `code` that is public is linked to its
entry. The reference has a page for each module with an `__all__`, and an entry for each name in it.
Afterwards the site is searched for what would ask a network, links that lead nowhere, and public names
without an entry.
"""

import ast
import html.parser
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import yaml

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "ironstep"
LOADS = r"url\(|@import"  # what makes a browser load something, in a style


def public_names(package=PACKAGE):
    """Each public module, by its dotted name, with what its `__all__` has."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if any(part.startswith("_") for part in parts):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                modules[".".join(parts)] = ast.literal_eval(node.value)
    return modules


def pages(root=ROOT):
    """Where each page and picture of the repository goes in the site."""
    special = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
    special |= {"CHANGELOG.md": "changelog.md"}
    special |= {name: f"{name}.txt" for name in ("LICENSE-APACHE", "LICENSE-MIT")}
    docs = root / "docs"
    files = [*docs.glob("*.md"), *docs.glob("pictures/*"), *docs.glob("site/*.css")]
    return special | {
        path.relative_to(root).as_posix(): path.relative_to(docs).as_posix()
        for path in sorted(files)
    }


def turned(text, source, where, entries):
    """A page's text as it stands in the site, for the page `source` of the repository."""
    folder = posixpath.dirname(source)

    def link(match):
        path, anchor = re.fullmatch(r"([^#]*)(#.*)?", match[1]).groups()
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        target = posixpath.normpath(posixpath.join(folder, path))
        return f"]({where.get(target, path)}{anchor or ''})"

    def name(match):
        entry = entries.get(match[1])
        return f"[{match[0]}][{entry}]" if entry else match[0]

    parts = re.split(r"(^ *```.*?^ *```$)", text, flags=re.S | re.M)
    for number in range(0, len(parts), 2):  # the others are code
        lines = re.sub(r"\]\(([^()\s]+)\)", link, parts[number]).split("\n")
        parts[number] = "\n".join(
            line
            if line.startswith("#")
            else re.sub(r"(?<![\[`])`([A-Za-z_][\w.]*)`(?![`\]])", name, line)
            for line in lines
        )
    return "".join(parts)


def entries(modules):
    """What a name in a page's text stands for: in full, without the package, or its last part if unique."""
    whole = {f"{module}.{name}" for module, names in modules.items() for name in names} - set(
        modules
    )
    known = {name: name for name in [*modules, *whole]}
    known |= {name.removeprefix("ironstep."): name for name in whole}
    last = [name.rpartition(".")[2] for name in sorted(whole)]
    known |= {
        short: name
        for short, name in zip(last, sorted(whole), strict=True)
        if last.count(short) == 1
    }
    return known


def stage(folder):
    """Write the site's sources and its configuration into `folder`."""
    docs, modules, where = folder / "docs", public_names(), pages()
    known = entries(modules)
    for source, target in where.items():
        path = docs / target
        path.parent.mkdir(parents=True, exist_ok=True)
        if target.endswith(".md"):
            text = (ROOT / source).read_text(encoding="utf-8")
            path.write_text(turned(text, source, where, known), encoding="utf-8")
        else:
            shutil.copy(ROOT / source, path)
    (docs / "reference").mkdir()
    for module, names in modules.items():
        directives = [f"::: {module}.{name}" for name in names if f"{module}.{name}" not in modules]
        top = f"# {module}\n\n::: {module}\n    options: {{members: false, show_root_heading: false}}\n"
        path = docs / "reference" / f"{module}.md"
        path.write_text("\n\n".join([top, *directives]) + "\n", encoding="utf-8")
    config = yaml.safe_load((Path(__file__).parent / "mkdocs.yml").read_text(encoding="utf-8"))
    config["docs_dir"], config["site_dir"] = "docs", "site"
    config["nav"].insert(-1, {"Reference": [{name: f"reference/{name}.md"} for name in modules]})
    handler = next(p["mkdocstrings"] for p in config["plugins"] if "mkdocstrings" in p)["handlers"]
    handler["python"]["paths"] = [str(PACKAGE.parent)]
    shutil.copy(Path(__file__).parent / "docstrings.py", folder)
    handler["python"]["options"]["extensions"] = [{"docstrings.py": {"entries": known}}]
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


class Page(html.parser.HTMLParser):
    """A page's ids, the links that a click follows, and what a browser loads by itself."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids |= {named[key] for key in ("id", "name") if named.get(key)}
        if tag == "a":
            self.links += [named["href"]] if named.get("href") else []
        else:
            self.loads += [
                named[key] for key in ("href", "src", "data", "poster") if named.get(key)
            ]

    handle_startendtag = handle_starttag


def faults(site, modules):
    """What is wrong with a built site, a line each."""
    found = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    ids = set().union(*(page.ids for page in found.values()))
    for module, names in modules.items():
        for name in [module, *(f"{module}.{name}" for name in names)]:
            if name not in ids:
                yield f"{name}: no entry in the reference"
    for path, page in found.items():
        shown = path.relative_to(site)
        for link in [*page.links, *page.loads]:
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:|//", target):
                if link in page.loads and not target.startswith("data:"):
                    yield f"{shown}: asks the network for {link}"
                continue
            # 404.html is shown in the place of any page: its links begin at the site's root
            file = path if not target else (path.parent / unquote(target.lstrip("/"))).resolve()
            if not file.is_file():
                yield f"{shown}: {link} leads nowhere"
            elif anchor and file.suffix == ".html" and unquote(anchor) not in found[file].ids:
                yield f"{shown}: {link}: no such place"
    for suffix, loads in (("html", LOADS), ("css", LOADS), ("svg", rf"{LOADS}|href=")):
        for path in sorted(site.rglob(f"*.{suffix}")):
            text = path.read_text(encoding="utf-8")
            for link in re.findall(rf"""(?:{loads})\s*["']?((?:https?:)?//[^"')]+)""", text):
                yield f"{path.relative_to(site)}: asks the network for {link}"


def build(folder):
    """Build the site below `folder`; return where it lies and what is wrong with it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stage(folder)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    wrong = [line for line in said.splitlines() if re.search("warning|error", line, re.I)]
    site = folder / "site"
    if done.returncode != 0 or wrong:
        return site, [said]
    return site, list(faults(site, public_names()))


if __name__ == "__main__":
    made, wrong = build(ROOT / "target" / "docs-site")
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        sys.exit(1)
    print(made / "index.html")
    print(f"With its search: {Path(sys.executable).name} -m http.server -d {made}")
