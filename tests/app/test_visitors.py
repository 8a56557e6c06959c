"""Files of one visitor are never served to another, and go after the visit; the page here would serve them all."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from textok.app.visitors import COOKIE, MAX_BODY, Visitors, _cookie

HASH = "a" * 64


@pytest.fixture
def page(tmp_path: Path) -> Visitors:
    """Serves every file; what is posted comes back, after an upload with the name of a file."""

    async def upload(request: Request) -> Response:
        await request.body()
        (tmp_path / HASH).mkdir(exist_ok=True)
        (tmp_path / HASH / "one.png").write_text("mine")
        return JSONResponse([str(tmp_path / HASH / "one.png")])

    async def file(request: Request) -> Response:
        return PlainTextResponse(Path(request.path_params["path"]).read_text())

    async def join(request: Request) -> Response:
        return JSONResponse(await request.json())

    async def heartbeat(request: Request) -> Response:
        await asyncio.sleep(float(request.path_params["session"]))
        return PlainTextResponse("bye", media_type="text/event-stream")

    routes = [
        Route("/upload", upload, methods=["POST"]),
        Route("/file={path:path}", file),
        Route("/join", join, methods=["POST"]),
        Route("/heartbeat/{session}", heartbeat),
    ]
    return Visitors(Starlette(routes=routes), folder=tmp_path)


def client(page: Visitors) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(page), base_url="http://127.0.0.1")


async def uploaded(visitor: httpx.AsyncClient) -> str:
    return (await visitor.post("/upload", files={"files": b"picture"})).json()[0]


def test_a_file_is_served_to_its_visitor_alone(page: Visitors) -> None:
    async def visit() -> None:
        async with client(page) as mine, client(page) as other:
            path = await uploaded(mine)
            assert (await mine.get(f"/file={path}")).text == "mine"
            assert (await other.get(f"/file={path}")).status_code == 403
            for hidden in (
                path.replace("/", "%2F"),
                path.replace("/a", "//a"),
                path.replace("/a", "/./x/../a"),
            ):
                assert (await other.get(f"/file={hidden}")).status_code == 403
            other.cookies.set(COOKIE, "guess")
            assert (await other.get(f"/file={path}")).status_code == 403

    asyncio.run(visit())


def test_an_action_on_the_file_of_another_is_refused_and_teaches_no_name(page: Visitors) -> None:
    async def visit() -> None:
        async with client(page) as mine, client(page) as other:
            path = await uploaded(mine)
            assert (await mine.post("/join", json={"path": path})).status_code == 200
            for body in (json.dumps({"path": path}), json.dumps({"path": path}).replace("/", "\\u002f")):
                response = await other.post(
                    "/join", content=body, headers={"content-type": "application/json"}
                )
                assert response.status_code == 403
            assert (await other.get(f"/file={path}")).status_code == 403

    asyncio.run(visit())


def test_a_name_that_a_visitor_makes_up_opens_no_file(page: Visitors) -> None:
    async def visit() -> None:
        async with client(page) as mine, client(page) as other:
            path = await uploaded(mine)
            await other.post("/join", json={"words": "a" * 63})
            assert (await other.post("/join", json={"words": "A" * 64})).status_code == 403
            assert (await other.get(f"/file={path}")).status_code == 403

    asyncio.run(visit())


def test_the_version_of_the_style_is_no_file(page: Visitors) -> None:
    async def visit() -> None:
        async with client(page) as visitor:
            assert (await visitor.get(f"/theme.css?v={HASH}")).status_code == 404  # the page here has none
            assert (await visitor.get(f"/file={HASH}/theme.css?v={HASH}")).status_code == 403

    asyncio.run(visit())


def test_addresses_and_giant_requests_are_refused(page: Visitors) -> None:
    async def visit() -> None:
        async with client(page) as one:
            assert (await one.get("/file=http://example.org/a.png")).status_code == 403
            assert (await one.post("/join", json={"path": "https://example.org/a.png"})).status_code == 403
            assert (await one.post("/join", json={"words": "a" * MAX_BODY})).status_code == 403
            assert (await one.post("/join", json={"words": "see https://example.org"})).status_code == 200

    asyncio.run(visit())


def test_files_go_with_the_last_tab_of_the_last_visitor_who_saw_them(page: Visitors, tmp_path: Path) -> None:
    async def visit() -> None:
        async with client(page) as mine, client(page) as other:
            await uploaded(mine)
            await uploaded(other)  # the same content has the same name
            tabs = [asyncio.create_task(mine.get(f"/heartbeat/{seconds}")) for seconds in (0.05, 0.2)]
            await tabs[0]
            assert (tmp_path / HASH).exists()
            await tabs[1]
            assert (tmp_path / HASH).exists()
            await other.get("/heartbeat/0")
            assert not (tmp_path / HASH).exists()

    asyncio.run(visit())


def test_the_cookie_is_for_this_site_or_for_https() -> None:
    assert "HttpOnly; SameSite=Lax" in _cookie("x", is_https=False)
    assert "SameSite=None; Secure" in _cookie("x", is_https=True)
