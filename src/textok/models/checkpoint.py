"""Weights on disk: config.json + model.safetensors, from a shipped name, a folder or a hub id."""

import difflib
import hashlib
import json
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from textok.display import note
from textok.models.card import CARD_FILE, model_card
from textok.models.config_json import decode_config, encode_config
from textok.models.hub import fetch
from textok.writing import refuse_foreign, replacing, write_text

FORMAT = 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
CLASS_CAPTIONS_FILE = "class_captions.json"
PRIOR_FILE = "codec.safetensors"
FIT_FILE = "fit.json"
"""What ``textok fit`` chose, in the folder that holds its tokenizer and its generator."""
COMPANIONS = (CLASS_CAPTIONS_FILE, PRIOR_FILE)
"""Files that may lie beside weights and belong to these very ones."""
MAX_TEXT_BYTES = 64 << 20
"""Of the files beside the weights; those of the shipped models have kilobytes."""
SHIPPED = {"icons-128": "icons-128-tokenizer"}
SHIPPED_GENERATORS = {"icons-128": "icons-128-generator"}
SHIPPED_PREDICTORS = {"icons-128": "icons-128-predictor"}

# Not typing.Self, which the run-time type checks of the tests cannot read.
PretrainedT = TypeVar("PretrainedT", bound="Pretrained")


def shipped_folder(name: str) -> Path:
    """Folder ``name`` of what travels with the package: in a wheel beside the code, in a checkout at the top.

    Raises:
        FileNotFoundError: when neither has it.
    """
    package = Path(__file__).resolve().parents[1]
    places = [
        package / "_shipped" / name,
        *(package.parents[1] / top / name for top in ("weights", "datasets")),
    ]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"{name} does not travel with this installation; looked in {', '.join(map(str, places))}"
    )


class Pretrained(nn.Module):
    """Loading and saving for a model that is built from one frozen config dataclass."""

    config_class: ClassVar[type]
    shipped: ClassVar[dict[str, str]] = {}  # names of weights that travel with the package -> folders
    config: Any
    made_by: dict[str, Any]  # what trained the weights; free-form JSON values
    _name: str = "untrained"
    _model_id: str | None = None
    _card: str | None = None
    _companions: dict[str, bytes] | None = None

    @property
    def model_id(self) -> str:
        """Name and a short hash of configuration and weights (at 16 bits); token files carry it."""
        return self._model_id or identify(self._name, encode_config(self.config), self.state_dict())

    def train(self: PretrainedT, mode: bool = True) -> PretrainedT:  # noqa: FBT001, FBT002 (torch's signature)
        """Switch to training mode, where weights are going to change: a loaded model loses its id and its card."""
        if mode:
            self._model_id = self._card = self._companions = None
        super().train(mode)
        return self

    @classmethod
    def from_pretrained(
        cls: type[PretrainedT], name_or_folder: str | Path, *, revision: str | None = None
    ) -> PretrainedT:
        """Load weights, in fp32 and evaluation mode.

        Args:
            name_or_folder: a shipped name, a folder, or a hub id such as ``someone/model``.
            revision: branch, tag or commit of a hub id.

        Raises:
            FileNotFoundError: when there is no such folder or hub entry.
            ValueError: when the files are damaged, or of another configuration or a newer format.
        """
        folder = resolve(str(name_or_folder), shipped=cls.shipped, revision=revision)
        data = read_config(folder / CONFIG_FILE)
        config = decode_config(cls.config_class, data["model"], where=str(folder / CONFIG_FILE))
        if str(name_or_folder) not in cls.shipped:  # no stranger's, and the check costs half a second
            _check_shapes(cls, config, folder)
        model = cls(config)
        model.made_by = data.get("made_by", {})
        model._name = data.get("name", folder.name)
        load_weights(model, folder / WEIGHTS_FILE)
        card = _own_file(folder / CARD_FILE)
        model._card = card.read_text(encoding="utf-8") if card.is_file() else None
        beside = {name: _own_file(folder / name) for name in COMPANIONS}
        model._companions = {name: file.read_bytes() for name, file in beside.items() if file.is_file()}
        model._model_id = identify(model._name, data["model"], model.state_dict())
        return model.eval()

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        dtype: torch.dtype = torch.float32,
        made_by: dict[str, Any] | None = None,
    ) -> str:
        """Write config.json and model.safetensors; returns the model id.

        Args:
            folder: is created; files in it are replaced whole or not at all.
            name: first part of the model id; default the current one.
            dtype: of the floating-point weights on disk.
            made_by: what trained the weights, as JSON values.
        """
        folder = Path(folder)
        name = name or self._name
        weights = {key: _stored(value, dtype, key) for key, value in self.state_dict().items()}
        made_by = getattr(self, "made_by", {}) if made_by is None else made_by
        config = encode_config(self.config)
        model_id = identify(name, config, weights)
        data = {
            "format": FORMAT,
            "library": f"open-textok {version('open-textok')}",
            "name": name,
            "model_id": model_id,  # for who reads the configuration alone; loading finds it anew
            "model": config,
            "made_by": made_by,
        }
        with replacing(folder / CONFIG_FILE) as config_file, replacing(folder / WEIGHTS_FILE) as weights_file:
            config_file.write_text(json.dumps(data, indent=2) + "\n")
            save_file(weights, weights_file)
        return model_id

    def push_to_hub(self, repo_id: str, *, private: bool = False, dtype: torch.dtype = torch.float32) -> str:
        """Upload to the Hugging Face hub; returns the address of the commit.

        README.md and the companions beside the weights that were loaded go with them; without a README.md, a plain
        model card is made.
        """
        import tempfile

        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            model_id = self.save_pretrained(folder, name=repo_id.split("/")[-1], dtype=dtype)
            card = self._card or model_card(repo_id, model_id=model_id, model=self)
            write_text(Path(folder) / CARD_FILE, card)
            for companion, content in (self._companions or {}).items():
                (Path(folder) / companion).write_bytes(content)
            return str(
                api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload weights")
            )


