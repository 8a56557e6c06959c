"""Tokens of pictures with all that decoding them needs, and the .safetensors file that holds them.

The file has one tensor, ``latents`` (b, k, c) or ``codes`` (b, k); all else is one JSON object in its metadata, with
``lengths`` only where pictures have different numbers of tokens. Nothing in such a file is executed or trusted.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Integer
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import pad

from textok.writing import check_target, refuse_foreign, replacing, strict_json

StoredDtype = Literal["float16", "float32"]
# 4,096 x 4,096 pixels at patch 16. Decoding attends over all patches at once: more is a mistake or an attack.
MAX_PATCHES = 65_536
_FORMAT = "textok-tokens"
_MAX_HEAD = 100_000_000  # bytes; no reader of safetensors takes more
_VERSION = 1
_FIELDS = {"model_id", "grid", "keys", "captions", "settings"}
_DTYPES = {
    "latents": {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64},
    "codes": {"U8": torch.uint8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64},
}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Tokens:
    """The tokens of some pictures of one size, with what is needed to decode them.

    ``len(tokens)`` is the number of pictures, ``tokens[3]`` and ``tokens[2:8]`` are some of them, and iterating
    gives them one by one, always as ``Tokens``.

    Attributes:
        values: latents (b, k, c) of about unit scale from a continuous tokenizer, or integer codes (b, k)
            from a discrete one. What lies past a picture's length is never read.
        model_id: the tokenizer that made them, ``TexTok.model_id``; no other can decode them.
        grid: (rows, columns) of patches of the decoded pictures.
        keys: a name for each picture.
        lengths: how many tokens each picture has, 1 to k; all k where none are passed.
        captions: a caption for each picture, "" where it was encoded without one; None when the captions
            were left out.
        settings: how the tokens were made (plain JSON values), for the record only.
    """

    values: Float[Tensor, "b k c"] | Integer[Tensor, "b k"]
    model_id: str
    grid: tuple[int, int]
    keys: tuple[str, ...]
    lengths: tuple[int, ...] = ()
    captions: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if 0 in self.values.shape:
            raise ValueError(f"tokens: got shape {tuple(self.values.shape)}, expected no axis of length zero")
        if not self.lengths:
            object.__setattr__(self, "lengths", (self.num_tokens,) * len(self))
        if self.latents is not None and not bool(torch.isfinite(self.latents).all()):
            raise ValueError("latents: got NaN or infinite values, expected finite ones")
        if self.codes is not None and int(self.codes.min()) < 0:
            raise ValueError(f"codes: got {int(self.codes.min())}, expected zero or more")
        rows, columns = self.grid
        if rows < 1 or columns < 1 or rows * columns > MAX_PATCHES:
            raise ValueError(f"grid: got {rows} x {columns} patches, expected 1 to {MAX_PATCHES} in all")
        per_picture = {"keys": self.keys, "lengths": self.lengths, "captions": self.captions}
        for name, values in per_picture.items():
            if values is not None and len(values) != len(self):
                raise ValueError(f"{name}: got {len(values)}, expected one for each of {len(self)} pictures")
        if not 1 <= min(self.lengths) <= max(self.lengths) <= self.num_tokens:
            raise ValueError(
                f"lengths: got {min(self.lengths)} to {max(self.lengths)}, expected 1 to {self.num_tokens}"
            )

    @property
    def latents(self) -> Float[Tensor, "b k c"] | None:
        """The values of a continuous tokenizer, else None."""
        return self.values if self.values.is_floating_point() else None

    @property
    def codes(self) -> Integer[Tensor, "b k"] | None:
        """The values of a discrete tokenizer, else None."""
        return None if self.values.is_floating_point() else self.values

    @property
    def num_tokens(self) -> int:
        """The most tokens that a picture has room for, k."""
        return self.values.shape[1]

    @property
    def mean_tokens(self) -> float:
        """The mean number of tokens of a picture."""
        return sum(self.lengths) / len(self)

    @property
    def bytes_per_image(self) -> float:
        """The mean bytes of one picture's tokens in the dtype they are held in; captions are not counted."""
        return self.mean_tokens * self.values[0, 0].numel() * self.values.element_size()

    def __repr__(self) -> str:
        kind = "codes" if self.latents is None else "latents"
        values = f"{kind} {tuple(self.values.shape)} {str(self.values.dtype).removeprefix('torch.')}"
        captions = "without captions" if self.captions is None else "with captions"
        lengths = f"{min(self.lengths)} to {max(self.lengths)} tokens each"
        pictures = f"{len(self)} pictures of {self.grid[0]} x {self.grid[1]} patches {captions}"
        return f"Tokens({pictures}, {values}, {lengths}, of model {self.model_id!r})"

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: int | slice) -> "Tokens":
        if isinstance(rows, int):
            place = range(len(self))[rows]
            rows = slice(place, place + 1)
        lengths = self.lengths[rows]
        return replace(
            self,
            values=self.values[rows, : max(lengths, default=0)],
            keys=self.keys[rows],
            lengths=lengths,
            captions=None if self.captions is None else self.captions[rows],
        )

    def __iter__(self) -> Iterator["Tokens"]:
        return (self[place] for place in range(len(self)))

    def select(self, keys: Sequence[str]) -> "Tokens":
        """The pictures of some names; ``ValueError`` when there is none of a name."""
        places = {key: place for place, key in enumerate(self.keys)}
        missing = [key for key in keys if key not in places]
        if missing:
            raise ValueError(f"key: got {missing[0]!r}, expected one of the {len(self)} pictures")
        return Tokens.concat([self[places[key]] for key in keys])

    def first(self, num_tokens: int) -> "Tokens":
        """The first tokens of every picture, as encoding to that smaller budget gives them."""
        if not 1 <= num_tokens <= self.num_tokens:
            raise ValueError(f"num_tokens: got {num_tokens}, expected 1 to {self.num_tokens}")
        return self.cut([min(length, num_tokens) for length in self.lengths])

    def cut(self, lengths: Sequence[int]) -> "Tokens":
        """The first ``lengths[i]`` tokens of each picture i, 1 to k; zeros stand where there are none."""
        cut = replace(self, lengths=tuple(lengths))
        values = self.values[:, : max(cut.lengths)]
        if min(cut.lengths) < values.shape[1]:
            ends = torch.tensor(cut.lengths, device=values.device)
            beyond = torch.arange(values.shape[1], device=values.device) >= ends[:, None]  # (b k)
            values = values.masked_fill(beyond.view(*beyond.shape, *[1] * (values.ndim - 2)), 0)
        return replace(cut, values=values)

    @classmethod
    def concat(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """Sets of one model and one grid, one after another; the captions stay when every part has them."""
        if len({(part.model_id, part.grid) for part in parts}) != 1:
            raise ValueError(
                f"tokens: got {len(parts)} parts of different models or grids, expected one of each"
            )
        captions = [part.captions for part in parts if part.captions is not None]
        texts = tuple(text for texts in captions for text in texts) if len(captions) == len(parts) else None
        most = max(part.num_tokens for part in parts)
        return replace(
            parts[0],
            values=torch.cat([_padded(part.values, most) for part in parts]),
            keys=tuple(key for part in parts for key in part.keys),
            lengths=tuple(length for part in parts for length in part.lengths),
            captions=texts,
        )


def _padded(values: Tensor, num_tokens: int) -> Tensor:
    missing = num_tokens - values.shape[1]
    return pad(values, (0, 0, 0, missing) if values.is_floating_point() else (0, missing))


# --- the file -----------------------------------------------------------------------------------------------


def save_tokens(
    tokens: Tokens,
    path: str | Path,
    *,
    captions: bool = True,
    dtype: StoredDtype = "float16",
    overwrite: bool = False,
) -> Path:
    """Write a token file, complete or not at all; the arguments and errors are those of :func:`save_parts`.

    What is there and was not made by textok is refused, unless ``overwrite``.
    """
    check_target(Path(path), option="path", overwrite=overwrite)
    save_parts([tokens], path, captions=captions, dtype=dtype)
    return Path(path)


def save_parts(
    parts: Iterable[Tokens],
    path: str | Path,
    *,
    captions: bool = True,
    dtype: StoredDtype = "float16",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write one set after another into a token file, which never holds the values of more than one in memory.

    Args:
        parts: at least one, of one model and one grid; they are read twice.
        path: the file; its folder is made when missing.
        captions: False leaves the captions out; decoding then asks for them or does without.
        dtype: the dtype of the latents in the file (of unit scale: 16 bits cost little); codes take the smallest.
        settings: more settings for the record, besides those of the first part.

    Returns:
        ``model_id``, ``kind``, ``pictures``, ``mean_tokens`` and ``token_bytes_per_image`` of the file.

    ``ValueError`` for text that is not Unicode, numbers in the settings that are not finite, or too many pictures.
    """
    header, kind, shape, largest = _contents(parts)
    if not captions:
        header["captions"] = None
    header["settings"] |= settings or {}
    path, stored = Path(path), getattr(torch, dtype)
    if kind == "codes":
        stored = next(d for d in _DTYPES["codes"].values() if largest <= torch.iinfo(d).max)
    try:
        metadata = {"format": _FORMAT, "version": str(_VERSION), "tokens": strict_json(header)}
        head = _safetensors_head(kind, shape, stored, metadata)
    except ValueError as error:
        raise ValueError(f"{path}: keys, captions or settings: {error}") from error
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(head)
        for part in parts:
            file.write(_padded(part.values.to("cpu", stored), shape[1]).contiguous().numpy().data)
    count, lengths = shape[0], header.get("lengths")
    mean = shape[1] if lengths is None else sum(lengths) / count
    facts = {"model_id": header["model_id"], "kind": kind, "pictures": count, "mean_tokens": mean}
    return facts | {"token_bytes_per_image": mean * math.prod(shape[2:]) * stored.itemsize}


def _contents(parts: Iterable[Tokens]) -> tuple[dict[str, Any], str, tuple[int, ...], int]:
    """The header of all parts, the kind and the shape of their values, and the largest code."""
    sources, keys, lengths, texts = dict[Any, Mapping[str, Any]](), list[str](), list[int](), list[str]()
    longest = largest = 0
    for part in parts:
        kind, values = "codes" if part.latents is None else "latents", part.values
        sources.setdefault((part.model_id, part.grid, kind, values.shape[2:]), part.settings)
        keys += part.keys
        lengths += part.lengths
        texts += part.captions or ()
        longest = max(longest, part.num_tokens)
        largest = max(largest, int(values.max())) if kind == "codes" else 0
    if len(sources) != 1:
        raise ValueError(f"tokens: got parts of {len(sources)} models or grids, expected one of each")
    (((model_id, grid, kind, width), settings),) = sources.items()
    header: dict[str, Any] = {"model_id": model_id, "grid": list(grid), "keys": keys}
    header["captions"] = texts if len(texts) == len(keys) else None
    header["settings"] = dict(settings)
    if min(lengths) < longest:
        header["lengths"] = lengths
    return header, kind, (len(keys), longest, *width), largest


def _safetensors_head(
    name: str, shape: Sequence[int], dtype: torch.dtype, metadata: Mapping[str, str]
) -> bytes:
    """As ``safetensors`` writes it, whose order of the metadata is another in every call: the same bytes each time."""
    word = next(word for word, value in _DTYPES[name].items() if value == dtype)
    offsets = [0, math.prod(shape) * dtype.itemsize]
    entry = {"dtype": word, "shape": list(shape), "data_offsets": offsets}
    head = json.dumps({"__metadata__": dict(metadata), name: entry}, ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    if len(head) > _MAX_HEAD:
        raise ValueError(
            f"got {len(head)} bytes, expected at most {_MAX_HEAD}; write a .ttk file, or several"
        )
    return len(head).to_bytes(8, "little") + head


def load_tokens(path: str | Path) -> Tokens:
    """Read a token file, in the dtype that it is stored in; ``ValueError`` when it is not complete and consistent."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such token file")
    refuse_foreign(path, expected="a token file")
    try:
        values, metadata = _read(path)
        header = _header(metadata).items()
        fields: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in header}
        return Tokens(values=values, **fields)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a good token file: {error}; write it again with textok encode"
        ) from error


