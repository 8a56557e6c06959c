"""Tokens as parquet files for other people's trainers: ``key``, ``caption`` and ``tokens`` as a list column."""

import math
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from textok.pipeline.tokens import StoredDtype, Tokens
from textok.writing import replacing, strict_json


def save_table(
    parts: Iterable[Tokens],
    path: Path,
    *,
    captions: bool = True,
    dtype: StoredDtype = "float16",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write tokens as a parquet file, a row group for each part; whole or not at all.

    A row is a picture: its key, its caption ("" for none), and its own tokens: integer codes (int32), or a list of
    c numbers for each latent. The schema's metadata has the model and the grid of patches as JSON, under "textok".
    Returns what :func:`textok.pipeline.tokens.save_parts` does, with the settings; the bytes are not compressed.
    """
    rest = iter(parts)
    first = next(rest)
    kind, number = ("codes", pa.int32()) if first.latents is None else ("latents", _NUMBERS[dtype])
    tokens = pa.list_(number if first.latents is None else pa.list_(number))
    names = ("key", "caption") if captions else ("key",)
    facts = {"model_id": first.model_id, "kind": kind, "settings": {**first.settings, **(settings or {})}}
    about = {"textok": strict_json(facts | {"grid": list(first.grid)})}
    schema = pa.schema([*((name, pa.string()) for name in names), ("tokens", tokens)], metadata=about)
    pictures = total = 0
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for part in chain([first], rest):
            pictures, total = pictures + len(part), total + sum(part.lengths)
            writer.write_table(_table(part, schema))
    each, numbers = total / pictures, math.prod(first.values.shape[2:])
    facts |= {"pictures": pictures, "mean_tokens": each}
    return facts | {"token_bytes_per_image": each * numbers * number.bit_width // 8}


_NUMBERS = {"float16": pa.float16(), "float32": pa.float32()}


def _table(part: Tokens, schema: pa.Schema) -> pa.Table:
    columns: dict[str, Any] = {"key": part.keys, "caption": part.captions or ("",) * len(part)}
    values = part.values.cpu().numpy()
    rows = np.concatenate([row[:length] for row, length in zip(values, part.lengths, strict=True)])
    ends = pa.array(np.cumsum([0, *part.lengths]), pa.int32())
    kind = schema.field("tokens").type.value_type
    if part.latents is None:
        inner = pa.array(rows.astype(np.int32), kind)
    else:
        starts = pa.array(np.arange(0, rows.size + 1, rows.shape[1]), pa.int32())
        numbers = pa.array(rows.ravel().astype(kind.value_type.to_pandas_dtype()))
        inner = pa.ListArray.from_arrays(starts, numbers)
    columns["tokens"] = pa.ListArray.from_arrays(ends, inner)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def card(facts: Mapping[str, Any]) -> str:
    """The README.md of a data set of such files, as the Hugging Face hub reads it."""
    values = "integer codes" if facts["kind"] == "codes" else "lists of 16-bit numbers, about unit scale"
    text = Path(__file__).with_name("table_card.txt").read_text(encoding="utf-8")
    return text.format(values=values, **facts)
