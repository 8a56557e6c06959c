"""Networks that published numbers are computed with, whose weights come from elsewhere: Inception, DINOv2 and CLIP."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from textok.evaluation.networks import FrozenNetwork, ImageFeatures
from textok.models.hub import fetch
from textok.models.transformers_text import quiet_transformers

FILE = "weights-inception-2015-12-05-6726825d.pth"
"""Name of the published weights of Inception, converted from TensorFlow's graph of 2015-12-05 (95,628,359 bytes)."""

URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of that file; pytorch-fid's pt_inception-2015-12-05-6726825d.pth is the same."""


class Inception2015(FrozenNetwork):
    """Inception-v3 of 2015 with TensorFlow's resize to 299 px: 2,048 pooled channels, 1,008 logits.

    The logits leave out the classifier's bias, as the published Inception score does. There are no stage maps,
    so no perceptual distance is computed with this network.

    Attributes:
        weights: the weights file.
        published: whether the weights are the published file, by its SHA-256: only then are its metrics
            called ``fid``, ``kid`` and ``is``.
    """

    name = "inception_2015"
    dim = 2048

    def __init__(self, weights: str | Path | None = None) -> None:
        """Load torch-fidelity's network with a weights file (default: torch-fidelity's, cached or downloaded).

        Raises:
            ImportError: without torch-fidelity (the extra ``fid``).
            FileNotFoundError: when there is no such file, and the published one cannot be downloaded.
            ValueError: when the file is not weights of this network.
        """
        super().__init__()
        build = _torch_fidelity()
        path = _published_file() if weights is None else Path(weights)
        if not path.is_file():
            raise FileNotFoundError(f"Inception weights {path}: no such file, expected {FILE}, from {URL}")
        self.weights, content = str(path), path.read_bytes()
        self.published = hashlib.sha256(content).hexdigest() == SHA256
        self.network = _with_weights(build, content, path=path)

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures (b, 3, h, w), in float32 with autocast off."""
        with torch.autocast(images.device.type, enabled=False):
            pooled, logits = self.network(images)
        return ImageFeatures(pooled=pooled, logits=logits)


def _torch_fidelity() -> Any:
    try:
        # pyrefly: ignore[missing-import] (an extra)
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError(
            f"inception_2015 needs torch-fidelity, which needs torchvision ({error}). Install both with: "
            "pip install 'open-textok[fid]' (in an environment where torchvision may choose the build of torch)"
        ) from error
    return FeatureExtractorInceptionV3


def _published_file() -> Path:
    """torch-fidelity's own place for the file, where it is downloaded to when it is not there yet."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256, progress=False)
        except (OSError, RuntimeError) as error:  # no connection, or a file of another hash
            raise FileNotFoundError(
                f"Inception weights: could not download {URL} ({error}); download it elsewhere and give its path"
            ) from error
    return path


def _with_weights(build: Any, content: bytes, *, path: Path) -> nn.Module:
    """torch-fidelity's network with the tensors of a weights file, of which nothing else is unpickled."""
    try:
        tensors = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        # torch-fidelity loads without weights_only: hand it a copy that holds the tensors and nothing else.
        safe = io.BytesIO()
        torch.save(tensors, safe)
        safe.seek(0)
        return build("inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=safe)
    except Exception as error:  # a pickle, a zip or a state dict that is not what it should be, in many types
        raise ValueError(
            f"Inception weights {path}: not the weights of this network ({type(error).__name__}), expected {FILE}"
        ) from error


PROCESSOR_FILE = "preprocessor_config.json"


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

    path = folder / PROCESSOR_FILE
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
