"""The container: round trips, by key, append, streams, other models."""

import io
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textok.codec import (
    CodePrior,
    Header,
    LatentPrior,
    Record,
    TtkReader,
    TtkWriter,
    appending,
    check_model,
    find_prior,
    header_for,
    load_prior,
    read_stream,
    save_prior,
)
from textok.codec.facts import ttk_facts
from textok.codec.fitting import fit_codes, fit_latents
from textok.codec.prior import digits
from textok.models.bottleneck import FSQConfig, KLConfig, VQConfig
from textok.models.tokenizer import TexTok, TexTokConfig

CODES = Header(model_id="m", kind="codes", tokens=9, width=2, levels=(8, 5), num_codes=37)
LATENTS = Header(model_id="m", kind="latents", tokens=9, width=3, step=1000)
CONFIG = {
    "image_size": 16,
    "patch_size": 8,
    "dim": 16,
    "encoder_depth": 1,
    "decoder_depth": 1,
    "num_heads": 2,
}


def tiny(bottleneck: object) -> TexTok:
    return TexTok(TexTokConfig(**CONFIG, num_latents=4, bottleneck=bottleneck)).eval()


def written(records: list[Record], header: Header, **options: object) -> bytes:
    stream = io.BytesIO()
    with TtkWriter(stream, header, **options) as writer:
        for record in records:
            writer.add(record)
    return stream.getvalue()


def saved(path: Path, records: list[Record], header: Header, **options: object) -> Path:
    path.write_bytes(written(records, header, **options))
    return path


def latents(count: int, *, seed: int = 0, header: Header = LATENTS) -> list[Record]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Record(
            key=f"{seed}/{i}",
            values=torch.randn(1 + i % header.tokens, header.width, generator=generator),
            grid=(2, 3),
            caption=f"number {i}",
        )
        for i in range(count)
    ]


codes = st.lists(st.lists(st.integers(0, 36), min_size=1, max_size=9), min_size=1, max_size=12)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(deadline=None)
@given(codes, st.lists(text, min_size=12, max_size=12), st.booleans())
@pytest.mark.slow
def test_codes_come_back_exactly(rows: list[list[int]], captions: list[str], keep: bool) -> None:
    header = Header(**(vars(CODES) | {"captions": keep}))
    records = [
        Record(key=f"{i}{captions[i]}", values=torch.tensor(row), grid=(1 + i // 5, 2), caption=captions[i])
        for i, row in enumerate(rows)
    ]
    found = list(read_stream(io.BytesIO(written(records, header))))
    assert [r.values.tolist() for r in found] == rows
    assert [(r.key, r.grid) for r in found] == [(r.key, r.grid) for r in records]
    assert [r.caption for r in found] == [r.caption if keep else None for r in records]


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e5, 1e5, width=32), min_size=3, max_size=27).map(lambda x: x[: len(x) // 3 * 3]),
    st.integers(20, 5000),
    st.booleans(),
)
@pytest.mark.slow
def test_latents_come_back_within_half_a_step(values: list[float], step: int, predicted: bool) -> None:
    prior = (
        fit_latents(torch.randn(50, 9, 3, generator=torch.Generator().manual_seed(1))) if predicted else None
    )
    header = Header(**(vars(LATENTS) | {"step": step, "prior": prior.id if prior else ""}))
    rows = torch.tensor(values).view(-1, 3)
    (found,) = read_stream(
        io.BytesIO(written([Record(key="a", values=rows, grid=(1, 1))], header, prior=prior)), prior=prior
    )
    coder = header.coder(prior)
    assert isinstance(coder, LatentPrior)
    steps = torch.from_numpy(coder.step[: len(rows)] / 4096)
    assert bool(((found.values - rows).abs() <= steps / 2 + 1e-6 * rows.abs()).all())


def test_coding_a_second_time_changes_nothing() -> None:
    first = written(latents(20), LATENTS)
    assert written(list(read_stream(io.BytesIO(first))), LATENTS) == first


@pytest.mark.slow
def test_by_key_in_order_and_from_a_pipe(tmp_path: Path) -> None:
    records = latents(600)  # three chunks
    path = saved(tmp_path / "x.ttk", records, LATENTS)
    with TtkReader(path) as reader:
        found = list(reader)
        assert reader.pictures == 600 and len(reader.entries) == 3
        assert reader.keys() == [record.key for record in records]
        assert "0/17" in reader and "17" not in reader
        for place in (599, 0, 300):
            assert torch.equal(reader[f"0/{place}"].values, found[place].values)
            assert reader[f"0/{place}"].caption == f"number {place}"
        with pytest.raises(KeyError):
            reader["17"]

    class Pipe:
        """Gives a few bytes at a time, and cannot go back."""

        def __init__(self, data: bytes) -> None:
            self.left = data

        def read(self, size: int = -1, /) -> bytes:
            part, self.left = self.left[: min(size, 7)], self.left[min(size, 7) :]
            return part

    piped = read_stream(Pipe(path.read_bytes()))
    assert [record.key for record in piped] == [record.key for record in records]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Record(key="", values=torch.zeros(1, 3), grid=(1, 1)), "key"),
        (
            Record(key="\udcff", values=torch.zeros(1, 3), grid=(1, 1)),
            r"key: got '\\udcff'; expected Unicode",
        ),
        (
            Record(key="a", values=torch.zeros(1, 3), grid=(1, 1), caption="x\ud800"),
            "caption of a: .* Unicode",
        ),
        (Record(key="a", values=torch.zeros(1, 3), grid=(0, 1)), "grid"),
        (Record(key="a", values=torch.zeros(1, 3), grid=(1, 1), caption="x" * 20_000), "caption"),
        (Record(key="a", values=torch.zeros(10, 3), grid=(1, 1)), "got 10; expected 1 to 9"),
        (Record(key="a", values=torch.zeros(2, 4), grid=(1, 1)), r"latents \(k, 3\)"),
        (Record(key="a", values=torch.full((1, 3), float("nan")), grid=(1, 1)), "not finite"),
        (Record(key="a", values=torch.full((1, 3), 1e30), grid=(1, 1)), "2\\^31"),
        (Record(key="a", values=torch.zeros(2, dtype=torch.long), grid=(1, 1)), "latents"),
    ],
)
def test_what_does_not_fit_is_refused_when_added(record: Record, message: str) -> None:
    writer = TtkWriter(io.BytesIO(), LATENTS)
    with pytest.raises(ValueError, match=message):
        writer.add(record)


