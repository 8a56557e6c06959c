"""The container: round trips, by key, other models."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reliability.ttk_files import originals
from textok.codec import (
    CodePrior,
    Header,
    LatentPrior,
    Prior,
    TtkReader,
    TtkWriter,
    check_model,
    find_prior,
    header_for,
    load_prior,
    save_prior,
)
from textok.codec.prior import digits, fit_codes, fit_latents
from textok.models.bottleneck import FSQConfig, KLConfig, VQConfig
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.pipeline.tokens import Tokens
from tiny import coded_picture, read_ttk, ttk_bytes

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


def saved(path: Path, pictures: list[Tokens], header: Header, *, prior: Prior | None = None) -> Path:
    path.write_bytes(ttk_bytes(pictures, header, prior=prior))
    return path


def latents(count: int, *, seed: int = 0, header: Header = LATENTS) -> list[Tokens]:
    generator = torch.Generator().manual_seed(seed)
    return [
        coded_picture(
            f"{seed}/{i}",
            torch.randn(1 + i % header.tokens, header.width, generator=generator),
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
    pictures = [
        coded_picture(f"{i}{captions[i]}", torch.tensor(row), grid=(1 + i // 5, 2), caption=captions[i])
        for i, row in enumerate(rows)
    ]
    found = read_ttk(ttk_bytes(pictures, header))
    assert [one.values[0].tolist() for one in found] == rows
    assert [(one.keys, one.grid) for one in found] == [(one.keys, one.grid) for one in pictures]
    assert [one.captions for one in found] == [one.captions if keep else None for one in pictures]


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
    (found,) = read_ttk(ttk_bytes([coded_picture("a", rows)], header, prior=prior), prior=prior)
    coder = header.coder(prior)
    assert isinstance(coder, LatentPrior)
    steps = torch.from_numpy(coder.step[: len(rows)] / 4096)
    assert bool(((found.values[0] - rows).abs() <= steps / 2 + 1e-6 * rows.abs()).all())


def test_coding_a_second_time_changes_nothing() -> None:
    first = ttk_bytes(latents(20), LATENTS)
    assert ttk_bytes(read_ttk(first), LATENTS) == first


def test_pictures_are_added_one_by_one_or_together() -> None:
    pictures = latents(300)
    assert ttk_bytes([Tokens.concat(pictures)], LATENTS) == ttk_bytes(pictures, LATENTS)


@pytest.mark.slow
def test_by_key_and_in_order(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ttk", latents(600), LATENTS)  # three chunks
    with TtkReader(path) as reader:
        chunks = list(reader)
        found = Tokens.concat(chunks)
        assert [len(tokens) for tokens in chunks] == [256, 256, 88] and reader.facts()["pictures"] == 600
        assert reader.keys() == list(found.keys) == [f"0/{i}" for i in range(600)]
        assert found.lengths == tuple(1 + i % 9 for i in range(600)) and found.model_id == "m"
        assert "0/17" in reader and "17" not in reader
        for place in (599, 0, 300):
            assert torch.equal(reader[f"0/{place}"].values, found[place].values)
            assert reader[f"0/{place}"].captions == (f"number {place}",)
        with pytest.raises(KeyError):
            reader["17"]


ONE = torch.zeros(1, 3)


@pytest.mark.parametrize(
    ("key", "values", "caption", "message"),
    [
        ("", ONE, None, "key"),
        ("\udcff", ONE, None, r"key: got '\\udcff', expected Unicode"),
        ("a", ONE, "x\ud800", "caption of a: .* Unicode"),
        ("a", ONE, "x" * 20_000, "caption of a: got"),
        ("a", torch.zeros(10, 3), None, "tokens: got 10"),
        ("a", torch.zeros(2, 4), None, "tokens: got"),
        ("a", torch.full((1, 3), 1e30), None, "latents:"),
        ("a", torch.zeros(2, dtype=torch.long), None, "tokens: got"),
    ],
)
def test_what_does_not_fit_is_refused_when_added(
    key: str, values: torch.Tensor, caption: str | None, message: str
) -> None:
    writer = TtkWriter(io.BytesIO(), LATENTS)
    with pytest.raises(ValueError, match=message):
        writer.add(coded_picture(key, values, caption=caption))


def test_other_codes_models_and_names_are_refused() -> None:
    writer = TtkWriter(io.BytesIO(), CODES)
    for values in (torch.tensor([37]), torch.zeros(2, 2)):
        with pytest.raises(ValueError, match="codes"):
            writer.add(coded_picture("a", values))
    writer.add(coded_picture("b", torch.tensor([36])))
    with pytest.raises(ValueError, match="'b':"):
        writer.add(coded_picture("b", torch.tensor([36])))
    with pytest.raises(ValueError, match="c: got tokens of 'n'"):
        writer.add(replace(coded_picture("c", torch.tensor([36])), model_id="n"))


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
    tokens = Tokens(values=values, model_id=model.model_id, grid=(2, 2), keys=("0", "1", "2"))
    found = Tokens.concat(read_ttk(ttk_bytes([tokens], header)))
    assert model.decode(found.values).shape == (3, 3, 16, 16)
    assert found.settings == {"for": "the record"}
    if encoding.codes is not None:
        assert torch.equal(found.values, encoding.codes)
    check_model(header, model)
    with pytest.raises(ValueError, match="load the model that made it"):
        check_model(header, other)


def test_another_probability_model_is_refused(tmp_path: Path) -> None:
    one, two = (
        fit_latents(torch.randn(30, 9, 3, generator=torch.Generator().manual_seed(i))) for i in (0, 1)
    )
    path = saved(tmp_path / "x.ttk", latents(3), Header(**(vars(LATENTS) | {"prior": one.id})), prior=one)
    for wrong in (None, two):
        with TtkReader(path, prior=wrong) as reader:
            assert reader.facts()["probability_model"] == one.id  # facts need none
            with pytest.raises(ValueError, match="probability model"):
                list(reader)


def test_a_fitted_prior_saves_bytes_and_comes_back_from_disk(tmp_path: Path) -> None:
    draws = torch.randn(400, 1, 3, generator=torch.Generator().manual_seed(0))
    likes = 0.2 * torch.randn(400, 9, 3, generator=torch.Generator().manual_seed(1)) + draws
    prior = fit_latents(likes, torch.full_like(likes, -8.0))
    save_prior(prior, tmp_path / "codec.safetensors", model_id="m")
    prior = load_prior(tmp_path / "codec.safetensors", model_id="m")
    still = LatentPrior(mean=prior.mean, deviation=prior.deviation * 0 + 4096, step=prior.step)
    rows = [coded_picture(str(i), one) for i, one in enumerate(likes[:64])]
    sizes = [
        len(ttk_bytes(rows, Header(**(vars(LATENTS) | {"prior": p.id})), prior=p)) for p in (prior, still)
    ]
    assert sizes[0] < 0.8 * sizes[1]
    with pytest.raises(ValueError, match="model_id: got"):
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
    records = [coded_picture(str(i), row) for i, row in enumerate(rows[200:])]
    with_prior = ttk_bytes(records, Header(**(vars(CODES) | {"prior": again.id})), prior=again)
    assert len(with_prior) < len(ttk_bytes(records, CODES)) - 100
    assert torch.equal(Tokens.concat(read_ttk(with_prior, prior=again)).values, rows[200:])


def test_the_order_of_sums_does_not_matter() -> None:
    # What decoding relies on: the largest sums a prior may make are exact in 64-bit floating point.
    assert (1 << 24) * ((1 << 15) - 1) * (1 << 13) < 1 << 53


def test_facts_add_up(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ttk", latents(18), LATENTS)
    with TtkReader(path) as reader:
        facts = reader.facts()
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
    values = torch.randn(64, 32, 8, generator=generator) * spread
    keys, captions = tuple(map(str, range(64))), ("",) * 64
    tokens = Tokens(values=values, model_id=model.model_id, grid=(8, 8), keys=keys, captions=captions)
    assert len(ttk_bytes([tokens.first(14)], header, prior=prior)) / 64 < 70


def test_the_fuzz_script_knows_every_kind() -> None:
    kinds = {original.name: len(original.values) for original in originals()}
    assert set(kinds.values()) == {6} and len(kinds) == 4
