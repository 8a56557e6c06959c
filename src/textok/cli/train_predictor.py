"""``textok train predictor``: the head that chooses soft budgets without decoding."""

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from textok.training.heads import quality_predictor


def train_predictor(
    *,
    out: Path,
    model: str = "icons-128",
    data: str = "datasets/icons-128",
    split: Annotated[str | None, arg(metavar="NAME")] = "train",
    held_out: Annotated[str | None, arg(metavar="NAME")] = "val",
    scored: Annotated[str | None, arg(metavar="NAME")] = "test-drawing",
    limit: int = 2000,
    looks: int = 8,
    measure: Literal["psnr", "perceptual"] = "psnr",
    steps: int = 800,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Train the head that chooses soft budgets without decoding; minutes on a CPU.

    Args:
        out: the folder for the head.
        model: the tokenizer it is for: a shipped name, a folder or a hub id.
        data: captioned pictures.
        split: the part to train on; None takes all.
        held_out: the part, not among the tokenizer's training pictures, to correct the head by; None corrects nothing.
        scored: the part to score the head on; None scores none.
        limit: read only so many pictures of each part, from the first.
        looks: budgets that each picture is decoded at.
        measure: the quality to tell.
        steps: training steps.
        seed: of every random choice.
        json: print the scores as JSON.
    """
    run = quality_predictor.PredictorRun(
        model=model,
        data=data,
        split=split,
        held_out=held_out,
        scored=scored,
        limit=limit,
        looks=looks,
        measure=measure,
        steps=steps,
        seed=seed,
    )
    scores = quality_predictor.train_predictor(run, out)
    lines = [f"{out}: quality predictor for {model}"]
    if scores:
        unit, before = "dB" if measure == "psnr" else "of distance", scores["uncorrected"]
        lines.append(
            f"  {scores['pictures']} pictures of {scored}: mean error {scores['bias']:+.3g} {unit} (before correction "
            f"{before['bias']:+.3g}), root mean square {scores['rmse']:.3g} ({before['rmse']:.3g}), "
            f"{scores['explained']:.0%} of the variance explained"
        )
    print(json_format.dumps(scores) if json else "\n".join(lines))
