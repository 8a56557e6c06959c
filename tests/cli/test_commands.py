"""The commands, run in this process as ``main`` runs them."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from textok.cli import main
from textok.cli.pictures import PictureNames
from textok.models.checkpoint import shipped_folder
from textok.pipeline.tokens import load_tokens, save_tokens


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def tokens(model_folder: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokens") / "t.safetensors"
    assert run("encode", pictures, "--model", model_folder, "--out", out, "--num-tokens", 3) == 0
    return out


def test_encode_writes_all_pictures(tokens: Path) -> None:
    found = load_tokens(tokens)
    assert found.latents.shape == (4, 3, 4) and found.bytes_per_image == 24
    assert found.captions == ("a red square", "a green square", "", "a blue square")
    assert [Path(key).stem for key in found.keys] == [f"square-{i}" for i in range(4)]


def test_encode_options(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.safetensors"
    options = [
        "--limit",
        3,
        "--batch-size",
        2,
        "--no-captions",
        "--size",
        16,
        48,
        "--stored",
        "float32",
        "--json",
    ]
    assert run("encode", pictures, "--model", model_folder, "--out", out, *options) == 0
    result = json.loads(capsys.readouterr().out)
    found = load_tokens(out)
    assert result["pictures"] == len(found) == 3 and result["model_id"] == found.model_id
    assert result["token_bytes_per_image"] == 4 * 4 * 4
    assert found.captions is None and found.grid == (2, 6)


def test_one_picture_with_a_caption(model_folder: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    words = [
        "encode",
        pictures / "square-1.png",
        "--caption",
        "a square",
        "--model",
        model_folder,
        "--out",
        out,
    ]
    assert run(*words) == 0
    assert load_tokens(out).captions == ("a square",)


def test_decode_names_pictures_by_key(tokens: Path, model_folder: Path, tmp_path: Path) -> None:
    assert run("decode", tokens, "--model", model_folder, "--out", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(
        f"{key}.png" for key in load_tokens(tokens).keys
    )
    with Image.open(next(tmp_path.glob("*.png"))) as picture:
        assert picture.size == (32, 32)


def test_decode_never_leaves_its_folder(tokens: Path, model_folder: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    hostile = replace(load_tokens(tokens), keys=("../../out", "/etc/passwd", "a/b", "A/b"))
    file = save_tokens(hostile, tmp_path / "t.safetensors")
    assert run("decode", file, "--model", model_folder, "--out", tmp_path / "deep" / "out") == 0
    names = sorted(path.name for path in (tmp_path / "deep" / "out").glob("*.png"))
    assert len(names) == 4 and len({name.lower() for name in names}) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "t.safetensors"]


def test_decode_takes_captions_from_a_file(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def decoded(name: str, *options: object) -> bytes:
        assert run("decode", file, "--model", model_folder, "--out", tmp_path / name, *options) == 0
        return b"".join(path.read_bytes() for path in sorted((tmp_path / name).glob("*.png")))

    file, captions = tmp_path / "t.safetensors", tmp_path / "captions.json"
    assert run("encode", pictures, "--model", model_folder, "--out", file, "--no-captions") == 0
    keys = load_tokens(file).keys
    capsys.readouterr()
    without = decoded("without")
    assert "holds no captions" in capsys.readouterr().err
    captions.write_text(json.dumps(dict.fromkeys(keys, "a red square")))
    assert decoded("with", "--captions", captions) != without
    assert decoded("none", "--no-captions") == without
    captions.write_text(json.dumps({keys[0]: "a red square"}))
    assert run("decode", file, "--model", model_folder, "--out", tmp_path / "x", "--captions", captions) == 2
    assert "captions: got none for 3 of 4" in capsys.readouterr().err


def test_reconstruct_lays_out_grids(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "reconstruct",
        pictures,
        "--model",
        model_folder,
        "--out",
        tmp_path,
        "--budgets",
        "1,4",
        "--json",
    ]
    assert run(*words) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["captions"], row["budget"]) for row in rows} == {
        (condition, k) for condition in ("right", "none") for k in (1, 4)
    }
    assert all(0 < row["psnr"] < 100 and row["pictures"] == 4 for row in rows)
    sheets = sorted(tmp_path.glob("*.png"))
    assert len(sheets) == 4
    with Image.open(sheets[0]) as sheet:  # the original and two conditions at two budgets, each 128 wide
        assert sheet.width > 5 * 128


@pytest.mark.slow
def test_demo_on_pictures_of_ones_own(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr("textok.evaluation.demo._TIMED_SECONDS", 0.0)
    words = ["demo", "--out", tmp_path / "out", "--model", model_folder, "--data", pictures]
    assert run(*words, "--limit", 2, "--device", "cpu") == 0
    report = tmp_path / "out/report.html"
    assert capsys.readouterr().out.strip() == str(report)
    page = report.read_text()
    assert "a red square" in page and "a green square" in page and "a blue square" not in page
    assert "Fluent Emoji" not in page, "the credit is for the pictures of the package"
    assert run(*words) == 0, "a picture without a caption is shown like the others"
    assert "a blue square" in report.read_text()
    shutil.copytree(pictures, tmp_path / "torn")
    (tmp_path / "torn" / "square-0.png").write_bytes(b"")
    words[words.index(pictures)] = tmp_path / "torn"
    assert run(*words) == 2
    assert run(*words, "--on-bad", "skip") == 0
    assert "empty" in (tmp_path / "out" / "bad.jsonl").read_text()


def test_info_of_a_token_file(tokens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", tokens, "--json") == 0
    facts = json.loads(capsys.readouterr().out)["tokens"]
    assert facts["pictures"] == 4 and facts["captions"] == 3 and facts["bytes_per_image"] == 24
    assert facts["model_id"].startswith("tiny-") and facts["stored_as"] == "float16"
    assert run("info", tokens) == 0
    assert "24" in capsys.readouterr().out


def test_info_of_a_model(model_folder: Path, tokens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", model_folder, "--json") == 0
    facts = json.loads(capsys.readouterr().out)["model"]
    assert facts["model_id"] == load_tokens(tokens).model_id
    assert facts["made_by"] == {"recipe": "none", "steps": 0}
    assert facts["settings"]["num_latents"] == 4 and facts["dtypes"] == ["F32"]
    values = facts["values"]
    assert values["total"] >= values["encoder"] + values["decoder"] > 10_000


def test_info_reads_headers_only(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a configuration of a stranger says, nothing is built from it."""
    hostile = shutil.copytree(model_folder, tmp_path / "hostile")
    config = json.loads((hostile / "config.json").read_text())
    config["model"] |= {"encoder_depth": 10**7, "dim": 2**40, "num_latents": 10**9}
    config["made_by"] = {"name": "\x1b[31mred\n"}
    (hostile / "config.json").write_text(json.dumps(config))
    assert run("info", hostile) == 0
    text = capsys.readouterr().out
    assert "encoder_depth: 10000000" in text and r"name: \x1b[31mred\n" in text and "\x1b" not in text


