"""Pictures and tokens behind s3:// addresses, by a server on this machine."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from tiny import tiny_model

WORDS = {"a.txt": b"a red square", "b.txt": b"a blue square"}


def put(address: str, data: bytes = b"") -> None:
    kind = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(address, data=data, headers=kind, method="PUT")
    urllib.request.urlopen(request, timeout=20).close()


def answers(port: int) -> bool:
    with socket.socket() as knock:
        return not knock.connect_ex(("127.0.0.1", port))


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (40, 36), colour).save(folder / f"{name}.png")
    return {file.name: file.read_bytes() for file in folder.iterdir()} | WORDS


@pytest.fixture(scope="module")
def server(
    members: Mapping[str, bytes], write_tar: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server with the bucket "shelf": the pictures as a folder, and in a tar."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", address.rpartition(":")[2]]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(int(words[-1])):
            assert process.poll() is None
            time.sleep(0.1)
        put(f"http://{address}/shelf")
        for name, data in members.items():
            put(f"http://{address}/shelf/set/{name}", data)
        tar = write_tar(tmp_path_factory.mktemp("tar") / "x-000000.tar", members)
        put(f"http://{address}/shelf/{tar.name}", tar.read_bytes())
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_pictures_behind_an_address_are_encoded_as_those_here(
    server: str, members: Mapping[str, bytes], tmp_path: Path
) -> None:
    tiny_model().save_pretrained(tmp_path / "model", name="tiny")
    (tmp_path / "set").mkdir()
    for name, data in members.items():
        (tmp_path / "set" / name).write_bytes(data)
    keys = {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}

    def encode(source: object, out: object) -> subprocess.CompletedProcess[str]:
        words = ["-m", "textok.cli", "encode", source, "--model", tmp_path / "model", "--out", out]
        command = [sys.executable, *map(str, words)]
        return subprocess.run(
            command, env=os.environ | keys, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )

    assert encode(tmp_path / "set", tmp_path / "x.ttk").returncode == 0
    for number, source in enumerate(("s3://shelf/set", "s3://shelf/x-*.tar")):
        result = encode(source, out := tmp_path / f"{number}.ttk")
        assert result.returncode == 0, result.stderr
        assert out.read_bytes() == (tmp_path / "x.ttk").read_bytes()
    result = encode("s3://elsewhere/set", tmp_path / "y.ttk")
    assert result.returncode == 2 and "s3://elsewhere/set" in result.stderr.splitlines()[-1]
    result = encode(tmp_path / "set", "s3://shelf/made/x.ttk")
    assert result.returncode == 0, result.stderr
    files = fsspec.filesystem("s3", endpoint_url=server, key="x", secret="x")
    assert files.cat_file("shelf/made/x.ttk") == (tmp_path / "x.ttk").read_bytes()
    result = encode(tmp_path / "set", "s3://elsewhere/x.ttk")
    assert result.returncode == 2 and "out: got s3://elsewhere/x.ttk" in result.stderr.splitlines()[-1]
