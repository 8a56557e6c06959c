"""DINOv2 and CLIP as feature networks, read by transformers from a folder or a hub id."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from textok.evaluation.networks.protocol import ImageFeatures
from textok.models.hub import fetch
from textok.models.transformers_text import quiet_transformers

FILE = "preprocessor_config.json"

_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers of the filters that torch has with antialiasing


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize, centre crop, rescale, normalize.

    Attributes:
        size: the shorter side after the resize, or (height, width); None for no resize.
        filter: "bilinear" or "bicubic", always with antialiasing.
        crop: (height, width) of the centre crop; None for none.
        scale: factor of the pixel values 0 to 255.
        mean: subtracted per channel after scaling.
        std: divided by per channel.
    """

    size: int | tuple[int, int] | None
    filter: str
    crop: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, folder: Path) -> "Preprocessing":
        """Read a model folder's file.

        Raises:
            FileNotFoundError: when the folder has none.
            ValueError: when it holds something that is not done here.
        """
        path = folder / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; the model's pictures are prepared by it: fetch it too"
            )
        try:
            return cls._parsed(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: {type(error).__name__}: {error}; expected an image model's file"
            ) from error

    @classmethod
    def _parsed(cls, settings: dict[str, Any]) -> "Preprocessing":
        steps = {step: settings.get(f"do_{step}", False) for step in ("center_crop", "rescale", "normalize")}
        resample = settings.get("resample", 3)
        if resample not in _FILTERS:
            raise ValueError(f"resample: got {resample}; expected one of {_FILTERS}")
        return cls(
            size=_side_or_sides(settings["size"]) if settings.get("do_resize", True) else None,
            filter=_FILTERS[resample],
            crop=_sides(settings["crop_size"]) if steps["center_crop"] else None,
            scale=float(settings["rescale_factor"]) if steps["rescale"] else 1.0,
            mean=tuple(settings["image_mean"]) if steps["normalize"] else (0.0,) * 3,
            std=tuple(settings["image_std"]) if steps["normalize"] else (1.0,) * 3,
        )

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """What the model reads; resized pixels are whole numbers, Pillow's but for a rare step of 1.

        Raises:
            ValueError: when a picture is smaller than the crop.
        """
        x = images.float()
        if self.size is not None:
            height, width = self._resized(x.shape[-2:])
            # Pillow resizes one axis after the other and rounds after each.
            for size in ((x.shape[2], width), (height, width)):
                x = interpolate(x, size=size, mode=self.filter, antialias=True).clamp(0, 255).round()
        if self.crop is not None:
            x = self._cropped(x, self.crop)
        mean, std = (torch.tensor(v, device=x.device).reshape(1, 3, 1, 1) for v in (self.mean, self.std))
        return (x * self.scale - mean) / std

    def _resized(self, shape: tuple[int, ...]) -> tuple[int, int]:
        if not isinstance(self.size, int):
            assert self.size is not None
            return self.size
        shorter = min(shape)
        return self.size * shape[0] // shorter, self.size * shape[1] // shorter

    @staticmethod
    def _cropped(x: Float[Tensor, "b 3 h w"], crop: tuple[int, int]) -> Float[Tensor, "b 3 h2 w2"]:
        top, left = ((have - want) // 2 for have, want in zip(x.shape[-2:], crop, strict=True))
        if top < 0 or left < 0:
            raise ValueError(
                f"pictures: got {tuple(x.shape[-2:])}; expected at least the network's crop {crop}"
            )
        return x[:, :, top : top + crop[0], left : left + crop[1]]


def _side_or_sides(value: Any) -> int | tuple[int, int]:
    if isinstance(value, dict) and set(value) == {"shortest_edge"}:
        return int(value["shortest_edge"])
    return int(value) if isinstance(value, int) else _sides(value)


def _sides(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value["height"]), int(value["width"]))


class Family(NamedTuple):
    """Models that are loaded and read in the same way."""

    model_types: tuple[str, ...]  # ``model_type`` in their config.json
    model_class: str  # the class of transformers that loads them
    output: str  # name of its output that holds one vector per picture
    width: str  # name of the configuration value that is the length of the vector
    published: str  # hub id of the model that published numbers are computed with


FAMILIES = {
    # The class token after the last layer norm, as in Stein et al. 2023 (FD-DINOv2 is of the ViT-L/14).
    "dinov2": Family(
        model_types=("dinov2", "dinov2_with_registers"),
        model_class="AutoModel",
        output="pooler_output",
        width="hidden_size",
        published="facebook/dinov2-large",
    ),
    # The projected image embedding, the one that is compared with captions.
    "clip": Family(
        model_types=("clip", "clip_vision_model"),
        model_class="CLIPVisionModelWithProjection",
        output="image_embeds",
        width="projection_dim",
        published="openai/clip-vit-large-patch14",
    ),
}


class VisionTransformer(nn.Module):
    """A vision transformer that reads pictures as its own ``preprocessor_config.json`` says; no stage maps.

    Attributes:
        name: the family, "dinov2" or "clip"; models of one family differ much, so report ``weights`` beside a score.
        dim: channels of the pooled vector.
        weights: folder or hub id that it was loaded from.
    """

    def __init__(self, name: str, weights: str | Path | None = None) -> None:
        """Load a model.

        Args:
            name: a key of ``FAMILIES``.
            weights: folder or hub id; default the family's published model. Only safetensors are read.

        Raises:
            FileNotFoundError: no such folder or hub id, or a file is missing there.
            ValueError: for a model of another kind, or one whose weights do not fit its configuration.
        """
        super().__init__()
        family = FAMILIES[name]
        self.name, self.weights = name, str(weights or family.published)
        folder = Path(self.weights).expanduser()
        if not folder.is_dir():
            folder = fetch(self.weights, what="feature network")
        self.preprocessing = Preprocessing.read(folder)
        self.model: Any = _load(folder, family).requires_grad_(False).eval()
        self.output, self.dim = family.output, int(getattr(self.model.config, family.width))

    def train(self, mode: bool = True) -> "VisionTransformer":  # noqa: FBT001, FBT002 (nn.Module has it so)
        """Stay in evaluation mode: the network is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures (b, 3, h, w), in float32 with autocast off."""
        with torch.autocast(images.device.type, enabled=False):
            outputs = self.model(pixel_values=self.preprocessing(images))
        return ImageFeatures(pooled=outputs[self.output])


def _load(folder: Path, family: Family) -> nn.Module:
    import transformers

    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a transformers model folder")
    model_type = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    if model_type not in family.model_types:
        raise ValueError(
            f"{path}, model_type: got {model_type!r}, expected one of {', '.join(family.model_types)}"
        )
    load = getattr(transformers, family.model_class).from_pretrained
    try:
        with quiet_transformers():
            model, report = load(folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{folder}: model.safetensors does not load as config.json says: {error}") from error
    # transformers fills absent weights with random numbers.
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"{folder}: the weights lack {len(missing)} tensors of this model, first {missing[0]}"
        )
    return model
