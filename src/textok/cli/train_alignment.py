"""``textok train alignment``: the head that says how well a caption fits a picture."""

import json as json_format
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from textok.training.heads import alignment


def train_alignment(
    *,
    out: Path,
    source: str = "datasets/icons-128",
    split: Annotated[str | None, arg(metavar="NAME")] = "train",
    scored: Annotated[tuple[str, ...], arg(metavar="NAME [NAME ...]")] = (
        "val",
        "test-drawing",
        "test-concept",
    ),
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None,
    steps: int = 800,
    batch_size: int = 512,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Train the two-tower head, which says how well a caption fits a picture; minutes on a CPU.

    Args:
        out: the folder for the head; Semantics.from_pretrained(OUT) judges with it.
        source: captioned pictures.
        split: the part to train on.
        scored: parts to score caption retrieval on, after the training.
        limit: read only so many pictures of each part, from the first.
        steps: training steps.
        batch_size: pictures a step.
        seed: of every random choice.
        json: print the scores as JSON.
    """
    run = alignment.AlignmentRun(
        source=source,
        split=split,
        scored=scored,
        limit=limit,
        steps=steps,
        batch_size=batch_size,
        seed=seed,
    )
    rows = alignment.train_alignment(run, out)
    lines = [
        f"  {row['split']:<13} {row['size']:>4} px  {row['r1']:6.1%} first, {row['r5']:6.1%} among the first 5, "
        f"of {row['captions']} captions"
        for row in rows
    ]
    table = "\n".join([f"{out}: two-tower head; pictures whose own caption is found", *lines])
    print(json_format.dumps(rows) if json else table)
