"""Result files: what is written comes back, broken files are told."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from textok.evaluation.results import meaning, read_result, write_result

ROWS: list[dict[str, Any]] = [
    {"split": "test", "captions": caption, "budget": k, "count": 3, "psnr": 20.0 + k}
    for caption in ("right", "none")
    for k in (2, 8)
]


def per_image() -> list[dict[str, Any]]:
    return [
        {"split": "test", "captions": row["captions"], "budget": row["budget"]}
        | {"key": f"picture-{i}", "psnr": row["psnr"] + i / 3, "hit": i % 2}
        for row in ROWS
        for i in range(3)
    ]


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    settings = {"data": "somewhere", "size": [32, 32], "seed": None}
    file = write_result(
        tmp_path / "deep" / "r.json", settings=settings, rows=ROWS, per_image=per_image(), made_by={"x": 1}
    )
    result = read_result(file)
    assert (result.settings, result.made_by, result.rows) == (settings, {"x": 1}, ROWS)
    assert len(result.per_image) == len(ROWS) * 3
    for found, expected in zip(result.per_image, per_image(), strict=True):
        assert found["key"] == expected["key"] and found["hit"] == expected["hit"]
        assert found["psnr"] == pytest.approx(expected["psnr"], rel=1e-6)
    assert [path.name for path in file.parent.iterdir()] == ["r.json"]


def test_rows_are_flat_json_objects_one_a_line(tmp_path: Path) -> None:
    file = write_result(tmp_path / "r.json", settings={}, rows=ROWS, per_image=per_image())
    found = json.loads(file.read_text())
    assert found["rows"] == ROWS
    assert all(json.dumps(row) in file.read_text().splitlines()[i] for i, row in _numbered(file))
    assert list(found["per_image"]["pictures"]) == ["test"]  # keys once a split, values by column
    assert len(found["per_image"]["columns"]) == len(ROWS)


def _numbered(file: Path) -> list[tuple[int, dict[str, Any]]]:
    start = file.read_text().splitlines().index('"rows": [') + 1
    return [(start + i, row) for i, row in enumerate(ROWS)]


def test_lists_of_channels_come_back(tmp_path: Path) -> None:
    latents = [{"split": "test", "captions": "right", "mean": [0.5, -0.25], "std": [1.0, 2.0]}]
    file = write_result(tmp_path / "r.json", settings={}, rows=ROWS, latents=latents)
    assert json.loads(file.read_text())["latents"] == read_result(file).latents == latents
    without = write_result(tmp_path / "none.json", settings={}, rows=ROWS)
    assert "latents" not in json.loads(without.read_text()) and read_result(without).latents == []


def test_a_result_without_pictures(tmp_path: Path) -> None:
    result = read_result(write_result(tmp_path / "r.json", settings={}, rows=[{"count": 5, "fd_x": 1.5}]))
    assert result.per_image == [] and result.rows == [{"count": 5, "fd_x": 1.5}]


def test_a_value_that_is_not_finite_is_null_in_the_file(tmp_path: Path) -> None:
    rows = [{"split": "a", "fd_x": math.nan, "psnr": math.inf, "count": 1}]
    file = write_result(tmp_path / "r.json", settings={"x": math.nan}, rows=rows)
    assert json.loads(file.read_text())["rows"] == [{"split": "a", "fd_x": None, "psnr": None, "count": 1}]
    assert math.isnan(read_result(file).rows[0]["fd_x"])


def test_pictures_of_a_split_must_be_the_same_in_every_cell(tmp_path: Path) -> None:
    for change, message in (("other key", "per_image: got other"), ("more values", "per_image: got rows")):
        rows = per_image()
        rows[4] = rows[4] | ({"key": "elsewhere"} if change == "other key" else {"ssim": 0.5})
        with pytest.raises(ValueError, match=message):
            write_result(tmp_path / "r.json", settings={}, rows=ROWS, per_image=rows)
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a result file .no JSON: "),
        ("[1]", "not a result file"),
        ('{"settings": {}}', "not a result file .'rows' is missing"),
        ('{"settings": {}, "rows": []}', "has no rows"),
        ('{"settings": {}, "rows": [3]}', "not a result file"),
        ('{"settings": {}, "rows": [{"a": 1}], "per_image": [3]}', "not a result file"),
        ('{"settings": {}, "rows": [{"psnr": [20.0]}]}', r"psnr: got \[20.0\]"),
        ('{"settings": {}, "rows": [{"psnr": "high"}]}', "psnr: got 'high'"),
        ('{"settings": {}, "rows": [{"split": ["a"]}]}', r"split: got \['a'\]"),
        ('{"settings": {}, "rows": [{"count": null}]}', "count: got None"),
        ('{"settings": {}, "rows": [{"count": 1e999}]}', "count: got inf"),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0], [[1.0], [2.0]], "ab"])
def test_pictures_that_have_not_one_value_each_are_refused(values: object, tmp_path: Path) -> None:
    columns = [{"split": "a", "psnr": values}]
    found = {"settings": {}, "rows": ROWS, "per_image": {"pictures": {"a": ["x", "y"]}, "columns": columns}}
    (tmp_path / "r.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"r\.json:"):
        read_result(tmp_path / "r.json")


def test_a_missing_or_huge_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"r\.json:"):
        read_result(tmp_path / "r.json")
    write_result(tmp_path / "r.json", settings={}, rows=ROWS)
    monkeypatch.setattr("textok.evaluation.results.MAX_RESULT_BYTES", 10)
    with pytest.raises(ValueError, match="over the limit"):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("metric", "better", "title"),
    [
        ("psnr", 1, "PSNR"),
        ("ms_ssim", 1, "Multi-scale SSIM"),
        ("perceptual_effnet_lite2", -1, "Perceptual distance"),
        ("fid", -1, "FID"),
        ("fd_effnet_lite2_beside_floor", -1, "Fréchet distance of as many as the floor"),
        ("fd_effnet_lite2_floor", 0, "Fréchet distance: floor"),
        (
            "fd_effnet_lite2_pca32_unpaired",
            -1,
            "Fréchet distance along 32 directions between unpaired halves",
        ),
        ("kd_effnet_lite2_standard_error", 0, "Kernel distance: standard error"),
        ("is_tiny", 1, "Inception score"),
        ("island", 0, "island"),
        ("retrieval_two_tower_r1", 1, "Caption retrieval by two-tower head"),
        ("alignment_class_posterior_original", 0, "Caption alignment by class posteriors: original"),
        ("code_usage", 0, "Share of the codes that occur"),
        ("batch_seconds", 0, "batch seconds"),
    ],
)
def test_names_say_which_way_is_better(metric: str, better: int, title: str) -> None:
    assert (meaning(metric).better, meaning(metric).title) == (better, title)
