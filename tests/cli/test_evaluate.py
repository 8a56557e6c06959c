"""``textok evaluate``: scores of a tokenizer and of generated pictures, and their comparison."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from textok.cli import main
from textok.cli.output import reconstruction_table
from textok.evaluation.alignment import Semantics, TwoTower, TwoTowerConfig
from textok.evaluation.networks import EffNetLite2
from textok.evaluation.results import read_result
from tiny import TinyNetwork, tiny_model, write_pictures

COUNT = 20
ICONS = Path(__file__).parents[2] / "datasets" / "icons-128"
NOTHING_ELSE = "--no-semantics"


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textok.evaluation.networks.load_network", lambda name, weights=None: TinyNetwork())


def run(*words: object) -> int:
    return main([str(word) for word in words])


def bare(folder: Path, *, seed: int, count: int = COUNT) -> Path:
    return write_pictures(folder, [None] * count, seed=seed)


def captioned(folder: Path, *, seed: int, count: int = COUNT) -> Path:
    return write_pictures(folder, [f"{'abcdefghij'[i % 10]} thing" for i in range(count)], seed=seed)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits of captioned pictures."""
    root = tmp_path_factory.mktemp("data")
    captioned(root / "test-a", seed=1)
    captioned(root / "test-b", seed=2)
    return root


@pytest.fixture(scope="module")
def a_json(data: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "a.json"
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr("textok.evaluation.networks.load_network", lambda name, weights=None: TinyNetwork())
    words = [
        "--data",
        data,
        "--split",
        "test-a,test-b",
        "--budgets",
        "1,2,4",
        "--conditions",
        "right,none,wrong",
    ]
    code = run("evaluate", "reconstruction", "--model", model_folder, *words, "--out", out, NOTHING_ELSE)
    monkeypatch.undo()
    assert code == 0
    return out


def test_a_row_for_every_split_condition_and_budget(a_json: Path) -> None:
    found = json.loads(a_json.read_text())
    cells = [(row["split"], row["captions"], row["budget"]) for row in found["rows"]]
    assert cells == [
        (split, captions, budget)
        for split in ("test-a", "test-b")
        for captions in ("right", "none", "wrong")
        for budget in (1, 2, 4)
    ]
    for row in found["rows"]:
        assert row["count"] == COUNT and 0 < row["psnr"] < 100
        assert {"ssim", "perceptual_tiny", "fd_tiny", "fd_tiny_unpaired", "fd_tiny_floor"} <= set(row)


def test_the_settings_say_how(a_json: Path, data: Path) -> None:
    result = read_result(a_json)
    settings = result.settings
    assert settings["model"].startswith("tiny-") and settings["feature_network"] == "tiny"
    assert settings["data"] == str(data) and settings["size"] == [32, 32]
    assert (
        settings["filter"] == "lanczos" and "round(clamp(" in settings["uint8"] and "crop" in settings["crop"]
    )
    assert settings["splits"]["test-a"]["count"] == COUNT and settings["splits"]["test-a"]["fingerprint"]
    assert {"seed", "captions", "budgets", "precision", "limit"} <= set(settings)
    assert result.made_by["libraries"]["torch"] and result.made_by["code"]


def test_the_channels_of_the_latents_are_kept(a_json: Path) -> None:
    result = read_result(a_json)
    cells = [(split, captions) for split in ("test-a", "test-b") for captions in ("right", "none", "wrong")]
    assert [(row["split"], row["captions"]) for row in result.latents] == cells
    for row in result.latents:
        assert len(row["mean"]) == len(row["std"]) == 4
        [first] = {
            (r["latent_mean_abs_max"], r["latent_std_min"], r["latent_std_max"])
            for r in result.rows
            if (r["split"], r["captions"]) == (row["split"], row["captions"])
        }
        assert first == (max(map(abs, row["mean"])), min(row["std"]), max(row["std"]))


def test_the_values_of_every_picture_are_kept(a_json: Path) -> None:
    result = read_result(a_json)
    assert len(result.per_image) == 2 * 3 * 3 * COUNT
    chosen = [
        float(row["psnr"])
        for row in result.per_image
        if (row["split"], row["captions"], row["budget"]) == ("test-a", "none", 2)
    ]
    [mean] = [
        row["psnr"]
        for row in result.rows
        if (row["split"], row["captions"], row["budget"]) == ("test-a", "none", 2)
    ]
    assert sum(chosen) / COUNT == pytest.approx(mean, rel=1e-6)


def test_the_table(data: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", data, "--split", "test-a,test-b", "--budgets", "2,4"]
    assert run("evaluate", "reconstruction", "--model", model_folder, *words, NOTHING_ELSE) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:6] == ["split", "captions", "tokens", "count", "psnr", "ssim"]
    assert len([line for line in lines if line.startswith("test-")]) == 2 * 3 * 2


def test_the_table_shows_what_the_originals_say() -> None:
    row = {"split": "photos", "captions": "right", "budget": 8, "count": 9, "psnr": 20.0}
    row |= {"retrieval_two_tower_r1": 0.01, "retrieval_two_tower_r1_original": 0.0125}
    row |= {"alignment_class_posterior": 0.25, "alignment_class_posterior_original": 0.5}
    first, *_, note, said = reconstruction_table([row | {"posterior_agreement_x": 0.125}]).split("\n\n")
    assert "psnr" in first and "original" not in first and "for photographs those by classes" in note
    heads, values = (line.split("  ") for line in said.splitlines())
    assert [head.strip() for head in heads if head] == [
        "split",
        "captions",
        "tokens",
        "retrieval",
        "alignment by classes",
        "agreement",
    ]
    assert [value.strip() for value in values if value][3:] == ["0.0100 / 0.0125", "0.250 / 0.500", "0.125"]
    assert "original" not in reconstruction_table(
        [{"split": "a", "captions": "none", "budget": 8, "psnr": 20.0}]
    )


def test_rows_as_json_and_the_default_budgets(
    data: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", data / "test-a", "--conditions", "none", "--limit", 5, "--json", NOTHING_ELSE]
    assert run("evaluate", "reconstruction", "--model", model_folder, *words) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["split"], row["captions"], row["budget"], row["count"]) for row in rows] == [
        ("test-a", "none", 2, 5),
        ("test-a", "none", 4, 5),
    ]


