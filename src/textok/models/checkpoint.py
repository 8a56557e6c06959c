"""Weights on disk: config.json + model.safetensors, from a shipped name, a folder or a hub id."""

import difflib
import hashlib
import json
import tempfile
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Unpack

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from textok.display import note
from textok.models.card import CARD_FILE, SAMPLES_FILE, model_card
from textok.models.config_json import decode_config, encode_config
from textok.models.hub import Hub, fetch
from textok.models.weights_file import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_shapes,
    check_there,
    load_weights,
    own_file,
)
from textok.writing import check_target, replacing

FORMAT = 1
CLASS_CAPTIONS_FILE = "class_captions.json"
PRIOR_FILE = "codec.safetensors"
FIT_FILE = "fit.json"
"""What ``textok fit`` chose, in the folder that holds its tokenizer and its generator."""
COMPANIONS = (CLASS_CAPTIONS_FILE, PRIOR_FILE)
"""Files that may lie beside weights and belong to these very ones."""
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
    tops = (package / "_shipped", package.parents[1] / "weights", package.parents[1] / "datasets")
    places = [top / name for top in tops]
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
    _config_json: dict[str, Any] | None = None
    _beside: dict[str, bytes] | None = None  # files by name that came with the weights

    @property
    def model_id(self) -> str:
        """Name and a short hash of configuration and weights (at 16 bits); token files carry it."""
        return self._model_id or identify(self._name, encode_config(self.config), self.state_dict())

    def train(self: PretrainedT, mode: bool = True) -> PretrainedT:  # noqa: FBT001, FBT002 (torch's signature)
        """Switch to training mode, where weights are going to change: a loaded model loses its id and its card."""
        if mode:
            self._model_id = self._config_json = self._beside = None
        super().train(mode)
        return self

    @classmethod
    def from_pretrained(
        cls: type[PretrainedT], name_or_folder: str | Path, **hub: Unpack[Hub]
    ) -> PretrainedT:
        """Load weights, in fp32 and evaluation mode.

        Args:
            name_or_folder: a shipped name, a folder, or a hub id such as ``someone/model``.
            **hub: revision, token and cache_dir of a hub id.

        Raises:
            FileNotFoundError: when there is no such folder or hub entry.
            ValueError: when the files are damaged, or of another configuration or a newer format.
        """
        folder = resolve(str(name_or_folder), shipped=cls.shipped, **hub)
        data = read_config(folder / CONFIG_FILE)
        config = decode_config(cls.config_class, data["model"], where=str(folder / CONFIG_FILE))
        if str(name_or_folder) not in cls.shipped:  # no stranger's, and the check costs half a second
            check_shapes(cls, config, folder)
        model = cls(config)
        model.made_by = data.get("made_by", {})
        model._name = data.get("name", folder.name)
        load_weights(model, folder / WEIGHTS_FILE)
        beside = {name: own_file(folder / name) for name in (CARD_FILE, SAMPLES_FILE, *COMPANIONS)}
        model._beside = {name: file.read_bytes() for name, file in beside.items() if file.is_file()}
        model._config_json = data["model"]  # so that the same weights are saved with the same hash
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

        Raises:
            ValueError: for a folder with the model of another library, or that another process is writing.
        """
        folder = Path(folder)
        check_target(folder / CONFIG_FILE, option="folder")
        name = name or self._name
        weights = {key: _stored(value, dtype, key) for key, value in self.state_dict().items()}
        made_by = getattr(self, "made_by", {}) if made_by is None else made_by
        config = self._config_json or encode_config(self.config)
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

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        dtype: torch.dtype = torch.float32,
        token: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Upload to the Hugging Face hub; returns the address of the commit.

        README.md, the companions and the picture of samples beside the weights that were loaded go with them; without
        a README.md, a plain model card is made. The header that the hub reads is put before a card that has none.

        Args:
            repo_id: such as ``someone/icons``; made, ``private`` or not, where it is not there.
            dtype: that of the weights there.
            token: of an account that may write there; by default that of ``hf auth login``.
            revision: the branch; by default the main one.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            model_id = self.save_pretrained(folder, name=repo_id.split("/")[-1], dtype=dtype)
            files = dict(self._beside or {})
            own, has_samples = files.get(CARD_FILE, b"").decode(), SAMPLES_FILE in files
            card = model_card(self, repo_id, model_id=model_id, card=own, has_samples=has_samples)
            for companion, content in (files | {CARD_FILE: card.encode()}).items():
                (Path(folder) / companion).write_bytes(content)
            said = {"commit_message": "Upload weights", "revision": revision}
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder, **said))


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


def weights_hash(model_id: str) -> str:
    """The part of a model id that its configuration and weights decide; a rename or an upload changes the rest."""
    return model_id.rpartition("-")[2]


# --- reading --------------------------------------------------------------------------------------------


def resolve(name: str, *, shipped: dict[str, str], **hub: Unpack[Hub]) -> Path:
    """The folder with the weights of a shipped name, a folder or a hub id; ``FileNotFoundError`` when there is none."""
    if name in shipped:
        return shipped_folder(shipped[name])
    if Path(name).is_dir():
        return model_folder(Path(name), part="generator" if shipped is SHIPPED_GENERATORS else "tokenizer")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        files = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, SAMPLES_FILE, *COMPANIONS)
        return fetch(name, what="model", files=files, **hub)
    near = difflib.get_close_matches(name, shipped, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise FileNotFoundError(
        f"{name}: no such folder, and no shipped model (those are: {', '.join(shipped)}){hint}"
    )


def model_folder(folder: Path, *, part: str = "tokenizer") -> Path:
    """The folder of a model; of a run folder that of its best weights, else its last ones, and which is said.

    Of what ``textok fit`` made, which holds a run of each part, ``part`` is taken: "tokenizer" or "generator".

    Raises:
        FileNotFoundError: when a run has no weights yet.
    """
    if (folder / FIT_FILE).is_file():
        folder = folder / part
    if (folder / CONFIG_FILE).is_file() or not (folder / "run.json").is_file():
        return folder
    for name, kind in (("best", "best"), ("weights", "last")):
        if (file := folder / name / CONFIG_FILE).is_file():
            _report_weights(folder, kind, read_config(file).get("made_by", {}).get("step"))
            return file.parent
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
    check_there(path)
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
    for name, kind in {"model": dict, "made_by": dict, "name": str}.items():
        if not isinstance(data.get(name, None if name == "model" else kind()), kind):
            raise ValueError(f"{path}: has no good {name!r}; expected the file save_pretrained writes")
    return data
