"""DINOv2 and CLIP as feature networks, read by transformers from a folder or a hub id."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from textok.evaluation.networks import FrozenNetwork, ImageFeatures
from textok.models.hub import fetch
from textok.models.transformers_text import quiet_transformers

FILE = "preprocessor_config.json"


class Family(NamedTuple):
    """Models that are loaded and read in the same way."""

    model_types: tuple[str, ...]  # ``model_type`` in their config.json
    model_class: str  # the class of transformers that loads them
    processor_class: str  # the one that resizes, crops and normalizes their pictures, with Pillow
    output: str  # name of its output that holds one vector per picture
    width: str  # name of the configuration value that is the length of the vector
    published: str  # hub id of the model that published numbers are computed with


FAMILIES = {
    # The class token after the last layer norm, as in Stein et al. 2023 (FD-DINOv2 is of the ViT-L/14).
    "dinov2": Family(
        model_types=("dinov2", "dinov2_with_registers"),
        model_class="AutoModel",
        processor_class="BitImageProcessorPil",
        output="pooler_output",
        width="hidden_size",
        published="facebook/dinov2-large",
    ),
    # The projected image embedding, the one that is compared with captions.
    "clip": Family(
        model_types=("clip", "clip_vision_model"),
        model_class="CLIPVisionModelWithProjection",
        processor_class="CLIPImageProcessorPil",
        output="image_embeds",
        width="projection_dim",
        published="openai/clip-vit-large-patch14",
    ),
}


class VisionTransformer(FrozenNetwork):
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
        self.processor: Any = _load_processor(folder, family)
        self.model: Any = _load(folder, family).requires_grad_(False).eval()
        self.output, self.dim = family.output, int(getattr(self.model.config, family.width))

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures (b, 3, h, w), in float32 with autocast off."""
        with torch.autocast(images.device.type, enabled=False):
            pixels = self.processor(images=list(images.cpu()), return_tensors="pt")["pixel_values"]
            outputs = self.model(pixel_values=pixels.to(images.device))
        return ImageFeatures(pooled=outputs[self.output])


def _load_processor(folder: Path, family: Family) -> Any:
    import transformers

    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; the model's pictures are prepared by it: fetch it too"
        )
    try:
        processor = getattr(transformers, family.processor_class).from_pretrained(
            folder, local_files_only=True
        )
        processor(images=[torch.zeros(3, 64, 64, dtype=torch.uint8)], return_tensors="pt")
    except Exception as error:  # transformers raises nearly anything on settings that it cannot use
        raise ValueError(f"{path}: {error}, expected the settings of an image processor") from error
    return processor


def _load(folder: Path, family: Family) -> nn.Module:
    import transformers

    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a transformers model folder")
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
