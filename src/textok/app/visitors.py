"""Whose files are whose: a file is served to the visitors who were given its name, and goes with the last of them.

Gradio keeps what is uploaded and what is shown in ``FOLDER/HASH/NAME`` and serves it to whoever names it. This layer
around it remembers, by a cookie, which hashes a visitor has seen, and refuses every request that names another one.
"""

import json
import re
import secrets
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "textok_visitor"
MAX_BODY = 1_000_000
"""Bytes of a request that is no upload."""
_HASH = re.compile(r"[0-9a-f]{64}")
_THEME = re.compile(r"(/theme\.css)\?v=[0-9a-f]{64}$")  # the version of the page's style, which is no file
_TEXT = ("application/json", "text/event-stream", "text/html")


class Visitors:
    """ASGI middleware around a Gradio page, which keeps its files in a folder."""

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self._app, self._folder = app, folder
        self._seen: defaultdict[str, set[str]] = defaultdict(set)
        self._visits: Counter[str] = Counter()
        self._names = re.compile(re.escape(str(folder)) + r"/([0-9a-f]{64})/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, body = Request(scope), b""
        headers, visitor = request.headers, request.cookies.get(COOKIE, "")
        if request.method == "POST" and "multipart/form-data" not in headers.get("content-type", ""):
            body, receive = await _whole(receive)
        address = f"{unquote(scope['path'])}?{unquote(scope['query_string'].decode())}"
        if refusal := self._refusal(visitor, address, body):
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)
            return
        is_https = "https" in (scope.get("scheme"), headers.get("x-forwarded-proto"))
        name = visitor or secrets.token_urlsafe(24)
        watched = self._watching(name, send, cookie="" if visitor else _cookie(name, is_https=is_https))
        if "/heartbeat/" in scope["path"]:  # as long as a tab is open
            await self._visit(name, scope, receive, watched)
        else:
            await self._app(scope, receive, watched)

    def _refusal(self, visitor: str, address: str, body: bytes) -> str:
        """Why a request is refused; "" for one that is not."""
        if len(body) > MAX_BODY:
            return f"request: got more than {MAX_BODY} bytes, expected fewer; shorten the words"
        words = _THEME.sub(r"\1", address) + _plain(body)
        if "file=http" in words or re.search(
            r'"(path|url)": "(https?|ftp):(?!//(127\.0\.0\.1|localhost))', words
        ):
            return "file: got an address, expected an upload"
        # However the rest of a path is spelled, the hash must be in it; in a response only whole paths count.
        if set(_HASH.findall(words.lower())) <= self._seen.get(visitor, set()):
            return ""
        return "file: got one of another visit, expected one of yours; upload it again"

    def _watching(self, visitor: str, send: Send, *, cookie: str) -> Send:
        """Remembers which files a response names."""
        is_text = False

        async def watch(message: Message) -> None:
            nonlocal is_text
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=[*message["headers"]])
                is_text = headers.get("content-type", "").startswith(_TEXT)
                if cookie and is_text:
                    headers.append("set-cookie", cookie)
                    message = {**message, "headers": headers.raw}
            elif is_text and (body := message.get("body")):
                self._seen[visitor] |= set(self._names.findall(body.decode(errors="replace")))
            await send(message)

        return watch

    async def _visit(self, visitor: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what lasts as long as a tab; with the last one go the files that no other visitor has seen."""
        self._visits[visitor] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._visits[visitor] -= 1
            if self._visits[visitor] < 1:
                del self._visits[visitor]
                mine = self._seen.pop(visitor, set())
                for name in mine - set().union(*self._seen.values()):
                    shutil.rmtree(self._folder / name, ignore_errors=True)


def _cookie(visitor: str, *, is_https: bool) -> str:
    """A page inside of another site's gets its cookie over https only."""
    site = "SameSite=None; Secure; Partitioned" if is_https else "SameSite=Lax"
    return f"{COOKIE}={visitor}; Path=/; HttpOnly; {site}"


async def _whole(receive: Receive) -> tuple[bytes, Receive]:
    """The body of a request as far as it may go, and what gives it again and then what comes after it."""
    body, more = b"", True
    while more and len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body")
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return body, replay


def _plain(body: bytes) -> str:
    """JSON in one spelling, in which no name can hide behind escapes."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False)
    except ValueError:
        return body.decode(errors="replace")