def test_codes_outside_the_vocabulary_are_refused() -> None:
    writer = TtkWriter(io.BytesIO(), CODES)
    for values in (torch.tensor([37]), torch.tensor([-1]), torch.zeros(2, 2)):
        with pytest.raises(ValueError, match="codes"):
            writer.add(Record(key="a", values=values, grid=(1, 1)))


@pytest.mark.parametrize(
    "bottleneck", [KLConfig(latent_dim=4), FSQConfig(levels=(8, 5, 5)), VQConfig(codebook_size=300)]
)
def test_files_of_every_bottleneck_and_no_other_model(bottleneck: object) -> None:
    torch.manual_seed(0)
    model, other = tiny(bottleneck), tiny(bottleneck)
    header = header_for(model, settings={"for": "the record"})
    with torch.no_grad():
        encoding = model.encode(torch.rand(3, 3, 16, 16) * 2 - 1)
    values = encoding.latents if encoding.codes is None else encoding.codes
    rows = [Record(key=str(i), values=one, grid=(2, 2), caption="") for i, one in enumerate(values)]
    found = list(read_stream(io.BytesIO(written(rows, header))))
    decoded = model.decode(torch.stack([record.values for record in found]))
    assert decoded.shape == (3, 3, 16, 16)
    if encoding.codes is not None:
        assert torch.equal(torch.stack([record.values for record in found]), encoding.codes)
    check_model(header, model)
    with pytest.raises(ValueError, match="load the model that made it"):
        check_model(header, other)


def test_another_probability_model_is_refused(tmp_path: Path) -> None:
    one, two = (
        fit_latents(torch.randn(30, 9, 3, generator=torch.Generator().manual_seed(i))) for i in (0, 1)
    )
    path = saved(tmp_path / "x.ttk", latents(3), Header(**(vars(LATENTS) | {"prior": one.id})), prior=one)
    for wrong in (None, two):
        with TtkReader(path, prior=wrong) as reader, pytest.raises(ValueError, match="probability model"):
            list(reader)
        with pytest.raises(ValueError, match=r"x\.ttk:"), appending(path, prior=wrong):
            pytest.fail("nothing is added with another one")
    assert ttk_facts(path)["probability_model"] == one.id  # facts need none


