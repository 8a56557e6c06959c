"""Cached latents: files that a tokenizer and a text encoder filled once, and training batches out of them.

A cache is a folder of safetensors shards and a manifest that vouches for them. A row is one picture with one caption.
A shard holds its rows' latents (or codes), labels and names, and the token states of every distinct caption once,
ragged, in 16 bits.
"""

import dataclasses
import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from textok.data.contents import Content
from textok.data.ordering import EndlessLoader, epoch_order
from textok.writing import refuse_foreign, replacing, write_json

__all__ = ["LatentBatch", "LatentCache", "LatentLoader", "Manifest"]

_FORMAT = 1
MANIFEST = "manifest.json"
_STORED = torch.float16


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a cache holds and how it was made.

    Attributes:
        tokenizer, tokenizer_source: model id; shipped name, folder or hub id that it was loaded from.
        kind: of its bottleneck: "ae", "kl", "norm", "fsq" or "vq".
        num_latents, latent_dim: K, all of which are stored, and c.
        num_codes: vocabulary of a discrete tokenizer, else None.
        text_encoder, text_dim, max_text_tokens: whose token states are stored.
        num_classes: highest label and one more; None when some row has none.
        rows, pictures: how many.
        settings: source, split, size, captions, flip: what another run must ask for to go on with this folder.
        shards: ``{"file", "rows", "sha256"}`` each, in order.
        complete: whether all pictures are in it.
    """

    format: int = _FORMAT
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
        hashes = "".join(str(shard["sha256"]) for shard in self.shards)
        return hashlib.sha256(hashes.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows on their way to a shard, with the token states of each distinct caption.

    Labels are -1 for none. A continuous tokenizer has a mean, a kl one a log variance too, a discrete one codes.
    ``contents`` are key and hashes of every picture that was read for them, see ``data.contents``.
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
    """Write a shard whole; returns its manifest entry. ``ValueError`` names a picture that is not finite in 16 bits."""
    place = {caption: index for index, caption in enumerate(rows.states)}
    states = [one.to(_STORED) for one in rows.states.values()]
    tensors = {
        "labels": rows.labels.to(torch.int32),
        "caption": torch.tensor([place[caption] for caption in rows.captions], dtype=torch.int32),
        "text": torch.cat(states) if states else torch.zeros(0, text_dim, dtype=_STORED),
        "text_ends": torch.tensor([len(s) for s in states], dtype=torch.int64).cumsum(0),
    }
    for name, values in (("mean", rows.mean), ("log_variance", rows.log_variance)):
        if values is not None:
            tensors[name] = values.to(_STORED)
            bad = ~tensors[name].flatten(1).isfinite().all(dim=1)
            if bad.any():
                raise ValueError(
                    f"picture {rows.keys[int(bad.nonzero()[0])]!r}: its {name} is not finite in 16 bits; is the "
                    "tokenizer trained?"
                )
    if rows.codes is not None:
        tensors["codes"] = rows.codes.to(torch.int32)
    # One entry: safetensors writes several in random order, and a shard made anew must be the same file.
    names = {"keys": list(rows.keys), "captions": list(rows.states), "contents": list(rows.contents)}
    stored = {name: value.cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        save_file(stored, temporary, {"names": json.dumps(names)})
    return {"file": path.name, "rows": len(rows.keys), "sha256": _file_hash(path)}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_shard(folder: Path, entry: Mapping[str, Any]) -> Path:
    """The file of a manifest's entry; ``ValueError`` when it is missing, cut off or altered."""
    path = folder / str(entry["file"])
    is_there = path.name == entry["file"] and path.is_file()
    if is_there and _file_hash(path) == entry["sha256"]:
        return path
    problem = "cut off or altered (SHA-256 differs)" if is_there else "the shard is missing"
    raise ValueError(f"{path}: {problem}; run the same textok cache command again to make it anew")


@dataclass(frozen=True)
class Shard:
    """A shard, its tensors mapped from disk; one that an earlier version made has no contents."""

    tensors: dict[str, Tensor]
    keys: list[str]
    captions: list[str]
    contents: list[Content]

    def text(self, row: int) -> Float[Tensor, "_ d"]:
        """The token states of a row."""
        caption = int(self.tensors["caption"][row])
        ends = self.tensors["text_ends"]
        start = 0 if caption == 0 else int(ends[caption - 1])
        return self.tensors["text"][start : int(ends[caption])].float()


