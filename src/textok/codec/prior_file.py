"""A model's probability model on disk: codec.safetensors beside its weights."""

from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from textok.codec.prior import CodePrior, LatentPrior, Prior
from textok.models.checkpoint import PRIOR_FILE, SHIPPED, resolve
from textok.writing import replacing

_FORMAT = "textok-codec"
_VERSION = "1"
_LATENTS = {"mean", "deviation", "step"}


def save_prior(prior: LatentPrior | CodePrior, path: Path, *, model_id: str) -> None:
    """Write a probability model, whole or not at all.

    Args:
        prior: what to write.
        path: the file, named codec.safetensors in the model's folder.
        model_id: of the tokenizer whose tokens it describes.
    """
    arrays = {name: _smallest(array) for name, array in prior.arrays().items()}
    metadata = {"format": _FORMAT, "version": _VERSION, "model_id": model_id, "tokens": str(prior.tokens)}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata=metadata)


def load_prior(path: Path, *, model_id: str) -> LatentPrior | CodePrior:
    """Read a probability model.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, or of another tokenizer.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("version")) != (_FORMAT, _VERSION):
                raise ValueError("no probability model that this release reads")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("model_id") != model_id:
            raise ValueError(f"of model {metadata.get('model_id')!r}, and this is {model_id!r}")
        return _prior(arrays, tokens=int(metadata.get("tokens", "")))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: {error}; make it again with textok prior") from error


def find_prior(name_or_folder: str | Path, *, model_id: str) -> LatentPrior | CodePrior | None:
    """The probability model beside a model's weights, where there is one.

    Raises:
        ValueError: when it is damaged, or of another tokenizer.
    """
    path = resolve(str(name_or_folder), shipped=SHIPPED) / PRIOR_FILE
    return load_prior(path, model_id=model_id) if path.is_file() else None


def prior_id(prior: Prior | None) -> str:
    """Its id; "" for none."""
    return "" if prior is None else prior.id


def _prior(arrays: dict[str, Int[ndarray, "..."]], *, tokens: int) -> LatentPrior | CodePrior:
    if any(array.dtype.kind not in "iu" for array in arrays.values()):
        raise ValueError("holds numbers that are not whole")
    wide = {name: array.astype(np.int64) for name, array in arrays.items() if name != "weights"}
    if set(arrays) - {"weights"} == _LATENTS:
        return LatentPrior(**wide, weights=arrays.get("weights"))
    if "levels" not in wide or set(wide) - {"levels", "counts"}:
        raise ValueError(f"holds {sorted(arrays)[:6]}; expected {sorted(_LATENTS)}, or levels and counts")
    return CodePrior(levels=tuple(wide["levels"].tolist()), counts=wide.get("counts"), tokens=tokens)


def _smallest(array: Int[ndarray, "..."]) -> Int[ndarray, "..."]:
    small = np.abs(array).max() < 1 << 15
    return np.ascontiguousarray(array.astype(np.int16 if small else np.int32))
