"""The files of a latent cache: safetensors shards and a manifest that vouches for them.

A row is one picture with one caption. A shard holds its rows' latents (or codes), labels and names, and the token
states of every distinct caption once, ragged, in 16 bits.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from textok.data.contents import Content
from textok.writing import refuse_foreign, replacing, write_json

FORMAT = 1
MANIFEST = "manifest.json"
STORED = torch.float16


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a cache holds and how it was made.

    Attributes:
        tokenizer: model id.
        tokenizer_source: shipped name, folder or hub id that it was loaded from.
        kind: of its bottleneck: "ae", "kl", "norm", "fsq" or "vq".
        num_latents: K; all of them are stored.
        latent_dim: c.
        num_codes: vocabulary of a discrete tokenizer, else None.
        text_encoder, text_dim, max_text_tokens: whose token states are stored.
        num_classes: highest label and one more; None when some row has none.
        rows, pictures: how many.
        settings: source, split, size, captions, flip: what another run must ask for to go on with this folder.
        shards: ``{"file", "rows", "sha256"}`` each, in order.
        complete: whether all pictures are in it.
    """

    format: int = FORMAT
    tokenizer: str
    tokenizer_source: str
    kind: str
    num_latents: int
    latent_dim: int
    num_codes: int | None
    text_encoder: str
    text_dim: int
    max_text_tokens: int
    num_classes: int | None = None
    rows: int = 0
    pictures: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    shards: Sequence[Mapping[str, Any]] = ()
    complete: bool = False

    @property
    def fingerprint(self) -> str:
        """Of the contents: the hashes of all shards."""
        digest = hashlib.sha256("".join(str(shard["sha256"]) for shard in self.shards).encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows on their way to a shard.

    Attributes:
        keys, captions: n of each.
        labels: n; -1 for none.
        mean: (n, K, c) latents of a continuous tokenizer.
        log_variance: of a kl one.
        codes: (n, K) of a discrete one.
        states: token states of each distinct caption.
        contents: key and hashes of every picture that was read for them, see ``data.contents``.
    """

    keys: Sequence[str]
    captions: Sequence[str]
    labels: Int[Tensor, "n"]
    mean: Float[Tensor, "n K c"] | None = None
    log_variance: Float[Tensor, "n K c"] | None = None
    codes: Int[Tensor, "n K"] | None = None
    states: Mapping[str, Float[Tensor, "_ d"]] = field(default_factory=dict)
    contents: Sequence[Content] = ()


def write_shard(path: Path, rows: Rows, *, text_dim: int) -> dict[str, Any]:
    """Write a shard whole or not at all; returns its entry for the manifest.

    Raises:
        ValueError: when latents are not finite in 16 bits; names the picture.
    """
    captions = list(rows.states)
    place = {caption: index for index, caption in enumerate(captions)}
    states = [rows.states[caption].to(STORED) for caption in captions]
    tensors = {
        "labels": rows.labels.to(torch.int32),
        "caption": torch.tensor([place[caption] for caption in rows.captions], dtype=torch.int32),
        "text": torch.cat(states) if states else torch.zeros(0, text_dim, dtype=STORED),
        "text_ends": torch.tensor([len(s) for s in states], dtype=torch.int64).cumsum(0),
    }
    for name, values in (("mean", rows.mean), ("log_variance", rows.log_variance)):
        if values is not None:
            tensors[name] = _in_16_bits(name, values, rows.keys)
    if rows.codes is not None:
        tensors["codes"] = rows.codes.to(torch.int32)
    # One entry: safetensors writes several in random order, and a shard made anew must be the same file.
    names = {"keys": list(rows.keys), "captions": captions, "contents": list(rows.contents)}
    with replacing(path) as temporary:
        save_file(
            {name: value.cpu().contiguous() for name, value in tensors.items()},
            temporary,
            {"names": json.dumps(names)},
        )
    return {"file": path.name, "rows": len(rows.keys), "sha256": file_hash(path)}


def _in_16_bits(name: str, values: Float[Tensor, "n K c"], keys: Sequence[str]) -> Float[Tensor, "n K c"]:
    stored = values.to(STORED)
    bad = ~stored.flatten(1).isfinite().all(dim=1)
    if bad.any():
        key = keys[int(bad.nonzero()[0])]
        raise ValueError(f"picture {key!r}: its {name} is not finite in 16 bits; is the tokenizer trained?")
    return stored


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_shard(folder: Path, entry: Mapping[str, Any]) -> Path:
    """The file of a manifest's entry, when it is whole.

    Raises:
        ValueError: when it is missing, cut off or altered; names it.
    """
    path = folder / str(entry["file"])
    if path.name != entry["file"] or not path.is_file():
        problem = "the shard is missing"
    elif file_hash(path) != entry["sha256"]:
        problem = "cut off or altered (SHA-256 differs)"
    else:
        return path
    raise ValueError(f"{path}: {problem}; run the same textok cache command again to make it anew")


def read_shard(path: Path) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Tensors, keys and distinct captions of a shard; ``ValueError`` when it is no shard."""
    refuse_foreign(path, expected="a shard of a latent cache")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            notes = file.metadata() or {}
        names = json.loads(notes["names"])
        return tensors, names["keys"], names["captions"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: no shard of a latent cache ({error}); make it by textok cache") from error


def shard_contents(path: Path) -> list[Content]:
    """What the pictures of a shard were when it was made; nothing of one that an earlier version made.

    Raises:
        SafetensorError: when it is no shard.
    """
    with safe_open(path, framework="pt") as file:
        names = json.loads((file.metadata() or {}).get("names", "{}"))
    return [(key, content) for key, content in names.get("contents", ())]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json whole or not at all."""
    write_json(folder / MANIFEST, dataclasses.asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a cache.

    Raises:
        FileNotFoundError: when the folder holds none.
        ValueError: when it is damaged or newer than this version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a folder that textok cache wrote")
    try:
        data = json.loads(path.read_text())
        if data["format"] > FORMAT:
            raise ValueError(
                f"format {data['format']}, this version reads up to {FORMAT}: upgrade open-textok"
            )
        return Manifest(**data)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: no manifest of a latent cache ({error})") from error
