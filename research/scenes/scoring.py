"""Scores of one trained arm: pictures, features, facts and colours, in one pass and in steps."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from research.judge.network import Judge
from research.judge.reading import accuracy, confirm
from research.scene_changes import KINDS
from research.scenes.testing import SceneTest
from research.scoring import judges, scores_in
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.metrics import Pairs
from textok.evaluation.metrics.paired import measure_pairs, set_distances
from textok.evaluation.metrics.sets import SplitFeatures
from textok.evaluation.networks import FeatureNetwork, ImageFeatures
from textok.evaluation.results import Result, Row, Scores
from textok.models.bottleneck import NormConfig
from textok.models.tokenizer import TexTok
from textok.pipeline.precision import inference_dtype

BUDGETS = (1, 2, 4, 8, 16, 32)
STEPS = 8
_BATCH = 50
Pictures = UInt8[Tensor, "n 3 h w"]


@dataclass(frozen=True, kw_only=True)
class Testing:
    """What every arm is scored with.

    Attributes:
        sets: the test sets.
        judge: reads facts.
        budgets: numbers of tokens.
        batch_size: pictures at a time.
    """

    sets: Sequence[SceneTest]
    judge: Judge
    budgets: Sequence[int] = BUDGETS
    batch_size: int = 50


def scores_of(folder: Path, testing: Testing, *, name_only: bool, samples: bool) -> Result:
    """The scores of a run; computed once, then read from its folder.

    Args:
        folder: of the run.
        testing: sets and judge.
        name_only: whether the arm reads captions of names only.
        samples: whether its decoder can decode in steps.
    """
    model = TexTok.from_pretrained(folder / "weights")
    dtype = inference_dtype("cpu")
    network = judges(128, "cpu").network
    evaluator = Evaluator.load(
        model,
        network,
        semantics=False,
        batch_size=testing.batch_size,
        autocast=None if dtype == torch.float32 else dtype,
    )
    scorer = ArmScorer(evaluator, testing, right="name" if name_only else "right")
    settings = evaluator.settings | {
        "sets": {test.pictures.split: len(test.pictures) for test in testing.sets},
        "budgets": list(testing.budgets),
        "captions": "names" if name_only else "dense",
        "steps": STEPS if samples else 0,
    }
    steps = (0, STEPS) if samples else (0,)
    return scores_in(folder / "scores-scenes.json", settings, lambda: Scores(rows=list(scorer.rows(steps))))


class ArmScorer:
    """All rows of one arm.

    Args:
        evaluator: of its model.
        testing: sets and judge.
        right: the condition whose captions the arm was trained on, "right" (dense) or "name".
    """

    def __init__(self, evaluator: Evaluator, testing: Testing, *, right: str) -> None:
        self.evaluator, self.testing, self.right = evaluator, testing, right
        self.reads_text = evaluator.model.config.placement != "none"

    def rows(self, steps: Sequence[int]) -> Iterator[Row]:
        """One row per set, way of decoding, caption condition and budget; and those of changed facts."""
        for test in self.testing.sets:
            originals = _features(self.evaluator.network, test.pictures.images)
            for count in steps:
                conditions = self._conditions(test)
                cells = self.evaluator.reconstruct(
                    test.pictures, budgets=self.testing.budgets, captions=conditions, steps=count
                )
                for (condition, budget), images in cells.items():
                    where: Row = {
                        "split": test.pictures.split,
                        "captions": condition,
                        "budget": budget,
                        "steps": count,
                    }
                    yield (
                        where
                        | self._measure(test, images, originals)
                        | {"bits": budget * self._bits_per_token()}
                    )
                if count:
                    yield from self._diversity(test, count, conditions[0])
                if test.changes and self.reads_text and self.right == "right":
                    yield from self._changes(test, count)

    def _conditions(self, test: SceneTest) -> list[str]:
        """The captions that it was trained on first; those of our grammar too, where people wrote the right ones."""
        if not self.reads_text:
            return ["none"]
        return [
            self._known(test),
            "none",
            "wrong",
            *(name for name in test.pictures.variants if name == "dense"),
        ]

    def _known(self, test: SceneTest) -> str:
        return self.right if self.right in test.pictures.variants else "right"

    def _measure(self, test: SceneTest, images: Pictures, originals: Sequence[ImageFeatures]) -> Row:
        network = self.evaluator.network
        row, pooled = _compare(network, test.pictures.images, originals, images)
        known = SplitFeatures.of(torch.cat([features.pooled for features in originals]))
        row |= {"count": len(images)} | set_distances(known, SplitFeatures.of(pooled), network=network)
        row["colour_error"] = _colour_error(test.pictures.images, images)
        row["seams"] = seams(images, patch=self.evaluator.model.config.patch_size)
        if test.scenes:
            facts = accuracy(confirm(self.testing.judge, images, test.scenes))
            row |= {f"fact_{kind}" if kind != "facts" else kind: share for kind, share in facts.items()}
        return row

    def _diversity(self, test: SceneTest, steps: int, condition: str) -> Iterator[Row]:
        """The feature distance of two samples from the same tokens."""
        network = self.evaluator.network
        one, other = (
            self.evaluator.reconstruct(
                test.pictures,
                budgets=self.testing.budgets,
                captions=[condition],
                steps=steps,
                generator=torch.Generator().manual_seed(seed),
            )
            for seed in (1, 2)
        )
        for cell, images in one.items():
            distances, _ = _compare(network, images, _features(network, images), other[cell])
            row: Row = {
                "split": test.pictures.split,
                "captions": f"{cell[0]}, two samples",
                "budget": cell[1],
            }
            yield row | {"steps": steps} | {f"diversity_{name}": value for name, value in distances.items()}

    def _changes(self, test: SceneTest, steps: int) -> Iterator[Row]:
        """Whether pictures show the changed fact of a caption, or the one that the tokens carry, by kind of fact."""
        places = [place for place, change in enumerate(test.changes) if change is not None]
        changes = [change for change in test.changes if change is not None]
        wrong = CaptionedPictures(
            split=test.pictures.split,
            images=test.pictures.images[places],
            captions=tuple(change.wrong.text for change in changes),
            keys=tuple(test.pictures.keys[place] for place in places),
        )
        cells = self.evaluator.reconstruct(
            wrong, budgets=self.testing.budgets, captions=["right"], steps=steps
        )
        for (_, budget), images in cells.items():
            follows = confirm(self.testing.judge, images, [change.facts for change in changes])
            keeps = confirm(self.testing.judge, images, [test.scenes[place] for place in places])
            row: Row = {
                "split": test.pictures.split,
                "captions": "one fact changed",
                "budget": budget,
                "steps": steps,
            }
            asked = {(place, change.number, change.fact) for place, change in enumerate(changes)}
            for name, facts in (("follows", follows), ("keeps", keeps)):
                chosen = [fact for fact in facts if (fact.picture, fact.number, fact.kind) in asked]
                row |= {
                    f"{name}_{kind}": share
                    for kind, share in accuracy(chosen).items()
                    if kind in (*KINDS, "facts")
                }
            yield row | {"count": len(places)}

    def _bits_per_token(self) -> float:
        """What a token can hold at most: log2 of the codes, or the capacity of a channel with the training's noise."""
        model = self.evaluator.model
        if model.num_codes is not None:
            return math.log2(model.num_codes)
        bottleneck = model.config.bottleneck
        if isinstance(bottleneck, NormConfig) and bottleneck.noise:
            return bottleneck.latent_dim / 2 * math.log2(1 + bottleneck.noise**-2)
        return 16.0 * model.config.latent_dim