def _stored(value: Tensor, dtype: torch.dtype, key: str) -> Tensor:
    """Weights in the asked type; latent statistics and other buffers of a few numbers stay in fp32."""
    narrow = value.is_floating_point() and not key.startswith("latent_")
    return value.detach().to(device="cpu", dtype=dtype if narrow else None).contiguous()


def identify(name: str, config: dict[str, Any], weights: dict[str, Tensor]) -> str:
    """``NAME-xxxxxxxx``: the hash covers the configuration and the weights rounded to 16 bits.

    Rounding first makes the id of a model the same before saving at 16 bits and after loading.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for key in sorted(weights):
        value = weights[key].detach().cpu()
        value = value.to(torch.float16) if value.is_floating_point() else value
        digest.update(key.encode() + value.contiguous().numpy().tobytes())
    return f"{name}-{digest.hexdigest()[:8]}"


# --- reading --------------------------------------------------------------------------------------------


def resolve(name: str, *, shipped: dict[str, str], revision: str | None = None) -> Path:
    """The folder with the weights of a shipped name, a folder or a hub id.

    Raises:
        FileNotFoundError: when there is none.
    """
    if name in shipped:
        return shipped_folder(shipped[name])
    if Path(name).is_dir():
        return model_folder(Path(name), part="generator" if shipped is SHIPPED_GENERATORS else "tokenizer")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        files = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, *COMPANIONS)
        return fetch(name, what="model", revision=revision, files=files)
    near = difflib.get_close_matches(name, shipped, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise FileNotFoundError(
        f"{name}: no such folder, and no shipped model (those are: {', '.join(shipped)}){hint}"
    )


def model_folder(folder: Path, *, part: str = "tokenizer") -> Path:
    """The folder of a model; of a run folder that of its best weights, else its last ones, and which is said.

    Args:
        folder: of a model, of a training run, or of what ``textok fit`` made, which holds a run of each part.
        part: the one that is taken of the latter: "tokenizer" or "generator".

    Raises:
        FileNotFoundError: when a run has no weights yet.
    """
    if (folder / FIT_FILE).is_file():
        folder = folder / part
    if (folder / CONFIG_FILE).is_file() or not (folder / "run.json").is_file():
        return folder
    for name, kind in (("best", "best"), ("weights", "last")):
        if (folder / name / CONFIG_FILE).is_file():
            _report_weights(
                folder, kind, read_config(folder / name / CONFIG_FILE).get("made_by", {}).get("step")
            )
            return folder / name
    raise FileNotFoundError(f"{folder}: a run without weights yet; let it train to its first validation")


@lru_cache
def _report_weights(folder: Path, kind: str, step: int | None) -> None:
    note(f"{folder}: its {kind} weights, of step {step}")


def read_config(path: Path) -> dict[str, Any]:
    """The whole of a config.json: ``format``, ``library``, ``name``, ``model_id``, ``model`` and ``made_by``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not one that ``save_pretrained`` wrote, or of a newer format.
    """
    if not _own_file(path).is_file():
        raise FileNotFoundError(f"{path} is missing; a model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # brackets can be nested deeper than the parser goes
        data = None
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        raise ValueError(
            f"{path}: no model configuration of open-textok; expected the file save_pretrained writes"
        )
    if data["format"] > FORMAT:
        raise ValueError(
            f"{path}: format {data['format']}, written by {data.get('library', 'a newer version')}; "
            f"this version reads up to {FORMAT}: upgrade open-textok"
        )
    if not isinstance(data.get("model"), dict):
        raise ValueError(f"{path}: has no 'model' settings; expected the file save_pretrained writes")
    return data


def load_weights(model: nn.Module, path: Path) -> None:
    """Copy a safetensors file into the model; every tensor must be there, with its shape and finite values.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged or of another model; the first few differences are named.
    """
    expected = model.state_dict()
    _check_fit({key: tuple(value.shape) for key, value in expected.items()}, stored_shapes(path), path)
    with safe_open(path, framework="pt") as file:
        weights = {key: file.get_tensor(key).to(value.dtype) for key, value in expected.items()}
    for key, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"{path}: {key}: got values that are not finite, expected numbers; fetch it again"
            )
    model.load_state_dict(weights)


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in a safetensors file, from its header alone.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged.
    """
    if not _own_file(path).is_file():
        raise FileNotFoundError(f"{path} is missing; a model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}")
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


def _check_shapes(model_class: type[Pretrained], config: Any, folder: Path) -> None:
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
    except (RuntimeError, OverflowError, MemoryError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{folder / CONFIG_FILE}: got sizes that no model can have ({reason:.120})"
        ) from error
    _check_fit({key: tuple(value.shape) for key, value in skeleton.state_dict().items()}, stored, path)


def _check_fit(expected: dict[str, tuple[int, ...]], stored: dict[str, tuple[int, ...]], path: Path) -> None:
    wrong = _differences(expected, stored)
    if wrong:
        raise ValueError(f"{path}: does not fit the configuration beside it: {'; '.join(wrong[:4])}")


def _own_file(path: Path) -> Path:
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


def _differences(expected: dict[str, tuple[int, ...]], stored: dict[str, tuple[int, ...]]) -> list[str]:
    missing = [f"{key} is missing" for key in expected if key not in stored]
    unknown = [f"{key} is unknown" for key in stored if key not in expected]
    shaped = [
        f"{key} got shape {stored[key]}, expected {shape}"
        for key, shape in expected.items()
        if key in stored and stored[key] != shape
    ]
    return shaped + missing + unknown
