"""The table of docs/captions.md and the pictures beside it are those of the record."""

from pathlib import Path

import pytest

import caption_worth
from textok.evaluation.results import read_result

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_table_of_the_record() -> None:
    record = read_result(caption_worth.OUT)
    page = (ROOT / "docs/captions.md").read_text()
    header, _, *lines = caption_worth.table(record.rows).splitlines()
    assert header == "| captions by | drawings | scenes | photographs |" and len(lines) == 6
    assert all(line in page for line in lines)
    assert f"{record.settings['limit']} pictures of each kind" in page


def test_quality_is_drawn_against_all_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, drawn = read_result(caption_worth.OUT).rows, list[dict[str, dict[int, float]]]()
    monkeypatch.setattr(
        caption_worth.curves, "curve_chart", lambda lines, **_: drawn.append(lines) or "<svg >"
    )
    caption_worth.plot(rows, "drawings", "psnr")
    people = [row for row in rows if row["split"] == "drawings" and row["writer"] == "people"]
    assert drawn[0]["right"] == {round(row["bytes"] + row["bytes_caption"]): row["psnr"] for row in people}
    assert drawn[0].keys() >= {"describe", "JPEG", "WebP", "AVIF"}
