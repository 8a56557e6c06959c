"""Pictures and captions to tokens and back: a trained TexTok with its text encoder and its image handling."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, UInt8
from PIL import Image
from torch import Tensor

from textok import __version__
from textok.data.images import tensor_to_image
from textok.models.checkpoint import weights_hash
from textok.models.hub import Hub
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import Encoding, TexTok
from textok.pipeline.pictures import Picture, as_pictures
from textok.pipeline.precision import Precision, inference_dtype, torch_device
from textok.pipeline.text import Captions, RememberedText, as_captions
from textok.pipeline.tokens import Tokens
from textok.pixels import to_uint8, to_unit

IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "png", "webp")
CAPTION_COLUMNS = ("caption", "text", "prompt")
"""Names of the columns of data sets."""


class ImageTokenizer:
    """Encode pictures with their captions to a few tokens each, and decode them.

    Examples:
        >>> tokenizer = ImageTokenizer.from_pretrained("icons-128")
        >>> tokens = tokenizer.encode(["apple.jpg"], ["a red apple with a green leaf"], num_tokens=8)
        >>> tokenizer.decode(tokens)[0].save("apple.png")

    Args:
        model: the trained tokenizer; put in eval mode, moved and cast.
        text_encoder: a TextEncoder, or the name or folder of one; the model's own when None. It is loaded when
            the first caption comes.
        device: where both run: "cpu", "cuda", "auto".
        dtype: that of the weights, "float32" or "bfloat16"; "auto" takes bfloat16 where the processor has it.
    """

    def __init__(
        self,
        model: TexTok,
        *,
        text_encoder: TextEncoder | str | Path | None = None,
        device: torch.device | str = "cpu",
        dtype: Precision | torch.dtype = "auto",
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.model_id = model.model_id
        encoder = text_encoder or model.config.text_encoder
        self.remembered_text = RememberedText(
            encoder, max_tokens=model.config.max_text_tokens, text_dtype=model.config.text_dtype
        )
        self.to(device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "icons-128",
        *,
        text_encoder: TextEncoder | str | Path | None = None,
        device: torch.device | str = "cpu",
        dtype: Precision | torch.dtype = "auto",
        **hub: Unpack[Hub],
    ) -> "ImageTokenizer":
        """Load a tokenizer: a shipped name, a folder or a hub id."""
        device = torch_device(device)
        model = TexTok.from_pretrained(name_or_folder, **hub)
        return cls(model, text_encoder=text_encoder, device=device, dtype=dtype)

    def to(
        self, device: torch.device | str, dtype: Precision | torch.dtype | None = None
    ) -> "ImageTokenizer":
        """Move to a device and cast to a dtype; without one the earlier choice holds.

        Weights that were bfloat16 once stay rounded: load the tokenizer again for exact float32.
        """
        self.device = torch_device(device)
        self._dtype_choice = self._dtype_choice if dtype is None else dtype
        self.dtype = inference_dtype(self.device, self._dtype_choice)
        self.model.to(self.device)
        # The bottleneck and the latent statistics stay in float32: they are small, and rounding would show.
        self.model.encoder.to(self.dtype)
        self.model.decoder.to(self.dtype)
        self.remembered_text.to(self.device, self.dtype)
        return self

    _dtype_choice: Precision | torch.dtype = "auto"

    def __repr__(self) -> str:
        config = self.model.config
        size = f"{config.image_size} px, {config.num_latents} tokens at most"
        codes = self.model.num_codes
        kind = f"{config.latent_dim} channels" if codes is None else f"{codes} codes"
        return f"ImageTokenizer({self.model_id!r}: {size}, {kind}; {_name(self.dtype)} on {self.device})"

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
        """The column "tokens" of a batch of a Hugging Face data set: ``data.map(tokenizer, batched=True)``.

        Its pictures are in the first column of ``IMAGE_COLUMNS``, its captions, if any, in the first of
        ``CAPTION_COLUMNS``, one or several for each. The tokens of a picture are an array (k, c) of latents or (k,) of
        codes. ``ValueError`` for a batch without pictures, or a single sample.
        """
        images = next((batch[name] for name in IMAGE_COLUMNS if name in batch), None)
        if not isinstance(images, list):
            raise ValueError(
                f"batch: got columns {sorted(batch)}, expected a list of pictures in one of "
                f"{', '.join(IMAGE_COLUMNS)}; rename the column, and map with batched=True"
            )
        texts = next((batch[name] for name in CAPTION_COLUMNS if name in batch), [None] * len(images))
        captions = [text[0] if isinstance(text, list) and text else text or None for text in texts]
        return {"tokens": list(self.encode(images, captions).values.numpy())}

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
            images: one picture or many: files, PIL images, arrays or tensors; see
                :func:`textok.pipeline.pictures.as_pictures`.
            captions: one for each picture (None or "" for a picture without), one string for all, or None.
            num_tokens: tokens of each picture; the model's most when None.
            keys: a name for each picture; their places when None.
            keep_size: encode at the pictures' own size, the same for all and divisible by the patch size,
                instead of resizing and centre-cropping to the model's.
            batch_size: pictures at a time.

        Raises:
            ValueError: for pictures, captions, keys or sizes that do not fit; says what was expected.
        """
        if num_tokens is not None and not isinstance(num_tokens, Integral):
            most = self.model.config.num_latents
            raise ValueError(f"num_tokens: got {num_tokens!r}, expected a whole number from 1 to {most}")
        num_tokens = self.model.budget(num_tokens)
        pixels = self.pixels_of(images, keep_size=keep_size)
        texts = as_captions(captions, len(pixels))
        parts = []
        for start in range(0, len(pixels), batch_size):
            rows = slice(start, start + batch_size)
            text = self.text_of(texts[rows])
            encoding = encode_pixels(self.model, pixels[rows], text, num_tokens=num_tokens)
            parts.append(values_of(encoding))
        return self.tokens_of(torch.cat(parts), pixels, captions=texts, keys=keys)

    def pixels_of(
        self, images: Picture | Sequence[Picture], *, keep_size: bool = False
    ) -> UInt8[Tensor, "b 3 h w"]:
        """Pictures of any kind as one batch of the model's size, or with ``keep_size`` of their own."""
        side = self.model.config.image_size
        return as_pictures(images, size=None if keep_size else (side, side))

    def tokens_of(
        self,
        values: Float[Tensor, "b k c"] | Integer[Tensor, "b k"],
        pixels: UInt8[Tensor, "b 3 h w"],
        *,
        captions: tuple[str, ...],
        keys: Sequence[str] | None = None,
    ) -> Tokens:
        """Values that were encoded from these pictures, on the CPU, with all that decoding them needs."""
        patch, made = self.model.config.patch_size, {"precision": _name(self.dtype), "textok": __version__}
        return Tokens(
            values=values.cpu(),
            model_id=self.model_id,
            grid=(pixels.shape[2] // patch, pixels.shape[3] // patch),
            keys=tuple(map(str, range(len(pixels)))) if keys is None else tuple(keys),
            captions=captions,
            settings={"text_encoder": self.remembered_text.name, **made},
        )

    @overload
    def decode(
        self, tokens: Tokens, captions: Captions = ..., *, output: Literal["pil"] = ..., **k: Any
    ) -> list[Image.Image]: ...
    @overload
    def decode(
        self, tokens: Tokens, captions: Captions = ..., *, output: Literal["uint8", "float"], **k: Any
    ) -> Tensor: ...

    @torch.inference_mode()
    def decode(
        self,
        tokens: Tokens,
        captions: Captions = None,
        *,
        output: Literal["pil", "uint8", "float"] = "pil",
        batch_size: int = 32,
        **decoding: Any,
    ) -> list[Image.Image] | Tensor:
        """Decode tokens to pictures; those of like lengths are decoded together.

        Args:
            tokens: made by this very model.
            captions: instead of those in ``tokens``, as for ``encode``; "" decodes without any.
            output: "pil" for a list of images, "uint8" or "float" (in [-1, 1]) for a tensor (b, 3, h, w).
            batch_size: pictures of the model's size at a time, fewer of larger ones.
            **decoding: steps, guidance, start and generator of a decoder that samples; see ``TexTok.decode``.

        Raises:
            ValueError: when another model made the tokens, or there is not one caption for each picture.
        """
        self.check_made_here(tokens)
        texts = as_captions(tokens.captions if captions is None else captions, len(tokens))
        lengths = torch.tensor(tokens.lengths)
        order = lengths.argsort(stable=True)
        parts = []
        for rows in order.split(self.at_once(tokens.grid, batch_size)):
            text = self.text_of([texts[row] for row in rows.tolist()])
            own = {"grid": tokens.grid, "lengths": lengths[rows]}
            pictures = decode_values(self.model, tokens.values[rows], text, **own, **decoding)
            parts.append((pictures.clamp(-1, 1) if output == "float" else to_uint8(pictures)).cpu())
        pixels = torch.cat(parts)[order.argsort()]
        return [tensor_to_image(picture) for picture in pixels] if output == "pil" else pixels

    def reconstruct(
        self,
        images: Picture | Sequence[Picture],
        captions: Captions = None,
        *,
        num_tokens: int | None = None,
        keep_size: bool = False,
        batch_size: int = 32,
        **decoding: Any,
    ) -> list[Image.Image]:
        """Encode and decode; the arguments are those of the two."""
        options: dict[str, Any] = {"num_tokens": num_tokens, "keep_size": keep_size}
        tokens = self.encode(images, captions, batch_size=batch_size, **options)
        return self.decode(tokens, batch_size=batch_size, **decoding)

    def at_once(self, grid: tuple[int, int], most: int) -> int:
        """How many pictures of (rows, columns) patches take the memory of ``most`` of the model's size.

        A file of tokens says how large its pictures are: as many of any size would let it fill the memory.
        """
        return min(most, max(1, most * self.model.config.side**2 // (grid[0] * grid[1])))

    def check_made_here(self, tokens: Tokens) -> None:
        """Refuse tokens that another model made; ``ValueError`` names both and says what to do."""
        if not isinstance(tokens, Tokens):
            raise ValueError(
                f"tokens: got {type(tokens).__name__}, expected Tokens; load a file with textok.load_tokens"
            )
        if weights_hash(tokens.model_id) != weights_hash(self.model_id):
            raise ValueError(
                f"tokens: got those of model {tokens.model_id!r}, expected those of {self.model_id!r}; "
                "load the model that made them, or encode the pictures again"
            )

    def text_of(self, captions: Sequence[str]) -> TextCondition | None:
        """Captions as the model reads them; None where it reads none, or there is no caption at all."""
        if not any(captions) or self.model.config.placement == "none":
            return None
        return self.remembered_text(captions)


# --- one batch through the model: all that encodes or decodes after training does it here --------------------


@torch.no_grad()
def encode_pixels(
    model: TexTok,
    pixels: UInt8[Tensor, "b 3 h w"],
    text: TextCondition | None,
    *,
    num_tokens: int | None = None,
    autocast: torch.dtype | None = None,
) -> Encoding:
    """Encode uint8 pictures of one size on the model's device, in ``autocast`` or the dtype of its weights."""
    weights = next(model.encoder.parameters())
    images = to_unit(pixels.to(weights.device)).to(weights.dtype)
    with _autocast(weights, autocast):
        return model.encode(images, _text_like(weights, text), num_tokens=num_tokens)


@torch.no_grad()
def decode_values(
    model: TexTok,
    values: Float[Tensor, "b k c"] | Integer[Tensor, "b k"],
    text: TextCondition | None,
    *,
    autocast: torch.dtype | None = None,
    **options: Any,
) -> Float[Tensor, "b 3 h w"]:
    """Decode latents or codes to float32 pictures, nearly all of whose values are in [-1, 1].

    ``options`` are grid, lengths, and the settings of a decoder that samples, as ``TexTok.decode`` takes them.
    """
    weights = next(model.decoder.parameters())
    values = values.to(weights.device)
    values = values.float() if values.is_floating_point() else values.long()
    with _autocast(weights, autocast):
        return model.decode(values, _text_like(weights, text), **options).float()


def _autocast(weights: Tensor, dtype: torch.dtype | None) -> AbstractContextManager:
    return torch.autocast(weights.device.type, dtype) if dtype else nullcontext()


def _text_like(weights: Tensor, text: TextCondition | None) -> TextCondition | None:
    return None if text is None else text.to(weights.device, weights.dtype)


def values_of(encoding: Encoding) -> Float[Tensor, "b k c"] | Int[Tensor, "b k"]:
    """What a token file holds of an encoding: codes where there are some, else latents."""
    return encoding.latents.float() if encoding.codes is None else encoding.codes


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
