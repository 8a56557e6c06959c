"""``python -m research.shipped``: what a finished tokenizer shows of its captions' facts, and a generator of prompts.

Facts are read by the judge, and stand beside those that it reads in the originals.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
from tyro.conf import arg

from research.command import run
from research.judge.network import Judge
from research.judge.reading import accuracy, confirm
from research.scenes.scoring import ArmScorer, Testing, seams
from research.scenes.testing import SceneTest, foreign_test, photo_test, scene_test
from research.scoring import judges
from textok.cli import checks
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.metrics.paired import set_distances
from textok.evaluation.metrics.sets import SplitFeatures
from textok.evaluation.results import Row
from textok.models.decoder import FlowDecoderConfig
from textok.models.tokenizer import TexTok
from textok.pipeline.generation import Pipeline
from textok.pipeline.precision import inference_dtype
from textok.training.run_folder import environment
from textok.writing import write_json

SHOWN = (
    "split",
    "captions",
    "budget",
    "steps",
    "psnr",
    "facts",
    "background",
    "colour",
    "place",
    "thing",
    "seams",
)


def shipped(
    tokenizer: str = "icons-128",
    *,
    generator: str | None = None,
    judge: Path = Path("research/judge/judge.safetensors"),
    photos: str = "datasets/photos-256",
    limit: int = 300,
    prompts: int = 500,
    budgets: tuple[int, ...] = (1, 2, 4, 8, 16, 32),
    decoder_steps: tuple[int, ...] = (0, 8),
    record: Annotated[Path | None, arg(metavar="FILE.json")] = None,
) -> None:
    """Score a tokenizer on scenes, on captions that people wrote and on photographs; and a generator on prompts.

    Args:
        tokenizer: name or folder.
        generator: name or folder of a generator on its latents; None scores the tokenizer alone.
        judge: file of the judge.
        photos: captioned photographs, for the test out of domain.
        limit: pictures of a test set.
        prompts: dense captions of held-out scenes that the generator draws.
        budgets: numbers of tokens that are scored.
        decoder_steps: ways to decode, where the decoder generates; 0 is one pass.
        record: keep all rows there.
    """
    checks.at_least(2, limit=limit, prompts=prompts)
    checks.files(record=record)
    model = TexTok.from_pretrained(tokenizer)
    side = model.config.image_size
    sets = [scene_test("test-drawing", side=side, limit=limit), foreign_test(side=side, limit=limit)]
    sets.append(photo_test(photos, side=side, limit=limit))
    testing = Testing(sets=sets, judge=Judge.load(judge), budgets=budgets)
    rows: list[Row] = []
    generates = isinstance(model.config.decoder, FlowDecoderConfig)
    for row in _rows(model, testing, decoder_steps if generates else (0,)):
        rows.append(row)
        _show(row)
    if generator is not None:
        pipeline = Pipeline.from_pretrained(generator, tokenizer=tokenizer)
        rows.append(generated(pipeline, scene_test("test-drawing", side=side, limit=prompts), testing.judge))
        _show(rows[-1])
    if record is not None:
        write_json(record, {"made_by": environment(), "model": model.model_id, "limit": limit, "rows": rows})


def _rows(model: TexTok, testing: Testing, steps: Sequence[int]) -> Iterator[Row]:
    for test in testing.sets:
        yield _originals(test, testing.judge, patch=model.config.patch_size)
    dtype = inference_dtype("cpu")
    autocast = None if dtype == torch.float32 else dtype
    evaluator = Evaluator.load(model, judges(128, "cpu").network, semantics=False, autocast=autocast)
    yield from ArmScorer(evaluator, testing, right="right").rows(steps)


def _originals(test: SceneTest, judge: Judge, *, patch: int) -> Row:
    row: Row = {"split": test.pictures.split, "captions": "originals"}
    facts = accuracy(confirm(judge, test.pictures.images, test.scenes)) if test.scenes else {}
    return row | _named(facts) | {"seams": seams(test.pictures.images, patch=patch)}


def generated(pipeline: Pipeline, test: SceneTest, judge: Judge) -> Row:
    """What the judge reads in pictures of the test's captions, and their distance to the test's pictures."""
    network = judges(128, "cpu").network
    images = pipeline(list(test.pictures.captions), output="uint8", progress=True)
    pooled = [
        torch.cat([network(part).pooled for part in pictures.split(50)])
        for pictures in (test.pictures.images, images)
    ]
    row: Row = {"split": test.pictures.split, "captions": "generated", "model": pipeline.model_id}
    distances = set_distances(SplitFeatures.of(pooled[0]), SplitFeatures.of(pooled[1]), network=network)
    return row | _named(accuracy(confirm(judge, images, test.scenes))) | distances


def _named(facts: dict[str, float]) -> Row:
    return {f"fact_{kind}" if kind != "facts" else kind: share for kind, share in facts.items()}


def _show(row: Row) -> None:
    cells = [row.get(name, row.get(f"fact_{name}")) for name in SHOWN]
    print(
        "  ".join(
            f"{cell:.3f}" if isinstance(cell, float) else f"{cell}" for cell in cells if cell is not None
        )
    )


if __name__ == "__main__":
    sys.exit(run(shipped, prog="research.shipped"))
