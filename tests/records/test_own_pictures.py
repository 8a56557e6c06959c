"""The page of training says of tuning on one's own pictures what the record says."""

import json
from pathlib import Path

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
