"""How good a generator is: pictures for the captions of a held-out split, scored as a set and one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.features import FeatureReader, PictureFeatures
from textok.evaluation.generation import GenerationScores, evaluate_generation
from textok.pipeline.generation import Pipeline

FEATURE_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class SampledCell:
    """One way to sample.

    Attributes:
        num_tokens: the budget.
        guidance: the scale of classifier-free guidance.
    """

    num_tokens: int
    guidance: float


@dataclass(frozen=True, kw_only=True)
class GeneratorEvaluator:
    """A generator with everything that scores its samples.

    Attributes:
        pipeline: a text-conditional generator.
        reader: the networks that read the samples.
        reference: features of the held-out pictures, among them those whose captions are drawn.
        train: features of the training pictures, for the copying check, or None.
        batch_size: pictures sampled at a time.
        seed: of the noise and of what the scores draw.
    """

    pipeline: Pipeline
    reader: FeatureReader
    reference: PictureFeatures
    train: PictureFeatures | None = None
    batch_size: int = 16
    seed: int = 0

    def score(
        self,
        pictures: CaptionedPictures,
        cells: Sequence[SampledCell],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> GenerationScores:
        """One row per budget and guidance scale: one picture for each caption, from the same noise.

        Args:
            pictures: held-out pictures; their captions are the prompts.
            cells: ways to sample.
            progress: is called after every cell with its number of pictures.
        """
        rows, per_image = [], []
        for cell in cells:
            scores = self._score_samples(self._sample(pictures, cell), pictures)
            fields = {"budget": cell.num_tokens, "guidance": cell.guidance}
            rows += [{"split": row["split"], **fields} | row for row in scores.rows]
            per_image += [{"split": row["split"], **fields} | row for row in scores.per_image]
            if progress is not None:
                progress(len(pictures))
        return GenerationScores(rows=rows, per_image=per_image)

    def _sample(self, pictures: CaptionedPictures, cell: SampledCell) -> UInt8[Tensor, "n 3 h w"]:
        return self.pipeline(
            list(pictures.captions),
            num_tokens=cell.num_tokens,
            guidance=cell.guidance,
            generator=torch.Generator().manual_seed(self.seed),
            batch_size=self.batch_size,
            output="uint8",
        )

    def _score_samples(
        self, samples: UInt8[Tensor, "n 3 h w"], pictures: CaptionedPictures
    ) -> GenerationScores:
        batches = pictures.with_images(samples).batches(FEATURE_BATCH)
        return evaluate_generation(
            self.reader.read(batches, judged=True),
            self.reference,
            split=pictures.split,
            reader=self.reader,
            train=self.train,
            seed=self.seed,
        )
