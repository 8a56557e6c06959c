"""Inception of December 2015, the network of published FID, KID and Inception scores, as torch-fidelity has it."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from textok.evaluation.networks import FrozenNetwork, ImageFeatures

FILE = "weights-inception-2015-12-05-6726825d.pth"
"""Name of the published weights, converted from TensorFlow's graph of 2015-12-05 (95,628,359 bytes)."""

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