def test_info_of_a_generator_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", shipped_folder("icons-128-generator"), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == ["generator"] and facts["generator"]["model_id"].startswith("icons-128-")
    assert facts["generator"]["settings"]["condition"]["kind"] == "text"
    assert run("info", "icons-128-dit") == 0
    assert "parameters" in capsys.readouterr().out


@pytest.mark.slow
def test_info_shows_the_shipped_model_and_then_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "icons-128", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == ["model", "generator", "recipe"]
    assert 0 <= facts["model"]["values"]["total"] - facts["recipe"]["parameters"]["total"] < 100, "buffers"
    assert run("info", "icons-128") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["model:", f"  model_id: {facts['model']['model_id']}"]
    assert {"generator:", "recipe:", "  name: icons-128"} <= set(lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encode", "nowhere", "--out", "t.ttk"], "nowhere"),
        (["encode", "{pictures}", "--out", "t.ttk", "--num-tokens", "5"], "num_tokens: got 5"),
        (["encode", "{pictures}", "--out", "t.ttk", "--size", "30", "32"], "multiples of the patch size"),
        (["encode", "{pictures}", "--out", "t.ttk", "--batch-size", "0"], "batch_size: got 0"),
        (["encode", "{pictures}", "--out", "t.ttk", "--limit", "0"], "limit: got 0"),
        (["encode", "{pictures}/metadata.jsonl", "--out", "t.ttk"], "metadata.jsonl"),
        (["decode", "nothing.safetensors", "--out", "d"], "nothing.safetensors: no such file"),
        (["decode", "{pictures}/square-0.png", "--out", "d"], "not a good token file"),
        (["decode", "{tokens}", "--out", "d", "--num-tokens", "9"], "num_tokens: got 9"),
        (["decode", "{tokens}", "--out", "d", "--no-captions", "--captions", "c"], "got both"),
        (["reconstruct", "{pictures}", "--out", "d", "--budgets", "9"], "budgets: got"),
        (["encode", "{pictures}", "--out", "t.ttk", "--device", "abacus"], "device: got 'abacus'"),
        (["encode", "nosuch.png", "--out", "t.ttk"], "textok: error: nosuch.png: no such file"),
        (
            ["encode", "{pictures}/square-0.png", "--out", "/proc/t.ttk"],
            "/proc/t.ttk: no such file or directory",
        ),
        (["reconstruct", "nosuch.webp", "--out", "d"], "nosuch.webp: no such file"),
        (
            ["decode", "{tokens}", "--out", "d", "--captions", "c"],
            "captions: got c",
        ),
        (["decode", "{tokens}", "--out", "d", "--captions", "{pictures}"], "captions: got"),
        (["demo", "--data", "nowhere"], "nowhere"),
        (["demo", "--data", "{pictures}", "--split", "x"], "split is 'x'"),
        (["demo", "--split", "x"], "split: got 'x'"),
        (["demo", "--limit", "0"], "limit: got 0"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    message: str,
    model_folder: Path,
    pictures: Path,
    tokens: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    words = [word.format(pictures=pictures, tokens=tokens) for word in words]
    assert run(*words, "--model", model_folder) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("textok: error:")]
    assert len(errors) == 1 and message in errors[0] and "Errno" not in errors[0]
    assert captured.out == "" and "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_an_error_cannot_command_the_terminal(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a\x1b]0;b\x07.png").write_bytes(b"none")
    words = ["encode", str(tmp_path / "own"), "--model", str(model_folder), "--out", str(tmp_path / "t.ttk")]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "\\x1b" in told and "\x1b" not in told and "\x07" not in told


def test_another_models_token_file_is_refused(
    tokens: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    file = save_tokens(replace(load_tokens(tokens), model_id="other-12345678"), tmp_path / "t.safetensors")
    assert run("decode", file, "--model", model_folder, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "'other-12345678'" in error and "'tiny-" in error and "load the model that made them" in error
    assert not (tmp_path / "out").exists()


def test_an_interrupt_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("textok.cli.decode.check_target", interrupted)
    assert run("decode", Path(__file__), "--out", "d") == 130
    assert capsys.readouterr().err == "textok: interrupted\n"


def test_no_two_of_many_pictures_get_the_same_name() -> None:
    names = PictureNames()
    given = [names.of(f"{number % 7000}/A"[: 5 + number % 2]) for number in range(9000)]
    assert len({name.lower() for name in given}) == 9000
    assert given[0] == "0_A.png" and given[7000].startswith("0_A-")
