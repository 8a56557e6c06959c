"""What pictures are worth at so many bytes: compressed tokens beside JPEG, WebP and AVIF at their lowest rates."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from rates.payload import payload_bytes, plain_jpeg
from textok.codec import Prior, TtkReader, TtkWriter, header_for
from textok.data.images import image_to_tensor, tensor_to_image
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.metrics import Pairs, PictureValues, means
from textok.evaluation.metrics.paired import measure_pairs, set_distances
from textok.evaluation.metrics.sets import SplitFeatures
from textok.evaluation.networks import FeatureNetwork, ImageFeatures
from textok.evaluation.results import Row
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.tokens import Tokens

FORMATS = {
    "JPEG": {"optimize": True, "progressive": False, "subsampling": 2},
    "WebP": {"method": 6},
    "AVIF": {"speed": 4, "subsampling": "4:2:0"},
}
"""Classic codecs of Pillow and how they are asked for their smallest files."""

_BATCH = 50


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A classic codec at one quality, on pictures made smaller before and enlarged after.

    Attributes:
        codec: a name of ``FORMATS``.
        quality: its own scale, 0 to 100.
        side: pixels of the picture that is coded.
    """

    codec: str
    quality: int
    side: int

    def __post_init__(self) -> None:
        if self.codec not in FORMATS:
            raise ValueError(f"codec: got {self.codec!r}; expected {', '.join(FORMATS)}")

    @property
    def label(self) -> str:
        """Side and quality, in words."""
        return f"{self.side} px, quality {self.quality}"


@dataclass(frozen=True, kw_only=True)
class Coded:
    """Pictures after coding.

    Attributes:
        codec: what coded them.
        setting: how.
        sizes: bytes a picture of each way to count: "bytes" of whole files, "bytes_payload" without names and
            headers, and what else is told of them.
        images: what comes back.
    """

    codec: str
    setting: str
    sizes: dict[str, float]
    images: UInt8[Tensor, "n 3 h w"]


def classic(images: UInt8[Tensor, "n 3 h w"], setting: Setting) -> Coded:
    """Pictures through files of a classic codec."""
    found = [through_codec(tensor_to_image(picture), setting) for picture in images]
    sizes = {
        "bytes": sum(one.file_bytes for one in found) / len(found),
        "bytes_payload": sum(one.payload_bytes for one in found) / len(found),
    }
    back = torch.stack([image_to_tensor(one.picture) for one in found])
    return Coded(codec=setting.codec, setting=setting.label, sizes=sizes, images=back)


@dataclass(frozen=True, kw_only=True)
class CodedPicture:
    """A picture after a classic codec.

    Attributes:
        picture: what comes back, at its old size.
        file_bytes: of its file.
        payload_bytes: without what is the same in every file of the setting.
    """

    picture: Image.Image
    file_bytes: int
    payload_bytes: int


def through_codec(picture: Image.Image, setting: Setting) -> CodedPicture:
    """Write a picture, made smaller, and read it back at its old size."""
    small = picture.resize((setting.side, setting.side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, setting.codec, quality=setting.quality, **FORMATS[setting.codec])
    data = file.getvalue()
    with Image.open(file) as found:
        made = found.convert("RGB").resize(picture.size, Image.Resampling.BICUBIC)
    # A JPEG's own Huffman tables are part of the picture: what files can share are the standard ones.
    shared = plain_jpeg(small, setting.quality) if setting.codec == "JPEG" else data
    payload = payload_bytes(shared, setting.codec)
    return CodedPicture(picture=made, file_bytes=len(data), payload_bytes=payload)


def tokens_at(
    tokenizer: ImageTokenizer, pictures: CaptionedPictures, budgets: Sequence[int], *, prior: Prior | None
) -> Iterator[Coded]:
    """Pictures through .ttk files of each budget, their own captions read on both sides.

    The file of all pictures is counted, names and index too: "bytes" without captions, for a receiver that has
    them; "bytes_with_captions" with; "bytes_payload" are the coded tokens alone.
    """
    tokens = tokenizer.encode(pictures.images, pictures.captions)
    for k in budgets:
        cut = tokens.first(k)
        told, back = _through_ttk(tokenizer, cut, prior=prior)
        yield Coded(
            codec=tokenizer.model_id,
            setting=f"{k} tokens",
            sizes={
                "bytes": told["bytes_per_image_without_captions"],
                "bytes_with_captions": told["bytes_per_image"],
                "bytes_payload": told["token_bytes_per_image"],
            },
            images=tokenizer.decode(back, output="uint8"),
        )


def _through_ttk(
    tokenizer: ImageTokenizer, tokens: Tokens, *, prior: Prior | None
) -> tuple[dict[str, Any], Tokens]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ttk"
        header = header_for(tokenizer.model, prior=prior, captions=True)
        with path.open("wb") as stream, TtkWriter(stream, header, prior=prior) as writer:
            writer.add(tokens)
        with TtkReader(path, prior=prior) as reader:
            return writer.facts(), Tokens.concat(list(reader))


class RateJudge:
    """Scores what codecs bring back of one picture set.

    Args:
        pictures: the originals.
        network: of the perceptual and Fréchet distances.
    """

    def __init__(self, pictures: CaptionedPictures, network: FeatureNetwork) -> None:
        self.pictures, self.network = pictures, network
        self.batches = list(torch.arange(len(pictures)).split(_BATCH))
        self.features: list[ImageFeatures] = [network(pictures.images[rows]) for rows in self.batches]
        self.originals = SplitFeatures.of(torch.cat([features.pooled for features in self.features]))

    def row(self, coded: Coded) -> Row:
        """Sizes and scores of what came back."""
        values = PictureValues()
        for rows, features in zip(self.batches, self.features, strict=True):
            pairs = Pairs(
                originals=self.pictures.images[rows],
                reconstructions=coded.images[rows],
                original_features=features,
                features=self.network(coded.images[rows]),
                network=self.network,
            )
            values.add(rows, {"features": pairs.features.pooled} | measure_pairs(pairs))
        columns = values.in_order()
        distances = set_distances(
            self.originals, SplitFeatures.of(columns.pop("features")), network=self.network
        )
        area = self.pictures.images.shape[2] * self.pictures.images.shape[3]
        rates = {name.replace("bytes", "bpp", 1): 8 * size / area for name, size in coded.sizes.items()}
        row: Row = {"split": self.pictures.split, "codec": coded.codec, "setting": coded.setting}
        return row | {"count": len(self.pictures)} | coded.sizes | rates | means(columns) | distances
