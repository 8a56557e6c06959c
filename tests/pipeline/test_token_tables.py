"""Tokens as parquet: other people's readers find each picture's own tokens in it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import datasets
from textok.pipeline.token_tables import card, save_table
from textok.pipeline.tokens import Tokens
from textok.writing import is_made_here


def tokens(values: torch.Tensor, first: int, *, captions: bool = True) -> Tokens:
    keys = tuple(f"picture-{first + i}" for i in range(len(values)))
    return Tokens(
        values=values,
        model_id="tiny-1",
        grid=(4, 4),
        keys=keys,
        lengths=(2, 3),
        captions=tuple(f"caption of {key}" for key in keys) if captions else None,
        settings={"num_tokens": "2-3"},
    )


@pytest.mark.parametrize("kind", ["latents", "codes"])
def test_datasets_reads_what_was_written(kind: str, tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    values = torch.randint(70_000, (2, 3), generator=draws)
    if kind == "latents":
        values = torch.randn(2, 3, 5, generator=draws).half()
    facts = save_table(
        [tokens(values, 0), tokens(values + 1, 2)], tmp_path / "x.parquet", settings={"seed": 1}
    )
    size = 5 * 2 if kind == "latents" else 4
    assert (facts["pictures"], facts["mean_tokens"], facts["token_bytes_per_image"]) == (4, 2.5, 2.5 * size)
    assert facts["settings"] == {"num_tokens": "2-3", "seed": 1}
    files = str(tmp_path / "x.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert rows.column_names == ["key", "caption", "tokens"]
    assert (
        rows["key"][:] == [f"picture-{i}" for i in range(4)] and rows[3]["caption"] == "caption of picture-3"
    )
    for place, length in enumerate((2, 3, 2, 3)):
        row = torch.tensor(rows[place]["tokens"], dtype=values.dtype)
        assert torch.equal(row, (values + place // 2)[place % 2, :length])


def test_a_folder_has_a_card_that_names_its_files(tmp_path: Path) -> None:
    codes = tokens(torch.zeros(2, 3, dtype=torch.int64), 0, captions=False)
    facts = save_table([codes], tmp_path / "0.parquet", captions=False)
    (tmp_path / "README.md").write_text(card(facts))
    rows = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["key", "tokens"] and len(rows) == 2


def test_a_large_table_is_known_as_one_of_ours(tmp_path: Path) -> None:
    noise = torch.randn(2, 3, 20_000)
    save_table([tokens(noise, 0)], tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size > 1 << 17 and is_made_here(tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet").replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "y.parquet")
    assert not is_made_here(tmp_path / "y.parquet")
