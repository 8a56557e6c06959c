"""Curves of quality against tokens, measured by decoding."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from textok.models.text import TextCondition
from textok.objectives.quality import Measure
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pixels import to_uint8


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedCurves:
    """Quality against tokens by decoding: every value is that of a decoded picture against its original.

    Attributes:
        tokenizer: decodes.
        values: all tokens of b pictures.
        text: their captions.
        originals: the pictures.
        measure: compares.
        batch_size: pictures decoded at a time; those of like numbers of tokens go together.
    """

    tokenizer: ImageTokenizer
    values: Float[Tensor, "b k c"] | Int[Tensor, "b k"]
    text: TextCondition | None
    originals: UInt8[Tensor, "b 3 h w"]
    measure: Measure
    batch_size: int

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        """See :class:`textok.budgets.search.Curves`."""
        quality = torch.empty(len(rows), dtype=torch.float64)
        for places in budgets.argsort(stable=True).split(self.batch_size):
            if len(places):
                quality[places] = self._measured(rows[places], budgets[places]).double().cpu()
        return quality

    @torch.no_grad()
    def _measured(self, rows: Int[Tensor, "r"], budgets: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        patch, originals = self.tokenizer.model.config.patch_size, self.originals[rows]
        grid = (originals.shape[2] // patch, originals.shape[3] // patch)
        text = None if self.text is None else self.text[rows]
        pictures = self.tokenizer.decode_values(self.values[rows], text, grid=grid, lengths=budgets)
        return self.measure.compare(originals, to_uint8(pictures))
