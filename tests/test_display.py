"""What a terminal shows: text that cannot command it, and progress that the work does not depend on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textok.display import Progress, note, printable, waiting


@given(st.text(st.characters()))
def test_printable_text_is_one_line_without_commands(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text) == text or not text.isprintable()


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    note("a\x1b[2J\nb\ud800ü\u202e")
    assert capsys.readouterr().err == "textok: a\\x1b[2J\\nb\\ud800ü\\u202e\n"


def test_the_title_of_a_bar_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, unit="image", title="\x1b[31mred") as progress:
        progress.update()
    assert "\x1b[31m" not in capsys.readouterr().err


@pytest.mark.parametrize("shown", [True, False])
def test_a_bar_cannot_be_read(shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "0" if shown else "1")
    with Progress(2, unit="image") as progress:
        progress.update(2)
        assert not hasattr(progress, "n") and not hasattr(progress, "total")


@pytest.mark.parametrize(("setting", "silent"), [("1", True), ("0", False), ("", False)])
def test_the_environment_silences_bars(
    setting: str, silent: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", setting)
    with Progress(2, unit="image") as progress:
        progress.update(2)
    assert (capsys.readouterr().err == "") is silent


def test_a_bar_beside_one_left_open_does_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    left_open = Progress(2, unit="image")
    with Progress(2, unit="image") as progress:
        progress.update(2)
    assert "\x1b" not in capsys.readouterr().err
    left_open.close()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_wait_is_told_on_a_terminal_only_and_taken_away(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with waiting("loading\x1b[2J"):
        pass
    told = capsys.readouterr().err
    assert told == ("textok: loading\\x1b[2J ...\r\x1b[K" if terminal else "")


def test_a_bar_learns_how_much_there_is_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(None, unit="image") as progress:
        progress.expect(4)
        progress.update(2)
    assert "2/4" in capsys.readouterr().err
