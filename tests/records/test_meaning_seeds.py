"""The table of the page about a loss of features over seeds is that of the records."""

import json
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORDS = ("study_captions_small", "study_captions_small_seed1", "study_captions_small_seed2")
BUDGETS = (1, 2, 4, 8, 16, 32)
ARMS = {"both-perceptual": "right", "none-perceptual": "none"}


def distances(record: str, split: str) -> list[tuple[float, float]]:
    """Fréchet distance with captions and without, at every budget."""
    arms = json.loads((ROOT / "benchmarks/results" / f"{record}.json").read_text())["arms"]
    cells = {
        (arm, row["budget"]): row["fd_effnet_lite2"]
        for arm, caption in ARMS.items()
        for row in arms[arm]["rows"]
        if row["split"] == split and row["captions"] == caption
    }
    return [(cells["both-perceptual", k], cells["none-perceptual", k]) for k in BUDGETS]


def lines(split: str) -> list[str]:
    """A line a seed, and the gains over seeds in percent."""
    found = [distances(record, split) for record in RECORDS]
    rows = [
        f"| {split}, seed {seed} | " + " | ".join(f"{both:.0f} / {none:.0f}" for both, none in cells) + " |"
        for seed, cells in enumerate(found)
    ]
    gains = [[100 * (1 - both / none) for both, none in column] for column in zip(*found, strict=True)]
    told = [f"{statistics.mean(gain):+.1f} ± {statistics.stdev(gain):.1f} %" for gain in gains]
    return [*rows, f"| {split}, gain | " + " | ".join(told) + " |"]


def test_the_page_says_what_the_records_say() -> None:
    page = (ROOT / "docs/reproduction.md").read_text()
    for split in ("test-drawing", "test-concept", "photos"):
        for line in lines(split):
            assert line in page, line
