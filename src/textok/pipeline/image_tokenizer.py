"""Pictures and captions to tokens and back: a trained TexTok with its text encoder and its image handling."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from textok import __version__
from textok.data.images import tensor_to_image
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import Encoding, TexTok
from textok.pipeline.pictures import Picture, as_pictures
from textok.pipeline.precision import Precision, inference_dtype
from textok.pipeline.tokens import Tokens
from textok.pixels import to_uint8, to_unit

Captions = str | Sequence[str | None] | None
Output = Literal["pil", "uint8", "float"]
Pictures = list[Image.Image] | UInt8[Tensor, "b 3 h w"] | Float[Tensor, "b 3 h w"]


class ImageTokenizer:
    """Encode pictures with their captions to a few tokens each, and decode them.

    >>> tokenizer = ImageTokenizer.from_pretrained("icons-128")
    >>> tokens = tokenizer.encode([picture], ["a red apple with a green leaf"], num_tokens=8)
    >>> tokenizer.decode(tokens)[0].save("apple.png")

    Args:
        model: the trained tokenizer; put in eval mode, moved and cast.
        text_encoder: a TextEncoder, or the name or folder of one; the model's own when None. Loaded when the
            first caption comes.
        device: where both run.
        precision: number type of the weights; "auto" takes bfloat16 where the processor has it.
    """

    def __init__(
        self,
        model: TexTok,
        *,
        text_encoder: TextEncoder | str | Path | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.model_id = model.model_id
        self._text_encoder = text_encoder or model.config.text_encoder
        self._precision: Precision = precision
        self.to(device)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "icons-128",
        *,
        text_encoder: TextEncoder | str | Path | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> "ImageTokenizer":
        """Load a tokenizer: a shipped name, a folder or a hub id."""
        model = TexTok.from_pretrained(name_or_folder)
        return cls(model, text_encoder=text_encoder, device=device, precision=precision)

    def to(self, device: torch.device | str) -> "ImageTokenizer":
        """Move to a device, in the number type that suits it."""
        self.device = torch.device(device)
        self.dtype = inference_dtype(self.device, self._precision)
        self.model.to(self.device)
        # The bottleneck and the latent statistics stay in float32: they are small, and rounding would show.
        self.model.encoder.to(self.dtype)
        self.model.decoder.to(self.dtype)
        return self

    @property
    def text_encoder(self) -> TextEncoder:
        """The frozen text encoder, loaded when first asked for."""
        if not isinstance(self._text_encoder, TextEncoder):
            self._text_encoder = TextEncoder.from_pretrained(
                self._text_encoder, max_tokens=self.model.config.max_text_tokens, device=self.device
            )
        return self._text_encoder

    @torch.inference_mode()
    def encode(
        self,
        images: Picture | Sequence[Picture],
        captions: Captions = None,
        *,
        num_tokens: int | None = None,
        keys: Sequence[str] | None = None,
        keep_size: bool = False,
        batch_size: int = 32,
    ) -> Tokens:
        """Encode pictures, each with its caption where it has one.

        Args:
            images: PIL images, uint8 or float tensors, one or many; see
                :func:`textok.pipeline.pictures.as_pictures`.
            captions: one a picture (None or "" for a picture without), one string for all, or None for none.
            num_tokens: token budget k; the model's whole length when None.
            keys: a name a picture; their places when None.
            keep_size: encode at the pictures' own size, the same for all and divisible by the patch size,
                instead of resizing and centre-cropping to the model's.
            batch_size: pictures at a time.

        Raises:
            ValueError: for pictures, captions, keys or sizes that do not fit; says what was expected.
        """
        num_tokens = self.model.budget(num_tokens)
        side, patch = self.model.config.image_size, self.model.config.patch_size
        pixels = as_pictures(images, size=None if keep_size else (side, side))
        texts = as_captions(captions, len(pixels))
        parts = []
        for start in range(0, len(pixels), batch_size):
            rows = slice(start, start + batch_size)
            encoding = self.encode_pixels(pixels[rows], self.text_of(texts[rows]), num_tokens=num_tokens)
            parts.append(values_of(encoding))
        return Tokens(
            values=torch.cat(parts).cpu(),
            model_id=self.model_id,
            grid=(pixels.shape[2] // patch, pixels.shape[3] // patch),
            keys=tuple(str(place) for place in range(len(pixels))) if keys is None else tuple(keys),
            captions=texts,
            settings=self._settings(),
        )

    def encode_pixels(
        self,
        pixels: UInt8[Tensor, "b 3 h w"],
        text: TextCondition | None,
        *,
        num_tokens: int | None = None,
    ) -> Encoding:
        """One batch of uint8 pictures to what the model finds in them, on the tokenizer's device."""
        return self.model.encode(to_unit(pixels.to(self.device)).to(self.dtype), text, num_tokens=num_tokens)

    @overload
    def decode(
        self,
        tokens: Tokens,
        captions: Captions = ...,
        *,
        lengths: Sequence[int] | None = ...,
        output: Literal["pil"] = ...,
        batch_size: int = ...,
    ) -> list[Image.Image]: ...

    @overload
    def decode(
        self,
        tokens: Tokens,
        captions: Captions = ...,
        *,
        lengths: Sequence[int] | None = ...,
        output: Literal["uint8", "float"],
        batch_size: int = ...,
    ) -> Tensor: ...

    @torch.inference_mode()
    def decode(
        self,
        tokens: Tokens,
        captions: Captions = None,
        *,
        lengths: Sequence[int] | None = None,
        output: Output = "pil",
        batch_size: int = 32,
    ) -> Pictures:
        """Decode tokens to pictures.

        Args:
            tokens: made by this very model.
            captions: instead of those in ``tokens``, as for ``encode``; "" decodes without any.
            lengths: how many of its tokens each picture has, where budgets differ; what lies past them is not
                read. Pictures of like lengths are decoded together.
            output: "pil" for a list of images, "uint8" or "float" (in [-1, 1]) for a tensor (b, 3, h, w).
            batch_size: pictures of the model's size at a time, fewer of larger ones.

        Raises:
            ValueError: when another model made the tokens, the captions or lengths are not one a picture, or a
                length is not within 1 to the tokens that there are.
        """
        self.check_made_here(tokens)
        texts = as_captions(tokens.captions if captions is None else captions, len(tokens))
        budgets = _lengths(lengths, tokens)
        order = budgets.argsort(stable=True)
        parts = []
        for rows in order.split(self.at_once(tokens.grid, batch_size)):
            values = tokens.values[rows].to(self.device)
            values = values.float() if values.is_floating_point() else values.long()
            text = self.text_of([texts[row] for row in rows.tolist()])
            parts.append(self.model.decode(values, text, grid=tokens.grid, lengths=budgets[rows]).cpu())
        pixels = torch.cat(parts)[order.argsort()].clamp(-1, 1)
        if output == "float":
            return pixels
        pixels = to_uint8(pixels)
        return pixels if output == "uint8" else [tensor_to_image(picture) for picture in pixels]

    def reconstruct(
        self,
        images: Picture | Sequence[Picture],
        captions: Captions = None,
        *,
        num_tokens: int | None = None,
        keep_size: bool = False,
        batch_size: int = 32,
    ) -> list[Image.Image]:
        """Encode and decode; the arguments are those of the two."""
        tokens = self.encode(
            images, captions, num_tokens=num_tokens, keep_size=keep_size, batch_size=batch_size
        )
        return self.decode(tokens, batch_size=batch_size)

    def at_once(self, grid: tuple[int, int], most: int) -> int:
        """How many pictures of (rows, columns) patches take the memory of ``most`` of the model's size, 1 to ``most``.

        A file of tokens says how large its pictures are: as many of any size would let it fill the memory.
        """
        patches = grid[0] * grid[1]
        return min(most, max(1, most * self.model.config.side**2 // patches))

    def check_made_here(self, tokens: Tokens) -> None:
        """Refuse tokens that another model made.

        Raises:
            ValueError: names both models and says what to do.
        """
        if tokens.model_id != self.model_id:
            raise ValueError(
                f"these tokens were made by model {tokens.model_id!r}, and this is {self.model_id!r}:"
                " load the model that made them, or encode the pictures again"
            )

    def text_of(self, captions: Sequence[str]) -> TextCondition | None:
        """Captions as the model reads them; None where it reads none, or there is no caption at all."""
        if not any(captions) or self.model.config.placement == "none":
            return None
        return self.text_encoder(captions).to(self.device, self.dtype)

    def _settings(self) -> dict[str, str]:
        encoder = self._text_encoder
        return {
            "text_encoder": encoder.name if isinstance(encoder, TextEncoder) else str(encoder),
            "precision": str(self.dtype).removeprefix("torch."),
            "textok": __version__,
        }


def as_captions(captions: Captions, count: int) -> tuple[str, ...]:
    """One string a picture, "" where there is none."""
    if captions is None or isinstance(captions, str):
        return (captions or "",) * count
    if len(captions) != count:
        raise ValueError(
            f"captions: got {len(captions)} for {count} pictures; expected one each, or one for all"
        )
    return tuple(caption or "" for caption in captions)


def values_of(encoding: Encoding) -> Float[Tensor, "b k c"] | Int[Tensor, "b k"]:
    """What a token file holds of an encoding: codes where there are some, else latents."""
    return encoding.latents.float() if encoding.codes is None else encoding.codes


def _lengths(lengths: Sequence[int] | None, tokens: Tokens) -> Int[Tensor, "b"]:
    """One budget a picture; the whole length where none are given."""
    if lengths is None:
        return torch.full((len(tokens),), tokens.num_tokens)
    if len(lengths) != len(tokens):
        raise ValueError(f"lengths: got {len(lengths)} for {len(tokens)} pictures; expected one each")
    return torch.tensor(lengths)
