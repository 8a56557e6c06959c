"""The committed pictures are the ones the dataset card describes, and the splits are clean."""

import json
import re
import tarfile
from collections import Counter
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

DATASETS = Path(__file__).parents[2] / "datasets"
SPLITS = ("train", "val", "test-drawing", "test-concept")


@cache
def read_fields(folder: str, split: str) -> list[dict[str, str]]:
    """The fields of every sample of a split, without decoding a picture."""
    if (folder, split) == ("icons-128", "train"):  # not stored: its drawings are
        rows = pq.read_table(
            DATASETS / "drawings-rgba/train.parquet", columns=["style", "concept"]
        ).to_pylist()
        return [{"source": row["style"], "concept": row["concept"]} for row in rows]
    fields = []
    for path in sorted((DATASETS / folder).glob(f"{split}-[0-9]*.tar")):
        with tarfile.open(path) as archive:
            members = [m for m in archive if m.name.endswith(".json")]
            fields += [json.load(archive.extractfile(m)) for m in members]
    return fields


def read_counts_table() -> dict[str, list[int]]:
    """Source -> pictures per split, as the card's table states them."""
    card = (DATASETS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w-]+) \|[^|]*\|((?: \d+ \|){5})$", card, flags=re.MULTILINE)
    return {source: [int(cell) for cell in cells.strip(" |").split("|")] for source, cells in rows}


def test_counts_per_source_and_split_equal_the_card() -> None:
    table = read_counts_table()
    assert len(table) == 9  # eight sources and the sum
    for column, split in enumerate(SPLITS):
        counts = Counter(fields["source"] for fields in read_fields("icons-128", split))
        counts["all"] = sum(counts.values())
        assert counts == {source: cells[column] for source, cells in table.items()}


def test_no_test_concept_occurs_in_train() -> None:
    unknown = {fields["concept"] for fields in read_fields("icons-128", "test-concept")}
    assert unknown
    assert unknown.isdisjoint(fields["concept"] for fields in read_fields("icons-128", "train"))


def test_test_drawings_show_known_concepts_once_each() -> None:
    concepts = [fields["concept"] for fields in read_fields("icons-128", "test-drawing")]
    assert len(concepts) == len(set(concepts))
    assert set(concepts) <= {fields["concept"] for fields in read_fields("icons-128", "train")}


def test_every_licence_named_in_the_data_has_its_full_text() -> None:
    texts = {
        "MIT": "MIT-Microsoft.txt",
        "Apache-2.0": "Apache-2.0.txt",
        "CC-BY-4.0": "CC-BY-4.0.txt",
        "CC0-1.0": "CC0-1.0.txt",
    }
    rows = [fields for split in SPLITS[1:] for fields in read_fields("icons-128", split)]
    rows += read_fields("photos-256", "test")
    named = {fields["licence"] for fields in rows} - {"public domain"}
    attribution = (DATASETS / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for licence in named:
        assert (DATASETS / "licences" / texts[licence]).stat().st_size > 1000
        assert f"(licences/{texts[licence]})" in attribution


@pytest.mark.parametrize(
    ("split", "folder", "count"),
    [("test-drawing", "icons-128", 12), ("test-concept", "icons-128", 12), ("photos", "photos-256", 8)],
)
def test_demo_pictures_are_samples_of_the_test_splits(split: str, folder: str, count: int) -> None:
    chosen = read_fields("demo-pictures", split)
    whole = read_fields(folder, "test" if folder == "photos-256" else split)
    assert len(chosen) == count
    assert all(fields in whole for fields in chosen)
