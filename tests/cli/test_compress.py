"""textok compress, decompress, prior, and info of .ttk files."""

import json
import shutil
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from textok.budgets.curves import DecodedCurves
from textok.cli import main
from textok.cli.choices import PictureChoice
from textok.codec import TtkReader, coded_sizes
from textok.codec.prior_file import PRIOR_FILE
from textok.models.bottleneck import FSQConfig
from textok.models.tokenizer import TexTok
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.token_file import load_tokens
from tiny import tiny_model

CAPTIONS = ["a red square", "a green square", "", "a blue square"]  # of the pictures


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def codes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A discrete tokenizer."""
    folder = tmp_path_factory.mktemp("codes")
    tiny_model(FSQConfig(levels=(8, 5, 5))).save_pretrained(folder, name="tiny-codes")
    return folder


@pytest.fixture(scope="module")
def file(model_folder: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ttk") / "x.ttk"
    assert run("compress", pictures, "--model", model_folder, "--budget", 3, "--out", out) == 0
    return out


def test_info_tells_tokens_and_bytes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", file, "--json") == 0
    facts = json.loads(capsys.readouterr().out)["ttk"]
    assert facts["pictures"] == 4 and facts["mean_tokens"] == 3 and facts["kind"] == "latents"
    assert facts["bytes_per_image"] * 4 == facts["file_bytes"] == file.stat().st_size
    assert (
        0
        < facts["token_bytes_per_image"]
        < facts["bytes_per_image_without_captions"]
        < facts["bytes_per_image"]
    )
    assert facts["settings"] == {"budget": "3"}
    assert run("info", file) == 0
    assert "mean_tokens" in capsys.readouterr().out


def test_decompress_gives_what_decode_gives(
    file: Path, model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "t.safetensors"
    assert run("encode", pictures, "--model", model_folder, "--num-tokens", 3, "--out", tokens) == 0
    assert run("decode", tokens, "--model", model_folder, "--out", tmp_path / "a") == 0
    capsys.readouterr()
    assert run("decompress", file, "--model", model_folder, "--out", tmp_path / "b", "--json") == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 4
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    with TtkReader(file) as reader:
        found, before = list(reader), load_tokens(tokens)
    assert [record.caption for record in found] == list(before.captions or ())
    off = torch.stack([record.values for record in found]) - before.values
    assert float(off.abs().max()) <= 0.15 + 1e-3  # half the plain step, and the rounding of the token file


def test_codes_decode_to_the_same_pixels(codes_folder: Path, pictures: Path, tmp_path: Path) -> None:
    file, tokens = tmp_path / "x.ttk", tmp_path / "t.safetensors"
    assert run("compress", pictures, "--model", codes_folder, "--out", file, "--batch-size", 3) == 0
    assert run("encode", pictures, "--model", codes_folder, "--out", tokens) == 0
    assert run("decompress", file, "--model", codes_folder, "--out", tmp_path / "a") == 0
    assert run("decode", tokens, "--model", codes_folder, "--out", tmp_path / "b") == 0
    for path in (tmp_path / "a").iterdir():
        assert Image.open(path).tobytes() == Image.open(tmp_path / "b" / path.name).tobytes()
    with TtkReader(file) as reader:
        assert torch.stack([record.values for record in reader]).equal(load_tokens(tokens).values.long())


def between(model_folder: Path, pictures: Path) -> float:
    """Mean bytes of tokens, halfway between two and three of each picture."""
    tokenizer = ImageTokenizer.from_pretrained(model_folder)
    found = tokenizer.encode([Image.open(path) for path in sorted(pictures.glob("*.png"))], CAPTIONS)
    return float(coded_sizes(tokenizer.model)(found.values).mean(dim=0)[1:3].mean())


@pytest.mark.parametrize(
    "target",
    [
        ("--mean-tokens", "2.5"),
        ("--mean-tokens", "2.5", "--equal", "quality"),
        ("--bytes", "{between}"),
        ("--quality", "60"),
        ("--loss", "0", "--chooser", "oracle"),
        ("--loss", "60"),
        ("--loss", "0.01", "--measure", "perceptual"),
    ],
)
@pytest.mark.slow
def test_a_range_of_budgets(
    target: tuple[str, ...], model_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.ttk"
    words = [word.format(between=between(model_folder, pictures)) for word in target]
    assert run("compress", pictures, "--model", model_folder, "--budget", "2-3", *words, "--out", out) == 0
    with TtkReader(out) as reader:
        budgets = [len(record.values) for record in reader]
    assert len(budgets) == 4 and set(budgets) <= {2, 3}
    if target[0] == "--quality":
        assert budgets == [3] * 4  # no picture reaches it
    if target == ("--loss", "60"):
        assert budgets == [2] * 4  # every picture may be as bad as that


@pytest.mark.slow
def test_how_a_budget_was_met_is_told(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.ttk"
    compress = ("compress", pictures, "--model", model_folder, "--budget", "2-3", "--out", out)

    def told(*words: object) -> tuple[dict[str, Any], str]:
        assert run(*compress, *words, "--json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert run(*compress, *words) == 0
        return facts, capsys.readouterr().out

    facts, text = told("--mean-tokens", 2.5)
    sample = facts["sample"]
    assert sample["pictures"] == 4 and 2 <= sample["mean"] <= 3 and sample["standard_error"] >= 0
    assert facts["equal"] == "loss" and f"at most {facts['threshold']:.4g} dB" in text
    assert f"a mean of {sample['mean']:.2f} tokens, standard error" in text and "do not reach" not in text
    assert run("info", out, "--json") == 0
    settings = json.loads(capsys.readouterr().out)["ttk"]["settings"]
    assert settings["sample"] == sample and settings["threshold"] == facts["threshold"]
    assert run("info", out) == 0 and "standard_error" in capsys.readouterr().out

    facts, text = told("--quality", 60)
    assert facts["not_reached"] == 4 and "pictures that do not reach it: 4" in text
    facts, text = told("--quality", 0)
    assert facts["not_reached"] == 0 and "quality asked for: 0 dB" in text and "sample" not in facts
    facts, text = told("--mean-tokens", 2.5, "--equal", "quality")
    assert "quality asked for" in text and facts["not_reached"] >= 0 and "beyond" not in text


def test_a_share_may_go_beyond_the_range(
    model_folder: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where quality is the number of tokens, all four pictures need three, and half of them may have these."""
    monkeypatch.setattr(DecodedCurves, "at", lambda _curves, _rows, budgets: budgets.double())
    out = tmp_path / "x.ttk"
    words = ("compress", pictures, "--model", model_folder, "--budget", "1-2", "--quality", 3, "--out", out)
    assert run(*words, "--beyond", 0.5) == 0
    text = capsys.readouterr().out
    assert "pictures that do not reach it: 2" in text and "pictures beyond the range: 2" in text
    with TtkReader(out) as reader:
        assert [len(record.values) for record in reader] == [2, 3, 2, 3]
        assert reader.header.settings["beyond"] == 0.5
    assert run(*words, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["mean_tokens"], facts["not_reached"], facts["beyond"]) == (2, 4, 0)


