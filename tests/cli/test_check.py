"""``textok check`` reports what is in a source, and makes nothing but its page."""

import json
from pathlib import Path

import pytest
from PIL import Image

from textok.cli import main


def write_set(root: Path) -> Path:
    root.mkdir()
    for number in range(4):
        image = Image.radial_gradient("L").resize((40, 60)).rotate(30 * number).convert("RGB")
        image.save(root / f"{number}.png")
    (root / "again.png").write_bytes((root / "0.png").read_bytes())
    Image.open(root / "1.png").save(root / "alike.jpg", quality=95)
    (root / "broken.png").write_bytes(b"<html>not found</html>")
    (root / "0.txt").write_text("a grey disc")
    (root / "1.txt").write_text("word " * 60)
    (root / "notes.doc").touch()
    return root


def test_everything_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "set")
    assert main(["check", str(root), "--json", "--page", str(tmp_path / "page.html")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["pictures"], facts["captioned"], facts["captions"]) == (6, 2, 2)
    assert facts["repeats"] == [["0", "again"]] and ["1", "alike"] in facts["near_repeats"]
    assert facts["captions_cut"]["count"] == 1 and facts["caption_tokens"]["most"] > 60
    assert [bad["key"] for bad in facts["bad"]] == ["broken"]
    assert facts["census"]["passed_over"]["other files"]["count"] == 1
    assert facts["heights"] == {"least": 60, "median": 60, "most": 60}
    page = (tmp_path / "page.html").read_text()
    assert "web page" in page and page.count("<figure>") >= 4


def test_the_lines_name_what_to_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "set")
    assert main(["check", str(root), "--limit", "9"]) == 0
    out = capsys.readouterr().out
    assert all(words in out for words in ("broken", "0 = again", "notes.doc", "1 are cut to 40"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_a_page_in_the_source_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "set")
    assert main(["check", str(root), "--page", str(root / "page.html")]) == 2
    assert "page: " in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_left_out_is_listed_beside_the_output(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set")
    words = [str(root), "--on-bad", "skip", "--num-tokens", "1", "--out", str(tmp_path / "x.safetensors")]
    assert main(["encode", *words]) == 0
    [line] = (tmp_path / "x.bad.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == "broken" and "web page" in json.loads(line)["reason"]
    (root / "broken.png").unlink()
    assert main(["encode", *words, "--overwrite"]) == 0
    assert not (tmp_path / "x.bad.jsonl").exists()
    assert main(["encode", *words, "--max-bad-share", "2"]) == 2
