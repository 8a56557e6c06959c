"""What a tokenizer's encodings of a picture set look like: statistics of its latents and use of its codes."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textok.evaluation.metrics.codes import channel_statistics, code_statistics, latent_statistics
from textok.models.tokenizer import Encoding


@dataclass(kw_only=True)
class EncodingRecord:
    """The encodings seen so far, in main memory; add two of them to merge chunks or ranks.

    Attributes:
        latents: chunks (b, K, c) on the unit scale that the decoder reads.
        log_variance: chunks (b, K, c) of a ``kl`` tokenizer.
        codes: chunks (b, K) of a discrete tokenizer.
    """

    latents: list[Float[Tensor, "_ k c"]] = field(default_factory=list)
    log_variance: list[Float[Tensor, "_ k c"]] = field(default_factory=list)
    codes: list[Int[Tensor, "_ k"]] = field(default_factory=list)

    def update(self, encoding: Encoding) -> None:
        """Add the encodings of some pictures."""
        self.latents.append(encoding.latents.float().cpu())
        if encoding.log_variance is not None:
            self.log_variance.append(encoding.log_variance.float().cpu())
        if encoding.codes is not None:
            self.codes.append(encoding.codes.cpu())

    def __add__(self, other: "EncodingRecord") -> "EncodingRecord":
        return EncodingRecord(
            latents=self.latents + other.latents,
            log_variance=self.log_variance + other.log_variance,
            codes=self.codes + other.codes,
        )

    def latent_row(self) -> dict[str, float]:
        """Statistics of all K latents, of any kind of tokenizer."""
        log_variance = torch.cat(self.log_variance) if self.log_variance else None
        return latent_statistics(torch.cat(self.latents), log_variance)

    def channels(self) -> dict[str, list[float]]:
        """Mean and standard deviation of every channel, over all K latents."""
        return channel_statistics(torch.cat(self.latents))

    def code_row(self, budget: int, *, num_codes: int | None) -> dict[str, float]:
        """Use of the first ``budget`` codes; nothing for a tokenizer without codes (``num_codes`` None)."""
        if num_codes is None:
            return {}
        return code_statistics(torch.cat(self.codes)[:, :budget], num_codes=num_codes)