def read_shard(path: Path) -> Shard:
    """Read a shard; ``ValueError`` when it is none."""
    refuse_foreign(path, expected="a shard of a latent cache")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            names = json.loads((file.metadata() or {})["names"])
        contents = [(key, content) for key, content in names.get("contents", ())]
        return Shard(tensors, names["keys"], names["captions"], contents)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: no shard of a latent cache ({error}); make it by textok cache") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json whole or not at all."""
    write_json(folder / MANIFEST, dataclasses.asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a cache; ``FileNotFoundError`` for none, ``ValueError`` for a damaged or a newer one."""
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a folder that textok cache wrote")
    try:
        data = json.loads(path.read_text())
        if data["format"] > _FORMAT:
            raise ValueError(
                f"format {data['format']}, this version reads up to {_FORMAT}: upgrade open-textok"
            )
        return Manifest(**data)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: no manifest of a latent cache ({error})") from error


@dataclass(frozen=True, kw_only=True)
class LatentBatch:
    """Rows side by side.

    Attributes:
        text: token states (t_i, d) of each caption.
        latents: (n, K, c), drawn from the distribution of a kl tokenizer; None for codes.
        codes: (n, K) of a discrete tokenizer, else None.
        labels: (n,), or None unless every row has one.
    """

    keys: list[str]
    captions: list[str]
    text: list[Float[Tensor, "_ d"]]
    latents: Float[Tensor, "n K c"] | None = None
    codes: Int[Tensor, "n K"] | None = None
    labels: Int[Tensor, "n"] | None = None


class LatentCache:
    """Rows of a finished cache, mapped from disk (in 16 bits), so that ranks of one machine share the memory."""

    def __init__(self, manifest: Manifest, shards: Sequence[Shard]) -> None:
        self.manifest, self._shards = manifest, list(shards)
        self.shard_lengths = [len(shard.keys) for shard in shards]
        self._starts = np.cumsum([0, *self.shard_lengths]).tolist()

    @classmethod
    def open(cls, folder: str | Path) -> "LatentCache":
        """Open and verify a cache; ``FileNotFoundError`` for none, ``ValueError`` for an unfinished or damaged one."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        if not manifest.complete:
            raise ValueError(f"{folder}: not finished; run the same textok cache command again to go on")
        return cls(manifest, [read_shard(check_shard(folder, entry)) for entry in manifest.shards])

    def __len__(self) -> int:
        return self._starts[-1]

    def batch(self, rows: Sequence[int], *, draw: tuple[int, int] | None = None) -> LatentBatch:
        """Some rows by number; ``draw`` is (seed, epoch) of a fresh sample of kl latents, None takes the means."""
        places = [bisect_right(self._starts, row) - 1 for row in rows]
        found = [(self._shards[at], row - self._starts[at]) for at, row in zip(places, rows, strict=True)]

        def stored(name: str) -> Tensor:
            return torch.stack([shard.tensors[name][i] for shard, i in found])

        latents = stored("mean").float() if self.manifest.num_codes is None else None
        if latents is not None and draw is not None and self.manifest.kind == "kl":
            noise = torch.stack([_noise(*draw, int(row), latents.shape[1:]) for row in rows])
            latents = latents + (stored("log_variance").float() / 2).exp() * noise
        return LatentBatch(
            keys=[shard.keys[i] for shard, i in found],
            captions=[shard.captions[int(shard.tensors["caption"][i])] for shard, i in found],
            text=[shard.text(i) for shard, i in found],
            latents=latents,
            codes=None if self.manifest.num_codes is None else stored("codes").long(),
            labels=None if self.manifest.num_classes is None else stored("labels").long(),
        )

    def class_captions(self, *, most: int = 50) -> dict[int, list[str]]:
        """Different captions of each class, at most ``most``, the first; for a decoder that is told a class only."""
        found: dict[int, dict[str, None]] = {}
        for shard in self._shards:
            places = shard.tensors["caption"].tolist()
            for label, place in zip(shard.tensors["labels"].tolist(), places, strict=True):
                known = found.setdefault(label, {})
                if label >= 0 and shard.captions[place] and len(known) < most:
                    known[shard.captions[place]] = None
        return {label: list(known) for label, known in sorted(found.items()) if known}


def _noise(seed: int, epoch: int, row: int, shape: Sequence[int]) -> Tensor:
    bits = np.random.SeedSequence([seed, epoch, row])
    values = np.random.Generator(np.random.PCG64(bits)).standard_normal(math.prod(shape), dtype=np.float32)
    return torch.from_numpy(values).view(*shape)


class LatentLoader(EndlessLoader):
    """Endless batches in an order by seed and epoch only; as :class:`~textok.data.ordering.EndlessLoader` has it."""

    def __init__(
        self, cache: LatentCache, *, batch_size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.cache = cache
        data = f"latent cache: {len(cache)} rows"
        super().__init__(len(cache), data=data, batch_size=batch_size, seed=seed, rank=rank, world=world)

    def __next__(self) -> LatentBatch:
        """The next batch; with a kl tokenizer every epoch draws its latents anew."""
        batch = self.cache.batch(self._rows(self.epoch, self.batch), draw=(self.seed, self.epoch))
        self.epoch, self.batch = self._after(self.epoch, self.batch)
        return batch

    def _epoch_order(self, epoch: int) -> np.ndarray:
        return epoch_order(self.cache.shard_lengths, seed=self.seed, epoch=epoch)

    def _identity(self) -> dict[str, Any]:
        return {
            "data": self.cache.manifest.fingerprint,
            "seed": self.seed,
            "rows_per_step": self.batch_size * self.world,
        }
