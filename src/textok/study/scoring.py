"""Scores of a finished arm: every budget, caption condition and test set, kept in its run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from textok.data import DataConfig, EvalLoader
from textok.evaluation.alignment import TwoTower
from textok.evaluation.caption_variants import VARIANTS, with_variants
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.metrics.semantics import Semantics
from textok.evaluation.networks import EffNetLite2
from textok.evaluation.networks.enlarged import Enlarged
from textok.evaluation.reconstruction import ReconstructionScores, evaluate_reconstruction
from textok.evaluation.results import Result, read_result, write_result
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok
from textok.pipeline.precision import inference_dtype
from textok.training.run_folder import environment

BUDGETS = (1, 2, 4, 8, 16, 32)
FEW_BUDGETS = (2, 8, 32)
"""Of failing captions, and of tables that show many things at once."""
FEATURE_SIDE = 128
SCORES_FILE = "scores.json"


@dataclass(frozen=True, kw_only=True)
class TestSet:
    """A picture set that no arm trains on.

    Attributes:
        name: what tables call it.
        source: of pictures.
        split: of the source.
    """

    name: str
    source: str
    split: str | None = None


def scores_of(
    folder: Path,
    sets: Sequence[TestSet],
    *,
    variants: bool = False,
    name: str = SCORES_FILE,
    limit: int | None = None,
    weights: Path | None = None,
    device: torch.device | str = "cpu",
) -> Result:
    """The scores of a model; evaluated once, then read from the file ``name`` in ``folder``.

    Args:
        folder: a run folder.
        sets: what to evaluate on.
        variants: also all the ways in which a caption can fail; else an arm reads right captions only.
        name: of the file.
        limit: pictures of a set, at most.
        weights: folder of the model, when it is not the run's.
        device: where the models run.
    """
    model = TexTok.from_pretrained(weights or folder / "weights").to(device)
    path = folder / name
    if path.is_file():
        found = read_result(path)
        if found.settings == protocol(model, sets, variants=variants, limit=limit, device=device):
            return found
    judge = Judge(model, device=device)
    scores = [judge.score(pictures_of(s, model, limit=limit), variants=variants) for s in sets]
    write_result(
        path,
        settings=protocol(model, sets, variants=variants, limit=limit, device=device),
        rows=[row for found in scores for row in found.rows],
        per_image=[row for found in scores for row in found.per_image],
        made_by=environment(),
    )
    return read_result(path)


def pictures_of(test_set: TestSet, model: TexTok, *, limit: int | None) -> CaptionedPictures:
    """A test set at the model's size."""
    side = model.config.image_size
    config = DataConfig(source=test_set.source, split=test_set.split, size=(side, side))
    return CaptionedPictures.collect(test_set.name, EvalLoader(config, batch_size=64), limit=limit)


class Judge:
    """Everything an evaluation of one model needs, made once."""

    def __init__(self, model: TexTok, *, device: torch.device | str) -> None:
        config = model.config
        self.model, self.device = model, device
        self.network = Enlarged(EffNetLite2().to(device), side=FEATURE_SIDE)
        self.semantics = Semantics.from_pretrained(network=self.network, device=device)
        self.text = TextEncoder.from_pretrained(
            config.text_encoder, max_tokens=config.max_text_tokens, device=device
        )
        self.dtype = inference_dtype(torch.device(device).type)

    def score(self, pictures: CaptionedPictures, *, variants: bool) -> ReconstructionScores:
        """All budgets: under right captions, and if asked under failing ones; without any for an arm without text."""
        captions: tuple[str, ...] = ("right",)
        budgets = FEW_BUDGETS if variants else BUDGETS
        if variants:
            pictures = with_variants(pictures, VARIANTS, text=self.semantics.text)
            captions = ("right", *VARIANTS, "wrong", "none")
        if self.model.config.placement == "none":
            captions = ("none",)
        return evaluate_reconstruction(
            self.model,
            pictures,
            text=self.text,
            network=self.network,
            semantics=self.semantics,
            budgets=[k for k in budgets if k <= self.model.config.num_latents],
            captions=captions,
            batch_size=50,
            autocast=None if self.dtype == torch.float32 else self.dtype,
        )


def protocol(
    model: TexTok,
    sets: Sequence[TestSet],
    *,
    variants: bool,
    limit: int | None,
    device: torch.device | str,
) -> dict[str, Any]:
    """What was evaluated and how: scores are read again only when all of it is the same."""
    return {
        "model": model.model_id,
        "sets": {s.name: f"{s.source}, {s.split or 'all'}" for s in sets},
        "captions": f"right and failing, at {FEW_BUDGETS} tokens" if variants else "right",
        "limit": limit,
        "crop": "short side resized, centre crop",
        "filter": "lanczos",
        "uint8": "round(clamp((x + 1) * 127.5, 0, 255))",
        "feature_network": f"{EffNetLite2.name}, pictures enlarged to {FEATURE_SIDE} px (bicubic)",
        "two_tower": TwoTower.from_pretrained("two-tower").model_id,
        "autocast": str(inference_dtype(torch.device(device).type)),
        "wrong": "the caption half the split further on",
        "seed": 0,
    }