def seams(images: Pictures, *, patch: int) -> float:
    """Mean absolute step between pixels across patch borders, over that inside patches: about 1 without seams."""
    border, inside = [], []
    for pictures in (images.float(), images.float().mT):
        steps = pictures.diff(dim=3).abs().mean((0, 1, 2))  # one between each two columns
        across = torch.arange(1, len(steps) + 1) % patch == 0
        border.append(steps[across].mean())
        inside.append(steps[~across].mean())
    return float(sum(border) / sum(inside))


def _features(network: FeatureNetwork, images: Pictures) -> list[ImageFeatures]:
    """Of each batch of pictures."""
    with torch.inference_mode():
        return [network(part) for part in images.split(_BATCH)]


def _compare(
    network: FeatureNetwork, originals: Pictures, known: Sequence[ImageFeatures], images: Pictures
) -> tuple[Row, Tensor]:
    """Means of the metrics of pairs, and the pooled features of ``images``."""
    sums: dict[str, float] = {}
    pooled = []
    for left, right, features in zip(originals.split(_BATCH), images.split(_BATCH), known, strict=True):
        with torch.inference_mode():
            read = network(right)
        pairs = Pairs(
            originals=left, reconstructions=right, original_features=features, features=read, network=network
        )
        pooled.append(read.pooled)
        for name, values in measure_pairs(pairs).items():
            sums[name] = sums.get(name, 0.0) + float(values.sum())
    return {name: total / len(images) for name, total in sums.items()}, torch.cat(pooled)


def _colour_error(originals: Pictures, images: Pictures) -> float:
    """Mean distance of the pictures' mean colours, in 255ths."""
    means = [pictures.float().mean((2, 3)) for pictures in (originals, images)]
    return float((means[0] - means[1]).norm(dim=1).mean())
