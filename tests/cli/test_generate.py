"""``textok generate`` as a user runs it: pictures, a grid, what they say of themselves, and errors."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from textok.cli import main
from textok.cli.generate import file_words
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiT, DiTConfig
from textok.models.tokenizer import TexTok


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
        ([], "PROMPT"),
        (["a cat", "--num-tokens", 99], "num_tokens: got 99, expected 1 to 32"),
        (["a cat", "--guidance-interval", 0.9, 0.1], "interval"),
        (["--labels", 3], "conditioned on text"),
        (["a cat", "--labels", 3], "not both"),
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