def test_ranges_have_names(model_folder: Path, pictures: Path, tmp_path: Path) -> None:
    """Of four tokens, 120 to 220 of 256 are two to three."""
    out = tmp_path / "x.ttk"
    words = ("compress", pictures, "--model", model_folder, "--budget", "middle", "--out", out)
    assert run(*words, "--quality", 60) == 0
    with TtkReader(out) as reader:
        assert {len(record.values) for record in reader} == {3}
    assert run(*words, "--quality", 0) == 0
    with TtkReader(out) as reader:
        assert {len(record.values) for record in reader} == {2}


def test_a_predictor_finds_the_budgets(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captioned = shutil.copytree(pictures, tmp_path / "captioned")
    names = sorted(path.name for path in captioned.glob("*.png"))
    lines = [json.dumps({"file_name": name, "text": "a square"}) for name in names]
    (captioned / "metadata.jsonl").write_text("\n".join(lines))
    words = ["--model", model_folder, "--data", captioned, "--split", "None", "--out", tmp_path / "head"]
    words += ["--held-out", "None", "--scored", "None", "--limit", 4, "--looks", 2, "--steps", 2]
    assert run("train", "predictor", *words) == 0
    compress = ("compress", pictures, "--model", model_folder, "--out", tmp_path / "x.ttk")
    soft = ("--budget", "2-3", "--mean-tokens", 2.5, "--chooser")
    assert run(*compress, *soft, tmp_path / "head") == 0
    with TtkReader(tmp_path / "x.ttk") as reader:
        made = {
            "budget": "2-3",
            "mean_tokens": 2.5,
            "chooser": "predictor",
            "measure": "psnr",
        }
        assert made.items() <= reader.header.settings.items()
    assert run(*compress, *soft, "predictor") == 2, "this model has none of its own"
    assert run(*compress, *soft, "guess") == 2 and "guess" in capsys.readouterr().err


def test_append_keys_and_dropped_captions(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.ttk"
    words = ["--model", model_folder, "--out", out, "--captions", "drop"]
    assert run("compress", pictures / "square-0.png", "--caption", "a red square", *words) == 0
    assert run("compress", pictures / "square-1.png", *words, "--append", "--budget", 2) == 0
    with TtkReader(out) as reader:
        assert reader.keys() == ["square-0", "square-1"]
        assert [len(record.values) for record in reader] == [4, 2]
    capsys.readouterr()
    assert run("compress", pictures, *words, "--append", "--step", 2, "--budget", "2-3", "--bytes", 9) == 2
    told = capsys.readouterr().err
    assert "write a new file" in told and "sample" not in told, "told before anything is calibrated"
    other = ("--model", model_folder, "--out", tmp_path / "none.ttk", "--append")
    assert run("compress", pictures, *other) == 2
    assert "none.ttk: no such file" in capsys.readouterr().err
    options = ["--model", model_folder, "--out", tmp_path / "out", "--key", "square-1"]
    assert run("decompress", out, *options) == 0
    assert "holds no captions" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["square-1.png"]
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"square-1": "a green square"}))
    assert run("decompress", out, *options, "--captions", captions) == 0
    assert "holds no captions" not in capsys.readouterr().err
    assert (
        run("decompress", out, "--model", model_folder, "--out", tmp_path / "out", "--captions", captions)
        == 2
    )
    assert "no caption for 1 of 2" in capsys.readouterr().err


