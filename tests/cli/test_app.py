"""``textok app``: what stops it before the page opens, each with one sentence."""

import socket

import pytest

from textok.app import serve
from textok.cli import main


def test_a_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["app", "--port", str(port)]) == 2
    assert f"port: got {port} at 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--port", "70000"], ["--host", "192.0.2.1"]])
def test_a_place_that_is_none_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", *words]) == 2
    assert "port: got" in capsys.readouterr().err


def test_without_gradio_the_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda _: None)
    assert main(["app"]) == 2
    assert "open-textok[app]" in capsys.readouterr().err


def test_a_free_port_is_found() -> None:
    assert 0 < serve.free_port("127.0.0.1", 0) < 65536