def _read(path: Path) -> tuple[Tensor, dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != _FORMAT:
            raise ValueError(f"format: got {metadata.get('format')!r}, expected {_FORMAT!r}")
        names = list(file.keys())
        if len(names) != 1 or names[0] not in _DTYPES:
            raise ValueError(f"tensors: got {names[:5]}, expected one, latents or codes")
        values = file.get_tensor(names[0])
    if values.dtype not in _DTYPES[names[0]].values():
        raise ValueError(f"{names[0]}: got {values.dtype}, expected one of {list(_DTYPES[names[0]])}")
    dims = 3 if names[0] == "latents" else 2
    if values.ndim != dims:
        raise ValueError(f"{names[0]}: got shape {tuple(values.shape)}, expected {dims} axes")
    return values, metadata


def _header(metadata: dict[str, str]) -> dict[str, Any]:
    version = metadata.get("version", "")
    if version != str(_VERSION):
        raise ValueError(f"version: got {version!r}, expected {_VERSION}, which this release reads")
    header = json.loads(metadata.get("tokens", ""))
    strict_json(header)
    if not isinstance(header, dict) or set(header) - {"lengths"} != _FIELDS:
        names = sorted(header) if isinstance(header, dict) else type(header).__name__
        raise ValueError(f"metadata: got {names}, expected {sorted(_FIELDS)}")
    checks = {
        "model_id": isinstance(header["model_id"], str),
        "grid": _is_list(header["grid"], int) and len(header["grid"]) == 2,
        "keys": _is_list(header["keys"], str),
        "lengths": _is_list(header.get("lengths", []), int),
        "captions": header["captions"] is None or _is_list(header["captions"], str),
        "settings": isinstance(header["settings"], dict),
    }
    for name, good in checks.items():
        if not good:
            raise ValueError(f"{name}: got {str(header[name])[:60]!r}, of the wrong kind")
    return header


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)
