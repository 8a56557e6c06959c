"""Numbers out of range, and options that nothing reads: one line before any work."""

from pathlib import Path

import pytest

from textok.cli import main

DATASETS = Path(__file__).parents[2] / "datasets"
ICONS, PHOTOS = DATASETS / "icons-128", DATASETS / "photos-256"
RECONSTRUCTION = ["evaluate", "reconstruction", "--model", "icons-128", "--data", "{icons}", "--split", "val"]
GENERATION = ["evaluate", "generation", "{photos}", "--reference", "{photos}"]
GENERATOR = ["evaluate", "generator", "--model", "icons-128", "--data", "{icons}", "--split", "val"]
COMPARE = ["evaluate", "compare", "a.json", "b.json"]
LARGE = str(2**63)

WRONG = [
    (RECONSTRUCTION, ["--limit", "0"], "limit: got 0"),
    (RECONSTRUCTION, ["--batch-size", "-1"], "batch_size: got -1"),
    (RECONSTRUCTION, ["--size", "0", "128"], "size: got 0 128"),
    (RECONSTRUCTION, ["--size", "-8", "-8"], "size: got -8 -8"),
    (RECONSTRUCTION, ["--size", "1000000", "1000000"], "size: got 1000000 1000000"),
    (RECONSTRUCTION, ["--size", "100", "128"], "size: got 100 128"),
    (RECONSTRUCTION, ["--budgets", "-2"], "budgets: got -2"),
    (RECONSTRUCTION, ["--device", "mps"], "device: got 'mps'"),
    (RECONSTRUCTION, ["--out", "."], "out: got ."),
    (RECONSTRUCTION, ["--write-samples", "file"], "write_samples: got file"),
    (GENERATION, ["--size", "0", "0"], "size: got 0 0"),
    (GENERATION, ["--size", "-64", "64"], "size: got -64 64"),
    (GENERATION, ["--batch-size", "0"], "batch_size: got 0"),
    (GENERATION, ["--seed", "-1"], "seed: got -1"),
    (GENERATION, ["--seed", LARGE], f"seed: got {LARGE}"),
    (GENERATION, ["--device", "mps"], "device: got 'mps'"),
    (GENERATION, ["--train-split", "train"], "train_split: got 'train' without train"),
    (GENERATION, ["--captions", "file", "--no-semantics"], "captions: got file with no_semantics"),
    (GENERATION, ["--out", "file/out.json"], "out: got file"),
    (GENERATION, ["--write-samples", "."], "write_samples: got ."),
    (GENERATOR, ["--batch-size", "0"], "batch_size: got 0"),
    (GENERATOR, ["--steps", "0"], "steps: got 0"),
    (GENERATOR, ["--limit", "-5"], "limit: got -5"),
    (GENERATOR, ["--seed", "-1"], "seed: got -1"),
    (GENERATOR, ["--guidance", "nan"], "guidance: got nan"),
    (GENERATOR, ["--device", "mps:0"], "device: got 'mps:0'"),
    (GENERATOR, ["--train-split", "train"], "train_split: got 'train' without train"),
    (GENERATOR, ["--out", "."], "out: got ."),
    (COMPARE, ["--out", "."], "out: got ."),
]


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a picture is read nor a network of the metrics loaded."""

    def work(*args: object, **options: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("textok.evaluation.networks.load_network", work)
    monkeypatch.setattr("textok.data.EvalLoader.__iter__", work)


@pytest.mark.parametrize(
    ("command", "words", "told"), WRONG, ids=[" ".join([*c[:2], *w]) for c, w, _ in WRONG]
)
@pytest.mark.slow
def test_told_before_any_work(
    command: list[str],
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("here before")
    command = [word.format(icons=ICONS, photos=PHOTOS) for word in command]
    assert main([*command, *words]) == 2
    captured = capsys.readouterr()
    assert told in captured.err and len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "here before")]
