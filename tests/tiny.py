"""Tiny models, stand-in text encoders and networks, and small pictures, for the tests of every room."""

import hashlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from textok.codec import Header, Prior, TtkReader, TtkWriter
from textok.evaluation.networks import ImageFeatures
from textok.models.bottleneck import BottleneckConfig, KLConfig
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.pipeline.tokens import Tokens

# --- models ---------------------------------------------------------------------------------------------


def tiny_config(bottleneck: BottleneckConfig | None = None, **changes: object) -> TexTokConfig:
    """32 x 32 pixels in patches of 8, one block on each side, four tokens of four numbers."""
    settings = {
        "image_size": 32,
        "patch_size": 8,
        "dim": 32,
        "encoder_depth": 1,
        "decoder_depth": 1,
        "num_heads": 2,
        "num_latents": 4,
        "bottleneck": bottleneck or KLConfig(latent_dim=4),
    }
    return TexTokConfig(**(settings | changes))


def tiny_model(
    bottleneck: BottleneckConfig | None = None, *, seed: int = 0, std: float | None = None, **changes: object
) -> TexTok:
    """As training begins; with ``std`` all weights are far from zero, so that every input shows in the output."""
    torch.manual_seed(seed)
    model = TexTok(tiny_config(bottleneck, **changes))
    for parameter in model.parameters() if std else ():
        nn.init.normal_(parameter, std=std)
    return model.eval()


# --- text -----------------------------------------------------------------------------------------------


class LetterEncoder(TextEncoder):
    """Stands in for a text encoder: one token of twelve numbers per letter, made from its code."""

    name = "letters"

    def __init__(self) -> None:
        pass

    def __call__(self, captions: Sequence[str]) -> TextCondition:
        codes = [torch.tensor([float(ord(letter)) for letter in text]) for text in captions]
        return TextCondition.pad([torch.outer(row, torch.arange(1.0, 13.0)).sin() for row in codes])


def invented_states(captions: Sequence[str]) -> list[Tensor]:
    """Three to ten token states of MiniLM's width per caption, which depend on nothing but the caption."""
    states = []
    for caption in captions:
        seed = int.from_bytes(hashlib.sha256(caption.encode()).digest()[:6], "big")
        random = torch.Generator().manual_seed(seed)
        states.append(torch.randn(3 + seed % 8, 384, generator=random))
    return states


# --- feature networks -----------------------------------------------------------------------------------


class TinyNetwork(nn.Module):
    """Two random convolutions that stand in for EfficientNet."""

    name = "tiny"
    dim = 6

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.kernels = [
            torch.randn(4, 3, 3, 3, generator=generator),
            torch.randn(6, 4, 3, 3, generator=generator),
        ]

    def forward(self, images: Tensor) -> ImageFeatures:
        fine = nn.functional.conv2d(images.float() / 127.5 - 1, self.kernels[0], stride=2).relu()
        coarse = nn.functional.conv2d(fine, self.kernels[1], stride=2).relu()
        return ImageFeatures(pooled=coarse.mean(dim=(2, 3)), stages=(fine, coarse))


# --- pictures -------------------------------------------------------------------------------------------


def write_pictures(folder: Path, captions: Sequence[str | None], *, side: int = 36, seed: int = 0) -> Path:
    """A new folder of blocky pictures ``00.png``, ``01.png``, ..., with their captions in ``metadata.jsonl``."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, lines = np.random.default_rng(seed), []
    for i, caption in enumerate(captions):
        pixels = np.kron(generator.integers(0, 256, (4, 4, 3)), np.ones((side // 4, side // 4, 1)))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02d}.png")
        if caption is not None:
            lines.append(json.dumps({"file_name": f"{i:02d}.png", "text": caption}))
    if lines:
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


# --- .ttk files -----------------------------------------------------------------------------------------


def coded_picture(
    key: str, values: Tensor, *, grid: tuple[int, int] = (1, 1), caption: str | None = None
) -> Tokens:
    """One picture of the model "m"."""
    captions = None if caption is None else (caption,)
    return Tokens(values=values[None], model_id="m", grid=grid, keys=(key,), captions=captions)


def ttk_bytes(pictures: Sequence[Tokens], header: Header, *, prior: Prior | None = None) -> bytes:
    """A .ttk file of these pictures."""
    stream = io.BytesIO()
    with TtkWriter(stream, header, prior=prior) as writer:
        for one in pictures:
            writer.add(one)
    assert writer.facts()["file_bytes"] == len(stream.getvalue())
    return stream.getvalue()


def read_ttk(data: bytes, *, prior: Prior | None = None) -> list[Tokens]:
    """The pictures of a .ttk file, one by one."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.ttk").write_bytes(data)
        with TtkReader(Path(folder) / "x.ttk", prior=prior) as reader:
            return [one for tokens in reader for one in tokens]
