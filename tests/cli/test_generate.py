"""``textok generate`` as a user runs it: pictures, a grid, what they say of themselves, and errors."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from textok.cli import main
from textok.cli.generate import file_words
from textok.evaluation.picture_sets import open_pictures
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiT, DiTConfig
from textok.models.tokenizer import TexTok
from textok.pipeline.bulk import read_prompts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained generator for the shipped tokenizer."""
    torch.manual_seed(0)
    config = DiTConfig(
        dim=32,
        depth=1,
        num_heads=2,
        condition=ConditionConfig(),
        tokenizer=TexTok.from_pretrained("icons-128").model_id,
        tokenizer_source="icons-128",
    )
    folder = tmp_path_factory.mktemp("generator")
    DiT(config).save_pretrained(folder, name="tiny")
    return folder


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_prompts_become_pictures_and_a_grid(
    generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = ["A red apple!", "a cat, on a teal background"]
    words = ["--num-images", 2, "--steps", 2, "--num-tokens", 4, "--seed", 5, "--out", tmp_path, "--json"]
    assert run("generate", *prompts, "--model", generator, *words) == 0
    files = [Path(file) for file in json.loads(capsys.readouterr().out)["files"]]
    assert [file.name for file in files] == [
        "00-a-red-apple-seed5-0.png",
        "00-a-red-apple-seed5-1.png",
        "01-a-cat-on-a-teal-background-seed5-0.png",
        "01-a-cat-on-a-teal-background-seed5-1.png",
    ]
    with Image.open(files[3]) as image:
        note = json.loads(image.info["textok"])
        assert image.size == (128, 128)
    assert (note["prompt"], note["seed"], note["steps"], note["num_tokens"]) == (prompts[1], 5, 2, 4)
    assert (tmp_path / "grid.png").is_file()


def test_the_same_seed_writes_the_same_files(generator: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        words = ["--num-images", 1, "--steps", 2, "--model", generator, "--out", tmp_path / name]
        assert run("generate", "a red apple", *words) == 0
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("first", "second"))
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in second]


def test_earlier_pictures_and_foreign_folders_are_left_alone(
    generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drawn"
    words = ["generate", "a cat", "--model", generator, "--out", out]
    assert run(*words, "--steps", 1) == 0
    files = sorted(path.name for path in out.iterdir())
    (out / "00-a-cat-seed0-3.png").unlink()  # as if killed before it
    assert run(*words, "--steps", 1) == 0
    assert files == sorted(path.name for path in out.iterdir()), "the same pictures have their names"
    first, grid = ((out / name).read_bytes() for name in ("00-a-cat-seed0-0.png", "grid.png"))
    assert run(*words, "--steps", 2) == 0
    assert (out / "00-a-cat-seed0-0.png").read_bytes() == first and (out / "grid.png").read_bytes() == grid
    assert (out / "00-a-cat-seed0-0-2.png").is_file()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.txt").write_text("mine")
    assert run(*words[:-1], tmp_path / "own", "--steps", 1) == 2
    assert "out: got" in capsys.readouterr().err
    assert run(*words, "--steps", 3, "--overwrite") == 0
    assert (out / "00-a-cat-seed0-0.png").read_bytes() != first


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "PROMPT: got 0"),
        (["a cat", "--num-tokens", 99], "num_tokens: got 99, expected 1 to 32"),
        (["a cat", "--guidance-interval", 0.9, 0.1], "interval"),
        (["--labels", 3], "conditioned on text"),
        (["a cat", "--labels", 3], "PROMPT: got 2"),
        (["a cat", "--sampler", "ddim"], "sampler"),
    ],
)
@pytest.mark.slow
def test_mistakes_are_told_in_a_line(
    words: list[object], told: str, generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", *words, "--model", generator, "--out", tmp_path / "out") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_is_no_generator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TexTok.from_pretrained("icons-128").save_pretrained(tmp_path / "tokenizer")
    assert run("generate", "a cat", "--model", tmp_path / "tokenizer", "--out", tmp_path / "out") == 2
    assert "holds no generator" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A red apple!", "a-red-apple"),
        ("", "empty"),
        ("../../etc", "etc"),
        ("ä b", "ä-b"),
        ("x" * 99, "x" * 48),
    ],
)
def test_prompts_as_file_names(prompt: str, words: str) -> None:
    assert file_words(prompt) == words


