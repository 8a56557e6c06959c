"""Hooks of the site that ``mkdocs build`` makes of this folder.

The README is its first page. What the pages link to outside this folder (cards, records, code, pictures) travels
along under ``repository/``, so that no link leaves the site and no text is written twice.
"""

import ast
import json
import os
import re
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from textok.recipes import GENERATOR_RECIPES, RECIPES, summary

ROOT = Path(__file__).resolve().parents[1]
DOCS, RECORDS = ROOT / "docs", ROOT / "benchmarks/results"
LOOK = ROOT / "src/textok/evaluation/pages/look.css"
START, ALWAYS = ROOT / "README.md", ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):(?=<code>)")
HIDDEN, MOST_ROWS = "---\nsearch:\n  exclude: true\n---\n", 60
CODE = {".py": "python", ".sh": "bash"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link to, and what that links to."""
    files.append(File.generated(config, "look.css", abs_src_path=str(LOOK)))
    waiting = [START, *(ROOT / name for name in ALWAYS)]
    waiting += [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    waiting += [RECORDS / name for name in _records()]
    done = set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        if not path.is_relative_to(DOCS):
            files.append(_file(path, config))
        if path.parent == RECORDS and path.is_file():
            files.append(
                File.generated(config, str(_place(path).with_suffix(".json")), abs_src_path=str(path))
            )
        if path.suffix == ".md":
            waiting += [
                _target(path, link) for text in _prose(path.read_text()) for link in LINK.findall(text)
            ]
    return files


def on_page_markdown(markdown: str, *, page: Page, **_options: object) -> str:
    """Lead every link to where its target is in the site; fill in the lists that are made of code and records."""
    origin = _origin(page.file.src_uri)
    if origin.suffix == ".md":
        lead = partial(_led, origin, PurePosixPath(page.file.src_uri))
        parts = [part if part.startswith("```") else LINK.sub(lead, part) for part in FENCE.split(markdown)]
        markdown = "".join(parts)
    for marker, make in {"<!-- recipes -->": _recipe_tables, "<!-- records -->": _record_table}.items():
        markdown = markdown.replace(marker, make()) if marker in markdown else markdown
    return markdown


def on_page_content(html: str, **_options: object) -> str:
    """Docstrings name things by the roles of Sphinx; the site shows the name alone."""
    return ROLE.sub("", html)


def _prose(markdown: str) -> list[str]:
    return [part for part in FENCE.split(markdown) if not part.startswith("```")]


def _target(page: Path, link: str) -> Path:
    """The file that a link of a page leads to; of a folder with a README that one."""
    path = Path(os.path.normpath(page.parent / link))
    return path / "README.md" if (path / "README.md").is_file() else path


def _place(path: Path) -> PurePosixPath:
    """Where a file of the repository is among the sources of the site."""
    if path == START:
        return PurePosixPath("index.md")
    if path.is_relative_to(DOCS):
        return PurePosixPath(path.relative_to(DOCS))
    place = PurePosixPath("repository", path.relative_to(ROOT))
    if path.is_dir():
        return place / "index.md"
    if path.parent == RECORDS:
        return place.with_suffix(".md")
    return place.with_name(f"{place.name}.md") if path.suffix in CODE else place


def _origin(uri: str) -> Path:
    """The file of the repository that a page is made of; of a folder or of code that one."""
    if uri == "index.md":
        return START
    inner = uri.removeprefix("repository/")
    if inner == uri:
        return DOCS / uri
    file = ROOT / inner
    return file if file.is_file() else ROOT / inner.removesuffix(".md").removesuffix("/index")


def _led(origin: Path, here: PurePosixPath, match: re.Match[str]) -> str:
    return os.path.relpath(_place(_target(origin, match[0])), here.parent)


def _file(path: Path, config: MkDocsConfig) -> File:
    if path.is_dir():
        return File.generated(config, str(_place(path)), content=_listing(path))
    if path.parent == RECORDS:
        return File.generated(config, str(_place(path)), content=_recorded(path))
    if path.suffix in CODE:
        return File.generated(config, str(_place(path)), content=_listed(path))
    return File.generated(config, str(_place(path)), abs_src_path=str(path))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _listing(folder: Path) -> str:
    """A page about a folder: its files, with the first line of what each module says of itself."""
    rows = [f"| `{path.name}{'/' * path.is_dir()}` | {_about(path)} |" for path in sorted(folder.iterdir())]
    shown = [row for row in rows if not row.startswith(("| `.", "| `__pycache__"))]
    return "\n".join([f"# {_name(folder)}", "", "In the repository:", "", "| | |", "|---|---|", *shown, ""])


def _about(path: Path) -> str:
    module = path / "__init__.py" if path.is_dir() else path
    if module.suffix != ".py" or not module.is_file():
        return ""
    return (ast.get_docstring(ast.parse(module.read_text())) or "").partition("\n")[0]


def _listed(path: Path) -> str:
    return f"{HIDDEN}# {_name(path)}\n\n````{CODE[path.suffix]}\n{path.read_text()}\n````\n"


def _recipe_tables() -> str:
    lines = []
    for kind, recipes in {"tokenizer": RECIPES, "generator": GENERATOR_RECIPES}.items():
        lines += [f"## textok train {kind} RECIPE", "", "| recipe | what |", "|---|---|"]
        lines += [f"| `{name}` | {summary(recipe)} |" for name, recipe in recipes.items()] + [""]
    return "\n".join(lines)


def _records() -> list[str]:
    return sorted(path.name for path in RECORDS.glob("*.json"))


def _record_table() -> str:
    lines = ["| record | made by | on |", "|---|---|---|"]
    for name in _records():
        made = json.loads((RECORDS / name).read_text()).get("made_by", {})
        lines.append(
            f"| [{name}](repository/benchmarks/results/{Path(name).stem}.md) | {_command(made)} | {_machine(made)} |"
        )
    return "\n".join(lines)


def _command(made: dict[str, Any]) -> str:
    """What was typed; of a path outside the repository the last part."""
    words = [Path(word).name if word.startswith("/") else word for word in made.get("command", "").split()]
    return f"`{' '.join(words)}`" if words else ""


def _machine(made: dict[str, Any]) -> str:
    machine = made.get("machine") or {}
    if not isinstance(machine, dict):
        return str(machine)
    threads = machine.get("threads", "")
    return f"{machine.get('cpu', '')}, {threads} thread{'s' * (threads != 1)}" if machine else ""


def _recorded(path: Path) -> str:
    """A page about a record: who made it, its rows as a table where it has flat ones, and the file itself."""
    record = json.loads(path.read_text())
    made, rows = record.get("made_by", {}), record.get("rows") or []
    flat = [
        row
        for row in rows
        if isinstance(row, dict) and not any(isinstance(v, dict | list) for v in row.values())
    ]
    lines = [f"{HIDDEN}# {path.stem}", "", _command(made), ""]
    lines += [f"{_machine(made)}; code {made.get('code', 'not recorded')}", ""]
    lines += [
        f"[The record]({path.name})" + (f"; its first {MOST_ROWS} rows:" if len(flat) > MOST_ROWS else ":"),
        "",
    ]
    heads = list(dict.fromkeys(name for row in flat for name in row))
    lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"] if heads else []
    return "\n".join(
        [*lines, *(f"| {' | '.join(_cell(row.get(name)) for name in heads)} |" for row in flat[:MOST_ROWS])]
    )


def _cell(value: object) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else ""
        if value is None
        else str(value).replace("|", "\\|")
    )
