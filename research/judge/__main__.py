"""``python -m research.judge``: train the judge, and record how well it reads real pictures."""

import sys
from pathlib import Path

import torch

from research.command import run
from research.judge.network import Judge
from research.judge.reading import accuracy, confirm
from research.judge.train import JudgeRun, train_judge
from textok.cli import checks
from textok.data.scenes.source import SceneOptions, SceneSource, scene_picture
from textok.training.run_folder import environment
from textok.writing import write_json

SPLITS = ("train", "val", "test-drawing", "test-concept")


def judge(
    *,
    weights: Path = Path("research/judge/judge.safetensors"),
    train: bool = False,
    pictures: int = 128_000,
    seed: int = 1,
    sizes: tuple[int, ...] = (64, 128),
    limit: int = 1000,
    record: Path | None = None,
) -> None:
    """Say which facts of real scenes the judge reads right, of each split and size, and what it reads by chance.

    Chance is the share of facts that it confirms in pictures of other scenes: the facts of each scene are asked of the
    next picture. Concepts that no train drawing shows are not asked for.

    Args:
        weights: file of the judge; it is written with --train.
        train: train the judge first.
        pictures: scenes that it sees in training.
        seed: of the training and its scenes.
        sizes: pixels a side of the pictures that are read.
        limit: pictures of a split.
        record: keep the numbers there, such as benchmarks/results/judge.json.
    """
    checks.at_least(2, limit=limit)
    checks.at_least(1, pictures=pictures)
    checks.files(record=record)
    if train:
        train_judge(JudgeRun(pictures=pictures, seed=seed), weights)
    one = Judge.load(weights)
    rows = [
        {"split": split, "size": size} | read_scenes(one, split, size, limit)
        for split in SPLITS
        for size in sizes
    ]
    for row in rows:
        print(
            ", ".join(
                f"{name} {value:.3f}" if isinstance(value, float) else f"{value}"
                for name, value in row.items()
            )
        )
    if record is not None:
        write_json(record, {"made_by": environment(), "concepts": len(one.concepts), "rows": rows})


def read_scenes(one: Judge, split: str, size: int, limit: int) -> dict[str, float]:
    """Accuracy of the facts of real scenes, and of those of the scene before: what chance confirms."""
    source = SceneSource(split, SceneOptions(density="dense"))
    scenes = [source.facts(number) for number in range(limit)]
    images = torch.stack([scene_picture(facts, source.drawings).draw((size, size)) for facts in scenes])
    right, chance = accuracy(confirm(one, images, scenes)), accuracy(confirm(one, images.roll(1, 0), scenes))
    return right | {f"{kind} by chance": share for kind, share in chance.items()}


if __name__ == "__main__":
    sys.exit(run(judge, prog="research.judge"))
