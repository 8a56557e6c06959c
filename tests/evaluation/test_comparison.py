"""Comparison of two results: gains, paired bootstrap intervals, and refusals."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from textok.evaluation.comparison import compare, differing_settings, paired_bootstrap, relative_gain
from textok.evaluation.results import Result, read_result, write_result

KEYS = [f"k{i}" for i in range(40)]


def result(
    psnr: dict[int, list[float]],
    *,
    split: str = "test",
    keys: list[str] = KEYS,
    fd: float = 8.0,
    settings: dict[str, Any] | None = None,
) -> Result:
    cells = {k: {"split": split, "captions": "right", "budget": k} for k in psnr}
    rows = [
        cells[k] | {"count": len(values), "psnr": sum(values) / len(values), "fd_x": fd, "fd_x_floor": 1.0}
        for k, values in psnr.items()
    ]
    per_image = [
        cells[k] | {"key": key, "psnr": value}
        for k, values in psnr.items()
        for key, value in zip(keys, values, strict=True)
    ]
    return Result(settings=settings or {}, rows=rows, per_image=per_image)


def values(seed: int, shift: float = 0.0) -> list[float]:
    return (torch.randn(40, generator=torch.Generator().manual_seed(seed)) + 20 + shift).tolist()


def test_a_constant_shift_has_an_interval_of_no_width() -> None:
    a = values(0)
    found = compare(result({8: a}), result({8: [x + 2 for x in a]}, fd=6.0))
    psnr, distance = found
    assert (psnr.metric, psnr.cell, psnr.count) == ("psnr", ("test", "right", 8, None), 40)
    assert psnr.interval is not None
    assert psnr.interval.difference == pytest.approx((2.0, 2.0), abs=1e-9)
    assert psnr.gain == pytest.approx(2 / psnr.a)
    low, high = psnr.interval.gain
    assert low <= psnr.gain <= high and high - low < 0.01
    assert psnr.settled
    assert (distance.metric, distance.gain, distance.interval) == ("fd_x", 0.25, None)
    assert distance.settled is None


def test_equal_results_have_no_gain() -> None:
    a = result({8: values(0)})
    assert [(row.gain, row.settled) for row in compare(a, a)] == [(0.0, False), (0.0, None)]


def test_the_interval_is_that_of_the_paired_difference() -> None:
    # Pictures differ by far more than the two results do: only pairing sees the difference.
    spread = [10.0 * i for i in range(40)]
    noise = [x - 20 for x in values(1)]
    b = [x + 1 + 0.5 * e for x, e in zip(spread, noise, strict=True)]
    [row] = [row for row in compare(result({8: spread}), result({8: b})) if row.metric == "psnr"]
    assert row.interval is not None
    low, high = row.interval.difference
    differences = torch.tensor(b).double() - torch.tensor(spread).double()
    normal = 1.96 * float(differences.std()) / 40**0.5
    assert (high - low) / 2 == pytest.approx(normal, rel=0.15)
    assert (high + low) / 2 == pytest.approx(float(differences.mean()), abs=0.05)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(3)
    hits = 0
    for _ in range(150):
        a = torch.randn(1, 60, generator=generator) * 3
        b = a + 0.2 + torch.randn(1, 60, generator=generator)
        [found] = paired_bootstrap(a, b, better=[1], generator=generator, draws=300)
        hits += found.difference[0] <= 0.2 <= found.difference[1]
    assert 0.88 <= hits / 150 <= 0.99


def test_draws_are_seeded_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = result({2: values(0), 8: values(1)}), result({2: values(2), 8: values(3)})
    first = compare(a, b, draws=100)
    assert compare(a, b, draws=100) == first
    assert compare(a, b, seed=1, draws=100) != first
    monkeypatch.setattr("textok.evaluation.comparison._CHUNK_VALUES", 40 * 7)
    assert [row.gain for row in compare(a, b, draws=100)] == [row.gain for row in first]
    one_by_one = compare(a, b, draws=100)[0].interval
    assert one_by_one is not None and first[0].interval is not None
    assert one_by_one.difference == pytest.approx(first[0].interval.difference, rel=1e-9)


def test_only_shared_cells_are_compared() -> None:
    found = compare(result({2: values(0), 8: values(1)}), result({8: values(2), 32: values(3)}))
    assert {row.cell for row in found} == {("test", "right", 8, None)}


def test_scales_of_guidance_are_cells_of_their_own(tmp_path: Path) -> None:
    def two_scales(shift: float) -> Result:
        cells = [({"split": "test", "budget": 8, "guidance": g}, values(0, g * shift)) for g in (1.0, 3.0)]
        rows = [cell | {"count": 40, "psnr": sum(found) / 40} for cell, found in cells]
        kept = [
            cell | {"key": key, "psnr": value}
            for cell, found in cells
            for key, value in zip(KEYS, found, strict=True)
        ]
        path = write_result(tmp_path / f"{shift}.json", settings={}, rows=rows, per_image=kept)
        return read_result(path)

    found = {row.cell[3]: row for row in compare(two_scales(0.0), two_scales(2.0))}
    assert set(found) == {1.0, 3.0}
    for scale, row in found.items():
        assert row.interval is not None
        assert row.interval.difference == pytest.approx((2 * scale, 2 * scale), abs=1e-4)


def test_two_rows_of_one_cell_are_refused() -> None:
    a = result({8: values(0)})
    with pytest.raises(ValueError, match="several rows"):
        compare(Result(settings={}, rows=[*a.rows, *a.rows]), a)


def test_pictures_are_matched_by_key_not_by_place() -> None:
    a = values(0)
    turned = result({8: a[::-1]}, keys=KEYS[::-1])
    [psnr, _] = compare(result({8: a}), turned)
    assert psnr.interval is not None and psnr.interval.difference == pytest.approx((0, 0), abs=1e-12)


def test_other_pictures_are_refused() -> None:
    a = result({8: values(0)})
    with pytest.raises(ValueError, match="only in A:"):
        compare(a, result({8: values(0)}, keys=[*KEYS[:-1], "new"]))
    with pytest.raises(ValueError, match=r"40.*39"):
        compare(a, result({8: values(0)[:39]}, keys=KEYS[:39]))
    with pytest.raises(ValueError, match=r"split test.*split other"):
        compare(a, result({8: values(0)}, split="other"))
    with pytest.raises(ValueError, match="no metric in common"):
        compare(
            a, Result(settings={}, rows=[{"split": "test", "captions": "right", "budget": 8, "count": 40}])
        )


def test_without_values_of_pictures_there_is_no_interval() -> None:
    a, b = result({8: values(0)}), result({8: values(1)})
    found = compare(Result(settings={}, rows=a.rows), b)
    assert [row.interval for row in found] == [None, None] and found[0].gain != 0


def test_generated_pictures_pair_only_by_equal_keys() -> None:
    task = {"task": "generation"}
    a = result({8: values(0)}, settings=task)
    same = compare(a, result({8: values(1)}, settings=task))
    other = compare(a, result({8: values(1)}, settings=task, keys=[f"other-{key}" for key in KEYS]))
    assert same[0].interval is not None and other[0].interval is None
    assert [row.gain for row in same] == [row.gain for row in other]


def test_pictures_without_a_value_are_passed_over() -> None:
    a, b = torch.rand(1, 30).double(), torch.rand(1, 30).double() + 3
    gaps_a, gaps_b = (torch.cat((x, torch.full((1, 30), torch.nan)), dim=1) for x in (a, b))
    [found] = paired_bootstrap(gaps_a, gaps_b, better=[1], generator=torch.Generator().manual_seed(0))
    low, high = found.difference
    assert 2.5 < low < float((b - a).mean()) < high < 3.5


def test_rows_are_flat() -> None:
    row = compare(result({8: values(0)}), result({8: values(1)}))[0].row()
    assert {"split", "captions", "budget", "metric", "count", "a", "b", "gain"} < set(row)
    assert row["difference_low"] < row["b"] - row["a"] < row["difference_high"]


@pytest.mark.parametrize(
    ("metric", "a", "b", "gain"),
    [
        ("psnr", 20.0, 22.0, 0.1),
        ("fd_x", 20.0, 15.0, 0.25),
        ("fd_x", 10.0, 15.0, -0.5),
        ("kd_x", -2.0, -1.0, -0.5),
        ("psnr", 0.0, 0.0, 0.0),
    ],
)
def test_a_positive_gain_is_better(metric: str, a: float, b: float, gain: float) -> None:
    assert relative_gain(metric, a, b) == pytest.approx(gain)


def test_settings_that_differ_are_named() -> None:
    a = result({8: values(0)}, settings={"filter": "lanczos", "model": "x", "seed": 0})
    b = result({8: values(0)}, settings={"filter": "bicubic", "model": "x", "split": "test"})
    assert differing_settings(a, b) == [
        "filter: 'lanczos' and 'bicubic'",
        "seed: 0 and None",
        "split: None and 'test'",
    ]


def test_a_score_that_is_zero_in_some_resamples_has_an_interval_all_the_same() -> None:
    a, b = torch.zeros(1, 50), torch.zeros(1, 50)
    a[0, 0], b[0, :9] = 1.0, 1.0
    (found,) = paired_bootstrap(a, b, better=[1], generator=torch.Generator().manual_seed(0))
    assert all(map(math.isfinite, (*found.difference, *found.gain)))
    rare = torch.full((1, 5), torch.nan)
    rare[0, 0], rare[0, 1] = 0.2, 0.4  # most pictures have no value, so some resamples have none at all
    (found,) = paired_bootstrap(rare, rare + 0.1, better=[1], generator=torch.Generator().manual_seed(0))
    assert found.difference == pytest.approx((0.1, 0.1))
