import gzip
import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textok.data import open_source
from textok.data.samples import BadSampleError
from textok.data.sources.tar_index import index_tar

PICTURE = b"stands for a picture: indexing and reading never decode" * 9
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
        assert len(index_tar(tmp_path / "cut.tar").keys) == 2
    elif cut % 512 or cut == 0:  # a cut between members cannot be told from a smaller tar
        with pytest.raises(ValueError, match=r"cut\.tar:"):
            index_tar(tmp_path / "cut.tar")


def test_a_damaged_header_in_the_middle_is_an_error(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", MEMBERS)
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        offset = tar.getmember("b.png").offset
    content[offset : offset + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"damaged.* {offset}"):
        index_tar(path)


def test_a_compressed_tar_is_an_error(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", MEMBERS)
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ValueError, match="decompress"):
        index_tar(path)


def test_a_negative_size_does_not_loop(tmp_path):
    info = tarfile.TarInfo("a.png")
    header = bytearray(info.tobuf())
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"  # base-256: -512
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(ValueError, match=r"x\.tar"):
        index_tar(tmp_path / "x.tar")


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
        source.read(0)
    assert source.read(1).image == PICTURE


def test_a_tar_changed_after_indexing_is_a_bad_sample(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", MEMBERS)
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(BadSampleError, match="ends inside"):
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
    assert index_tar(path).keys.tolist() == [b"b"]


def test_double_keys_and_no_pictures(tmp_path, write_tar):
    path = write_tar(tmp_path / "x.tar", {"a.png": PICTURE, "a.webp": PICTURE})
    with pytest.raises(ValueError, match=r"'a'.*two members"):
        index_tar(path)
    assert len(index_tar(path, image_ending=".webp").keys) == 1
    write_tar(path, {"a.mp4": b"x", "a.txt": b"x"})
    with pytest.raises(ValueError, match=r"no pictures:"):
        index_tar(path)


def test_metadata_without_a_picture_is_a_bad_sample(tmp_path, write_tar):
    source = open_source(write_tar(tmp_path / "x.tar", {"a.json": b"{}", "b.png": PICTURE, "b.json": b"[]"}))
    for row, reason in ((0, "'a'.*no picture"), (1, "'b'.*JSON list; expected an object")):
        with pytest.raises(BadSampleError, match=reason):
            source.read(row)


def test_the_index_of_a_large_tar_is_kept_and_checked(tmp_path, monkeypatch, write_tar):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("textok.data.sources.tar_index.KEPT_FROM_BYTES", 0)
    path = write_tar(tmp_path / "x.tar", MEMBERS)
    first = index_tar(path)
    [kept] = (tmp_path / "cache").rglob("*.json")
    with monkeypatch.context() as patch:
        patch.setattr("textok.data.sources.tar_index._scan", lambda *a: pytest.fail("scanned again"))
        again = index_tar(path)
    assert (again.keys == first.keys).all() and (again.spans == first.spans).all()
    for damage in (
        "{",
        "[]",
        '{"keys": ["a"], "spans": [1]}',
        '{"keys": ["a"], "spans": [0,9e99,0,0,0,0,0,0]}',
    ):
        kept.write_text(damage)
        assert (index_tar(path).spans == first.spans).all()
    write_tar(path, {"c.png": PICTURE})
    assert index_tar(path).keys.tolist() == [b"c"]
