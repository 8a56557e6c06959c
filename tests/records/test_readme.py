"""The figures of the README are those of the records, and its pictures are drawn by scripts."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CAPTIONS = {"with the caption": "right", "without": "none", "with a wrong one": "wrong"}


def rows(name: str) -> list[dict]:
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())["rows"]


def test_the_table_is_that_of_the_record() -> None:
    psnr = {
        (row["captions"], row["budget"]): row["psnr"]
        for row in rows("reconstruction_icons-128")
        if row["split"] == "test-drawing"
    }
    for words, caption in CAPTIONS.items():
        (line,) = re.findall(rf"^\| {words} \|(.*)\|$", README, re.MULTILINE)
        told = [float(cell.strip(" *")) for cell in line.split("|")]
        assert told == [round(psnr[caption, k], 2) for k in (1, 2, 4, 8, 16, 32)]


def test_bytes_of_tokens_and_of_webp_are_those_of_the_record() -> None:
    drawings = [row for row in rows("rate_distortion") if row["split"] == "test-drawing"]
    tokens = {row["setting"]: row for row in drawings if row["setting"].endswith("tokens")}
    least, most = tokens["1 tokens"], tokens["32 tokens"]
    assert f"{least['bytes']:.0f} to {most['bytes']:.0f} in `.ttk`" in README
    equal = min(row["bytes"] for row in drawings if row["codec"] == "WebP" and row["psnr"] >= most["psnr"])
    assert f"32 tokens take {most['bytes']:.0f} bytes" in README and f"WebP needs {equal:.0f}" in README


def test_the_generator_finds_as_many_captions_as_the_record_says() -> None:
    (row,) = [r for r in rows("generator_icons-128") if (r["budget"], r["guidance"]) == (16, 3.0)]
    assert f"{row['retrieval_two_tower_r1']:.0%}".replace("%", " %") + " of its pictures" in README


def test_the_first_screen_is_short_and_its_pictures_are_drawn_by_scripts() -> None:
    assert len(README.splitlines()) < 120
    scripts = "".join(
        path.read_text() for path in [ROOT / "docs/figures.py", *(ROOT / "benchmarks").glob("*.py")]
    )
    pages = [README, *(page.read_text() for page in (ROOT / "docs").rglob("*.md"))]
    figures = {name for page in pages for name in re.findall(r"figures/([\w.-]+)\)", page)}
    assert figures == {path.name for path in (ROOT / "docs/figures").iterdir()}
    assert all(f'"{name}"' in scripts or f"{name.rpartition('-')[0]}-{{" in scripts for name in figures)