def test_a_fitted_prior_saves_bytes_and_comes_back_from_disk(tmp_path: Path) -> None:
    draws = torch.randn(400, 1, 3, generator=torch.Generator().manual_seed(0))
    likes = 0.2 * torch.randn(400, 9, 3, generator=torch.Generator().manual_seed(1)) + draws
    prior = fit_latents(likes, torch.full_like(likes, -8.0))
    save_prior(prior, tmp_path / "codec.safetensors", model_id="m")
    prior = load_prior(tmp_path / "codec.safetensors", model_id="m")
    still = LatentPrior(mean=prior.mean, deviation=prior.deviation * 0 + 4096, step=prior.step)
    rows = [Record(key=str(i), values=one, grid=(1, 1)) for i, one in enumerate(likes[:64])]
    sizes = [len(written(rows, Header(**(vars(LATENTS) | {"prior": p.id})), prior=p)) for p in (prior, still)]
    assert sizes[0] < 0.8 * sizes[1]
    with pytest.raises(ValueError, match="this is 'n'"):
        load_prior(tmp_path / "codec.safetensors", model_id="n")
    (tmp_path / "codec.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="textok prior"):
        load_prior(tmp_path / "codec.safetensors", model_id="m")


def test_counted_codes_cost_less_where_they_repeat(tmp_path: Path) -> None:
    rows = torch.randint(0, 37, (300, 9), generator=torch.Generator().manual_seed(0)) // 9
    prior = fit_codes([rows[:200]], levels=(8, 5), tokens=9)
    save_prior(prior, tmp_path / "codec.safetensors", model_id="m")
    again = load_prior(tmp_path / "codec.safetensors", model_id="m")
    assert isinstance(again, CodePrior) and again.id == prior.id and again.levels == (8, 5)
    records = [Record(key=str(i), values=row, grid=(1, 1)) for i, row in enumerate(rows[200:])]
    with_prior = written(records, Header(**(vars(CODES) | {"prior": again.id})), prior=again)
    assert len(with_prior) < len(written(records, CODES)) - 100
    assert [r.values.tolist() for r in read_stream(io.BytesIO(with_prior), prior=again)] == rows[
        200:
    ].tolist()


def test_the_order_of_sums_does_not_matter() -> None:
    # What decoding relies on: the largest sums a prior may make are exact in 64-bit floating point.
    assert (1 << 24) * ((1 << 15) - 1) * (1 << 13) < 1 << 53


def test_facts_add_up(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ttk", latents(18), LATENTS)
    facts = ttk_facts(path)
    assert facts["pictures"] == 18 and facts["mean_tokens"] == 5
    parts = [facts[f"{name}_bytes_per_image"] for name in ("token", "caption", "key")]
    assert 0 < sum(parts) < facts["bytes_per_image"] == path.stat().st_size / 18
    assert facts["bytes_per_image"] - facts["bytes_per_image_without_captions"] == pytest.approx(parts[1])


def test_digits_hold_every_code() -> None:
    for count in (2, 256, 257, 4096, 65_537, 1 << 24):
        levels = digits(count)
        assert np.prod(levels) >= count and max(levels) <= 256


@pytest.mark.slow
def test_the_shipped_model_has_its_probability_model() -> None:
    model = TexTok.from_pretrained("icons-128")
    prior = find_prior("icons-128", model_id=model.model_id)
    assert isinstance(prior, LatentPrior) and (prior.tokens, prior.width) == (32, 8)
    header = header_for(model, prior=prior)
    generator = torch.Generator().manual_seed(0)
    spread = torch.from_numpy(prior.deviation / 4096).float()
    rows = [
        Record(
            key=str(i),
            values=(torch.randn(32, 8, generator=generator) * spread)[:14],
            grid=(8, 8),
            caption="",
        )
        for i in range(64)
    ]
    assert len(written(rows, header, prior=prior)) / 64 < 70


def test_the_fuzz_script_knows_every_kind(fuzzing: ModuleType) -> None:
    kinds = {original.name: len(original.values) for original in fuzzing.originals()}
    assert set(kinds.values()) == {6} and len(kinds) == 4
