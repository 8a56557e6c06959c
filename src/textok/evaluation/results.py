"""Result files: settings, what made them, one flat row per cell of the table, and the values of every picture.

JSON: ``{"settings", "made_by", "rows", "latents"?, "per_image"?}``. A row is ``{"split", "captions", "budget", "count",
"psnr", ...}``. The values of single pictures, which intervals are computed from, are stored by column. What rows
cannot hold, being flat, are the lists of ``latents``: ``{"split", "captions", "mean": [...], "std": [...]}``.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from textok.writing import finite, write_text

Row = dict[str, str | int | float]
"""One flat record of a table."""

ChannelRow = dict[str, str | list[float]]
"""The latents' channels of one split and caption condition: ``split``, ``captions``, ``mean`` and ``std``."""

CELL_FIELDS = ("split", "captions", "budget", "guidance")
"""What tells rows apart; everything else in a row is a value."""

MAX_RESULT_BYTES = 1 << 30

Cell = tuple[str | int | float | None, ...]
"""The values of ``CELL_FIELDS`` in a row; None where the row has no such field."""


class Meaning(NamedTuple):
    """The meaning of a metric: its name in words, the unit on its axis, and whether higher is better (1), lower is
    better (-1), or it is a fact and not a score (0).
    """

    title: str
    unit: str
    better: int

    @property
    def advice(self) -> str:
        """The title, with which way is better."""
        return self.title + {1: ": higher is better", -1: ": lower is better", 0: ""}[self.better]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of picture sets: one row for each cell, one for each picture in each cell (with its ``key``, for
    bootstrap intervals), and one for each split and caption condition with the channels of a tokenizer's latents.
    """

    rows: list[Row] = field(default_factory=list)
    per_image: list[Row] = field(default_factory=list)
    latents: list[ChannelRow] = field(default_factory=list)

    def extend(self, other: "Scores", **where: str | int | float) -> None:
        """Add the rows of another set of pictures, those of pictures and cells with what tells them apart."""
        self.rows.extend(where | row for row in other.rows)
        self.per_image.extend(where | row for row in other.per_image)
        self.latents.extend(other.latents)


@dataclass(frozen=True, kw_only=True)
class Result(Scores):
    """A result file: scores, the settings that they depend on, and what made them (command, versions, machine)."""

    settings: dict[str, Any]
    made_by: dict[str, Any] = field(default_factory=dict)


def cell_of(row: Row) -> Cell:
    """Which cell of the table a row belongs to."""
    return tuple(row.get(name) for name in CELL_FIELDS)


def write_result(
    path: str | Path,
    *,
    settings: Mapping[str, Any],
    rows: Sequence[Row],
    per_image: Sequence[Row] = (),
    latents: Sequence[ChannelRow] = (),
    made_by: Mapping[str, Any] | None = None,
) -> Path:
    """Write a result file: numbers of ``per_image`` with seven digits, null for a value that is not finite.

    ``ValueError`` when the pictures of a cell have different values, or those of a split differ by cell.
    """
    path = Path(path)
    parts = [
        f'"settings": {_json(settings, indent=2)}',
        f'"made_by": {_json(made_by or {}, indent=2)}',
        f'"rows": {_lines(rows)}',
    ]
    if latents:
        parts.append(f'"latents": {_lines(latents)}')
    if per_image:
        pictures, columns = _pack(per_image)
        parts.append(f'"per_image": {{\n"pictures": {_json(pictures)},\n"columns": {_lines(columns)}\n}}')
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")
    return path


def read_result(path: str | Path) -> Result:
    """Read a result file; ``FileNotFoundError`` when there is none, ``ValueError`` when it is something else."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such result file")
    if path.stat().st_size > MAX_RESULT_BYTES:
        raise ValueError(f"{path}: over the limit of {MAX_RESULT_BYTES:,} bytes for a result file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        result = Result(
            settings=dict(content["settings"]),
            made_by=dict(content.get("made_by", {})),
            rows=[checked_row(row) for row in content["rows"]],
            per_image=_unpack(content["per_image"]) if "per_image" in content else [],
            latents=[dict(row) for row in content.get("latents", [])],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else f"no JSON: {error}"
        reason = reason if isinstance(error, KeyError | json.JSONDecodeError) else str(error)
        raise ValueError(
            f"{path}: not a result file ({reason}), expected JSON with settings and rows, as textok evaluate writes it"
        ) from error
    if not result.rows:
        raise ValueError(f"{path}: the result file has no rows, expected at least one")
    return result


def _pack(per_image: Sequence[Row]) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    cells: dict[Cell, list[Row]] = {}
    for row in per_image:
        cells.setdefault(cell_of(row), []).append(row)
    pictures: dict[str, list[str]] = {}
    columns = []
    for cell, rows in cells.items():
        keys = [str(row["key"]) for row in rows]
        if pictures.setdefault(str(cell[0]), keys) != keys:
            raise ValueError(
                f"per_image: got other pictures under {cell}, expected those of the split's other rows"
            )
        if any(row.keys() != rows[0].keys() for row in rows):
            raise ValueError(
                f"per_image: got rows of different values under {cell}, expected {list(rows[0])} in each"
            )
        column: dict[str, Any] = {name: rows[0][name] for name in CELL_FIELDS if name in rows[0]}
        for name in [name for name in rows[0] if name not in (*column, "key")]:
            values = [row[name] for row in rows]
            column[name] = [float(f"{value:.7g}") if isinstance(value, float) else value for value in values]
        columns.append(column)
    return pictures, columns


def _unpack(packed: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for columns in packed["columns"]:
        # Files from before guidance was a field of the cell have it as a column, a list.
        cell = {n: columns[n] for n in CELL_FIELDS if not isinstance(columns.get(n, []), list)}
        where = checked_row(cell)
        keys = packed["pictures"][str(where.get("split"))]
        names = [name for name in columns if name not in where]
        for key, *values in zip(keys, *(columns[name] for name in names), strict=True):
            rows.append(where | {"key": str(key)} | checked_row(dict(zip(names, values, strict=True))))
    return rows


def checked_row(row: Mapping[str, Any]) -> Row:
    """A row of words and numbers, in which null is NaN; ``TypeError`` for a score that is a word, and the like."""
    for name, value in row.items():
        kinds = int | float | None if meaning(name).better else str | int | float | None
        if not isinstance(value, kinds):
            raise TypeError(f"{name}: got {value!r:.40}")
    if not isinstance(row.get("count", 0), int):
        raise TypeError(f"count: got {row['count']!r:.40}")
    return {name: math.nan if value is None else value for name, value in row.items()}


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "[\n" + ",\n".join(_json(row) for row in rows) + "\n]"


def _json(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


# By how the name begins: the whole name, or what stands before an underscore. Longer beginnings win.
_BY_START = {
    "psnr": Meaning("PSNR", "dB", 1),
    "ssim": Meaning("SSIM", "similarity", 1),
    "ms_ssim": Meaning("Multi-scale SSIM", "similarity", 1),
    "perceptual": Meaning("Perceptual distance", "distance", -1),
    "lpips": Meaning("LPIPS", "distance", -1),
    "fd": Meaning("Fréchet distance", "distance", -1),
    "fid": Meaning("FID", "distance", -1),
    "kd": Meaning("Kernel distance", "distance", -1),
    "kid": Meaning("KID", "distance", -1),
    "precision": Meaning("Precision", "share", 1),
    "recall": Meaning("Recall", "share", 1),
    "is": Meaning("Inception score", "score", 1),
    "retrieval": Meaning("Caption retrieval", "share", 1),
    "posterior_agreement": Meaning("Agreement of class posteriors", "share", 1),
    "top1_agreement": Meaning("Agreement on the class", "share", 1),
    "alignment": Meaning("Caption alignment", "score", 1),
    "nearest_train_median": Meaning("Median distance to the nearest training picture", "distance", 0),
    "latent_mean_abs_max": Meaning("Latents: largest mean of a channel, without its sign", "", 0),
    "latent_std_min": Meaning("Latents: smallest standard deviation of a channel", "", 0),
    "latent_std_max": Meaning("Latents: largest standard deviation of a channel", "", 0),
    "kl_nats_per_token": Meaning("Divergence of a token's latents from the standard normal", "nats", 0),
    "code_usage": Meaning("Share of the codes that occur", "share", 0),
    "code_perplexity": Meaning("Perplexity of the codes", "codes", 0),
    "bits_per_image": Meaning("Size of a picture's codes at a fixed length", "bits", 0),
    "copied_share": Meaning("Pictures nearer to a training picture than 99 % of real ones", "share", -1),
}
# How the names of facts about a score end.
_FACTS = ("_floor", "_original", "_standard_error", "_std", "_held_out")
_JUDGES = {"_two_tower": "two-tower head", "_class_posterior": "class posteriors"}


@lru_cache(maxsize=256)
def meaning(metric: str) -> Meaning:
    """The meaning of the metric of that name; an unknown name is a fact, in which nothing is better."""
    starts = [start for start in _BY_START if metric == start or metric.startswith(f"{start}_")]
    if not starts:
        return Meaning(metric.replace("_", " "), "", 0)
    base = _BY_START[max(starts, key=len)]
    title = base.title
    if components := re.search(r"_pca(\d+)", metric):
        title += f" along {components[1]} directions"
    if "_unpaired" in metric:
        title += " between unpaired halves"
    if metric.endswith("_beside_floor"):
        title += " of as many as the floor"
    title += next((f" by {words}" for judge, words in _JUDGES.items() if judge in metric), "")
    for ending in _FACTS:
        if metric.endswith(ending) and not metric.endswith("_beside_floor"):
            return Meaning(f"{title}: {ending.strip('_').replace('_', ' ')}", base.unit, 0)
    return Meaning(title, base.unit, base.better)
