"""The tokens of pictures of different budgets, and decoding them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

from jaxtyping import Float, Integer
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from textok.pipeline.image_tokenizer import Captions, ImageTokenizer, Output, Pictures, as_captions
from textok.pipeline.tokens import Tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftTokens:
    """The tokens of one picture, as many as it needs.

    Attributes:
        values: (k, c) latents or (k,) codes.
        budget: k.
        quality: of the decoded picture, in the budget's measure; the predictor's word where that chose.
        reached: whether that is what the budget asks for, always so of a loss; False flags a picture that has
            ``high`` tokens and is still not good enough.
        grid: (rows, columns) of patches.
        model_id: of the tokenizer.
    """

    values: Float[Tensor, "k c"] | Integer[Tensor, "k"]
    budget: int
    quality: float
    reached: bool
    grid: tuple[int, int]
    model_id: str


@overload
def decode_soft(
    tokenizer: ImageTokenizer,
    tokens: Sequence[SoftTokens],
    captions: Captions = ...,
    *,
    output: Literal["pil"] = ...,
    batch_size: int = ...,
) -> list[Image.Image]: ...


@overload
def decode_soft(
    tokenizer: ImageTokenizer,
    tokens: Sequence[SoftTokens],
    captions: Captions = ...,
    *,
    output: Literal["uint8", "float"],
    batch_size: int = ...,
) -> Tensor: ...


def decode_soft(
    tokenizer: ImageTokenizer,
    tokens: Sequence[SoftTokens],
    captions: Captions = None,
    *,
    output: Output = "pil",
    batch_size: int = 32,
) -> Pictures:
    """Decode pictures of different budgets; those of like budgets are decoded together.

    Each is what decoding it alone gives, up to the rounding of sums: 1e-4 on the scale [-1, 1] in float32, and of
    a few of 255 levels in bfloat16.

    Args:
        tokenizer: the one that made the tokens.
        tokens: at least one picture, all of one grid.
        captions: one a picture, one for all, or None for none.
        output: as for ``ImageTokenizer.decode``.
        batch_size: pictures at a time.

    Raises:
        ValueError: when another model made the tokens, the grids differ, or the captions are not one a picture.
    """
    made = {(one.model_id, one.grid) for one in tokens}
    if len(made) != 1:
        raise ValueError(f"tokens: got {len(tokens)} pictures, of {len(made)} models or grids; expected one")
    ((model_id, grid),) = made
    padded = Tokens(
        values=pad_sequence([one.values for one in tokens], batch_first=True),
        model_id=model_id,
        grid=grid,
        keys=tuple(str(place) for place in range(len(tokens))),
        captions=as_captions(captions, len(tokens)),
    )
    lengths = [one.budget for one in tokens]
    return tokenizer.decode(padded, lengths=lengths, output=output, batch_size=batch_size)
