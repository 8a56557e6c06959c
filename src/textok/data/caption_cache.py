"""Caption features on disk: every distinct caption is encoded once, stored without padding in 16 bits.

A folder holds one subfolder per encoder fingerprint, with any number of immutable shards, each written whole or not at
all: two processes may warm the same folder, and killing one loses only the shard in the making.
"""

import hashlib
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from textok.display import Progress
from textok.writing import replacing

_FORMAT = "textok-captions-1"
_INDEX = ("keys", "offsets", "checksums")
_SHARD_CAPTIONS = 2048
_SHARD_SECONDS = 60.0
_STALE_SECONDS = 24 * 3600.0
# float16 keeps 11 significant bits where bfloat16 keeps 8: on MiniLM states its error is 8 times smaller
# (benchmarks/results/caption_cache.json), and a last hidden state, being normalised, stays far below 65504.
_STORED = torch.float16

Encode = Callable[[Sequence[str]], Sequence[Float[Tensor, "_ d"]]]


@dataclass
class _Shard:
    """One open file: its features stay on disk (memory-mapped) until rows are read."""

    path: Path
    offsets: list[int]
    checksums: list[int]
    features: Float[Tensor, "n d"]
    verified: set[int] = field(default_factory=set)

    def read(self, row: int) -> Float[Tensor, "_ d"]:
        """A copy of one caption's token states; compares their checksum the first time."""
        states = self.features[self.offsets[row] : self.offsets[row + 1]].clone()
        if row not in self.verified:
            if _checksum(states) != self.checksums[row]:
                raise _damaged(self.path, f"the features of caption {row} were altered")
            self.verified.add(row)
        return states


