"""How good a generator is: pictures for the captions of a held-out split, scored as a set and one by one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.generation import (
    GenerationScores,
    NamedPictures,
    PictureFeatures,
    evaluate_generation,
    read_features,
)
from textok.evaluation.metrics.semantics import Semantics
from textok.evaluation.networks import FeatureNetwork
from textok.pipeline.generation import Pipeline

FEATURE_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class SampledCell:
    """One way to sample.

    Attributes:
        num_tokens: the budget.
        guidance: its scale.
    """

    num_tokens: int
    guidance: float


@dataclass(frozen=True, kw_only=True)
class SampledJudge:
    """Everything that scores samples, with the features of the real pictures computed once.

    Attributes:
        network: of the distances.
        semantics: judges of captions, or None.
        reference: features of the held-out pictures, among them those whose captions are drawn.
        train: features of the training pictures, for the copying check, or None.
        device: where the networks run.
    """

    network: FeatureNetwork
    semantics: Semantics | None
    reference: PictureFeatures
    train: PictureFeatures | None
    device: torch.device | str

    def score(
        self, samples: UInt8[Tensor, "n 3 h w"], pictures: CaptionedPictures, *, seed: int
    ) -> GenerationScores:
        """Scores of one picture for each caption of ``pictures``."""
        made = read_features(
            named_batches(samples, keys=pictures.keys, captions=pictures.captions),
            network=self.network,
            device=self.device,
            semantics=self.semantics,
        )
        return evaluate_generation(
            made,
            self.reference,
            split=pictures.split,
            network=self.network,
            train=self.train,
            semantics=self.semantics,
            seed=seed,
        )


def evaluate_sampled(
    pipeline: Pipeline,
    pictures: CaptionedPictures,
    judge: SampledJudge,
    *,
    cells: Sequence[SampledCell],
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int], object] | None = None,
) -> GenerationScores:
    """A row for every budget and guidance scale: one picture for each caption, from the same noise.

    Args:
        pipeline: of a text-conditional generator.
        pictures: held-out pictures; their captions are the prompts.
        judge: what scores the samples.
        cells: ways to sample.
        seed: of the noise.
        batch_size: pictures at a time.
        progress: told after every cell how many pictures are done more.
    """
    rows, per_image = [], []
    for cell in cells:
        samples = pipeline(
            list(pictures.captions),
            num_tokens=cell.num_tokens,
            guidance=cell.guidance,
            generator=torch.Generator().manual_seed(seed),
            batch_size=batch_size,
            output="uint8",
        )
        found = judge.score(samples, pictures, seed=seed)
        told = {"budget": cell.num_tokens, "guidance": cell.guidance}
        rows += [{"split": row["split"], **told} | row for row in found.rows]
        per_image += [{"split": one["split"], **told} | one for one in found.per_image]
        if progress is not None:
            progress(len(pictures))
    return GenerationScores(rows=rows, per_image=per_image)


def named_batches(
    images: UInt8[Tensor, "n 3 h w"], *, keys: Sequence[str], captions: Sequence[str]
) -> Iterator[NamedPictures]:
    """Pictures in batches for the feature networks."""
    for start in range(0, len(images), FEATURE_BATCH):
        rows = slice(start, start + FEATURE_BATCH)
        yield NamedPictures(images=images[rows], keys=keys[rows], captions=captions[rows])
