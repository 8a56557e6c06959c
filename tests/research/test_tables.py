"""Curves, gains and tables of a study."""

import math
from pathlib import Path

import pytest

from research.tables import cells, curve, fill, markdown, mean_curve, relative_gain, spread


def test_curves_are_picked_by_set_and_condition() -> None:
    rows = [
        {"split": "a", "captions": "right", "budget": 2, "psnr": 10.0},
        {"split": "a", "captions": "right", "budget": 4, "psnr": 12.0},
        {"split": "a", "captions": "none", "budget": 2, "psnr": 9.0},
        {"split": "b", "captions": "right", "budget": 2, "psnr": 8.0},
    ]
    assert curve(rows, "psnr", split="a", captions="right") == {2: 10.0, 4: 12.0}
    assert curve(rows, "fid", split="a", captions="right") == {}


def test_seeds_are_averaged_where_all_have_a_value() -> None:
    curves = [{2: 1.0, 4: 2.0}, {2: 3.0, 4: 4.0, 8: 5.0}]
    assert mean_curve(curves) == {2: 2.0, 4: 3.0}
    assert spread(curves)[2] == pytest.approx(2**0.5)
    assert spread(curves[:1]) == {}
    assert cells({4: 3.0, 2: 2.0}, {2: 0.5}, form="{:.1f}") == ["2.0 ± 0.5", "3.0"]


def test_the_gain_of_the_paper() -> None:
    # 1.49 without text and 1.04 with it, from the paper's ablation: 30 % better.
    assert relative_gain({32: 1.04}, {32: 1.49}, lower_is_better=True) == pytest.approx(0.302, abs=1e-3)
    assert relative_gain({2: 22.0, 4: 10.0}, {2: 20.0, 4: 10.0}, lower_is_better=False) == pytest.approx(0.05)
    assert relative_gain({2: 0.5, 4: 3.0}, {2: 0.0, 4: 2.0}, lower_is_better=False) == pytest.approx(0.5)
    assert math.isnan(relative_gain({2: 0.5}, {2: 0.0}, lower_is_better=False))


def test_a_document_is_filled_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- one -->\nold\n<!-- end one -->\nafter\n")
    table = markdown(["arm", "2"], [["both", 1.5]])
    fill(page, {"one": table})
    fill(page, {"one": table})
    assert page.read_text() == (
        "before\n<!-- one -->\n\n| arm | 2 |\n|---|---:|\n| both | 1.5 |\n\n<!-- end one -->\nafter\n"
    )
    with pytest.raises(ValueError, match="<!-- two -->"):
        fill(page, {"two": ""})
