import bz2
import gzip
import io
import lzma
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textok.data import open_source
from textok.data.files import Census
from textok.data.records import Fields
from textok.data.samples import BadSampleError

PICTURE = b"stands for a picture: indexing and reading never decode" * 9


def keys_of(path):
    source = open_source(path)
    return [source.read(i).key for i in range(len(source))]


MEMBERS = {"a.png": PICTURE, "a.txt": b"x", "b.png": PICTURE, "b.txt": b"y"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_truncated_tar_is_an_error_or_loses_nothing(data, tmp_path, write_tar):
    path = write_tar(tmp_path / "whole.tar", MEMBERS)
    whole = path.read_bytes()
    end = sum(512 + -(-len(part) // 512) * 512 for part in MEMBERS.values())
    cut = data.draw(st.integers(0, len(whole)))
    (tmp_path / "cut.tar").write_bytes(whole[:cut])
    if cut >= end:
        assert keys_of(tmp_path / "cut.tar") == ["a", "b"]
    elif cut % 512 or cut == 0:  # a cut between members cannot be told from a smaller tar
        with pytest.raises(ValueError, match=r"cut\.tar:"):
            open_source(tmp_path / "cut.tar")


def test_a_damaged_header_in_the_middle_is_an_error(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", MEMBERS)
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        offset = tar.getmember("b.png").offset
    content[offset : offset + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"damaged.* {offset}"):
        open_source(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("passed_over", [False, True])
def test_a_damaged_header_behind_a_long_name_does_not_loop(passed_over, tmp_path, write_tar, monkeypatch):
    path = write_tar(tmp_path / "x.tar", {"a.png": PICTURE, "\u00fc" * 120 + ".png": PICTURE})
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[1].offset  # of the header that holds the long name
    content = bytearray(path.read_bytes())
    content[offset + 1024 : offset + 1032] = b"\xff" * 8
    path.write_bytes(content)
    if passed_over:  # by Python 3.11.2, in silence
        monkeypatch.setattr(tarfile.TarFile, "next", lambda self: None)
    with pytest.raises(ValueError, match=r"x\.tar: not a whole tar"):
        open_source(path)


@pytest.mark.parametrize(("name", "pack"), [("x.tgz", gzip), ("x.tar.xz", lzma), ("x.tar", bz2)])
def test_a_compressed_tar_is_unpacked_once(name, pack, tmp_path, monkeypatch, write_tar):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plain = write_tar(tmp_path / "x.plain", MEMBERS).read_bytes()
    (tmp_path / name).write_bytes(pack.compress(plain))
    assert keys_of(tmp_path / name) == keys_of(tmp_path / name) == ["a", "b"]
    assert len(list((tmp_path / "cache").rglob("*.tar"))) == 1
    (tmp_path / name).write_bytes(pack.compress(plain)[:-30])
    with pytest.raises(ValueError, match=f"{name}: damaged"):
        open_source(tmp_path / name)


def test_joined_tars_are_read_to_the_end(tmp_path, write_tar):
    one = write_tar(tmp_path / "1.tar", MEMBERS).read_bytes()
    other = write_tar(tmp_path / "2.tar", {"c.png": PICTURE}).read_bytes()
    (tmp_path / "both.tar").write_bytes(one + other)
    source = open_source(tmp_path / "both.tar")
    assert keys_of(tmp_path / "both.tar") == ["a", "b", "c"] and source.read(2).image == PICTURE
    (tmp_path / "both.tar").write_bytes(one + b"no tar" * 200 + other)
    with pytest.raises(ValueError, match=f"damaged header at byte {len(one)}"):
        open_source(tmp_path / "both.tar")


def test_a_negative_size_does_not_loop(tmp_path):
    info = tarfile.TarInfo("a.png")
    header = bytearray(info.tobuf())
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"  # base-256: -512
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(ValueError, match=r"x\.tar"):
        open_source(tmp_path / "x.tar")


@pytest.mark.parametrize("kind", [b"x", b"L"])
def test_a_name_of_exabytes_is_refused(kind, tmp_path):
    info = tarfile.TarInfo("a.png")
    info.type, info.size = kind, 2**62
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ValueError, match=r"x\.tar"):
        open_source(tmp_path / "x.tar")


def test_a_huge_member_is_a_bad_sample_and_is_not_read(tmp_path, monkeypatch, write_tar):
    path = tmp_path / "x.tar"
    write_tar(path, {"a.txt": b"x", "b.png": PICTURE})
    huge = tarfile.TarInfo("a.png")
    huge.size = 300 << 20
    content = path.read_bytes()[: 1024 + 512 + -(-len(PICTURE) // 512) * 512]
    with open(path, "wb") as file:  # a sparse file: takes no room on disk
        file.write(content + huge.tobuf())
        file.truncate(len(content) + 512 + huge.size + 1024)
    source = open_source(path)
    with pytest.raises(BadSampleError, match=r"'a'.*314,572,800"):
        source.read(1)
    assert source.read(0).image == PICTURE


def test_a_tar_changed_after_indexing_is_a_bad_sample(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", MEMBERS)
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(BadSampleError, match="ends inside the sample"):
        source.read(1)


def test_names_are_only_names(tmp_path, write_tar):
    source = open_source(write_tar(tmp_path / "x.tar", {"../../etc/a.png": PICTURE, "/b.c.d.txt": b"x"}))
    assert source.read(0).key == "../../etc/a" and [p.name for p in tmp_path.iterdir()] == ["x.tar"]


def test_links_and_other_members_are_passed_over(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        info = tarfile.TarInfo("b.png")
        info.size = len(PICTURE)
        tar.addfile(info, io.BytesIO(PICTURE))
    assert keys_of(path) == ["b"]


def counts_of(census: Census) -> tuple[int, int, int]:
    return census.read, census.beside, sum(census.passed.values())


def test_double_keys_and_no_pictures(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", {"a.png": PICTURE, "a.webp": PICTURE[:9], "a.txt": b"x"})
    assert keys_of(path) == ["a.png", "a.webp"]
    only = open_source(path, fields=Fields(image=".webp"))
    assert (len(only), only.read(0).key, only.read(0).image) == (1, "a", PICTURE[:9])
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("a.png")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"new"))
    again = open_source(path)
    assert (len(again), again.read(0).image) == (2, b"new")
    assert counts_of(again.census) == (2, 1, 1)
    write_tar(path, {"a.mp4": b"x", "a.txt": b"x"})
    with pytest.raises(ValueError, match="found no pictures"):
        open_source(path)


def test_keys_are_unique_over_shards(tmp_path, write_tar):
    for name in ("0.tar", "1.tar"):
        write_tar(tmp_path / name, MEMBERS)
    assert keys_of(tmp_path) == ["0/a.png", "0/b.png", "1/a.png", "1/b.png"]


def test_keys_may_hold_dots(tmp_path, write_tar):
    names = ("shot.v2", "2023.04.01_photo", "img_0.5x", "./folder/a")
    members = {
        f"{name}.{part}": PICTURE if part == "png" else name.encode()
        for name in names
        for part in ("png", "txt")
    }
    source = open_source(write_tar(tmp_path / "x.tar", members))
    assert [source.read(i).captions[0] for i in range(4)] == list(names)
    assert source.read(3).key == "folder/a"


def test_metadata_without_a_picture_is_counted(tmp_path, write_tar):
    source = open_source(
        write_tar(tmp_path / "x.tar", {"a.json": b"{}", "b.png": PICTURE, "b.json": b"[]", "c.txt": b""})
    )
    assert counts_of(source.census) == (1, 1, 2)
    with pytest.raises(BadSampleError, match=r"'b'.*JSON list; expected an object"):
        source.read(0)
