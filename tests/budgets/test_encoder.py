"""Soft budgets on a tiny tokenizer: what is refused, one encoding, any chooser, any batch, back to pictures."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from textok.budgets import RANGES_256, SoftBudget, token_range
from textok.budgets.encoder import Chooser, DecodedCurves, SoftEncoder
from textok.budgets.predictor import QualityPredictor, QualityPredictorConfig, picture_detail
from textok.budgets.search import Choice, Goal, exhaustive
from textok.models.bottleneck import KLConfig
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok
from textok.objectives.quality import MeasureName, find_measure, psnr_per_image
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.text import Captions
from textok.pipeline.tokens import Tokens
from textok.pixels import to_unit
from tiny import tiny_model

CAPTIONS = ["a red apple", "", "blue", "a much longer caption of nothing", "two", "", "six dogs"]


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(7, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    return (smooth * 255).to(torch.uint8)


@pytest.fixture(scope="module")
def middling(tokenizer: ImageTokenizer, images: Tensor) -> float:
    """A quality that some pictures reach within two tokens, and others do not."""
    budget = SoftBudget(1, 3, quality=0.0)
    curves = SoftEncoder(tokenizer, budget, chooser="oracle").curves(images, CAPTIONS)
    return float(curves.quality[:, :2].max(dim=1).values.median())


def encode_soft(
    tokenizer: ImageTokenizer, images: Tensor, captions: Captions = None, *, keep_size: bool = False, **k: Any
) -> tuple[Tokens, Choice]:
    return SoftEncoder(tokenizer, **k).encode(images, captions, keep_size=keep_size)


def dividing(
    tokenizer: ImageTokenizer,
    images: Tensor,
    *,
    chooser: Chooser,
    by: Callable[[Choice], Tensor],
    decides: str = "quality",
) -> float:
    """The quality or drop, well between two that occur, whose oracle budgets are the most by some count."""
    encoder = SoftEncoder(tokenizer, SoftBudget(1, 4, **{decides: 0.0}), chooser=chooser)
    known = encoder.curves(images, CAPTIONS)
    values = known.quality.double().flatten().unique()
    values = values[values >= 0]
    middles = [v for v, gap in zip((values[1:] + values[:-1]) / 2, values.diff(), strict=True) if gap > 1e-3]

    def count(quality: Tensor) -> float:
        goal = Goal(float(quality), lower_is_better=decides == "max_drop")
        return float(by(exhaustive(known, torch.arange(7), low=1, high=4, goal=goal)))

    return float(max(middles, key=count))


def predictor(tokenizer: ImageTokenizer, *, measure: str = "psnr") -> QualityPredictor:
    torch.manual_seed(0)
    config = tokenizer.model.config
    head = QualityPredictor(
        QualityPredictorConfig(
            tokenizer=tokenizer.model_id,
            measure=measure,
            num_latents=config.num_latents,
            latent_dim=config.latent_dim,
            token_dim=8,
            hidden=16,
        )
    )
    torch.nn.init.normal_(head.tell.weight)  # no two pictures alike
    return head.eval().requires_grad_(False)


# --- the budget -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"low": 0, "quality": 20.0}, "num_tokens: got 0 to 3"),
        ({"low": 4, "quality": 20.0}, "num_tokens: got 4 to 3"),
        ({}, "num_tokens: got the range 1-3 alone"),
        ({"max_drop": -0.5}, "max_drop: got -0.5"),
        ({"max_drop": 0.5, "overflow_share": 0.1}, "overflow_share: got 0.1 with a drop"),
        ({"mean_tokens": 2.0, "target": "drop", "overflow_share": 0.1}, "overflow_share:"),
        ({"quality": 20.0, "target": "drop"}, "target:"),
        ({"quality": 20.0, "bytes": 9.0}, "num_tokens: got quality and bytes"),
        ({"quality": float("nan")}, "quality: got nan"),
        ({"mean_tokens": 3.5}, "mean_tokens: got 3.5"),
        ({"quality": 20.0, "overflow_share": 1.5}, "overflow_share: got 1.5"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(given_: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoftBudget(**({"low": 1, "high": 3} | given_))


def test_ranges_are_numbers_or_named_shares() -> None:
    assert RANGES_256 == {"short": (80, 150), "middle": (120, 220), "long": (150, 250)}
    assert [token_range(name, 256) for name in RANGES_256] == list(RANGES_256.values())
    assert [token_range(name, 32) for name in RANGES_256] == [(10, 19), (15, 28), (19, 31)]
    assert token_range("short", 2) == (1, 1)
    assert token_range("8-24", 32) == (8, 24) and token_range("16", 32) == (16, 16)
    for text in ("medium", "8-", "-8", "8-24-32", "8.5", ""):
        with pytest.raises(ValueError, match="num_tokens: got"):
            token_range(text, 256)


@pytest.mark.parametrize("name", sorted(RANGES_256))
@pytest.mark.slow
def test_the_ranges_of_256_tokens(letters: TextEncoder, images: Tensor, name: str) -> None:
    """On an untrained model: a mean in the middle is met, by pictures that differ."""
    model = tiny_model(KLConfig(latent_dim=8), dim=16, num_latents=256, text_dim=12, text_bias=None)
    tokenizer = ImageTokenizer(model, text_encoder=letters, dtype="float32")
    low, high = token_range(name, 256)
    encoder = SoftEncoder(tokenizer, SoftBudget(low, high, mean_tokens=(low + high) / 2), chooser="bisection")
    found = encoder.calibrate(images, CAPTIONS)
    budgets = encoder.encode(images, CAPTIONS)[0].lengths
    assert low <= min(budgets) < max(budgets) <= high
    assert (
        sum(budgets) / 7 == pytest.approx(found.mean_tokens, abs=1)
        and abs(found.mean - (low + high) / 2) < 15
    )


def test_bytes_need_what_measures_them(tokenizer: ImageTokenizer) -> None:
    with pytest.raises(ValueError, match="bytes:"):
        SoftEncoder(tokenizer, SoftBudget(1, 4, bytes=9.0))


def test_measures_know_the_better_picture(images: Tensor) -> None:
    noisy = (images.int() + torch.randint(-20, 21, images.shape)).clamp(0, 255).to(torch.uint8)
    psnr = find_measure("psnr")
    assert psnr.compare(images, images).tolist() == [100.0] * 7
    assert not psnr.lower_is_better and float(psnr.compare(images, noisy).max()) < 100
    perceptual = find_measure("perceptual")
    nearer, farther = perceptual.compare(images, images), perceptual.compare(images, noisy)
    assert perceptual.lower_is_better and bool((nearer < farther).all())


# --- choosing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chooser", ["oracle", "bisection"])
def test_the_quality_is_that_of_the_decoded_picture(
    tokenizer: ImageTokenizer, images: Tensor, middling: float, chooser: str
) -> None:
    budget = SoftBudget(1, 3, quality=middling)
    tokens, choice = encode_soft(tokenizer, images, CAPTIONS, budget=budget, chooser=chooser)
    assert {True, False} == set(choice.reached.tolist())
    assert tokens.captions == tuple(CAPTIONS) and list(tokens.lengths) == choice.budgets.tolist()
    decoded = psnr_per_image(images, tokenizer.decode(tokens, output="uint8"))
    torch.testing.assert_close(choice.quality, decoded.double(), atol=0.02, rtol=0)
    assert torch.equal(choice.reached, choice.quality >= middling)
    assert bool((choice.reached | (choice.budgets == 3)).all())


@pytest.mark.parametrize(
    ("name", "decides"),
    [
        ("tokenizer", "quality"),
        ("tokenizer", "max_drop"),
        ("discrete", "quality"),
    ],  # codes lose next to nothing
)
@pytest.mark.parametrize("chooser", ["oracle", "bisection", "predictor"])
@pytest.mark.slow
def test_a_batch_gives_what_one_picture_at_a_time_gives(
    request: pytest.FixtureRequest, images: Tensor, name: str, chooser: str, decides: str
) -> None:
    """In float32, to 1e-4 on the scale [-1, 1], and the same budgets where the threshold is not within rounding."""
    tokenizer: ImageTokenizer = request.getfixturevalue(name)
    by = predictor(tokenizer) if chooser == "predictor" else chooser
    threshold = dividing(
        tokenizer,
        images,
        chooser="oracle" if by == "bisection" else by,
        by=lambda found: found.budgets.double().std(),
        decides=decides,
    )
    budget = SoftBudget(1, 4, **{decides: threshold})
    together, choice = encode_soft(tokenizer, images, CAPTIONS, budget=budget, chooser=by)
    assert len(set(together.lengths)) > 1 or name == "discrete"  # whose pictures share their codes
    pictures = tokenizer.decode(together, output="float")
    for place, caption in enumerate(CAPTIONS):
        rows = slice(place, place + 1)
        one, alone = encode_soft(tokenizer, images[rows], [caption], budget=budget, chooser=by)
        assert one.lengths == together[place].lengths and torch.equal(alone.reached, choice.reached[rows])
        torch.testing.assert_close(alone.quality, choice.quality[rows], atol=1e-3, rtol=0)
        torch.testing.assert_close(one.values, together[place].values, atol=1e-4, rtol=0)
        picture = tokenizer.decode(together[place], output="float")
        torch.testing.assert_close(pictures[rows], picture, atol=1e-4, rtol=0)


def test_a_look_at_many_budgets_is_that_at_each_alone(tokenizer: ImageTokenizer, images: Tensor) -> None:
    """Batches of four out of seven pictures at four budgets each mix budgets."""
    one_each = SoftEncoder(tokenizer, SoftBudget(1, 4, quality=0.0), chooser="oracle", batch_size=1)
    known = one_each.curves(images, CAPTIONS).quality
    assert float(known.diff(dim=1).abs().max()) > 0.01  # budgets differ in quality
    curves = DecodedCurves(tokenizer, images, CAPTIONS, measure=find_measure("psnr"), batch_size=4)
    order = torch.randperm(28, generator=torch.Generator().manual_seed(0))
    rows, budgets = order // 4, order % 4 + 1
    torch.testing.assert_close(curves.at(rows, budgets), known[rows, budgets - 1], atol=1e-3, rtol=0)


def test_each_picture_is_encoded_once(
    tokenizer: ImageTokenizer, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    encode = TexTok.encode

    def counted(model: TexTok, pictures: Tensor, *rest: object, **options: object) -> object:
        seen.append(len(pictures))
        return encode(model, pictures, *rest, **options)

    monkeypatch.setattr(TexTok, "encode", counted)
    for chooser in ("oracle", "bisection"):
        encode_soft(tokenizer, images, budget=SoftBudget(1, 4, quality=15.0), chooser=chooser, batch_size=4)
    assert seen == [4, 3, 4, 3]


def test_a_predictor_decodes_nothing_and_its_word_decides(
    tokenizer: ImageTokenizer, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = predictor(tokenizer)
    curves = head(tokenizer.encode(images, CAPTIONS).values, picture_detail(to_unit(images)))
    quality = float(curves.median())
    monkeypatch.setattr(TexTok, "decode", lambda *_, **__: pytest.fail("decoded"))
    budget = SoftBudget(1, 4, quality=quality)
    _, choice = encode_soft(tokenizer, images, CAPTIONS, budget=budget, chooser=head)
    for row, length, reached in zip(curves, choice.budgets.tolist(), choice.reached.tolist(), strict=True):
        enough = [k for k in range(1, 5) if float(row[k - 1]) >= quality]
        assert (length, reached) == ((enough[0], True) if enough else (4, False))


def test_a_predictor_of_another_tokenizer_or_measure_is_refused(
    tokenizer: ImageTokenizer, make_model: Callable[..., TexTok]
) -> None:
    head, other = predictor(tokenizer), ImageTokenizer(make_model(seed=1))
    with pytest.raises(ValueError, match="quality predictor: got one for tokenizer"):
        SoftEncoder(other, SoftBudget(1, 4, quality=20.0), chooser=head)
    with pytest.raises(ValueError, match="quality predictor: got one for measure"):
        SoftEncoder(tokenizer, SoftBudget(1, 4, quality=0.1, measure="perceptual"), chooser=head)
    with pytest.raises(ValueError, match="num_tokens: got 5"):
        SoftEncoder(tokenizer, SoftBudget(1, 5, quality=20.0))


@pytest.mark.parametrize("measure", ["psnr", "perceptual"])
@pytest.mark.parametrize("chooser", ["oracle", "bisection"])
def test_a_drop_is_against_the_picture_itself_at_high(
    tokenizer: ImageTokenizer, images: Tensor, measure: MeasureName, chooser: Chooser
) -> None:
    every = SoftBudget(1, 3, quality=0.0, measure=measure)
    known = SoftEncoder(tokenizer, every, chooser="oracle").curves(images, CAPTIONS).quality  # (7 3)
    sign = -1 if measure == "psnr" else 1
    drops = sign * (known - known[:, 2:])
    drop = float(drops[:, :2].clamp(min=0).flatten().median()) + 1e-6
    budget = SoftBudget(1, 3, max_drop=drop, measure=measure)
    _, choice = encode_soft(tokenizer, images, CAPTIONS, budget=budget, chooser=chooser)
    assert bool(choice.reached.all())
    for row, worse, length, quality in zip(
        known, drops, choice.budgets.tolist(), choice.quality.tolist(), strict=True
    ):
        enough = [k for k in (1, 2, 3) if float(worse[k - 1]) <= drop]
        assert length in (enough if chooser == "bisection" else enough[:1])
        assert quality == pytest.approx(float(row[length - 1]), abs=0.02)


def test_a_mean_is_met_by_one_drop_for_all(tokenizer: ImageTokenizer, images: Tensor) -> None:
    many = torch.cat([images.roll(shift, dims=-1) for shift in range(0, 32, 4)])
    encoder = SoftEncoder(tokenizer, SoftBudget(1, 4, mean_tokens=2.5, target="drop"))
    found = encoder.calibrate(many)
    tokens, choice = encoder.encode(many)
    assert abs(found.mean_tokens - 2.5) < 0.1 and bool(choice.reached.all())
    assert tokens.mean_tokens == pytest.approx(found.mean_tokens, abs=0.1)


@pytest.mark.parametrize("chooser", ["oracle", "bisection"])
def test_no_drop_is_out_of_reach(tokenizer: ImageTokenizer, images: Tensor, chooser: Chooser) -> None:
    """A mean near high wants less than no drop where quality is not monotone; at high nothing is lost."""
    encoder = SoftEncoder(tokenizer, SoftBudget(1, 4, mean_tokens=4.0, target="drop"), chooser=chooser)
    assert encoder.calibrate(images).mean_tokens == 4
    tokens, choice = encoder.encode(images)
    assert set(tokens.lengths) == {4} and bool(choice.reached.all())


def test_perceptual_budgets_count_downwards(tokenizer: ImageTokenizer, images: Tensor) -> None:
    budget = SoftBudget(1, 4, quality=0.0, measure="perceptual")
    tokens, choice = encode_soft(tokenizer, images[:2], budget=budget)
    assert tokens.lengths == (4, 4) and not bool(choice.reached.any()), "no distance is 0"
    tokens, choice = encode_soft(tokenizer, images[:2], budget=replace(budget, quality=4.0))
    assert tokens.lengths == (1, 1) and bool(choice.reached.all())


def test_a_fixed_budget_is_one_for_all(tokenizer: ImageTokenizer, images: Tensor) -> None:
    tokens, choice = SoftEncoder(tokenizer, SoftBudget(3, 3)).encode(images, CAPTIONS, keys=CAPTIONS)
    same = tokenizer.encode(images, CAPTIONS, num_tokens=3)
    assert torch.equal(tokens.values, same.values) and tokens.keys == tuple(CAPTIONS)
    assert choice.budgets.tolist() == [3] * 7 and bool(choice.reached.all())
    assert bool(choice.quality.isnan().all())


# --- a mean ---------------------------------------------------------------------------------------------


def test_a_mean_is_calibrated_then_met_in_one_pass(tokenizer: ImageTokenizer, images: Tensor) -> None:
    many = torch.cat([images.roll(shift, dims=-1) for shift in range(0, 32, 4)])
    encoder = SoftEncoder(tokenizer, SoftBudget(1, 4, mean_tokens=2.5))
    with pytest.raises(ValueError, match="call calibrate"):
        encoder.encode(images)
    found = encoder.calibrate(many)
    assert found.pictures == 56 and abs(found.mean_tokens - 2.5) < 0.1
    mean = Tokens.concat([encoder.encode(batch)[0] for batch in many.split(9)]).mean_tokens
    assert mean == pytest.approx(found.mean_tokens, abs=0.1)


def test_a_named_quality_is_not_calibrated(tokenizer: ImageTokenizer, images: Tensor) -> None:
    with pytest.raises(ValueError, match="calibrate:"):
        SoftEncoder(tokenizer, SoftBudget(1, 4, quality=20.0)).calibrate(images)


def test_a_mean_of_bytes_counts_each_pictures_own(tokenizer: ImageTokenizer, images: Tensor) -> None:
    """Tokens of every other picture weigh ten times as much."""
    many = torch.cat([images.roll(shift, dims=-1) for shift in range(0, 32, 4)])
    places = iter(range(len(many)))

    def sizes(values: Tensor) -> Tensor:
        each = torch.tensor([10.0 if next(places) % 2 else 1.0 for _ in values])
        return each[:, None] * torch.arange(1, values.shape[1] + 1)

    encoder = SoftEncoder(tokenizer, SoftBudget(1, 4, bytes=13.0), sizes=sizes)
    found = encoder.calibrate(many)
    budgets = torch.tensor(encoder.encode(many)[0].lengths).double()
    spent = budgets * torch.tensor([1.0, 10.0]).repeat(28)
    assert found.mean == pytest.approx(13, abs=0.3) and found.mean == pytest.approx(
        float(spent.mean()), abs=0.3
    )
    assert found.mean_tokens == pytest.approx(float(budgets.mean()), abs=0.1)
    assert found.standard_error == pytest.approx(float(spent.std() / 56**0.5), rel=0.1)


def test_the_stream_keeps_its_overflow_share(tokenizer: ImageTokenizer, images: Tensor) -> None:
    quality = dividing(
        tokenizer, images, chooser="oracle", by=lambda found: (found.reached & (found.budgets > 2)).sum()
    )
    budget = SoftBudget(1, 2, quality=quality, overflow_share=0.3)
    encoder = SoftEncoder(tokenizer, budget, chooser="oracle")
    batches = [encoder.encode(images, CAPTIONS) for _ in range(3)]
    choice = Choice.concat([one for _, one in batches])
    above = choice.budgets > 2
    assert 0 < int(above.sum()) <= 0.3 * len(above) and bool(choice.reached[above].all())
    again = SoftEncoder(tokenizer, budget, chooser="oracle")
    again.resume(pictures=14, overflow=int(above[:14].sum()))
    assert again.encode(images, CAPTIONS)[0].lengths == batches[2][0].lengths


# --- back to pictures -----------------------------------------------------------------------------------


def test_other_sizes_keep_their_grid(tokenizer: ImageTokenizer, images: Tensor) -> None:
    wide = torch.cat([images, images], dim=-1)
    budget = SoftBudget(1, 4, quality=99.0)
    tokens, _ = encode_soft(tokenizer, wide, budget=budget, keep_size=True)
    assert tokens.grid == (4, 8) and tokenizer.decode(tokens)[0].size == (64, 32)
    small, _ = encode_soft(tokenizer, images, budget=budget)
    with pytest.raises(ValueError, match="tokens:"):
        Tokens.concat([tokens, small])


def test_what_lies_past_a_length_is_not_read(tokenizer: ImageTokenizer, images: Tensor) -> None:
    tokens = tokenizer.encode(images)
    first = tokenizer.decode(tokens.first(2), output="float")
    marked = replace(tokens, lengths=(2,) * 7)
    torch.testing.assert_close(
        tokenizer.decode(marked, output="float", batch_size=3), first, atol=1e-5, rtol=0
    )
