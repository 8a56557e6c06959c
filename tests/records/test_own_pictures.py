"""The page of training says of tuning on one's own pictures what the record says."""

import json
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_tuning_on_photographs_gains_more_than_half_a_decibel() -> None:
    record = json.loads((ROOT / "benchmarks/results/own_pictures_tuned.json").read_text())
    start, tuned = record["rows"][0], record["rows"][-1]
    gain = tuned["psnr_db, other photographs"] - start["psnr_db, other photographs"]
    assert gain >= 0.5 and "--mix icons:0.25" in tuned["command"] and record["settings"]["own"] == 200
    page = (ROOT / "docs/training.md").read_text()
    for row in (start, tuned):
        for judge in ("other photographs", "drawings"):
            assert f"{row[f'psnr_db, {judge}']:.2f}" in page


def test_a_large_folder_opens_in_time() -> None:
    record = json.loads((ROOT / "benchmarks/results/listing.json").read_text())
    seconds = {
        start: statistics.median(row["seconds"] for row in record["rows"] if row["start"] == start)
        for start in ("first", "second")
    }
    assert record["settings"]["files"] == 100_000 and seconds["first"] < 5 and seconds["second"] < 1
    most = max(row["megabytes"] for row in record["rows"])
    words = f"{seconds['first']:.1f} s the first time and {seconds['second']:.1f} s the second"
    assert most < 500 and words in (ROOT / "docs/training.md").read_text()


@pytest.mark.parametrize("count", [40, 2000])
def test_a_fit_kept_within_its_hours(count: int) -> None:
    record = json.loads((ROOT / f"benchmarks/results/fit_{count}.json").read_text())
    page = (ROOT / "docs/training.md").read_text()
    assert record["fit"]["facts"]["pictures"] == count and "--hours 0.2" in record["typed"][0]
    assert record["seconds"]["fit"] < 720 and f"{record['seconds']['fit']:.0f} s" in page
    assert record["fit"]["keeps_start"] or f"{record['fit']['psnr_db']['tuned']:.2f} dB" in page
