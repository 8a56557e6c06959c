"""From pictures to files: offline, by what comes with the package."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from textok.captioning import load_prompt, shipped_prompts
from textok.captioning.writers.offline import describe
from textok.cli import main
from textok.data.records import read_caption_file
from textok.data.sources import open_source
from textok.pipeline.tokens import load_tokens


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def described(pictures, caption, tmp_path) -> Path:
    code, _, err = caption(pictures(5))
    assert code == 0, err
    return tmp_path / "out"


def test_what_describe_is_and_is_not_is_said_once(pictures, caption):
    _, _, err = caption(pictures(2))
    assert err.count("no language model") == 1


def test_the_table_and_the_journal_hold_the_same_with_who_wrote_it(described):
    table = pq.read_table(described / "captions.parquet").to_pylist()
    journal = rows(described / "captions.jsonl")
    assert [row["key"] for row in table] == [row["key"] for row in journal]
    assert len(table) == 5
    assert {(row["writer"], row["model"], row["prompt"]) for row in table} == {
        ("describe", "describe.v1", next(n for n in shipped_prompts() if n.startswith("dense")))
    }
    assert set(table[0]) >= {"key", "number", "caption", "time", "tokens_in", "cost", "seed", "temperature"}


def test_a_caption_says_colours_layout_and_light():
    picture = Image.new("RGB", (64, 64), "white")
    picture.paste((220, 20, 20), (4, 4, 24, 24))
    text = describe(picture, [("strawberry", 0.8), ("apple", 0.1)], key="fruit/strawberry-red")
    assert text.startswith("Strawberry, small, at the top left, on a plain white background.")
    assert "90 % white, 10 % red" in text
    assert "Bright" in text
    assert "Named strawberry red" in text


@pytest.mark.parametrize(
    ("confidence", "name"),
    [(0.8, "cat"), (0.4, "probably cat"), (0.15, "perhaps cat"), (0.05, "grey picture")],
)
def test_classes_that_are_not_sure_are_said_to_be_so(confidence, name):
    picture = Image.new("RGB", (8, 8), (128, 128, 128))
    assert describe(picture, [("cat", confidence), ("dog", 0.01)], density="name") == name


def test_names_that_cameras_give_are_no_words():
    picture = Image.new("RGB", (8, 8), "blue")
    for key in ("IMG_1234", "DSC00017", "2021-05-06 12.13.14", "a3f9e0b1"):
        assert "Named" not in describe(picture, [("cat", 0.9), ("dog", 0.0)], key=key)


def test_a_run_goes_on_and_refuses_other_options(described, pictures, caption, tmp_path):
    before = (described / "captions.jsonl").read_bytes()
    with open(described / "captions.jsonl", "ab") as file:
        file.write(b'{"key": "half a li')  # a power cut
    assert caption(tmp_path / "pictures")[0] == 0
    assert (described / "captions.jsonl").read_bytes() == before
    code, _, err = caption(tmp_path / "pictures", "--prompt", "short")
    assert code == 2 and "out: got" in err and "prompt" in err


def test_a_folder_of_somebody_else_is_left_alone(pictures, caption, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    code, _, err = caption(pictures(1))
    assert code == 2 and "out: got" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_bad_pictures_stop_or_are_listed_as_in_every_command(pictures, caption, tmp_path):
    folder = pictures(3)
    (folder / "0001.png").write_bytes(b"no picture")
    code, _, err = caption(folder)
    assert code == 2 and "0001" in err
    for _ in range(2):
        code, out, err = caption(folder, "--on-bad", "skip", "--json")
        facts = json.loads(out)
        assert (code, facts["captions"], facts["rejected"], facts["bad"]) == (0, 2, {}, 1)
        assert "left out '0001'" in err
        assert [row["key"] for row in rows(tmp_path / "out" / "bad.jsonl")] == ["0001"]
    assert rows(tmp_path / "out" / "rejected.jsonl") == []
    Image.new("RGB", (8, 8)).save(folder / "0001.png")
    caption(folder)
    assert len(rows(tmp_path / "out" / "captions.jsonl")) == 3
    assert not (tmp_path / "out" / "bad.jsonl").exists()


def test_the_preview_shows_pictures_captions_and_what_was_rejected(pictures, caption, tmp_path):
    folder, page = pictures(3), tmp_path / "page.html"
    (folder / "0002.png").write_bytes(b"no picture")
    assert caption(folder, "--on-bad", "skip", "--limit", "3", "--preview", str(page))[0] == 0
    html = page.read_text()
    assert html.count("data:image/webp") == 2
    assert html.count("unreadable picture") == 1
    assert rows(tmp_path / "out" / "captions.jsonl")[0]["caption"].split(",")[0] in html


def test_text_files_beside_pictures_keep_what_a_person_wrote_or_corrected(pictures, caption, tmp_path):
    folder = pictures(3)
    (folder / "0000.txt").write_text("my own words")
    assert caption(folder, "--beside", "--prompt", "name")[0] == 0
    ours = (folder / "0001.txt").read_text()
    (folder / "0001.txt").write_text("corrected")
    shutil.rmtree(tmp_path / "out2", ignore_errors=True)
    (tmp_path / "out" / "captions.jsonl").unlink()
    (tmp_path / "out" / "settings.json").unlink()
    code, out, _ = caption(folder, "--beside", "--prompt", "short", "--json")
    assert code == 0
    assert json.loads(out)["text_files"] == {"written": 1, "same": 0, "kept": 2, "skipped": 0}
    assert ours and (folder / "0000.txt").read_text() == "my own words"
    assert (folder / "0001.txt").read_text() == "corrected"
    assert "mostly" in (folder / "0002.txt").read_text()


def test_new_tars_hold_the_pictures_as_they_were_with_their_captions(pictures, caption, tmp_path):
    folder = pictures(3)
    (folder / "0000.png").rename(folder / "v1.5 red.png")
    assert caption(folder, "--write-tars")[0] == 0
    source = open_source(tmp_path / "out" / "tars")
    samples = {sample.key: sample for sample in map(source.read, range(len(source)))}
    assert sorted(samples) == ["0001", "0002", "v1%2E5 red"]
    assert samples["0001"].image == (folder / "0001.png").read_bytes()
    assert samples["0001"].captions == read_caption_file(tmp_path / "out")["0001"]


def test_alternative_text_is_cleaned_or_rejected(tmp_path, caption):
    folder = tmp_path / "web"
    folder.mkdir()
    texts = {
        "a": "Red apple &amp; knife | Etsy",
        "b": "IMG_20210405.jpg",
        "c": "Ein Apfel und das Messer auf dem Tisch",
    }
    for name, text in texts.items():
        Image.new("RGB", (8, 8), "red").save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(text)
    assert caption(folder, "--writer", "alt-text")[0] == 0
    [row] = rows(tmp_path / "out" / "captions.jsonl")
    assert (row["key"], row["caption"], row["changes"]) == (
        "a",
        "Red apple & knife",
        ["entities", "boilerplate"],
    )
    reasons = {
        row["key"]: row["reason"].partition(":")[0] for row in rows(tmp_path / "out" / "rejected.jsonl")
    }
    assert reasons == {"b": "too short", "c": "wrong language"}


@pytest.mark.slow
def test_captions_that_contradict_the_folder_are_rejected(tmp_path, caption):
    for folder, name in (("apples", "a"), ("violins", "b")):
        (tmp_path / "web" / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / "web" / folder / f"{name}.png")
        (tmp_path / "web" / folder / f"{name}.txt").write_text("A bowl of red apples on a wooden table")
    options = ("--writer", "alt-text", "--known", "folder", "--contradiction", "0.9")
    assert caption(tmp_path / "web", *options)[0] == 0
    assert [row["key"] for row in rows(tmp_path / "out" / "captions.jsonl")] == ["apples/a"]
    assert [row["reason"] for row in rows(tmp_path / "out" / "rejected.jsonl")] == ["contradiction"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (("--writer", "openai"), "base_url"),
        (("--writer", "transformers"), "model"),
        (("--captions-per-picture", "2"), "captions_per_picture"),
        (("--temperature", "3"), "temperature"),
        (("--max-cost", "1"), "max_cost"),
        (("--prompt", "nosuch"), "prompt"),
        (("--limit", "0"), "limit"),
        (("--estimate",), "estimate"),
        (("--asks", "0"), "asks"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(options, key, pictures, caption):
    code, _, err = caption(pictures(1), *options)
    assert code == 2
    assert f"error: {key}" in err


def test_prompts_have_versions_and_take_known_words():
    assert set(shipped_prompts()) >= {"name.v1", "short.v1", "dense.v1"}
    prompt = load_prompt("dense")
    assert prompt.name.startswith("dense.v")
    assert "{known}" not in prompt.render() + prompt.render(["a cat"])
    assert prompt.render(["a cat"]).endswith("a cat")
    assert prompt.render() == "\n".join(prompt.text.splitlines()[:-1])


def test_a_prompt_of_ones_own_is_named_by_its_text(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("What is it? {braces} stay")
    first = load_prompt(str(file))
    assert first.render() == "What is it? {braces} stay"
    file.write_text("Who is it?")
    assert load_prompt(str(file)).name != first.name


def test_two_commands_from_raw_pictures_to_tokens_with_their_captions(described, tmp_path, capsys):
    tokens = tmp_path / "tokens.safetensors"
    options = ["--captions", str(described), "--out", str(tokens), "--num-tokens", "2"]
    assert main(["encode", str(tmp_path / "pictures"), *options]) == 0
    assert "have no caption" not in capsys.readouterr().err
    loaded = load_tokens(tokens)
    assert dict(zip(loaded.keys, loaded.captions, strict=True)) == {
        key: texts[0] for key, texts in read_caption_file(described).items()
    }


def test_a_picture_that_changed_since_is_named(described, pictures, caption, tmp_path):
    source = tmp_path / "pictures"
    shutil.copy(source / "0001.png", source / "0003.png")
    before = (described / "captions.jsonl").read_bytes()
    code, _, err = caption(source)
    assert (
        code == 2 and "0003: another picture" in err and (described / "captions.jsonl").read_bytes() == before
    )
    code, _, err = caption(source, "--accept-changes")
    assert code == 0 and (described / "captions.jsonl").read_bytes() == before, err
