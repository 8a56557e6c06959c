"""What a published image model does to a picture before it looks at it, from its ``preprocessor_config.json``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

FILE = "preprocessor_config.json"

_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the filters that torch has with antialiasing."""


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
            ValueError: when it asks for something that is not done here.
        """
        path = folder / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; it says how the model wants its pictures: fetch it too"
            )
        try:
            return cls._parsed(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: {type(error).__name__}: {error}; expected an image model's file"
            ) from error

    @classmethod
    def _parsed(cls, settings: dict[str, Any]) -> "Preprocessing":
        asked = {step: settings.get(f"do_{step}", False) for step in ("center_crop", "rescale", "normalize")}
        resample = settings.get("resample", 3)
        if resample not in _FILTERS:
            raise ValueError(f"resample: got {resample}; expected one of {_FILTERS}")
        return cls(
            size=_side_or_sides(settings["size"]) if settings.get("do_resize", True) else None,
            filter=_FILTERS[resample],
            crop=_sides(settings["crop_size"]) if asked["center_crop"] else None,
            scale=float(settings["rescale_factor"]) if asked["rescale"] else 1.0,
            mean=tuple(settings["image_mean"]) if asked["normalize"] else (0.0,) * 3,
            std=tuple(settings["image_std"]) if asked["normalize"] else (1.0,) * 3,
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
