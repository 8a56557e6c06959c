"""Serving the page: what is said when it is open, and where there is no browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from textok.app import serve
from textok.app.studio import Studio


@pytest.mark.parametrize("has_browser", [True, False])
def test_the_address_is_said_and_a_browser_opened_where_there_is_one(
    has_browser: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(local_url="http://127.0.0.1:1/")

    @contextmanager
    def stopped() -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(asked=True)

    addresses: list[str] = []
    monkeypatch.setattr(serve, "opened", opened)
    monkeypatch.setattr(serve, "polite_stop", stopped)
    monkeypatch.setattr(serve.webbrowser, "open", lambda url: addresses.append(url) or has_browser)
    serve.serve(object.__new__(Studio), browser=True)
    said = capsys.readouterr().err
    assert addresses == ["http://127.0.0.1:1/"] and "http://127.0.0.1:1/ (Ctrl-C ends it)" in said
    assert ("no browser" in said) is not has_browser
