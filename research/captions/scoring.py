"""Scores of a finished arm: every budget, caption condition and test set, kept in its run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from research import scoring
from research.captions.variants import VARIANTS, with_variants
from research.scoring import SCORES_FILE, scores_in
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.results import Result, Scores
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok
from textok.pipeline.precision import inference_dtype

BUDGETS = (1, 2, 4, 8, 16, 32)
FEW_BUDGETS = (2, 8, 32)
"""Budgets of failing captions, and of tables that show many things at once."""


@dataclass(frozen=True, kw_only=True)
class TestSet:
    """A picture set that no arm trains on.

    Attributes:
        name: its name in the tables.
        source: source of the pictures.
        split: part of the source.
    """

    name: str
    source: str
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class Test:
    """What every arm is scored on.

    Attributes:
        sets: the picture sets.
        limit: pictures of a set, at most.
        device: name of the device that the models run on.
    """

    sets: Sequence[TestSet]
    limit: int | None = None
    device: str = "cpu"


def scores_of(
    folder: Path, test: Test, *, variants: bool = False, name: str = SCORES_FILE, weights: Path | None = None
) -> Result:
    """The scores of a model; evaluated once, then read from the file ``name`` in ``folder``.

    Args:
        folder: a run folder.
        test: what the model is scored on.
        variants: also score all the ways in which a caption can fail; else an arm reads right captions only.
        name: name of the file.
        weights: folder of the model, when it is not the run's.
    """
    model = TexTok.from_pretrained(weights or folder / "weights").to(test.device)
    evaluator = _evaluator(model, test.device)
    settings = evaluator.settings | {
        "sets": {s.name: f"{s.source}, {s.split or 'all'}" for s in test.sets},
        "captions": f"right and failing, at {FEW_BUDGETS} tokens" if variants else "right",
        "limit": test.limit,
    }
    return scores_in(folder / name, settings, lambda: _score_sets(evaluator, test, variants=variants))


def _evaluator(model: TexTok, device: str) -> Evaluator:
    semantics, dtype = scoring.judges(scoring.FEATURE_SIDE, device), inference_dtype(device)
    config = model.config
    return Evaluator(
        model=model,
        text=TextEncoder.from_pretrained(
            config.text_encoder,
            max_tokens=config.max_text_tokens,
            dtype=config.text_dtype,
            device=device,
        ),
        network=semantics.network,
        semantics=semantics,
        batch_size=50,
        autocast=None if dtype == torch.float32 else dtype,
    )


def _score_sets(evaluator: Evaluator, test: Test, *, variants: bool) -> Scores:
    scores = [_score(evaluator, s, limit=test.limit, variants=variants) for s in test.sets]
    return Scores(
        rows=[row for one in scores for row in one.rows],
        per_image=[row for one in scores for row in one.per_image],
    )


def _score(evaluator: Evaluator, test_set: TestSet, *, limit: int | None, variants: bool) -> Scores:
    """All budgets: under right captions, and if asked under failing ones; without any for an arm without text."""
    config = evaluator.model.config
    pictures = CaptionedPictures.open(
        test_set.source, split=test_set.split, name=test_set.name, side=config.image_size, limit=limit
    )
    conditions = ["right"]
    if variants:
        assert evaluator.semantics is not None, "_evaluator gives it"
        pictures = with_variants(pictures, text=evaluator.semantics.text)
        conditions = ["right", *VARIANTS, "wrong", "none"]
    if config.placement == "none":
        conditions = ["none"]
    budgets = FEW_BUDGETS if variants else BUDGETS
    return evaluator.score(
        pictures, budgets=[k for k in budgets if k <= config.num_latents], captions=conditions
    )