def test_several_keys_in_either_form(file: Path, model_folder: Path, tmp_path: Path) -> None:
    for number, keys in enumerate((("square-1", "--key", "square-0"), ("square-0,square-1",))):
        out = tmp_path / str(number)
        assert run("decompress", file, "--model", model_folder, "--out", out, "--key", *keys) == 0
        assert sorted(path.name for path in out.iterdir()) == ["square-0.png", "square-1.png"]


def test_recover_reads_the_other_chunks(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.ttk"
    for i, words in enumerate(((), ("--append",))):
        picture = pictures / f"square-{i}.png"
        assert run("compress", picture, "--model", model_folder, "--out", out, *words) == 0
    with TtkReader(out) as reader:
        at = reader.entries[0].offset + reader.entries[0].length - 6
    data = bytearray(out.read_bytes())
    data[at] ^= 1
    out.write_bytes(data)
    decompress = ("decompress", out, "--model", model_folder, "--out", tmp_path / "out", "--json")
    assert run(*decompress) == 2
    assert "x.ttk: chunk 1 of 2: damaged: a checksum" in capsys.readouterr().err
    assert run(*decompress, "--recover", "--key", "square-0") == 2
    assert "holds no picture named 'square-0'; lost chunk 1" in capsys.readouterr().err
    assert run(*decompress, "--recover") == 0
    told = capsys.readouterr()
    assert "x.ttk: lost chunk 1, 1 pictures ('square-0'): damaged" in told.err
    (lost,) = json.loads(told.out)["lost"]
    assert lost["keys"] == ["square-0"] and [path.name for path in (tmp_path / "out").iterdir()] == [
        "square-1.png"
    ]


def test_mistakes_are_told_in_a_line(
    file: Path,
    codes_folder: Path,
    model_folder: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(*words: object) -> str:
        assert run(*words) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    out = ("--out", tmp_path / "out")
    assert "load the model that made it" in refused("decompress", file, "--model", codes_folder, *out)
    assert "holds no picture named 'x'" in refused(
        "decompress", file, "--model", model_folder, *out, "--key", "x"
    )
    cut = tmp_path / "cut.ttk"
    cut.write_bytes(file.read_bytes()[:-30])
    assert "cut.ttk: cut off" in refused("decompress", cut, "--model", model_folder, *out)
    assert "cut.ttk: cut off" in refused("info", cut)
    short = tmp_path / "short.ttk"
    short.write_bytes(file.read_bytes()[:5])
    assert "short.ttk: not a .ttk file" in refused("info", short)
    assert "no picture of it" in refused("decompress", cut, "--model", model_folder, *out, "--recover")
    assert "nowhere.ttk: no such file" in refused("info", "nowhere.ttk")
    text = pictures / "metadata.jsonl"
    assert "metadata.jsonl: neither a .ttk file nor a token file" in refused("info", text)
    compress = ("compress", pictures, "--model", model_folder, "--out", tmp_path / "refused.ttk")
    assert "got the range 2-3 alone; add what decides" in refused(*compress, "--budget", "2-3")
    alone = refused(*compress, "--budget", "3", "--quality", "20")
    assert "got 3 with --quality, which decides within a range" in alone
    two = refused(*compress, "--budget", "2-3", "--quality", "20", "--mean-tokens", "2")
    assert "got 2-3 with --mean-tokens and --quality; expected one of them" in two
    for words in (("--chooser", "oracle"), ("--measure", "perceptual"), ("--equal", "loss")):
        assert f"{words[0][2:]}: only with a range" in refused(*compress, "--budget", "3", *words)
    ranged = (*compress, "--budget", "2-3", "--quality", "20")
    assert "equal: only with --mean-tokens or --bytes" in refused(*ranged, "--equal", "loss")
    assert "beyond: only with a range" in refused(*compress, "--budget", "3", "--beyond", "0.1")
    assert "beyond: got 2.0" in refused(*ranged, "--beyond", "2")
    assert "beyond: got one loss" in refused(*compress, "--budget", "2-3", "--loss", "1", "--beyond", "0.1")
    many = refused(*compress, "--budget", "2-3", "--bytes", "5000")
    assert "bytes: got 5000 on average" in many and "at 2 to 3 tokens" in many
    assert "expected a number such as 16" in refused(*compress, "--budget", "few")
    assert "expected 1 to 4" in refused(*compress, "--budget", "5")
    for step in ("0", "nan", "inf", "1e9"):
        assert f"step: got {float(step):g}; expected 0.01 to 100" in refused(*compress, "--step", step)
    assert not (tmp_path / "refused.ttk").exists()


def test_pictures_without_caption_are_counted(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", model_folder, "--out", tmp_path / "x.ttk")
    told = "textok: 1 of 4 pictures have no caption: encoded without"
    assert run("compress", pictures, *words, "--budget", "2-3", "--mean-tokens", 2.5) == 0
    assert capsys.readouterr().err.count(told) == 1, "once, though a sample is read before"
    assert run("compress", pictures, *words, "--caption", "all alike") == 0
    assert "no caption" not in capsys.readouterr().err


def test_nothing_to_recover_is_a_failure(
    file: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TtkReader(file) as reader:
        cut = tmp_path / "cut.ttk"
        cut.write_bytes(file.read_bytes()[: reader.entries[0].offset + 9])
    words = ("--model", model_folder, "--out", tmp_path / "out", "--recover")
    assert run("decompress", cut, *words) == 2
    told = capsys.readouterr().err
    assert "whatever followed the header is lost" in told and "no picture of it could be recovered" in told


def test_a_missing_coder_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "constriction", None)
    assert run("compress", tmp_path, "--model", tmp_path / "none", "--out", tmp_path / "x.ttk") == 2
    assert "open-textok[codec]" in capsys.readouterr().err


def test_a_sample_keeps_no_batches(
    model_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 pictures of a large source would else keep as many batches in memory."""
    seen, batches = list[weakref.ref[torch.UntypedStorage]](), PictureChoice.batches

    def watched(self: PictureChoice, *args: Any, **options: Any) -> Iterator[Any]:
        for batch in batches(self, *args, **options):
            seen.append(weakref.ref(batch.images.untyped_storage()))
            assert all(one() is None for one in seen[:-2]), "a batch is held"
            yield batch

    monkeypatch.setattr(PictureChoice, "batches", watched)
    words = ("--budget", "2-3", "--mean-tokens", 2.5, "--batch-size", 1)
    assert run("compress", pictures, "--model", model_folder, *words, "--out", tmp_path / "x.ttk") == 0
    assert len(seen) == 8  # both passes


def test_large_pictures_are_decoded_fewer_at_a_time(
    model_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, decode, counts = tmp_path / "x.ttk", TexTok.decode, list[int]()
    size = ("--size", 64, 96)  # of six times as many patches as the model's 32 x 32
    assert run("compress", pictures, "--model", model_folder, *size, "--out", file) == 0

    def watched(self: TexTok, tokens: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        counts.append(len(tokens))
        return decode(self, tokens, *args, **options)

    monkeypatch.setattr(TexTok, "decode", watched)
    for batch_size, expected in ((32, [4]), (12, [2, 2]), (3, [1, 1, 1, 1])):
        counts.clear()
        words = ("--model", model_folder, "--out", tmp_path / "out", "--batch-size", batch_size)
        assert run("decompress", file, *words) == 0
        assert counts == expected
        assert len(list((tmp_path / "out").iterdir())) == 4


def test_large_pictures_of_a_token_file_are_decoded_fewer_at_a_time(
    model_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, decode, counts = tmp_path / "x.safetensors", TexTok.decode, list[int]()
    words = ("--model", model_folder, "--out")
    assert run("encode", pictures, "--size", 64, 96, *words, file) == 0

    def watched(self: TexTok, tokens: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        counts.append(len(tokens))
        return decode(self, tokens, *args, **options)

    monkeypatch.setattr(TexTok, "decode", watched)
    assert run("decode", file, *words, tmp_path / "out", "--batch-size", 12) == 0
    assert counts == [2, 2]


def test_decode_takes_as_many_at_a_time_as_asked(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, decode, counts = tmp_path / "many", TexTok.decode, list[int]()
    folder.mkdir()
    for number in range(40):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / f"{number}.png")
    words = ("--model", model_folder, "--out")
    assert run("encode", folder, *words, tmp_path / "x.safetensors") == 0

    def watched(self: TexTok, tokens: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        counts.append(len(tokens))
        return decode(self, tokens, *args, **options)

    monkeypatch.setattr(TexTok, "decode", watched)
    assert run("decode", tmp_path / "x.safetensors", *words, tmp_path / "out", "--batch-size", 64) == 0
    assert counts == [40]


def test_a_probability_model_of_ones_own(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    TexTok.from_pretrained(model_folder).save_pretrained(folder, name="tiny")
    assert run("cache", "--model", folder, "--data", pictures, "--out", tmp_path / "cache") == 0
    assert run("prior", tmp_path / "cache", "--model", folder) == 0
    assert (folder / PRIOR_FILE).is_file() and "probability model" in capsys.readouterr().out
    assert run("compress", pictures, "--model", folder, "--out", tmp_path / "x.ttk") == 0
    assert run("decompress", tmp_path / "x.ttk", "--model", folder, "--out", tmp_path / "out") == 0
    capsys.readouterr()
    # The same weights without the probability model cannot read it, and say what is missing.
    assert run("decompress", tmp_path / "x.ttk", "--model", model_folder, "--out", tmp_path / "out") == 2
    assert "codec.safetensors" in capsys.readouterr().err
