"""Services that follow a run (wandb, mlflow, clearml and the others that accelerate speaks to)."""

from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType

from textok.models.config_json import encode_config
from textok.training.run import Run


def check_trackers(names: Sequence[str]) -> None:
    """Raise ``ValueError`` for services that accelerate does not know, or whose package is missing."""
    known = sorted(map(str, LOGGER_TYPE_TO_CLASS.keys() - {"tensorboard"}))  # what a caller registered too
    missing = set(map(str, LoggerType)) - set(map(str, get_available_trackers()))
    for name in names:
        if name not in known:
            raise ValueError(
                f"trackers: got {name!r}, expected some of {', '.join(known)}; tensorboard's files are always written"
            )
        if name in missing:
            raise ValueError(f"trackers: got {name!r}, which is not installed; pip install {name}")


def start_trackers(accelerator: Accelerator, run: Run) -> list[GeneralTracker]:
    """Begin the run's entry in each service that it names, with its settings; all ranks call."""
    accelerator.init_trackers(run.name, config=_flat(encode_config(run)))
    return list(accelerator.trackers)


def _flat(config: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Settings by their dotted names, as they are typed; values that services do not take as text."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat
