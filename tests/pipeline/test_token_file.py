"""Token files: what is written comes back, and nothing damaged or hostile gets through."""

import json
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from textok.pipeline.tokens import Tokens, load_tokens, save_parts, save_tokens


def some_tokens(count: int = 3, **changes: object) -> Tokens:
    values = {
        "model_id": "tiny-1234",
        "grid": (4, 4),
        "keys": tuple(f"key{i}" for i in range(count)),
        "captions": tuple(f"caption {i}" for i in range(count)),
        "values": torch.randn(count, 2, 4, generator=torch.Generator().manual_seed(0)),
        "settings": {"text_encoder": "minilm"},
    }
    return Tokens(**values | changes)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), count=st.integers(1, 4), k=st.integers(1, 5), codes=st.booleans())
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int, k: int, codes: bool
) -> None:
    top = data.draw(st.sampled_from([1, 255, 256, 32767, 32768, 2**31 - 1, 2**31]))
    generator = torch.Generator().manual_seed(count)
    tokens = some_tokens(
        count,
        keys=tuple(data.draw(words) for _ in range(count)),
        captions=data.draw(st.one_of(st.none(), st.just(tuple(data.draw(words) for _ in range(count))))),
        values=torch.randint(0, top + 1, (count, k), generator=generator)
        if codes
        else torch.randn(count, k, 3, generator=generator),
    )
    path = tmp_path_factory.mktemp("tokens") / "t.safetensors"
    found = load_tokens(save_tokens(tokens, path, dtype="float32"))
    assert torch.equal(found.values.to(tokens.values.dtype), tokens.values)
    for name in ("model_id", "grid", "keys", "captions", "settings"):
        assert getattr(found, name) == getattr(tokens, name)
    assert (found.latents is None) == codes
    assert list(path.parent.iterdir()) == [path]


def test_the_same_tokens_are_the_same_bytes(tmp_path: Path) -> None:
    files = [save_tokens(some_tokens(), tmp_path / str(i)).read_bytes() for i in range(8)]
    assert set(files) == {files[0]}


@pytest.mark.parametrize(("top", "size"), [(255, 1), (256, 2), (40_000, 4), (2**31, 8)])
def test_codes_take_the_smallest_type(tmp_path: Path, top: int, size: int) -> None:
    tokens = some_tokens(2, values=torch.tensor([[0, 1, 2], [3, 4, top]]))
    found = load_tokens(save_tokens(tokens, tmp_path / "t"))
    assert found.bytes_per_image == 3 * size and int(found.codes.max()) == top


@pytest.mark.parametrize("changes", [{"keys": ("a", "\udcff")}, {"settings": {"a": float("inf")}}])
def test_what_cannot_be_read_again_is_not_written(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="t:"):
        save_tokens(some_tokens(2, **changes), tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_captions_can_be_left_out(tmp_path: Path) -> None:
    found = load_tokens(save_tokens(some_tokens(), tmp_path / "deep" / "t", captions=False))
    assert found.captions is None and found.bytes_per_image == 2 * 4 * 2
    assert b"caption 0" not in (tmp_path / "deep" / "t").read_bytes()


def test_lengths_come_back_and_are_left_out_where_all_are_alike(tmp_path: Path) -> None:
    tokens = some_tokens().cut([2, 1, 2])
    found = load_tokens(save_tokens(tokens, tmp_path / "t", dtype="float32"))
    assert found.lengths == (2, 1, 2) and torch.equal(found.values, tokens.values)
    assert not bool(found.values[1, 1].any()) and found.mean_tokens == 5 / 3
    save_tokens(some_tokens(), tmp_path / "t")
    assert b"lengths" not in (tmp_path / "t").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = save_tokens(some_tokens(), tmp_path / "t")
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_tokens(some_tokens(settings={"bad": object()}), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


HEADER = {"model_id": "tiny-1234", "grid": [4, 4], "keys": ["a"], "captions": ["b"], "settings": {}}


def write(path: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: object) -> Path:
    metadata = {"format": "textok-tokens", "version": "1", "tokens": json.dumps(HEADER)}
    save_file(tensors or {"latents": torch.zeros(1, 2, 4)}, path, metadata=metadata | changes)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_id": 3}, "model_id"),
        ({"grid": [4]}, "grid"),
        ({"grid": [4, True]}, "grid"),
        ({"grid": [10**6, 10**6]}, "expected 1 to 65536"),
        ({"grid": [-4, -4]}, "grid"),
        ({"keys": ["a", "b"]}, "keys: got 2; expected one for each of the 1"),
        ({"keys": [1]}, "keys"),
        ({"captions": ["a", "b"]}, "captions: got 2"),
        ({"captions": "b"}, "captions"),
        ({"lengths": [3]}, "lengths"),
        ({"lengths": [0]}, "lengths"),
        ({"lengths": [1.0]}, "lengths"),
        ({"lengths": [1, 1]}, "lengths"),
        ({"settings": []}, "settings"),
        ({"extra": 1}, "extra"),
        ({"model_id": "\ud800"}, "Unicode"),
        ({"keys": ["\udcff", "b"]}, "Unicode"),
        ({"settings": {"a": float("nan")}}, "JSON compliant"),
        ({"settings": {"a": json.loads("[" * 200 + "]" * 200)}}, "deep"),
    ],
)
def test_wrong_metadata(tmp_path: Path, change: dict, message: str) -> None:
    path = write(tmp_path / "t", tokens=json.dumps(HEADER | change))
    with pytest.raises(ValueError, match="t:"):
        load_tokens(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"version": "2"},
        {"tokens": "{"},
        {"tokens": "[1]"},
        {"tokens": "[" * 100_000},
        {"tokens": json.dumps({key: value for key, value in HEADER.items() if key != "keys"})},
    ],
)
def test_wrong_envelope(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a good token file"):
        load_tokens(write(tmp_path / "t", **changes))


@pytest.mark.parametrize(
    "tensors",
    [
        {"latents": torch.zeros(1, 2, 4), "codes": torch.zeros(1, 2).long()},
        {"other": torch.zeros(1, 2, 4)},
        {"latents": torch.zeros(1, 2, 4).long()},
        {"codes": torch.zeros(1, 2)},
        {"codes": torch.zeros(1, 2).bool()},
        {"latents": torch.zeros(1, 2)},
        {"latents": torch.zeros(1, 0, 4)},
        {"latents": torch.full((1, 2, 4), float("nan"))},
        {"latents": torch.zeros(1, 2, 4).to(torch.float8_e4m3fn)},
        {"codes": torch.full((1, 2), -1)},
    ],
)
def test_wrong_tensors(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="not a good token file"):
        load_tokens(write(tmp_path / "t", tensors))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = save_tokens(some_tokens(), tmp_path / "t").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut:"):
            load_tokens(tmp_path / "cut")


def test_huge_counts_allocate_nothing(tmp_path: Path) -> None:
    entry = {"dtype": "F16", "shape": [10**9, 32, 8], "data_offsets": [0, 512 * 10**9]}
    header = json.dumps({"latents": entry, "__metadata__": {"format": "textok-tokens"}}).encode()
    (tmp_path / "t").write_bytes(struct.pack("<Q", len(header)) + header + b"0" * 64)
    with pytest.raises(ValueError, match="not a good token file"):
        load_tokens(tmp_path / "t")
    (tmp_path / "t").write_bytes(struct.pack("<Q", 2**62) + b"0" * 64)
    with pytest.raises(ValueError, match="not a good token file"):
        load_tokens(tmp_path / "t")


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("tokens") / "t"
    content = bytearray(save_tokens(some_tokens(), path).read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content)
    with suppress(ValueError):  # anything else is a failure
        assert len(load_tokens(path)) == 3


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such token file"):
        load_tokens(tmp_path / "none")


def test_parts_join_and_split(tmp_path: Path) -> None:
    tokens = some_tokens(5)
    joined = Tokens.concat([tokens[:2], tokens[2:]])
    assert torch.equal(joined.latents, tokens.latents) and joined.keys == tokens.keys
    assert joined.captions == tokens.captions
    with pytest.raises(ValueError, match="tokens:"):
        Tokens.concat([tokens, some_tokens(model_id="other")])
    with pytest.raises(ValueError, match="num_tokens:"):
        tokens.first(3)


def test_tokens_of_different_lengths_join_split_and_are_cut() -> None:
    tokens = some_tokens(4).cut([1, 2, 1, 2])
    assert tokens[0].num_tokens == 1 and tokens[-1].lengths == (2,) and tokens[2:].lengths == (1, 2)
    joined = Tokens.concat(list(tokens))
    assert torch.equal(joined.values, tokens.values) and joined.lengths == tokens.lengths
    assert tokens.first(1).lengths == (1,) * 4 and tokens.select(["key3", "key0"]).lengths == (2, 1)
    for lengths in ([1, 2], [0, 1, 1, 1], [3, 1, 1, 1]):
        with pytest.raises(ValueError, match="lengths:"):
            tokens.cut(lengths)
    with pytest.raises(ValueError, match="key:"):
        tokens.select(["key9"])


def test_repr_has_shapes_and_no_values() -> None:
    shown = repr(some_tokens().cut([2, 1, 2]))
    assert "3 pictures of 4 x 4 patches" in shown and "latents (3, 2, 4) float32, 1 to 2 tokens" in shown
    assert "tensor" not in shown and "\n" not in shown


@pytest.mark.parametrize("captions", [True, False])
def test_parts_make_the_file_of_the_whole(tmp_path: Path, captions: bool) -> None:
    parts = [some_tokens(3).cut([1, 2, 1]), some_tokens(2), some_tokens(1).first(2)]
    whole = save_tokens(Tokens.concat(parts), tmp_path / "whole", captions=captions)
    facts = save_parts(parts, tmp_path / "parts", captions=captions)
    assert (tmp_path / "parts").read_bytes() == whole.read_bytes()
    loaded = load_tokens(tmp_path / "parts")
    assert (facts["pictures"], facts["mean_tokens"]) == (len(loaded), loaded.mean_tokens)
    assert facts["token_bytes_per_image"] == loaded.bytes_per_image


def test_parts_of_two_models_and_headers_that_no_reader_takes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="tokens: got parts of 2"):
        save_parts([some_tokens(), replace(some_tokens(), model_id="other")], tmp_path / "t")
    monkeypatch.setattr("textok.pipeline.tokens._MAX_HEAD", 100)
    with pytest.raises(ValueError, match="expected at most 100"):
        save_tokens(some_tokens(), tmp_path / "t")
    assert list(tmp_path.iterdir()) == []
