"""``textok evaluate`` in two processes, as ``torchrun`` starts them."""

import contextlib
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from textok.cli import main
from textok.evaluation.networks import ImageFeatures
from textok.evaluation.results import read_result
from tiny import write_pictures

COUNT = 17


class MeanColours(nn.Module):
    """Mean colours of four quarters stand in for features."""

    name = "colours"
    dim = 12

    def forward(self, images: Tensor) -> ImageFeatures:
        means = torch.nn.functional.adaptive_avg_pool2d(images.float(), 2)
        return ImageFeatures(pooled=means.flatten(1), stages=(means,))


@pytest.fixture
def words(model_folder: Path, tmp_path: Path) -> list[str]:
    """The command, without its output files."""
    folder = write_pictures(tmp_path / "colours", [f"{i % 5} squares" for i in range(COUNT)], side=32)
    command = [
        "evaluate",
        "reconstruction",
        "--model",
        str(model_folder),
        "--data",
        str(folder),
        "--no-semantics",
    ]
    return [*command, "--budgets", "1,4", "--conditions", "right,none,wrong", "--batch-size", "3"]


def evaluate(words: list[str], folder: Path) -> int:
    """Run the command with the small network; what it prints goes to files."""
    folder.mkdir()
    torch.set_num_threads(1)
    with (
        pytest.MonkeyPatch.context() as patch,
        open(folder / "stdout", "w") as out,
        open(folder / "stderr", "w") as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr("textok.evaluation.networks.load_network", lambda name, weights=None: MeanColours())
        return main([*words, "--out", str(folder / "scores.json")])


def evaluate_on_rank(rank: int, port: int, words: list[str], folder: Path) -> None:
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in place.items()})
    assert evaluate(words, folder / f"rank-{rank}") == 0, (folder / f"rank-{rank}" / "stderr").read_text()


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_two_processes_write_once_what_one_writes(words: list[str], tmp_path: Path) -> None:
    assert evaluate(words, tmp_path / "alone") == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(evaluate_on_rank, args=(port, words, tmp_path), nprocs=2)
    alone, first, second = tmp_path / "alone", tmp_path / "rank-0", tmp_path / "rank-1"
    assert sorted(path.name for path in second.iterdir()) == ["stderr", "stdout"]
    assert (second / "stdout").read_text() == (second / "stderr").read_text() == ""
    assert (first / "stdout").read_text() == (alone / "stdout").read_text()
    ours, theirs = read_result(alone / "scores.json"), read_result(first / "scores.json")
    assert ours.settings == theirs.settings and len(ours.rows) == 6
    for mine, other in zip(ours.rows, theirs.rows, strict=True):
        assert other == {k: v if isinstance(v, str) else pytest.approx(v, rel=1e-4) for k, v in mine.items()}
    assert [one["key"] for one in ours.per_image] == [one["key"] for one in theirs.per_image]


def test_generated_pictures_are_judged_by_one_process(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    pictures = words[words.index("--data") + 1]
    assert main(["evaluate", "generation", pictures, "--reference", pictures]) == 2
    assert "processes: got 2" in capsys.readouterr().err