class CaptionCache:
    """Features of captions on disk, keyed by the encoder's fingerprint and the caption's SHA-256.

    Blank captions stand for "no caption": they are never stored and read as zero tokens. Opening reads the index
    (about 50 bytes a caption) and maps the features, which are read, and verified, when asked for. Any method raises
    ``ValueError`` when a file is damaged or made for other settings; it names the file.

    The folder may be shared by several encoders, and is created by the first ``add``. A token state has ``dim``
    channels, and a caption at most ``max_tokens`` of them.
    """

    def __init__(self, folder: str | Path, *, encoder_fingerprint: str, dim: int, max_tokens: int) -> None:
        if not encoder_fingerprint.isalnum():
            raise ValueError(
                f"CaptionCache encoder_fingerprint: got {encoder_fingerprint!r}; expected letters and digits"
            )
        self.folder = Path(folder) / encoder_fingerprint
        self.dim, self.max_tokens = dim, max_tokens
        facts = {"format": _FORMAT, "encoder": encoder_fingerprint, "dim": dim, "max_tokens": max_tokens}
        self._metadata = {name: str(value) for name, value in facts.items()}
        self._opened: set[Path] = set()
        self._index: dict[bytes, tuple[_Shard, int]] = {}

    def missing(self, captions: Iterable[str]) -> list[str]:
        """The distinct captions, in order, that are not stored yet, by this or any other process."""
        self._open_new_shards()
        distinct = dict.fromkeys(caption for caption in captions if caption.strip())
        return [caption for caption in distinct if _key(caption) not in self._index]

    def add(self, captions: Sequence[str], features: Sequence[Float[Tensor, "_ d"]]) -> None:
        """Store states of distinct captions as a new file; ``ValueError`` for blank ones, other shapes, overflows."""
        if len(captions) != len(features):
            raise ValueError(
                f"CaptionCache.add: got {len(captions)} captions, {len(features)} feature tensors"
            )
        if not captions:
            return
        rows = [self._stored(caption, states) for caption, states in zip(captions, features, strict=True)]
        keys = b"".join(_key(caption) for caption in captions)
        tensors = {
            "keys": torch.frombuffer(bytearray(keys), dtype=torch.uint8).view(-1, 32),
            "offsets": torch.tensor([0, *(len(row) for row in rows)]).cumsum(0),
            "checksums": torch.tensor([_checksum(row) for row in rows]),
            "features": torch.cat(rows),
        }
        index = _index_digest(tensors)
        with replacing(self.folder / f"{index}.safetensors", shared=True) as temporary:
            save_file(tensors, temporary, metadata={**self._metadata, "index": index})
        self._open_new_shards()

    def get(self, captions: Sequence[str]) -> list[Float[Tensor, "_ d"]]:
        """Token states of captions, float16; a blank caption has none. ``ValueError`` when one is not stored."""
        keys = [_key(caption) if caption.strip() else b"" for caption in captions]
        if any(key and key not in self._index for key in keys):
            self._open_new_shards()
        return [self._read(key, caption) for key, caption in zip(keys, captions, strict=True)]

    def warm(
        self,
        captions: Iterable[str],
        encoder: Callable[[], Encode],
        *,
        batch_size: int = 64,
        progress: bool = False,
    ) -> int:
        """Encode and store what is missing, and return how many; goes on where an interrupted call stopped.

        The encoder is made only when something is missing, so that a warm cache never loads it. It is called with
        ``batch_size`` captions at a time, which come sorted by length.
        """
        lacking = sorted(self.missing(captions), key=len)
        if lacking:
            self._remove_stale_files()
            self._encode(lacking, encoder(), batch_size=batch_size, progress=progress)
        return len(lacking)

    def __len__(self) -> int:
        """Distinct captions that are stored."""
        self._open_new_shards()
        return len(self._index)

    def _encode(self, lacking: list[str], encode: Encode, *, batch_size: int, progress: bool) -> None:
        pending: list[Tensor] = []
        done, written_at = 0, time.monotonic()
        with Progress(len(lacking), unit="caption", title="captions", shown=progress) as bar:
            for start in range(0, len(lacking), batch_size):
                batch = lacking[start : start + batch_size]
                pending.extend(states.to(device="cpu", dtype=_STORED) for states in encode(batch))
                bar.update(len(batch))
                late = time.monotonic() - written_at > _SHARD_SECONDS
                if late or len(pending) >= _SHARD_CAPTIONS or start + batch_size >= len(lacking):
                    self.add(lacking[done : start + len(batch)], pending)
                    pending, done, written_at = [], start + len(batch), time.monotonic()

    def _stored(self, caption: str, states: Float[Tensor, "_ d"]) -> Float[Tensor, "_ d"]:
        if not caption.strip():
            raise ValueError("CaptionCache.add: got a blank caption; blank captions are never stored")
        if states.ndim != 2 or states.shape[1] != self.dim or len(states) > self.max_tokens:
            raise ValueError(
                f"CaptionCache.add: features of {caption!r} have shape {tuple(states.shape)}; expected "
                f"(at most {self.max_tokens}, {self.dim})"
            )
        stored = states.detach().to(device="cpu", dtype=_STORED).contiguous()
        if not stored.isfinite().all():
            raise ValueError(
                f"CaptionCache.add: features of {caption!r} are not finite in float16 (largest "
                f"{states.abs().max():.3g}); run the encoder in float32, or choose one that ends in a normalisation"
            )
        return stored

    def _read(self, key: bytes, caption: str) -> Float[Tensor, "_ d"]:
        if not key:
            return torch.empty(0, self.dim, dtype=_STORED)
        if key not in self._index:
            raise ValueError(
                f"caption cache {self.folder}: no features of {caption!r}; warm the cache with all captions first"
            )
        shard, row = self._index[key]
        return shard.read(row)

    def _remove_stale_files(self) -> None:
        for path in self.folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):  # another process was first
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()

    def _open_new_shards(self) -> None:
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*.safetensors")):
            if path not in self._opened:
                shard, keys = self._open(path)
                self._opened.add(path)
                self._index.update((key, (shard, row)) for row, key in enumerate(keys))

    def _open(self, path: Path) -> tuple[_Shard, list[bytes]]:
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in (*_INDEX, "features")}
        except (SafetensorError, OSError) as error:
            raise _damaged(path, f"it is cut off or not a caption shard ({error})") from error
        for name, expected in self._metadata.items():
            if metadata.get(name) != expected:
                raise ValueError(
                    f"caption shard {path}: {name} is {metadata.get(name)}, expected {expected}; use another folder, "
                    f"or delete this file and its captions are encoded anew"
                )
        if metadata.get("index") != _index_digest(tensors):
            raise _damaged(path, "its index was altered")
        packed, offsets, checksums = (tensors[name] for name in _INDEX)
        keys = [bytes(key) for key in packed.numpy()]
        return _Shard(path, offsets.tolist(), checksums.tolist(), tensors["features"]), keys


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(
        f"caption shard {path}: {what}. Delete this file and run the same command again: "
        f"only its captions are encoded anew"
    )


def _key(caption: str) -> bytes:
    return hashlib.sha256(caption.encode()).digest()


def _checksum(states: Float[Tensor, "_ d"]) -> int:
    return zlib.crc32(states.view(torch.uint8).numpy().data)


def _index_digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in _INDEX:
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()[:32]
