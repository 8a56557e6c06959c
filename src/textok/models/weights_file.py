"""The file of weights: its shapes before anything is built, and its values as they are read."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from textok.writing import refuse_foreign

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
MAX_TEXT_BYTES = 64 << 20
"""Of the files beside the weights; those of the shipped models have kilobytes."""


def load_weights(model: nn.Module, path: Path) -> None:
    """Copy a safetensors file into the model; every tensor must be there, with its shape and finite values.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged or of another model; the first few differences are named.
    """
    expected = model.state_dict()
    _check_fit(model, stored_shapes(path), path)
    with safe_open(path, framework="pt") as file:
        weights = {key: file.get_tensor(key).to(value.dtype) for key, value in expected.items()}
    for key, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"{path}: {key}: got values that are not finite, expected numbers; fetch it again"
            )
    model.load_state_dict(weights)


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in a safetensors file, from its header alone; errors are those of ``load_weights``."""
    check_there(path)
    refuse_foreign(path, expected="weights in safetensors form")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: cut off or no safetensors file ({error}); fetch it again") from error


_FIRST_WEIGHTS = (nn.init.normal_, nn.init.xavier_uniform_, nn.init.kaiming_uniform_, Tensor.mul)


class _NoFirstWeights(TorchFunctionMode):
    """Draw no first weights: on the meta device torch imports its compiler for that, which takes two seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FIRST_WEIGHTS:
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


def check_shapes(model_class: type[nn.Module], config: Any, folder: Path) -> None:
    """Refuse a configuration that the weights beside it do not fit, before memory is taken for any layer."""
    path = folder / WEIGHTS_FILE
    stored = stored_shapes(path)
    for name, value in vars(config).items():
        if name.endswith("depth") and value > len(stored):  # building so many layers would take minutes
            raise ValueError(
                f"{folder / CONFIG_FILE}: {name}: got {value}, expected at most the {len(stored)} tensors"
            )
    try:
        with torch.device("meta"), _NoFirstWeights():
            skeleton = model_class(config)
    except (RuntimeError, OverflowError, MemoryError, TypeError) as error:  # the last for more than 64 bits
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{folder / CONFIG_FILE}: got sizes that no model can have ({reason:.120})"
        ) from error
    _check_fit(skeleton, stored, path)


def _check_fit(model: nn.Module, stored: dict[str, tuple[int, ...]], path: Path) -> None:
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    wrong = [
        f"{key} got shape {stored[key]}, expected {shape}"
        for key, shape in expected.items()
        if stored.get(key, shape) != shape
    ]
    wrong += [f"{key} is missing" for key in expected if key not in stored]
    wrong += [f"{key} is unknown" for key in stored if key not in expected]
    if wrong:
        raise ValueError(f"{path}: does not fit the configuration beside it: {'; '.join(wrong[:4])}")


def check_there(path: Path) -> None:
    """Raise ``FileNotFoundError`` without this file of a model folder; other errors are those of ``own_file``."""
    if not own_file(path).is_file():
        raise FileNotFoundError(f"{path} is missing; a model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}")


def own_file(path: Path) -> Path:
    """The file itself; a link may lead elsewhere in its folder, or into the store of a hub's cache beside it.

    Raises:
        ValueError: for a link that leads anywhere else, or a file of more than ``MAX_TEXT_BYTES``.
    """
    target, folder = path.resolve(), path.parent.resolve()
    if path.is_symlink() and not any(
        home in target.parents for home in (folder, folder.parents[1] / "blobs")
    ):
        raise ValueError(f"{path}: got a link to {target}, expected a file in the folder; copy it there")
    if path.name != WEIGHTS_FILE and path.is_file() and path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(f"{path}: got {path.stat().st_size:,} bytes, expected at most {MAX_TEXT_BYTES:,}")
    return path
