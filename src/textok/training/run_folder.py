"""The folder of a run: its settings, code and data, its results, and its checkpoints."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from textok.data.contents import Content, ContentRecord, changes_error
from textok.data.samples import Source
from textok.display import note
from textok.models.config_json import encode_config
from textok.writing import flush, holds_nothing, naming, write_json, write_text

if TYPE_CHECKING:  # accelerate takes a moment, which commands that train nothing do not wait for
    from accelerate.tracking import GeneralTracker

_LIBRARIES = ("torch", "numpy", "pillow", "safetensors", "transformers", "accelerate", "datasets")

# Settings that may change when a run is resumed: speed, places of files and how often it logs, not what it learns.
# Data that moved are known by their fingerprint, which is one of the facts.
_PLACES = {"latents", "data.source", "text_cache", "preview.held_out", "preview.tokenizer"}
_SPEED = {"data.workers", "data.keep_decoded_mb", "data.resident", "text_states", "compile", "prepare_ahead"}
MAY_DIFFER = _PLACES | _SPEED | {"log_every", "checkpoint_every", "trackers"}

MAY_EXTEND = {"steps", "words_first", "optimizer", "validation", "preview"}
"""What a run may be extended with another value of: for how long and how it is optimized and judged."""


class RunFolder:
    """Writes run.json (once), metrics.jsonl, tensorboard events, bad samples and checkpoints. Rank 0 only.

    ``extend`` takes other values of the settings in ``MAY_EXTEND``; with ``accept_changes`` the run goes on with
    pictures, captions or latents that changed; ``trackers`` get the numbers too.
    """

    def __init__(self, path: str | Path, *, extend: bool = False, accept_changes: bool = False) -> None:
        self.path, self._extend, self._accept_changes = Path(path), extend, accept_changes
        self.contents = ContentRecord(self.path / "contents.json")
        self._tensorboard: Any = None
        self.trackers: Sequence[GeneralTracker] = ()

    # --- settings ---------------------------------------------------------------------------------------

    def start(
        self,
        config: Any,
        *,
        facts: dict[str, Any],
        source: Source | None = None,
        held_out: Sequence[Content] = (),
    ) -> None:
        """Write run.json in a new folder; in an old one make sure that it is the same run, on any number of ranks.

        Settings in ``MAY_DIFFER`` are not compared; run.json keeps those that the run began with, and the census of
        its pictures. With ``extend`` those in ``MAY_EXTEND`` may differ too: the record then holds the new ones, and
        the earlier ones under "extended". Data with other names, sizes or times are compared by their contents: those
        of ``source`` that were read before, and ``held_out``. ``ValueError`` names what differs.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        record = {"config": encode_config(config), "facts": facts}
        file = self.path / "run.json"
        if file.exists():
            before, now = json.loads(file.read_text()), json.loads(json.dumps(record))
            self._check_same_data(before["facts"], now["facts"], source, held_out)
            self._check_same(before, now)
            if self._extend and before["config"] != now["config"]:
                earlier = [*before.get("extended", []), before["config"]]
                write_json(file, {**before, **now, "extended": earlier})
        elif not holds_nothing(self.path):
            raise ValueError(f"{self.path}: not empty and no run folder; choose another --out")
        else:
            census = {} if source is None else {"census": source.census.facts()}
            write_json(file, {**record, "environment": environment(), **census})
            self.contents.compare(facts.get("data", ""), source, held_out, before=facts.get("data", ""))
        self.contents.save()

    def _check_same_data(
        self, before: dict[str, Any], now: dict[str, Any], source: Source | None, held_out: Sequence[Content]
    ) -> None:
        changed = self.contents.compare(now.get("data", ""), source, held_out, before=before.get("data", ""))
        if changed and not self._accept_changes:
            remedy = "restore it, choose another --out, or go on with what it is now by --accept-changes"
            raise changes_error(self.path, changed, remedy=remedy)
        same = ("data", "samples", "rows") if self._accept_changes else ("data",)
        now |= {name: before[name] for name in same if name in before}
        if "text_encoder" in now:  # which an earlier version did not note
            before.setdefault("text_encoder", now["text_encoder"])

    def _check_same(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        config = _changes(before["config"], now["config"], either=False)
        free = MAY_EXTEND if self._extend else set()
        changed = [
            t for path, t in config.items() if path not in MAY_DIFFER and path.split(".")[0] not in free
        ]
        facts = _changes(before["facts"], now["facts"], either=True)
        ranks = facts.pop("ranks", None)
        if changed := changed or [*facts.values()]:
            raise ValueError(
                f"{self.path}: holds another run, cannot resume: {'; '.join(changed[:4])}. "
                "Use the same settings; --extend to go on for other steps; or another --out, with --init-from this "
                "run to start from its weights"
            )
        if ranks:
            note(f"{self.path}: {ranks}; the run goes on, but not bit for bit as with the former number")

    # --- what came out ----------------------------------------------------------------------------------

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append a line to metrics.jsonl, and give the same numbers to tensorboard and the trackers."""
        self.append("metrics.jsonl", {"step": step, **values})
        if self._tensorboard is None:
            from torch.utils.tensorboard import SummaryWriter

            # Events past the step of an interrupted run are hidden.
            self._tensorboard = SummaryWriter(str(self.path / "tensorboard"), purge_step=step)
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)
        for tracker in self.trackers:
            tracker.log(values, step=step)

    def append(self, name: str, record: dict[str, Any]) -> None:
        """Append a record to a .jsonl file of the folder."""
        with (self.path / name).open("a") as file:
            file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """Write out the events that are still buffered."""
        if self._tensorboard is not None:
            self._tensorboard.close()
        for tracker in self.trackers:
            tracker.finish()

    def forget_after(self, step: int) -> None:
        """Drop log lines past ``step`` (at 0 all), which will be written again, and one that a kill cut off."""
        for file in self.path.glob("*.jsonl"):
            lines = []
            for line in file.read_text().splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if "step" not in record or record["step"] <= step > 0:
                    lines.append(line + "\n")
            write_text(file, "".join(lines))

    # --- where to go on ---------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint."""
        save_snapshot(self.checkpoints, step=step, state=state)
        self.contents.save()

    def latest(self) -> dict[str, Any] | None:
        """State of the newest checkpoint, or None in a fresh run."""
        folders = snapshots(self.checkpoints)
        return load_snapshot(folders[-1]) if folders else None


# --- checkpoints: nested state as safetensors and JSON, written whole or not at all, never pickled ----------

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


# --- code and machine ---------------------------------------------------------------------------------------


def steps_of(weights: Path) -> int:
    """How many steps exported weights were trained for; 0 where there are none."""
    config = weights / "config.json"
    return int(json.loads(config.read_text())["made_by"].get("step", 0)) if config.is_file() else 0


def environment() -> dict[str, Any]:
    """Code, library versions and machine."""
    return {
        "command": _command(),
        "code": code_version(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in ("open-textok", *_LIBRARIES)},
        "machine": {
            "platform": platform.platform(),
            "cpu": _cpu_name(),
            "cpu_capabilities": sorted(k for k, v in torch.cpu.get_capabilities().items() if v is True),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }


def _command() -> str:
    """The command as typed, with its name in place of the path where it is installed."""
    program = Path(sys.argv[0])
    ours = program.name == "textok" or program.parts[-3:] == ("textok", "cli", "__main__.py")
    return " ".join(["textok" if ours else sys.argv[0], *sys.argv[1:]])


def code_version() -> str:
    """Version of the package, with the git commit when it runs from a checkout."""
    here, command = Path(__file__).resolve().parent, ["git", "describe", "--always", "--dirty"]
    commit = ""
    if shutil.which("git"):
        commit = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False).stdout.strip()
    return _version("open-textok") + (f" ({commit})" if commit else "")


def _version(name: str) -> str:
    if name == "torch":
        return str(torch.__version__)  # with the build, which the metadata of PyPI's wheel leave out
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.*)", info.read_text(), re.MULTILINE) if info.exists() else None
    return name[1] if name else platform.processor()


def _changes(before: Any, now: Any, path: str = "", *, either: bool) -> dict[str, str]:
    """The differences, by the dotted path of the setting; what only one of the two has counts with ``either``.

    A setting that a record lacks is newer than the record, and one that only the record has is of an older version.
    """
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return {} if before == now else {path: f"{path} was {before!r}, is {now!r}"}
    changes: dict[str, str] = {}
    for key in dict.fromkeys([*before, *now]):
        if either or (key in before and key in now):
            changes |= _changes(before.get(key), now.get(key), f"{path}.{key}".lstrip("."), either=either)
    return changes