def bulk(generator: Path, prompts: Path, out: Path, *words: object) -> int:
    settings = ("--model", generator, "--steps", 2, "--num-tokens", 4, "--batch-size", 2)
    return run("generate", "--prompts", prompts, *settings, "--out", out, *words)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "prompts.txt").write_text("a cat\n\na dog\na red apple\na blue car\na house\n")
    return tmp_path / "prompts.txt"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_a_file_of_prompts_becomes_pictures_with_their_prompts(
    generator: Path, prompts: Path, tmp_path: Path
) -> None:
    assert bulk(generator, prompts, tmp_path / "out", "--num-images", 2, "--limit", 2, "--seed", 7) == 0
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert [file.name for file in pictures] == [f"{number:08d}.png" for number in range(4)]
    assert [file.with_suffix(".txt").read_text() for file in pictures] == ["a cat", "a cat", "a dog", "a dog"]
    with Image.open(pictures[3]) as image:
        note = json.loads(image.info["textok"])
    assert (note["prompt"], note["seed"], note["index"]) == ("a dog", 7, 3)


@pytest.mark.parametrize("form", [(), ("--tars",)])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    generator: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    monkeypatch.setattr("textok.pipeline.bulk.SHARD", 4)
    assert bulk(generator, prompts, tmp_path / "whole", *form) == 0
    whole = contents(tmp_path / "whole")
    assert bulk(generator, prompts, tmp_path / "part", *form) == 0
    for name in list(whole)[-2:]:
        (tmp_path / "part" / name).unlink()
    left = {file: file.stat().st_mtime_ns for file in (tmp_path / "part").glob("*0.*")}
    assert bulk(generator, prompts, tmp_path / "part", *form) == 0
    assert contents(tmp_path / "part") == whole
    first = [file for file in left if "00000." in file.name]
    assert all(file.stat().st_mtime_ns == left[file] for file in first)


def test_ranks_share_the_shards(
    generator: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bulk(generator, prompts, tmp_path / "whole") == 0
    for rank in ("0", "1"):
        for name, value in {"WORLD_SIZE": "2", "RANK": rank}.items():
            monkeypatch.setenv(name, value)
        assert bulk(generator, prompts, tmp_path / "shared") == 0
    assert contents(tmp_path / "shared") == contents(tmp_path / "whole")


def test_other_settings_in_the_same_folder_are_refused(
    generator: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk(generator, prompts, tmp_path / "out") == 0
    assert bulk(generator, prompts, tmp_path / "out", "--seed", 1) == 2
    assert "out: got" in capsys.readouterr().err


@pytest.mark.parametrize("form", [(), ("--tars",)])
def test_captions_of_a_data_set_are_prompts_and_evaluate_reads_the_samples(
    generator: Path, icons: Path, tmp_path: Path, form: tuple[str, ...]
) -> None:
    assert bulk(generator, icons, tmp_path / "out", "--split", "val", "--limit", 3, *form) == 0
    samples = open_pictures(str(tmp_path / "out"), batch_size=2)
    expected = read_prompts(str(icons), split="val", limit=3)
    assert [caption for batch in samples for caption in batch.captions] == expected
    assert samples.config.size == (128, 128)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("a cat", "--prompts", "x.txt"), "PROMPT:"),
        (("--limit", 3, "a cat"), "limit:"),
        (("--prompts", "nothing.txt"), "nothing.txt"),
        (("--prompts", "nothing.txt", "--overwrite"), "overwrite:"),
        (("--prompts", "nothing.txt", "--split", "val"), "split:"),
    ],
)
def test_wrong_bulk_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], key: str
) -> None:
    assert run("generate", *words, "--out", tmp_path / "out") == 2
    assert key in capsys.readouterr().err


@pytest.mark.parametrize(("name", "text"), [("x.txt", " \n"), ("x.json", '{"a": "a cat", "b": ""}')])
def test_prompts_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    assert run("generate", "--prompts", tmp_path / name, "--out", tmp_path / "out") == 2
    assert "prompts: got" in capsys.readouterr().err
