"""Token files: safetensors with the captions, keys, model id and settings inside.

One tensor, ``latents`` (b, k, c) or ``codes`` (b, k); all else is one JSON object in the file's metadata, with
``lengths`` only where pictures have different numbers of tokens.
Nothing in such a file is executed or trusted: ``load_tokens`` checks all of it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from textok.pipeline.tokens import Tokens
from textok.writing import replacing, strict_json

FORMAT = "textok-tokens"
VERSION = 1
FIELDS = {"model_id", "grid", "keys", "captions", "settings"}
StoredDtype = Literal["float16", "float32"]
STORED_TYPES = {
    "latents": (torch.float16, torch.bfloat16, torch.float32, torch.float64),
    "codes": (torch.uint8, torch.int16, torch.int32, torch.int64),
}


def save_tokens(
    tokens: Tokens, path: str | Path, *, captions: bool = True, dtype: StoredDtype = "float16"
) -> Path:
    """Write a token file, complete or not at all.

    Args:
        tokens: what to write.
        path: the file; its folder is made when missing.
        captions: False leaves the captions out; decoding then asks for them or does without.
        dtype: of the latents in the file (of unit scale: 16 bits cost little); codes take the smallest.

    Returns:
        The path written.

    Raises:
        ValueError: for text that is not Unicode, and numbers in the settings that are not finite.
    """
    path = Path(path)
    header = {
        "model_id": tokens.model_id,
        "grid": list(tokens.grid),
        "keys": list(tokens.keys),
        "captions": list(tokens.captions) if captions and tokens.captions is not None else None,
        "settings": dict(tokens.settings),
    }
    if min(tokens.lengths) < tokens.num_tokens:
        header["lengths"] = list(tokens.lengths)
    try:
        metadata = {"format": FORMAT, "version": str(VERSION), "tokens": strict_json(header)}
    except ValueError as error:
        raise ValueError(f"{path}: keys, captions or settings: {error}") from error
    with replacing(path) as temporary, open(temporary, "wb") as file:
        _write(file, _stored(tokens, dtype), metadata)
    return path


def _write(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """As ``safetensors`` does, whose order of the metadata is another in every call: the same bytes each time."""
    names = {torch.float16: "F16", torch.float32: "F32", torch.uint8: "U8"}
    names |= {torch.int16: "I16", torch.int32: "I32", torch.int64: "I64"}
    ((name, tensor),) = tensors.items()
    offsets = [0, tensor.numel() * tensor.element_size()]
    entry = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    header = json.dumps({"__metadata__": dict(metadata), name: entry}, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)
    file.write(tensor.numpy().data)


def _stored(tokens: Tokens, dtype: StoredDtype) -> dict[str, Tensor]:
    if tokens.values.is_floating_point():
        return {"latents": tokens.values.to("cpu", getattr(torch, dtype)).contiguous()}
    largest = int(tokens.values.max())
    smallest = next(d for d in STORED_TYPES["codes"] if largest <= torch.iinfo(d).max)
    return {"codes": tokens.values.to("cpu", smallest).contiguous()}


def load_tokens(path: str | Path) -> Tokens:
    """Read a token file and check everything in it.

    Returns:
        The tokens, in the dtype of the file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a complete and consistent token file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such token file")
    try:
        values, metadata = _read(path)
        header = _header(metadata)
        return Tokens(
            values=values,
            model_id=header["model_id"],
            grid=tuple(header["grid"]),
            keys=tuple(header["keys"]),
            lengths=tuple(header.get("lengths", ())),
            captions=None if header["captions"] is None else tuple(header["captions"]),
            settings=header["settings"],
        )
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a good token file: {error}; write it again with textok encode"
        ) from error


def _read(path: Path) -> tuple[Tensor, dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(f"format: got {metadata.get('format')!r}, expected {FORMAT!r}")
        names = list(file.keys())
        if len(names) != 1 or names[0] not in STORED_TYPES:
            raise ValueError(f"tensors: got {names[:5]}, expected one, latents or codes")
        values = file.get_tensor(names[0])
    if values.dtype not in STORED_TYPES[names[0]]:
        raise ValueError(f"{names[0]}: got {values.dtype}, expected one of {STORED_TYPES[names[0]]}")
    dims = 3 if names[0] == "latents" else 2
    if values.ndim != dims:
        raise ValueError(f"{names[0]}: got shape {tuple(values.shape)}, expected {dims} axes")
    return values, metadata


def _header(metadata: dict[str, str]) -> dict[str, Any]:
    version = metadata.get("version", "")
    if version != str(VERSION):
        raise ValueError(f"version: got {version!r}; this release reads {VERSION}")
    header = json.loads(metadata.get("tokens", ""))
    strict_json(header)
    if not isinstance(header, dict) or set(header) - {"lengths"} != FIELDS:
        names = sorted(header) if isinstance(header, dict) else type(header).__name__
        raise ValueError(f"metadata: got {names}, expected {sorted(FIELDS)}")
    checks = {
        "model_id": isinstance(header["model_id"], str),
        "grid": _is_list(header["grid"], int) and len(header["grid"]) == 2,
        "keys": _is_list(header["keys"], str),
        "lengths": _is_list(header.get("lengths", []), int),
        "captions": header["captions"] is None or _is_list(header["captions"], str),
        "settings": isinstance(header["settings"], dict),
    }
    for name, good in checks.items():
        if not good:
            raise ValueError(f"{name}: got {str(header[name])[:60]!r}, of the wrong kind")
    return header


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)
