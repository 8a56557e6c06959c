"""Checkpoints of a run: nested state as safetensors + JSON, written whole or not at all, never pickled."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from textok.writing import flush, naming

KEPT = 2
_STATE, _TENSORS = "state.json", "tensors.safetensors"


def save_snapshot(folder: Path, *, step: int, state: dict[str, Any]) -> Path:
    """Write ``folder/step-NNNNNNNN`` and keep the last two; a kill leaves the older ones as they are.

    A run is deterministic, so a finished checkpoint of this step holds this state already and stays.
    """
    final = folder / f"step-{step:08d}"
    if final.exists():
        return final
    tensors: dict[str, Tensor] = {}
    tree = _flatten(state, "state", tensors)
    temporary = folder / f".step-{step:08d}.tmp"
    for stale in folder.glob(".step-*.tmp"):
        shutil.rmtree(stale)
    temporary.mkdir(parents=True)
    try:
        with naming(final):
            save_file(tensors, temporary / _TENSORS)
            (temporary / _STATE).write_text(json.dumps(tree))
            for file in temporary.iterdir():
                flush(file)
            os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    flush(folder)
    for old in snapshots(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def snapshots(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def load_snapshot(path: Path) -> dict[str, Any]:
    """The state that ``save_snapshot`` wrote; ``ValueError`` when a file is damaged, naming it."""
    try:
        tree = json.loads((path / _STATE).read_text())
        return _unflatten(tree, load_file(path / _TENSORS))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(
            f"{path}: damaged checkpoint ({error}); delete this folder to go on from the one before"
        ) from error


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """JSON tree of nested dicts and lists; tensors go into ``tensors`` under their path."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _flatten(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_flatten(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"checkpoint: {name} is a {type(value).__name__}, expected tensors and plain values")


def _unflatten(tree: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    ((kind, value),) = tree.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {key: _unflatten(item, tensors) for key, item in value}
    if kind in ("list", "tuple"):
        items = [_unflatten(item, tensors) for item in value]
        return tuple(items) if kind == "tuple" else items
    return value
