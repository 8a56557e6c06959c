"""MaskGIT over the codes of a discrete tokenizer (Chang et al. 2022, arXiv 2202.04200, section 3).

A transformer without causality reads codes of which some are masked, and predicts the masked ones. Codes of a large
vocabulary are read and predicted as a few digits each.

Axes: b batch, k codes, K the most of them, t text tokens, d width, f digits of a code, n values of a digit.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textok.checks import check
from textok.models.checkpoint import SHIPPED_GENERATORS, Pretrained
from textok.models.conditions import Condition, ConditionEmbedder, GeneratorConfig, join_condition
from textok.models.layers import Transformer, init_linear
from textok.sampling.masked import digits_of


@dataclass(frozen=True, kw_only=True)
class MaskGITConfig(GeneratorConfig):
    """Everything that fixes a generator's shape, and which tokenizer it writes for.

    Attributes:
        num_codes: size of the tokenizer's vocabulary.
        factors: f, digits of a code; above 1 for large vocabularies, whose embedding and output would outweigh
            the rest. The digits of one code are predicted independently of each other.
        base: n, values of a digit; None for the fewest that do. The product of the first levels of an fsq
            tokenizer makes each digit a group of its channels: 512 for (8, 8, 8, 5, 5, 5).
    """

    kind: ClassVar[str] = "maskgit"

    depth: int = 8
    num_codes: int = 4096
    factors: int = 1
    base: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "model", "factors", at_least=1)
        check(self, "model", "num_codes", at_least=2)
        if self.digit_values < 2 or self.digit_values**self.factors < self.num_codes:
            raise ValueError(
                f"model.base: got {self.base}, expected at least 2 and enough for the {self.num_codes} codes "
                f"in {self.factors} digits, or None"
            )

    @property
    def digit_values(self) -> int:
        """n: how many values a digit takes."""
        if self.base is not None:
            return self.base
        root = int(self.num_codes ** (1 / self.factors))
        return root if root**self.factors >= self.num_codes else root + 1


class MaskGIT(Pretrained):
    """Predicts the masked ones among codes, given the budget and the condition."""

    config_class = MaskGITConfig
    shipped = SHIPPED_GENERATORS
    config: MaskGITConfig

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.config = config
        self.code = CodeEmbedding(config)
        self.positions = nn.Parameter(torch.randn(config.num_latents, config.dim) * 0.5)
        self.budget = nn.Embedding(config.num_latents, config.dim)
        self.transformer = Transformer(
            config.dim, config.num_heads, depth=config.depth, mlp_ratio=config.mlp_ratio
        )
        self.output = nn.Linear(config.dim, config.factors * config.digit_values)
        init_linear(self)
        self.condition = ConditionEmbedder(config.condition, dim=config.dim)
        nn.init.normal_(self.budget.weight, std=0.02)

    def forward(
        self, codes: Int[Tensor, "b k"], condition: Condition, *, lengths: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b k f n"]:
        """Logits of every digit of every code, the most significant digit first; ``ValueError`` for what does not fit.

        ``num_codes`` stands for a masked code. ``lengths`` is a budget for each row, at most k; codes past it are
        neither read nor meant.
        """
        batch, budget = self.check(codes)
        pooled, captions = self.condition(condition, batch=batch)
        budgets = lengths if lengths is not None else torch.full((batch,), budget, device=codes.device)
        state = self.budget(budgets - 1) + pooled  # (b d)
        x = self.code(codes) + self.positions[:budget] + state[:, None]  # (b k d)
        x, keys = join_condition(x, captions, lengths=lengths)  # (b k+t d)
        x = self.transformer(x, keys, keep=budget)  # (b k d)
        digits = (self.config.factors, self.config.digit_values)
        return self.output(x).unflatten(2, digits).float()  # (b k f n)

    def check(self, codes: Tensor) -> tuple[int, int]:
        """(b, k) of codes that fit the model; raises ``ValueError`` for others."""
        most, mask_code = self.config.num_latents, self.config.num_codes
        if codes.dim() != 2 or not 1 <= codes.shape[1] <= most:
            raise ValueError(f"codes: got shape {tuple(codes.shape)}, expected (b, 1 to {most})")
        if not torch.compiler.is_compiling():  # an error cannot depend on values there
            lowest, highest = int(codes.min()), int(codes.max())
            if lowest < 0 or highest > mask_code:
                raise ValueError(
                    f"codes: got values in [{lowest}, {highest}], expected [0, {mask_code - 1}], "
                    f"or {mask_code} for a masked one"
                )
        return codes.shape[0], codes.shape[1]


class CodeEmbedding(nn.Module):
    """A code is the sum of a learned vector for each of its digits; a masked one has a vector of its own."""

    def __init__(self, config: MaskGITConfig) -> None:
        super().__init__()
        self.mask_code, self.base = config.num_codes, config.digit_values
        self.digits = nn.ModuleList(nn.Embedding(self.base, config.dim) for _ in range(config.factors))
        self.mask = nn.Parameter(torch.randn(config.dim) * 0.5)
        for weight in self.digits.parameters():
            nn.init.normal_(weight, std=0.5 * config.factors**-0.5)

    def forward(self, codes: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
        """Codes, some of them masked, to vectors."""
        digits = digits_of(codes, base=self.base, factors=len(self.digits))  # (b k f)
        vectors = [table(digit) for table, digit in zip(self.digits, digits.unbind(-1), strict=True)]
        is_masked = (codes == self.mask_code)[..., None]  # (b k 1)
        return torch.where(is_masked, self.mask, sum(vectors[1:], vectors[0]))
