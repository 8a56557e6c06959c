"""Tables on stdout: plain for the next program, with bold heads on a terminal, in colours unless NO_COLOR is set."""

import json

import pytest

from textok.cli import main
from textok.cli.output import text_table

ROWS, HEADS = [["right", "8", "19.47"], ["a\x1b[2Jb", "16", "-"]], ["captions", "tokens", "psnr"]


def test_a_table_is_plain_for_the_next_program() -> None:
    assert text_table(ROWS, heads=HEADS).splitlines() == [
        "captions   tokens   psnr",
        "right           8  19.47",
        "a\\x1b[2Jb      16      -",
    ]


@pytest.mark.parametrize(("no_color", "colours"), [("", True), ("1", False)])
def test_heads_are_bold_on_a_terminal(no_color: str, colours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    head, *rows = text_table(ROWS, heads=HEADS).splitlines()
    assert ("\x1b[1;34m" in head) is colours and ("\x1b[1m" in head) is not colours
    assert not any("\x1b" in row for row in rows)


def test_results_are_json_where_they_are_asked_for(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scenes"
    words = ["scenes", "--out", str(out), "--count", "2", "--size", "64", "--split", "val", "--json"]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"folder": str(out), "scenes": 2, "split": "val", "size": 64, "page": None}
