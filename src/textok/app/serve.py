"""Serving the page: from this machine alone unless asked, without anything from outside."""

import atexit
import os
import shutil
import socket
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from textok.app import LOOK, STYLE
from textok.app.studio import Studio
from textok.display import note
from textok.pipeline.stopping import polite_stop

MAX_UPLOAD = "20mb"
VISITORS_AT_ONCE = 64
_HERE_ALONE: dict[str, Any] = {"share": False, "ssr_mode": False, "footer_links": [], "quiet": True}


def serve(studio: Studio, *, host: str = "127.0.0.1", port: int = 7860, browser: bool = False) -> None:
    """Keep the page of :func:`opened` open until SIGINT or SIGTERM, with ``browser`` in one of this machine too."""
    with opened(studio, host=host, port=port) as page, polite_stop() as stop:
        note(f"{page.local_url} (Ctrl-C ends it)")
        if browser and not webbrowser.open(page.local_url):
            note("no browser on this machine; open the address in another")
        while not stop.asked:
            time.sleep(0.1)


@contextmanager
def opened(studio: Studio, *, host: str = "127.0.0.1", port: int = 7860) -> Iterator[Any]:
    """The page, served by threads of its own inside the block.

    At the host "0.0.0.0" other machines are let in. The port and the errors are those of :func:`free_port`.
    """
    port = free_port(host, port)
    with tempfile.TemporaryDirectory(prefix="textok-app-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        # An action may write after the page has closed.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ |= {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
        import gradio as gr  # reads the environment
        from starlette.middleware import Middleware

        from textok.app.page import build_page
        from textok.app.visitors import Visitors

        page = build_page(studio)
        page.queue(max_size=VISITORS_AT_ONCE, api_open=False, default_concurrency_limit=2)
        page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            state_session_capacity=VISITORS_AT_ONCE,
            max_file_size=MAX_UPLOAD,
            **_HERE_ALONE,
            theme=gr.themes.Default(font=["system-ui"], font_mono=["ui-monospace"]),  # none from outside
            head=f"<style>{LOOK}</style>",
            css=STYLE,
            app_kwargs={"middleware": [Middleware(Visitors, folder=folder)]},
        )
        try:
            yield page
        finally:
            page.close()


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0; ``ValueError`` without Gradio, or where this machine does not have the place."""
    if find_spec("gradio") is None:
        raise ValueError("app: got no Gradio, expected the extra; pip install 'open-textok[app]'")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return probe.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"port: got {port} at {host}, expected one that is free ({error}); choose another: --port"
        ) from error
