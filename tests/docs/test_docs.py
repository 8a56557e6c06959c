"""What the documents say exists: links, commands with their options, recipes, settings, Python."""

import dataclasses
import functools
import inspect
import re
import shlex
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from research.captions.__main__ import captions
from research.generation.__main__ import generation
from textok import cli
from textok.cli.table import COMMANDS, load
from textok.cli.train import RunOptions
from textok.models.checkpoint import SHIPPED, SHIPPED_GENERATORS
from textok.recipes import GENERATOR_RECIPES, RECIPES
from textok.training.generator.config import GeneratorRun
from textok.training.tokenizer.config import TokenizerRun

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECIPE_LIKE = re.compile(r"toy|icons-128(-[a-z]+)?|imagenet-\d+-[a-z]-\d+")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def code_spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def records_in(page: Path) -> list[str]:
    """Files and folders of results that are named anywhere in a page."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"benchmarks/results/[\w./-]*[\w/]", text)


def commands(page: Path) -> Iterator[list[str]]:
    """The words after ``textok`` of every such line in a bash block."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and (Path(words[0]).name == "textok" or "textok.cli" in words):
                start = words.index("textok.cli") if "textok.cli" in words else 0
                yield words[start + 1 :]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line with its real parsers, and nothing behind them; collects what was called."""
    called: list[str] = []

    def silent(name: str, words: list[str]) -> typing.Any:
        def command(*_args: object, **_options: object) -> None:
            called.append(name)

        return functools.wraps(load(name, words))(command)

    monkeypatch.setattr(cli, "load", silent)
    return called


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name_of(page)}: {target}"
        assert found.is_relative_to(ROOT), f"{name_of(page)}: {target} leaves the repository"
        if anchor:
            assert anchor in anchors(found), f"{name_of(page)}: {target}"


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
@pytest.mark.slow
def test_command_lines_parse(page: Path, parse_only: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for count, words in enumerate(commands(page), start=1):
        assert cli.main(words) == 0, f"{name_of(page)}: textok {shlex.join(words)}\n{capsys.readouterr().err}"
        assert len(parse_only) == count, f"{name_of(page)}: textok {shlex.join(words)} ran nothing"


def test_a_wrong_command_line_would_be_found(parse_only: list[str]) -> None:
    for line in (
        "encode x --outt y",
        "encode x",
        "train tokenizer icons-128 --out x --data.sauce y",
        "bake x",
    ):
        assert cli.main(line.split()) == 2
    assert parse_only == []


def test_the_guides_hold_commands() -> None:
    found = {words[0] for page in GUIDES for words in commands(page)}
    assert {"train", "encode", "decode", "reconstruct", "info", "recipes"} <= found


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_recipes_and_models_exist(page: Path) -> None:
    named = [span for span in code_spans(page) if RECIPE_LIKE.fullmatch(span)]
    asked = [words[1] for words in commands(page) if words[0] == "info" and not {"/", "."} & set(words[1])]
    known = {*RECIPES, *GENERATOR_RECIPES, *SHIPPED, *SHIPPED.values(), *SHIPPED_GENERATORS.values()}
    assert set(named) | set(asked) <= known | {path.name for path in (ROOT / "datasets").iterdir()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_records_exist(page: Path) -> None:
    for record in records_in(page):
        assert (ROOT / record).exists(), f"{name_of(page)}: {record}"


def test_records_are_found_in_the_log() -> None:
    found = records_in(ROOT / "docs" / "log.md")
    assert {"benchmarks/results/gelu.json", "benchmarks/results/icons-128-training/"} <= set(found)


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_python_compiles(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python")):
        compile(block, f"{name_of(page)}, block {number}", "exec")


def members(hint: typing.Any) -> list[type]:
    """The dataclasses of a type hint, unions taken apart."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    options = typing.get_args(hint) if is_union else (hint,)
    return [option for option in options if dataclasses.is_dataclass(option)]


def has_setting(config: type, path: list[str]) -> bool:
    hints = typing.get_type_hints(config)
    if path[0] not in hints:
        return False
    return len(path) == 1 or any(has_setting(inner, path[1:]) for inner in members(hints[path[0]]))


def groups_in(hint: object) -> Iterator[type]:
    """The groups of options that an argument is, and those within them."""
    for group in members(hint):
        yield group
        for inner in typing.get_type_hints(group).values():
            yield from groups_in(inner)


@functools.cache
def options_of_commands() -> set[str]:
    """Options of the studies and of every command; of the trainings by recipe those that are no settings of a run."""
    functions = [load(name, []) for name, command in COMMANDS.items() if not command.by_recipe]
    functions += [captions, generation]
    by_recipe = [load(name, []) for name, command in COMMANDS.items() if command.by_recipe]
    own = {name for function in by_recipe for name in inspect.signature(function).parameters}
    own |= {field.name for field in dataclasses.fields(RunOptions)}
    hints = [typing.get_type_hints(function) for function in functions]
    groups = [group for hint in hints for found in hint.values() for group in groups_in(found)]
    return (
        own
        | {name for hint in hints for name in hint}
        | {field.name for group in groups for field in dataclasses.fields(group)}
    )


def settings_in(page: Path) -> list[str]:
    """Settings named in prose: ``data.on_bad`` and ``--data.on-bad skip`` alike."""
    groups = "|".join(field.name for field in dataclasses.fields(TokenizerRun))
    found = []
    for span in code_spans(page):
        option = span.startswith("--") and span.split()[0].removeprefix("--").replace("-", "_")
        if option:
            own = option in options_of_commands()  # such as --no-text; else a flag of a run, turned off
            found.append(option if own else re.sub(r"(^|\.)no_", r"\1", option))
        elif re.fullmatch(rf"({groups})(\.[a-z_0-9]+)+", span) and Path(span).suffix != ".safetensors":
            found.append(span)
    return found


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=name_of)
def test_settings_exist(page: Path) -> None:
    for setting in settings_in(page):
        known = any(has_setting(run, setting.split(".")) for run in (TokenizerRun, GeneratorRun))
        assert known or setting in options_of_commands(), f"{name_of(page)}: {setting}"


def test_settings_are_found_in_the_training_guide() -> None:
    found = settings_in(ROOT / "docs" / "training.md")
    assert {"data.on_bad", "adversarial.start_step", "micro_batch"} <= set(found)
    assert not has_setting(TokenizerRun, ["data", "on_sad"])