def test_written_samples_are_the_reconstructions(data: Path, model_folder: Path, tmp_path: Path) -> None:
    words = ["--data", data, "--split", "test-a", "--budgets", 4, "--conditions", "none"]
    out = ["--out", tmp_path / "r.json", "--write-samples", tmp_path / "npz", NOTHING_ELSE]
    assert run("evaluate", "reconstruction", "--model", model_folder, *words, *out) == 0
    original = np.load(tmp_path / "npz" / "test-a-original.npz")["arr_0"]
    made = np.load(tmp_path / "npz" / "test-a-none-4.npz")["arr_0"]
    assert original.shape == made.shape == (COUNT, 32, 32, 3) and made.dtype == np.uint8
    error = ((original.astype(float) - made) ** 2).mean(axis=(1, 2, 3))
    psnr = (10 * np.log10(255**2 / error)).mean()
    assert read_result(tmp_path / "r.json").rows[0]["psnr"] == pytest.approx(psnr, rel=1e-6)


def test_a_tokenizer_without_text_is_evaluated_without(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model(placement="none").save_pretrained(tmp_path / "model", name="no-text")
    words = ["--data", data, "--split", "test-a", "--budgets", 4, "--json", NOTHING_ELSE]
    assert run("evaluate", "reconstruction", "--model", tmp_path / "model", *words) == 0
    captured = capsys.readouterr()
    assert [row["captions"] for row in json.loads(captured.out)] == ["none"]
    assert "reads no captions: evaluated with none only" in captured.err


def test_pictures_without_captions(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bare(tmp_path / "bare", seed=3, count=3)
    assert (
        run("evaluate", "reconstruction", "--model", model_folder, "--data", folder, "--json", NOTHING_ELSE)
        == 0
    )
    captured = capsys.readouterr()
    assert {row["captions"] for row in json.loads(captured.out)} == {"none"}
    assert "bare: not evaluated: right, wrong: the pictures have no captions" in captured.err


def test_a_folder_a_class_spreads_its_limit(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("art_gallery", "bakery-shop")):
        bare(tmp_path / name, seed=seed)
    words = ["--data", tmp_path, "--budgets", 4, "--limit", 4, "--json", NOTHING_ELSE]
    assert run("evaluate", "reconstruction", "--model", model_folder, *words) == 0
    rows = json.loads(capsys.readouterr().out)
    # Were the four pictures of one class, there would be no wrong caption to lend.
    assert [row["captions"] for row in rows] == ["right", "none", "wrong"]


@pytest.fixture(scope="module")
def b_json(a_json: Path) -> Path:
    """The same pictures, each half a decibel better, at budgets 2 and 4 only."""
    found = json.loads(a_json.read_text())
    found["rows"] = [row | {"psnr": row["psnr"] + 0.5} for row in found["rows"] if row["budget"] > 1]
    for columns in found["per_image"]["columns"]:
        columns["psnr"] = [value + 0.5 for value in columns["psnr"]]
    found["settings"]["model"] = "other-01234567"
    (a_json.parent / "b.json").write_text(json.dumps(found))
    return a_json.parent / "b.json"


def test_a_comparison_as_json(a_json: Path, b_json: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "compare", a_json, b_json, "--json") == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    rows = [row for row in report["rows"] if row["metric"] == "psnr"]
    assert len(rows) == 2 * 3 * 2 and {row["budget"] for row in rows} == {2, 4}
    for row in rows:
        assert row["b"] - row["a"] == pytest.approx(0.5)
        assert row["difference_low"] == pytest.approx(0.5, abs=1e-6)
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
    assert any("model" in line for line in report["differing_settings"])


def test_the_comparison_as_a_table(a_json: Path, b_json: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "compare", a_json, b_json) == 0
    text = capsys.readouterr().out
    assert "psnr (PSNR: higher is better)" in text and "95 % interval" in text
    assert "fd_tiny (Fréchet distance: lower is better)" in text
    starred = [line for line in text.splitlines() if line.endswith("*")]
    assert len(starred) == 2 * 3 * 2 and all(" to +" in line for line in starred)
    assert "Settings that differ:" in text and "'other-01234567'" in text


def test_a_comparison_can_be_kept(a_json: Path, b_json: Path, tmp_path: Path) -> None:
    assert run("evaluate", "compare", a_json, b_json, "--out", tmp_path / "c.json") == 0
    report = json.loads((tmp_path / "c.json").read_text())
    assert report["seed"] == 0 and report["draws"] == 2000 and report["rows"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return captioned(tmp_path_factory.mktemp("samples") / "made", seed=5)


def test_generation_against_a_source(
    samples: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Semantics, "from_pretrained", lambda **_: None)
    out = tmp_path / "g.json"
    words = ["--reference", data, "--reference-split", "test-a", "--train", data, "--train-split", "test-b"]
    assert run("evaluate", "generation", samples, *words, "--out", out) == 0
    text = capsys.readouterr().out
    assert "fd_tiny" in text and "lower is better" in text
    [row] = read_result(out).rows
    assert row["split"] == "test-a" and row["count"] == row["count_reference"] == row["count_train"] == COUNT
    assert {"fd_tiny", "kd_tiny", "kd_tiny_standard_error", "precision_tiny", "recall_tiny"} <= set(row)
    assert {"nearest_train_median", "copied_share"} <= set(row)
    result = read_result(out)
    assert len(result.per_image) == COUNT and result.per_image[0]["nearest_train_key"]
    assert result.settings["size"] == [36, 36] and result.settings["task"] == "generation"


def test_a_bad_picture_stops_or_is_left_out_and_listed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Semantics, "from_pretrained", lambda **_: None)
    made, out = bare(tmp_path / "made", seed=5, count=COUNT + 1), tmp_path / "g.json"
    (made / "00.png").write_bytes(b"<html>")
    words = ["evaluate", "generation", made, "--reference", data / "test-a", "--out", out]
    assert run(*words) == 2 and "web page" in capsys.readouterr().err
    (made / "notes.doc").touch()
    assert run(*words, "--on-bad", "skip") == 0
    assert "left out '00'" in capsys.readouterr().err
    result = read_result(out)
    settings = result.settings["samples"]
    assert settings["count"] == result.rows[0]["count"] == COUNT and settings["left_out"] == 1
    assert settings["census"]["passed_over"]["other files"]["count"] == 1
    [line] = (tmp_path / "g.bad.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == "00"
    words = ["evaluate", "reconstruction", "--model", "icons-128", "--data", made, "--max-bad-share", "2"]
    assert run(*words) == 2 and "max_bad_share: got 2" in capsys.readouterr().err


def test_generation_without_the_judges_of_captions(
    samples: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_judges(**_: object) -> None:
        raise AssertionError("the judges were loaded")

    monkeypatch.setattr(Semantics, "from_pretrained", no_judges)
    words = [samples, "--reference", data / "test-a", "--json"]
    assert run("evaluate", "generation", *words, NOTHING_ELSE) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["count"] == COUNT and not any(name.startswith(("alignment", "retrieval")) for name in row)


def test_generation_by_files_of_the_adm_suite(
    samples: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Semantics, "from_pretrained", lambda **_: None)
    batch, statistics = tmp_path / "made.npz", tmp_path / "statistics.npz"
    words = [
        "--reference",
        data / "test-a",
        "--json",
        "--write-samples",
        batch,
        "--write-statistics",
        statistics,
    ]
    assert run("evaluate", "generation", samples, *words) == 0
    from_folder = json.loads(capsys.readouterr().out)
    assert np.load(batch)["arr_0"].shape == (COUNT, 36, 36, 3)
    assert run("evaluate", "generation", batch, "--reference", data / "test-a", "--json") == 0
    from_file = json.loads(capsys.readouterr().out)
    kernel = from_file.pop("kd_tiny")  # float32 sums of large numbers, in another order
    assert kernel == pytest.approx(from_folder.pop("kd_tiny"), rel=1e-4)
    assert from_file == pytest.approx(from_folder)
    # The statistics of the samples as a reference: the samples are at no distance from themselves.
    assert run("evaluate", "generation", batch, "--reference", statistics, "--json") == 0
    [fd] = [v for name, v in json.loads(capsys.readouterr().out).items() if name == "fd_tiny"]
    assert abs(fd) < 1e-6 * from_folder["fd_tiny"] + 1e-9


def test_a_reference_with_pictures_and_statistics_gives_all_scores(
    samples: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As published references are: pictures for most scores, the statistics of more of them for one."""
    pixels = np.stack([np.array(Image.open(file)) for file in sorted((data / "test-a").glob("*.png"))])
    np.savez(tmp_path / "pictures.npz", arr_0=pixels)
    np.savez(tmp_path / "both.npz", arr_0=pixels, mu=np.zeros(6), sigma=np.eye(6))
    np.savez(tmp_path / "other.npz", arr_0=pixels, mu=np.zeros(9), sigma=np.eye(9))
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(6), sigma=np.eye(6))
    np.savez(tmp_path / "samples.npz", arr_0=pixels[::-1], mu=np.zeros(9), sigma=np.eye(9))
    found, told = {}, {}
    for name in ("pictures", "both", "other", "statistics"):
        words = [samples, "--reference", tmp_path / f"{name}.npz", "--json", NOTHING_ELSE]
        words += [] if name == "statistics" else ["--train", tmp_path / "samples.npz"]
        assert run("evaluate", "generation", *words, "--out", tmp_path / f"{name}.json") == 0
        captured = capsys.readouterr()
        found[name], told[name] = json.loads(captured.out), captured.err
    rest = {
        name: {k: v for k, v in row.items() if k not in ("fd_tiny", "split")} for name, row in found.items()
    }
    assert {"kd_tiny", "precision_tiny", "copied_share"} <= set(rest["both"])
    assert rest["both"] == rest["other"] == rest["pictures"] and set(rest["statistics"]) == {"count"}
    assert found["both"]["fd_tiny"] == found["statistics"]["fd_tiny"] != found["pictures"]["fd_tiny"]
    assert found["other"]["fd_tiny"] == found["pictures"]["fd_tiny"]
    assert (
        "other.npz, mu: got 9 channels, and tiny has 6: the Fréchet distance is taken to the pictures"
        in told["other"]
    )
    assert "mean and covariance only; left out: kernel distance, precision, recall" in told["statistics"]
    settings = {name: read_result(tmp_path / f"{name}.json").settings for name in found}
    assert settings["both"]["frechet_distance_to"] == "the reference's mu and sigma"
    assert settings["other"]["frechet_distance_to"] == "the reference's pictures"
    assert "kernel distance" in settings["statistics"]["reference"]["left_out"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reconstruction", "--model", "{model}", "--data", str(ICONS)], "split is None; expected one of"),
        (["reconstruction", "--model", "{model}", "--data", "nowhere"], "nowhere"),
        (
            ["reconstruction", "--model", "{model}", "--data", "{data}/test-a", "--budgets", "2,9"],
            "budgets: got",
        ),
        (
            ["reconstruction", "--model", "{model}", "--data", "{data}/test-a", "--budgets", "two"],
            "--budgets",
        ),
        (
            ["reconstruction", "--model", "{model}", "--data", "{data}/test-a", "--conditions", "left"],
            "--conditions",
        ),
        (["reconstruction", "--model", "{model}", "--data", "{data}/test-a", "--limit", "0"], "limit: got 0"),
        (
            ["reconstruction", "--model", "{model}", "--data", "{data}/test-a", "--batch-size", "0"],
            "batch_size: got 0",
        ),
        (
            ["reconstruction", "--model", "{model}", "--data", "{data}/test-a", "--device", "abacus"],
            "device: got 'abacus'",
        ),
        (["reconstruction", "--model", "nomodel", "--data", "{data}/test-a"], "nomodel"),
        (["compare", "{a}"], "B.json"),
        (["compare", "{a}", "gone.json"], "gone.json: no such result file"),
        (["compare", "{a}", "{data}/test-a/metadata.jsonl"], "not a result file"),
        (["generation", "{data}/test-a", "--reference", "{data}/metadata.jsonl"], "no such file"),
        (["generation", "{data}/test-a", "--reference", "gone.npz"], "gone.npz: no such file"),
        (["generation", "{data}/test-a", "--reference", "{data}/test-b", "--captions", "{a}"], "captions"),
        (
            ["generation", "{npz}", "--reference", "{data}/test-b"],
            "got mean and covariance only",
        ),
        (["generation", "{data}/test-a", "--reference", "{npz}"], "mu: got 7 channels"),
        (
            ["generation", "{data}/test-a", "--reference", "{npz}", "--train", "{data}/test-b"],
            "the copying check compares with real pictures",
        ),
    ],
)
@pytest.mark.slow
def test_a_mistake_is_told(
    words: list[str],
    message: str,
    model_folder: Path,
    data: Path,
    a_json: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    npz = a_json.parent / "statistics.npz"
    np.savez(npz, mu=np.zeros(7), sigma=np.eye(7))
    words = [word.format(model=model_folder, data=data, a=a_json, npz=npz) for word in words]
    assert run("evaluate", *words) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err
    assert captured.out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_semantics_with_the_packages_own_networks(
    data: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TwoTower(TwoTowerConfig()).save_pretrained(tmp_path / "head", name="untrained")
    monkeypatch.setattr("textok.models.checkpoint.shipped_folder", lambda name: tmp_path / "head")
    monkeypatch.setattr("textok.evaluation.networks.load_network", lambda name, weights=None: EffNetLite2())
    words = ["--data", data / "test-a", "--budgets", 4, "--conditions", "right", "--limit", 4]
    assert (
        run("evaluate", "reconstruction", "--model", model_folder, *words, "--out", tmp_path / "r.json") == 0
    )
    result = read_result(tmp_path / "r.json")
    wanted = {"retrieval_two_tower_r1", "alignment_class_posterior", "posterior_agreement_effnet_lite2"}
    assert wanted <= set(result.rows[0]) and wanted <= set(result.per_image[0])
    words = [data / "test-a", "--reference", data / "test-b", "--size", 32, 32, "--out", tmp_path / "g.json"]
    assert run("evaluate", "generation", *words) == 0
    result = read_result(tmp_path / "g.json")
    assert result.rows[0]["count_captioned"] == COUNT
    for name in ("alignment_two_tower", "alignment_class_posterior"):
        values = [float(one[name]) for one in result.per_image]
        assert result.rows[0][name] == pytest.approx(sum(values) / COUNT, rel=1e-5)


def test_captions_of_samples_from_a_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from textok.evaluation.picture_sets import open_pictures

    keys = [f"{i:02d}" for i in range(COUNT)]
    file = tmp_path / "captions.json"
    for content in ([f"number {key}" for key in keys], {key: f"number {key}" for key in reversed(keys)}):
        file.write_text(json.dumps(content))
        batches = list(open_pictures(str(data / "test-a"), batch_size=8, captions=file))
        assert [text for batch in batches for text in batch.captions] == [f"number {key}" for key in keys]
    for content, message in (
        (["one"], "a list of 1 for 20 pictures"),
        ({"00": "x"}, "none for the picture '01'"),
        ({"00": 3}, "key '00'"),
        ("x", "captions: got a JSON str"),
    ):
        file.write_text(json.dumps(content))
        words = [data / "test-a", "--reference", data / "test-b", "--captions", file]
        monkeypatch.setattr(Semantics, "from_pretrained", lambda **_: None)
        assert run("evaluate", "generation", *words) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_as_a_process(data: Path, model_folder: Path, tmp_path: Path) -> None:
    """With the package's own network, as a user starts it."""
    command = [sys.executable, "-m", "textok.cli", "evaluate", "reconstruction", "--model", str(model_folder)]
    words = [
        "--data",
        str(data),
        "--split",
        "test-a",
        "--budgets",
        "1,4",
        "--conditions",
        "right",
        "--limit",
        "4",
    ]
    done = subprocess.run(
        [*command, *words, "--out", "r.json", NOTHING_ELSE],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("split") and "perceptual_effnet_lite2" in done.stdout
    assert [row["budget"] for row in json.loads((tmp_path / "r.json").read_text())["rows"]] == [1, 4]
