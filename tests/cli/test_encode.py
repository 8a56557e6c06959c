"""textok encode and decode of both kinds of token files, prior, and info of .ttk files."""

import json
import shutil
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from textok.budgets.encoder import DecodedCurves
from textok.cli import decode as decoding
from textok.cli import encode as encoding
from textok.cli import main
from textok.cli.encoded_parts import unique
from textok.cli.pictures import PictureOptions
from textok.codec import TtkReader, TtkWriter, coded_sizes
from textok.models.bottleneck import FSQConfig
from textok.models.checkpoint import PRIOR_FILE
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.tokens import Tokens, load_tokens
from tiny import tiny_model

CAPTIONS = ["a red square", "a green square", "", "a blue square"]  # of the pictures


def run(*words: object) -> int:
    return main([str(word) for word in words])


def read(file: Path) -> Tokens:
    with TtkReader(file) as reader:
        return Tokens.concat(list(reader))


def names_in(folder: Path) -> list[str]:
    """Files that are not hidden."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.fixture(scope="module")
def codes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A discrete tokenizer."""
    folder = tmp_path_factory.mktemp("codes")
    tiny_model(FSQConfig(levels=(8, 5, 5))).save_pretrained(folder, name="tiny-codes")
    return folder


@pytest.fixture(scope="module")
def file(model_folder: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ttk") / "x.ttk"
    assert run("encode", pictures, "--model", model_folder, "--num-tokens", 3, "--out", out) == 0
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
    assert facts["settings"] == {"num_tokens": "3", "content": facts["settings"]["content"]}
    assert run("info", file) == 0
    assert "mean_tokens" in capsys.readouterr().out


def test_both_kinds_of_files_hold_the_same_pictures(
    file: Path, model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "t.safetensors"
    assert run("encode", pictures, "--model", model_folder, "--num-tokens", 3, "--out", tokens) == 0
    assert run("decode", tokens, "--model", model_folder, "--out", tmp_path / "a") == 0
    capsys.readouterr()
    assert run("decode", file, "--model", model_folder, "--out", tmp_path / "b", "--json") == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 4
    assert names_in(tmp_path / "a") == names_in(tmp_path / "b")
    found, before = read(file), load_tokens(tokens)
    assert (found.captions, found.keys) == (before.captions, before.keys)
    off = found.values - before.values
    assert float(off.abs().max()) <= 0.15 + 1e-3  # half the plain step, and the rounding of the token file


def test_codes_decode_to_the_same_pixels(codes_folder: Path, pictures: Path, tmp_path: Path) -> None:
    file, tokens = tmp_path / "x.ttk", tmp_path / "t.safetensors"
    assert run("encode", pictures, "--model", codes_folder, "--out", file, "--batch-size", 3) == 0
    assert run("encode", pictures, "--model", codes_folder, "--out", tokens) == 0
    assert run("decode", file, "--model", codes_folder, "--out", tmp_path / "a") == 0
    assert run("decode", tokens, "--model", codes_folder, "--out", tmp_path / "b") == 0
    for path in (tmp_path / "a").glob("*.png"):
        assert Image.open(path).tobytes() == Image.open(tmp_path / "b" / path.name).tobytes()
    assert read(file).values.equal(load_tokens(tokens).values.long())


def between(model_folder: Path, pictures: Path) -> float:
    """Mean bytes of tokens, halfway between two and three of each picture."""
    tokenizer = ImageTokenizer.from_pretrained(model_folder)
    found = tokenizer.encode([Image.open(path) for path in sorted(pictures.glob("*.png"))], CAPTIONS)
    return float(coded_sizes(tokenizer.model)(found.values).mean(dim=0)[1:3].mean())


@pytest.mark.parametrize(
    "target",
    [
        ("--mean-tokens", "2.5"),
        ("--mean-tokens", "2.5", "--target", "quality"),
        ("--bytes", "{between}"),
        ("--quality", "60"),
        ("--max-drop", "0", "--chooser", "oracle"),
        ("--max-drop", "60"),
        ("--max-drop", "0.01", "--measure", "perceptual"),
    ],
)
@pytest.mark.slow
def test_a_range_of_budgets(
    target: tuple[str, ...], model_folder: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.ttk"
    words = [word.format(between=between(model_folder, pictures)) for word in target]
    assert run("encode", pictures, "--model", model_folder, "--num-tokens", "2-3", *words, "--out", out) == 0
    lengths = read(out).lengths
    assert len(lengths) == 4 and set(lengths) <= {2, 3}
    if target[0] == "--quality":
        assert lengths == (3,) * 4  # no picture reaches it
    if target == ("--max-drop", "60"):
        assert lengths == (2,) * 4  # every picture may be as bad as that
    exact = tmp_path / "x.safetensors"
    assert (
        run("encode", pictures, "--model", model_folder, "--num-tokens", "2-3", *words, "--out", exact) == 0
    )
    assert load_tokens(exact).lengths == lengths


@pytest.mark.slow
def test_how_a_budget_was_met_is_reported(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.ttk"
    compress = ("encode", pictures, "--model", model_folder, "--num-tokens", "2-3", "--out", out)

    def told(*words: object) -> tuple[dict[str, Any], str]:
        assert run(*compress, *words, "--json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert run(*compress, *words) == 0
        return facts, capsys.readouterr().out

    facts, text = told("--mean-tokens", 2.5)
    sample = facts["sample"]
    assert sample["pictures"] == 4 and 2 <= sample["mean"] <= 3 and sample["standard_error"] >= 0
    assert facts["target"] == "drop" and f"at most {facts['threshold']:.4g} dB" in text
    assert f"a mean of {sample['mean']:.2f} tokens, standard error" in text and "do not reach" not in text
    assert run("info", out, "--json") == 0
    settings = json.loads(capsys.readouterr().out)["ttk"]["settings"]
    assert settings["sample"] == sample and settings["threshold"] == facts["threshold"]
    assert run("info", out) == 0 and "standard_error" in capsys.readouterr().out

    facts, text = told("--quality", 60)
    assert facts["not_reached"] == 4 and "pictures that do not reach it: 4" in text
    facts, text = told("--quality", 0)
    assert facts["not_reached"] == 0 and "quality: 0 dB" in text and "sample" not in facts
    facts, text = told("--mean-tokens", 2.5, "--target", "quality")
    assert "  quality:" in text and facts["not_reached"] >= 0 and "more tokens" not in text


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
    words = ("encode", pictures, "--model", model_folder, "--num-tokens", "1-2", "--quality", 3, "--out", out)
    assert run(*words, "--overflow-share", 0.5) == 0
    text = capsys.readouterr().out
    assert "pictures that do not reach it: 2" in text and "more tokens than the range: 2" in text
    assert read(out).lengths == (2, 3, 2, 3) and read(out).settings["overflow_share"] == 0.5
    assert run(*words, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["mean_tokens"], facts["not_reached"], facts["overflow"]) == (2, 4, 0)


def test_ranges_have_names(model_folder: Path, pictures: Path, tmp_path: Path) -> None:
    """Of four tokens, 120 to 220 of 256 are two to three."""
    out = tmp_path / "x.ttk"
    words = ("encode", pictures, "--model", model_folder, "--num-tokens", "middle", "--out", out)
    assert run(*words, "--quality", 60) == 0
    assert set(read(out).lengths) == {3}
    assert run(*words, "--quality", 0) == 0
    assert set(read(out).lengths) == {2}


def test_a_predictor_finds_the_budgets(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captioned = shutil.copytree(pictures, tmp_path / "captioned")
    names = sorted(path.name for path in captioned.glob("*.png"))
    lines = [json.dumps({"file_name": name, "text": "a square"}) for name in names]
    (captioned / "metadata.jsonl").write_text("\n".join(lines))
    words = ["--model", model_folder, "--data", captioned, "--split", "None", "--out", tmp_path / "head"]
    words += ["--held-out", "None", "--scored", "None", "--limit", 4, "--num-probes", 2, "--steps", 2]
    assert run("train", "predictor", *words) == 0
    compress = ("encode", pictures, "--model", model_folder, "--out", tmp_path / "x.ttk")
    soft = ("--num-tokens", "2-3", "--mean-tokens", 2.5, "--chooser")
    assert run(*compress, *soft, tmp_path / "head") == 0
    settings = {"num_tokens": "2-3", "mean_tokens": 2.5, "chooser": "predictor"}
    assert settings.items() <= read(tmp_path / "x.ttk").settings.items()
    assert run(*compress, *soft, "predictor") == 2, "this model has none of its own"
    assert run(*compress, *soft, "guess") == 2 and "guess" in capsys.readouterr().err


def test_keys_and_captions_that_are_left_out(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.ttk"
    assert run("encode", pictures, "--model", model_folder, "--out", file, "--no-captions") == 0
    options = ["--model", model_folder, "--out", tmp_path / "out", "--key", "square-1"]
    assert run("decode", file, *options) == 0
    assert "holds no captions" in capsys.readouterr().err
    assert names_in(tmp_path / "out") == ["square-1.png"]
    captions = tmp_path / "captions.json"
    captions.write_text("\ufeff" + json.dumps({"square-1": "a green square"}))
    assert run("decode", file, *options, "--captions", captions) == 0
    assert "holds no captions" not in capsys.readouterr().err
    assert run("decode", file, *options[:-2], "--captions", captions) == 2
    assert "captions: got none for 3 of 4" in capsys.readouterr().err


def test_several_keys_in_either_form(file: Path, model_folder: Path, tmp_path: Path) -> None:
    for number, keys in enumerate((("square-1", "--key", "square-0"), ("square-0,square-1",))):
        out = tmp_path / str(number)
        assert run("decode", file, "--model", model_folder, "--out", out, "--key", *keys) == 0
        assert names_in(out) == ["square-0.png", "square-1.png"]


def test_recover_reads_the_other_chunks(
    file: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.ttk"
    with TtkReader(file) as reader, open(out, "wb") as stream, TtkWriter(stream, reader.header) as writer:
        for tokens in reader:
            writer.add(tokens[:1])
            writer.flush()
            writer.add(tokens[1:])
    with TtkReader(out) as reader:
        at = reader.entries[0].offset + reader.entries[0].length - 6
    data = bytearray(out.read_bytes())
    data[at] ^= 1
    out.write_bytes(data)
    decode = ("decode", out, "--model", model_folder, "--out", tmp_path / "out", "--json")
    assert run(*decode) == 2
    assert "x.ttk: chunk 1 of 2: damaged: a checksum" in capsys.readouterr().err
    assert run(*decode, "--recover", "--key", "square-0") == 2
    assert "key: got 'square-0'" in (report := capsys.readouterr().err) and "lost chunk 1" in report
    assert run(*decode, "--recover") == 0
    report = capsys.readouterr()
    assert "x.ttk: lost chunk 1, 1 pictures: damaged" in report.err
    assert len(json.loads(report.out)["lost"]) == 1
    assert names_in(tmp_path / "out") == ["bad.jsonl", *(f"square-{i}.png" for i in (1, 2, 3))]


def test_mistakes_are_reported_in_a_line(
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
    assert "load the model that made it" in refused("decode", file, "--model", codes_folder, *out)
    assert "key: got 'x'" in refused("decode", file, "--model", model_folder, *out, "--key", "x")
    cut = tmp_path / "cut.ttk"
    cut.write_bytes(file.read_bytes()[:-30])
    assert "cut.ttk: cut off" in refused("decode", cut, "--model", model_folder, *out)
    assert "cut.ttk: cut off" in refused("info", cut)
    short = tmp_path / "short.ttk"
    short.write_bytes(file.read_bytes()[:5])
    assert "short.ttk: not a .ttk file" in refused("info", short)
    assert "no picture of it" in refused("decode", cut, "--model", model_folder, *out, "--recover")
    assert "nowhere.ttk: no such file" in refused("info", "nowhere.ttk")
    text = pictures / "metadata.jsonl"
    assert "metadata.jsonl: neither a .ttk file nor a token file" in refused("info", text)
    encode = ("encode", pictures, "--model", model_folder, "--out", tmp_path / "refused.ttk")
    assert "num_tokens: got the range 2-3 alone" in refused(*encode, "--num-tokens", "2-3")
    assert "quality: got 20.0 without" in refused(*encode, "--num-tokens", "3", "--quality", "20")
    two = refused(*encode, "--num-tokens", "2-3", "--quality", "20", "--mean-tokens", "2")
    assert "num_tokens: got quality and mean_tokens" in two
    for name, value in (("chooser", "oracle"), ("measure", "perceptual"), ("target", "drop")):
        assert f"{name}: got {value} without" in refused(*encode, "--num-tokens", "3", f"--{name}", value)
    ranged = (*encode, "--num-tokens", "2-3", "--quality", "20")
    assert "target: got 'drop'" in refused(*ranged, "--target", "drop")
    assert "overflow_share: got 2.0" in refused(*ranged, "--overflow-share", "2")
    drop = ("--num-tokens", "2-3", "--max-drop", "1", "--overflow-share", "0.1")
    assert "overflow_share: got 0.1" in refused(*encode, *drop)
    many = refused(*encode, "--num-tokens", "2-3", "--bytes", "5000")
    assert "bytes: got 5000 on average" in many and "at 2 to 3 tokens" in many
    assert "num_tokens: got 'few'" in refused(*encode, "--num-tokens", "few")
    assert "num_tokens: got 5" in refused(*encode, "--num-tokens", "5")
    for step in ("0", "nan", "inf", "1e9"):
        assert f"quantization: got {float(step):g}" in refused(*encode, "--quantization", step)
    assert "out: got x.png" in refused(*encode[:-1], "x.png")
    assert not (tmp_path / "refused.ttk").exists() and not list(tmp_path.glob(".*"))


def test_nothing_of_the_users_is_written_over(
    file: Path, model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.ttk"
    own.write_text("my diary")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "square-0.png").write_bytes((pictures / "square-0.png").read_bytes())
    encode = ("encode", tmp_path / "photos", "--model", model_folder, "--out")
    decode = ("decode", file, "--model", model_folder, "--out", tmp_path / "photos")
    for words in ((*encode, own), (*encode, tmp_path / "photos" / "x.ttk"), decode):
        assert run(*words) == 2
        assert "out: got" in capsys.readouterr().err
    assert own.read_text() == "my diary" and names_in(tmp_path / "photos") == ["square-0.png"]
    assert run(*encode, own, "--overwrite") == 0 and run(*encode, own) == 0, "now it is one of ours"


@pytest.mark.parametrize("suffix", [".ttk", ".safetensors"])
@pytest.mark.slow
def test_an_interrupted_encoding_goes_on(
    suffix: str, model_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes at the end, and no picture is encoded twice; other options begin anew."""
    monkeypatch.setattr(encoding, "PART_PICTURES", 1)
    soft = ("--num-tokens", "1-3", "--quality", 18, "--overflow-share", 0.5)
    words = ("encode", pictures, "--model", model_folder, "--batch-size", 1, *soft, "--out")
    assert run(*words, tmp_path / f"whole{suffix}") == 0
    encode, counts = TexTok.encode, [0]

    def failing(self: TexTok, *args: Any, **options: Any) -> Any:
        counts[0] += 1
        if counts[0] == 3:
            raise KeyboardInterrupt
        return encode(self, *args, **options)

    monkeypatch.setattr(TexTok, "encode", failing)
    out = tmp_path / f"x{suffix}"
    assert run(*words, out) == 130 and not out.exists()
    assert run(*words, out) == 0 and counts == [3 + 2]
    assert out.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert names_in(tmp_path) == sorted([f"whole{suffix}", f"x{suffix}"]), "no parts are left"


def test_a_part_owes_nothing_to_those_before(
    model_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else workers, and a run that goes on, would encode captions in other company, and last bits would differ."""
    captions, read = tmp_path / "captions.jsonl", list[list[str]]()
    keys = [file.stem for file in sorted(pictures.glob("*.png"))]
    captions.write_text("".join(json.dumps({"key": key, "caption": "a square"}) + "\n" for key in keys))
    encode = TextEncoder.__call__
    monkeypatch.setattr(
        TextEncoder, "__call__", lambda self, texts: read.append(texts) or encode(self, texts)
    )
    words = ["encode", pictures, "--captions", captions, "--model", model_folder, "--batch-size", 1]
    assert run(*words, "--shard-pictures", 1, "--out", tmp_path / "out.safetensors") == 0
    assert read == [["a square"]] * len(keys)


def test_an_interrupted_decoding_goes_on(
    file: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("decode", file, "--model", model_folder, "--batch-size", 1, "--out")
    monkeypatch.setattr(decoding, "_SORTED", 1)
    assert run(*words, tmp_path / "whole") == 0
    decode, counts = TexTok.decode, [0]

    def failing(self: TexTok, *args: Any, **options: Any) -> Any:
        counts[0] += 1
        if counts[0] == 3:
            raise KeyboardInterrupt
        return decode(self, *args, **options)

    monkeypatch.setattr(TexTok, "decode", failing)
    assert run(*words, tmp_path / "x") == 130
    assert run(*words, tmp_path / "x") == 0 and counts == [3 + 2]
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "x" / path.name).read_bytes()
    assert run(*words, tmp_path / "x", "--num-tokens", 1) == 0 and counts == [5 + 4], "another job"


def test_names_that_come_twice_get_numbers() -> None:
    counts = Counter[str]()
    assert [unique(key, counts) for key in ("x", "x", "x-2", "x")] == ["x", "x-2", "x-2-2", "x-3"]


def test_pictures_without_caption_are_counted(
    model_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", model_folder, "--out", tmp_path / "x.ttk")
    told = "textok: 1 of 4 pictures have no caption: encoded without"
    assert run("encode", pictures, *words, "--num-tokens", "2-3", "--mean-tokens", 2.5) == 0
    assert capsys.readouterr().err.count(told) == 1, "once, though a sample is read before"
    assert run("encode", pictures, *words, "--caption", "all alike") == 0
    assert "no caption" not in capsys.readouterr().err


def test_nothing_to_recover_is_a_failure(
    file: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TtkReader(file) as reader:
        cut = tmp_path / "cut.ttk"
        cut.write_bytes(file.read_bytes()[: reader.entries[0].offset + 9])
    words = ("--model", model_folder, "--out", tmp_path / "out", "--recover")
    assert run("decode", cut, *words) == 2
    told = capsys.readouterr().err
    assert (
        "lost whatever follows the first 0 chunks" in told and "no picture of it could be recovered" in told
    )


def test_a_missing_coder_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "constriction", None)
    assert run("encode", tmp_path, "--model", tmp_path / "none", "--out", tmp_path / "x.ttk") == 2
    assert "open-textok[codec]" in capsys.readouterr().err


def test_a_sample_keeps_no_batches(
    model_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 pictures of a large source would else keep as many batches in memory."""
    seen, batches = list[weakref.ref[torch.UntypedStorage]](), PictureOptions.batches

    def watched(self: PictureOptions, *args: Any, **options: Any) -> Iterator[Any]:
        for batch in batches(self, *args, **options):
            seen.append(weakref.ref(batch.images.untyped_storage()))
            assert all(one() is None for one in seen[:-2]), "a batch is held"
            yield batch

    monkeypatch.setattr(PictureOptions, "batches", watched)
    words = ("--num-tokens", "2-3", "--mean-tokens", 2.5, "--batch-size", 1)
    assert run("encode", pictures, "--model", model_folder, *words, "--out", tmp_path / "x.ttk") == 0
    assert len(seen) == 4  # of the sample


@pytest.mark.slow
def test_large_pictures_are_decoded_fewer_at_a_time(
    model_folder: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, decode, counts = tmp_path / "x.ttk", TexTok.decode, list[int]()
    size = ("--size", 64, 96)  # of six times as many patches as the model's 32 x 32
    assert run("encode", pictures, "--model", model_folder, *size, "--out", file) == 0

    def watched(self: TexTok, tokens: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        counts.append(len(tokens))
        return decode(self, tokens, *args, **options)

    monkeypatch.setattr(TexTok, "decode", watched)
    for batch_size, expected in ((32, [4]), (12, [2, 2]), (3, [1, 1, 1, 1])):
        counts.clear()
        words = ("--model", model_folder, "--out", tmp_path / "out", "--batch-size", batch_size)
        assert run("decode", file, *words) == 0
        assert counts == expected
        assert len(names_in(tmp_path / "out")) == 4


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
    assert run("encode", pictures, "--model", folder, "--out", tmp_path / "x.ttk") == 0
    assert run("decode", tmp_path / "x.ttk", "--model", folder, "--out", tmp_path / "out") == 0
    capsys.readouterr()
    # The same weights without the probability model cannot read it, and say what is missing.
    assert run("decode", tmp_path / "x.ttk", "--model", model_folder, "--out", tmp_path / "out") == 2
    assert "codec.safetensors" in capsys.readouterr().err
