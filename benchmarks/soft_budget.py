"""Soft budgets: tokens that oracle, bisection, predictor and a fixed budget need, their time, and what captions save.

    textok train predictor --model icons-128 --out runs/predictor
    python benchmarks/soft_budget.py --predictor runs/predictor

writes benchmarks/results/soft_budget.json; with --parts only some of the tables: time needs an idle machine, captions
three times the decoding of choices. Every test picture is decoded once at every budget; the choosers then
run on those curves, and on the predictor's. Half of the pictures (even places) calibrate, the other half is
scored. Ranges are those that specifications name, 80 to 150, 120 to 220 and 150 to 250 of 256 tokens, as shares of
the model's K, and all of 1 to K. Rows, by "table":

- tokens: the oracle at the threshold that gives the middle of the range; and the fewest mean tokens at which each
  chooser, by whatever threshold, has the same mean quality, or lets the same share of pictures reach that
  threshold. A fixed budget is free in the range 1 to K, and may mix two neighbours; null where nothing in range does.
  "slope" is no chooser but the most that any could do for the mean: the best quality less a price a token.
  Thresholds are one quality for all ("equal": "quality"), or one loss against the picture at the most tokens.
- promise: at the oracle's threshold of quality, the share of pictures that a chooser says reach it, the share that do
  with the tokens it gives, and that among those it says do; "uncorrected" is the predictor without its correction.
- mean: the mean asked for, that of the sample and of the other half, and the stated error, by the same two.
- captions: the oracle at one threshold under the right caption, none and a wrong one.
- falls: where quality falls as tokens are added.
- time: seconds a picture, and how many times that of encoding alone, for budgets by the quality --quality and by the
  loss --loss.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from textok.budgets import RANGES_256, SoftBudget, token_range
from textok.budgets.encoder import Chooser, SoftEncoder
from textok.budgets.predictor import QualityPredictor, picture_detail
from textok.budgets.search import (
    Allowance,
    Bounds,
    Choice,
    DropCurves,
    Goal,
    KnownCurves,
    Search,
    bisection,
    calibrate,
    choose,
    exhaustive,
    measure_all,
)
from textok.data import DataConfig, EvalLoader
from textok.evaluation.captioned import CONDITIONS, CaptionedPictures
from textok.evaluation.results import Row, write_result
from textok.objectives.quality import find_measure
from textok.pipeline.image_tokenizer import ImageTokenizer, encode_pixels
from textok.pixels import to_unit
from textok.training.run_folder import environment
from timing import seconds

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "soft_budget.json"
PARTS = ("choices", "captions", "time")
THRESHOLDS = 400  # tried for each chooser
PRICES = 200
MIXES = 20  # between two neighbouring fixed budgets


@dataclass(frozen=True)
class Method:
    """A chooser on curves: what it believes, and how it searches."""

    name: str
    believed: KnownCurves
    search: Search


@dataclass(frozen=True)
class Truth:
    """What pictures are worth at each budget, and what thresholds are about: that quality, or the loss of it."""

    quality: KnownCurves
    sought: KnownCurves

    def __len__(self) -> int:
        return len(self.quality)


@dataclass(frozen=True)
class Point:
    """A setting of a method: mean tokens, mean quality, share of pictures that reach the reference threshold."""

    tokens: float
    quality: float
    share: float


# --- curves ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Falls:
    """Where quality falls as tokens are added.

    Attributes:
        steps: share of the steps from k to k + 1 tokens at which it falls.
        pictures: share of the pictures whose curve falls anywhere.
        mean_fall: mean over those steps, in the measure's unit; 0 when there is none.
        bisection_differs: share of pictures and thresholds for which bisection finds another budget than the
            search of every budget does; thresholds are nine deciles of the curves' values.
    """

    steps: float
    pictures: float
    mean_fall: float
    bisection_differs: float


def falls(curves: KnownCurves, *, lower_is_better: bool) -> Falls:
    """How often quality is not monotone, and how much that matters to bisection."""
    gains = curves.quality.diff(dim=1) * (-1 if lower_is_better else 1)
    fell = gains < 0
    if not fell.numel():
        return Falls(steps=0.0, pictures=0.0, mean_fall=0.0, bisection_differs=0.0)
    return Falls(
        steps=float(fell.double().mean()),
        pictures=float(fell.any(dim=1).double().mean()),
        mean_fall=float(-gains[fell].double().mean()) if bool(fell.any()) else 0.0,
        bisection_differs=_bisection_differs(curves, lower_is_better=lower_is_better),
    )


def _bisection_differs(curves: KnownCurves, *, lower_is_better: bool) -> float:
    rows, last = torch.arange(len(curves)), curves.first + curves.quality.shape[1] - 1
    deciles = curves.quality.double().quantile(torch.arange(1, 10, dtype=torch.float64) / 10)
    differs = []
    for threshold in deciles.tolist():
        goal = Goal(threshold, lower_is_better)
        by = [
            search(curves, rows, low=curves.first, high=last, goal=goal).budgets
            for search in (exhaustive, bisection)
        ]
        differs.append((by[0] != by[1]).double().mean())
    return float(torch.stack(differs).mean())


def measured(
    tokenizer: ImageTokenizer, pictures: CaptionedPictures, *, captions: str, options: argparse.Namespace
) -> KnownCurves:
    """Quality at 1 to K tokens under a caption condition."""
    budget = SoftBudget(1, tokenizer.model.config.num_latents, quality=0.0, measure=options.measure)
    encoder = SoftEncoder(tokenizer, budget, chooser="oracle", batch_size=options.batch)
    return encoder.curves(pictures.images, pictures.captions_under(captions))


@torch.no_grad()
def predicted(
    tokenizer: ImageTokenizer, head: QualityPredictor, pictures: CaptionedPictures, *, batch: int
) -> KnownCurves:
    """What the head believes under the right captions."""
    parts = []
    for rows in torch.arange(len(pictures)).split(batch):
        text = tokenizer.text_of([pictures.captions[i] for i in rows.tolist()])
        latents = encode_pixels(tokenizer.model, pictures.images[rows], text).latents.float().cpu()
        parts.append(head(latents, picture_detail(to_unit(pictures.images[rows]))))
    return KnownCurves(torch.cat(parts))


def part(curves: KnownCurves, half: slice) -> KnownCurves:
    """Every other picture."""
    return KnownCurves(curves.quality[half], first=curves.first)


EVEN, ODD = slice(0, None, 2), slice(1, None, 2)


def sought(curves: KnownCurves, bounds: Bounds, *, equal: str, lower_is_better: bool) -> KnownCurves:
    """What is made equal: the quality, or the loss against the most tokens of the range."""
    if equal == "quality":
        return curves
    losses = DropCurves(curves, bounds.high, lower_is_better)
    longest = curves.quality.shape[1]
    return KnownCurves(measure_all(losses, torch.arange(len(curves)), low=1, high=longest))


# --- choosing on curves ---------------------------------------------------------------------------------


def run(method: Method, goal: Goal, bounds: Bounds) -> Choice:
    """Budgets that a method gives, strictly within bounds."""
    return choose(method.believed, goal, bounds, search=method.search, allowance=Allowance(0.0))


def outcome(budgets: Tensor, truth: Truth, goal: Goal) -> Point:
    """What budgets are worth by the true curves."""
    rows = torch.arange(len(truth))
    quality = truth.quality.at(rows, budgets).double().mean()
    share = goal.reached(truth.sought.at(rows, budgets)).double().mean()
    return Point(float(budgets.double().mean()), float(quality), float(share))


def settings_of(method: Method, truth: Truth, goal: Goal, bounds: Bounds) -> list[Point]:
    """Outcomes by threshold; those of the believed curves' quantiles, and the reference."""
    values = method.believed.quality.double().flatten()
    places = torch.linspace(0, 1, THRESHOLDS, dtype=torch.float64)
    thresholds = [*values.quantile(places).tolist(), goal.threshold]
    goals = (Goal(threshold, goal.lower_is_better) for threshold in thresholds)
    return [outcome(run(method, one, bounds).budgets, truth, goal) for one in goals]


def fixed_settings(truth: Truth, goal: Goal) -> list[Point]:
    """Outcomes of one budget for all, and of mixes of two neighbours."""
    means = truth.quality.quality.double().mean(dim=0)
    shares = goal.reached(truth.sought.quality).double().mean(dim=0)
    points = [Point(1.0, float(means[0]), float(shares[0]))]
    for k in range(1, len(means)):
        for step in range(1, MIXES + 1):
            share = step / MIXES
            mixed = (float(column[k - 1].lerp(column[k], share)) for column in (means, shares))
            points.append(Point(k + share, *mixed))
    return points


def slope_settings(truth: Truth, goal: Goal, bounds: Bounds, *, lower_is_better: bool) -> list[Point]:
    """Outcomes by price: each picture has the budget of the best quality less the price of its tokens."""
    gains = truth.quality.quality.double()[:, bounds.low - 1 : bounds.high] * (-1 if lower_is_better else 1)
    spread = float(gains.max() - gains.min())
    prices = torch.logspace(-6, 0, PRICES, dtype=torch.float64) * max(spread, 1e-6)
    tokens = torch.arange(bounds.low, bounds.high + 1)
    return [outcome(tokens[(gains - price * tokens).argmax(dim=1)], truth, goal) for price in prices]


def fewest(points: Iterable[Point], enough: Callable[[Point], bool]) -> float:
    """Mean tokens of the cheapest setting that is good enough."""
    return min((point.tokens for point in points if enough(point)), default=math.nan)


def needs(points: list[Point], reference: Point, *, lower_is_better: bool) -> Row:
    """Mean tokens for the reference's mean quality, and for its share of pictures; of quality, lower or higher."""
    sign = -1 if lower_is_better else 1
    return {
        "tokens_same_mean_quality": fewest(
            points, lambda point: sign * point.quality >= sign * reference.quality - 1e-9
        ),
        "tokens_same_share_reached": fewest(points, lambda point: point.share >= reference.share - 1e-9),
    }


# --- tables ---------------------------------------------------------------------------------------------


def ranges_of(longest: int) -> dict[str, Bounds]:
    """The named ranges of K, and all of it."""
    named = {name: token_range(name, longest) for name in RANGES_256}
    bounds = {name: Bounds(low=low, high=high, overflow=high) for name, (low, high) in named.items()}
    return bounds | {"any": Bounds(low=1, high=longest, overflow=longest)}


def tables(
    truth: KnownCurves, believed: KnownCurves, correction: Tensor, *, lower_is_better: bool
) -> list[Row]:
    """What the choosers are worth."""
    found = asdict(falls(truth, lower_is_better=lower_is_better))
    rows: list[Row] = [{"table": "falls", **{f"falls_{name}": value for name, value in found.items()}}]
    uncorrected = KnownCurves(believed.quality - correction)
    for name, bounds in ranges_of(truth.quality.shape[1]).items():
        cell: Row = {"range": name, "low": bounds.low, "high": bounds.high}
        for equal in ("loss", "quality"):
            found, goal = choice_rows(truth, believed, bounds, equal=equal, lower_is_better=lower_is_better)
            rows += [{**cell, "equal": equal, **row} for row in found]
        promising = [*methods(truth, believed), Method("uncorrected", uncorrected, exhaustive)]
        rows += [{"table": "promise", **cell, **row} for row in promise_rows(promising, truth, goal, bounds)]
    return rows


def promise_rows(choosers: list[Method], truth: KnownCurves, goal: Goal, bounds: Bounds) -> list[Row]:
    """Pictures that are said to reach a quality, and that do; the threshold is the oracle's on the other half."""
    actual, rows = part(truth, ODD), list[Row]()
    for method in choosers:
        choice = run(Method(method.name, part(method.believed, ODD), method.search), goal, bounds)
        point = outcome(choice.budgets, Truth(actual, actual), goal)
        good = goal.reached(actual.at(torch.arange(len(actual)), choice.budgets))
        said = choice.reached.double().mean()
        kept = (good & choice.reached).double().mean() / said.clamp(min=1e-12)
        rows.append(
            {"chooser": method.name, "threshold": goal.threshold, "tokens": point.tokens}
            | {"mean_quality": point.quality, "share_said": float(said), "share_reached": point.share}
            | {"share_of_said_reached": float(kept)}
        )
    return rows


def choice_rows(
    truth: KnownCurves, believed: KnownCurves, bounds: Bounds, *, equal: str, lower_is_better: bool
) -> tuple[list[Row], Goal]:
    """Means and tokens of a range by one rule, and the oracle's threshold."""
    seen = partial(sought, bounds=bounds, equal=equal, lower_is_better=lower_is_better)
    downwards = lower_is_better or equal == "loss"
    means = mean_rows(methods(seen(truth), seen(believed)), bounds, lower_is_better=downwards)
    goal = Goal(float(means[0]["threshold"]), downwards)  # the oracle's
    judged = Truth(part(truth, ODD), part(seen(truth), ODD))
    tokens = token_rows(judged, part(seen(believed), ODD), goal, bounds, lower_is_better=lower_is_better)
    return [
        *({"table": "mean", **row} for row in means),
        *({"table": "tokens", **row} for row in tokens),
    ], goal


def methods(truth: KnownCurves, believed: KnownCurves) -> list[Method]:
    """The choosers, the oracle first."""
    return [
        Method("oracle", truth, exhaustive),
        Method("bisection", truth, bisection),
        Method("predictor", believed, exhaustive),
    ]


def mean_rows(choosers: list[Method], bounds: Bounds, *, lower_is_better: bool) -> list[Row]:
    """The middle of the range asked for, calibrated on one half, met on the other."""
    asked, rows = (bounds.low + bounds.high) / 2, list[Row]()
    for method in choosers:
        found = calibrate(
            part(method.believed, EVEN),
            bounds,
            mean=asked,
            lower_is_better=lower_is_better,
            search=method.search,
        )
        goal = Goal(found.threshold, lower_is_better)
        other = Method(method.name, part(method.believed, ODD), method.search)
        met = float(run(other, goal, bounds).budgets.double().mean())
        rows.append(
            {"chooser": method.name, "asked": asked, "threshold": found.threshold}
            | {"sample": found.mean_tokens, "others": met, "error": met - asked}
            | {"standard_error": found.standard_error}
        )
    return rows


def token_rows(
    truth: Truth, believed: KnownCurves, goal: Goal, bounds: Bounds, *, lower_is_better: bool
) -> list[Row]:
    """What each chooser needs for what the oracle reaches."""
    choosers = methods(truth.sought, believed)
    reference = outcome(run(choosers[0], goal, bounds).budgets, truth, goal)
    points = {method.name: settings_of(method, truth, goal, bounds) for method in choosers}
    points["fixed"] = fixed_settings(truth, goal)
    points["slope"] = slope_settings(truth, goal, bounds, lower_is_better=lower_is_better)
    asked = {"threshold": goal.threshold, "mean_quality": reference.quality, "share_reached": reference.share}
    rows: list[Row] = []
    for name, found in points.items():
        row: Row = {"chooser": name, **asked, "oracle_tokens": reference.tokens}
        rows.append(row | needs(found, reference, lower_is_better=lower_is_better))
    return rows


def caption_rows(curves: dict[str, KnownCurves], *, lower_is_better: bool) -> list[Row]:
    """The oracle's tokens at one threshold, by caption condition, over all pictures."""
    rows: list[Row] = []
    for name, bounds in ranges_of(curves["right"].quality.shape[1]).items():
        oracle = methods(curves["right"], curves["right"])[:1]
        (mean,) = mean_rows(oracle, bounds, lower_is_better=lower_is_better)
        goal = Goal(float(mean["threshold"]), lower_is_better)
        cell: Row = {"table": "captions", "range": name, "low": bounds.low, "high": bounds.high}
        for captions, truth in curves.items():
            found = run(Method("oracle", truth, exhaustive), goal, bounds)
            point = outcome(found.budgets, Truth(truth, truth), goal)
            rows.append(
                {**cell, "captions": captions, "threshold": goal.threshold}
                | {"tokens": point.tokens, "mean_quality": point.quality, "share_reached": point.share}
            )
    return rows


# --- time -----------------------------------------------------------------------------------------------


def time_rows(
    tokenizer: ImageTokenizer,
    head: QualityPredictor,
    pictures: CaptionedPictures,
    *,
    options: argparse.Namespace,
) -> list[Row]:
    """Seconds a picture in turns (A B C D A B C D), medians of the rounds; captions are read by all alike."""
    low, high = token_range("middle", tokenizer.model.config.num_latents)
    choosers: dict[str, Chooser] = {"oracle": "oracle", "bisection": "bisection", "predictor": head}
    budgets = {
        "quality": SoftBudget(low, high, quality=options.quality, measure=options.measure),
        "loss": SoftBudget(low, high, max_drop=options.loss, measure=options.measure),
    }

    def soft(chooser: Chooser, budget: SoftBudget) -> object:
        encoder = SoftEncoder(tokenizer, budget, chooser=chooser, batch_size=options.batch)
        return encoder.encode(pictures.images, pictures.captions)

    alone = ("encode", "none")
    work: dict[tuple[str, str], Callable[[], object]] = {
        (name, equal): partial(soft, by, budget)
        for equal, budget in budgets.items()
        for name, by in choosers.items()
    }
    work[alone] = lambda: tokenizer.encode(pictures.images, pictures.captions, batch_size=options.batch)
    rounds = [{name: seconds(call) for name, call in work.items()} for _ in range(options.rounds + 1)][1:]
    return [
        {
            "table": "time",
            "chooser": name[0],
            "equal": name[1],
            "low": low,
            "high": high,
            "timed": len(pictures),
        }
        | {"seconds_per_image": statistics.median(found[name] for found in rounds) / len(pictures)}
        | {"times_encode": statistics.median(found[name] / found[alone] for found in rounds)}
        for name in work
    ]


# --- the whole ------------------------------------------------------------------------------------------


def split_rows(
    name: str, tokenizer: ImageTokenizer, head: QualityPredictor, options: argparse.Namespace
) -> list[Row]:
    """All rows of a test split."""
    side = tokenizer.model.config.image_size
    config = DataConfig(source=options.data, split=name, size=(side, side))
    pictures = CaptionedPictures.collect(name, EvalLoader(config, batch_size=64), limit=options.limit)
    rows, lower_is_better = list[Row](), find_measure(options.measure).lower_is_better
    conditions = (
        CONDITIONS if "captions" in options.parts else ("right",) if "choices" in options.parts else ()
    )
    curves = {c: measured(tokenizer, pictures, captions=c, options=options) for c in conditions}
    if "choices" in options.parts:
        believed = predicted(tokenizer, head, pictures, batch=options.batch)
        rows += tables(curves["right"], believed, head.correction, lower_is_better=lower_is_better)
    if "captions" in options.parts:
        rows += caption_rows(curves, lower_is_better=lower_is_better)
    if "time" in options.parts:
        rows += time_rows(tokenizer, head, pictures.spread(options.timed), options=options)
    return [{"split": name, "measure": options.measure, "pictures": len(pictures), **row} for row in rows]


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="icons-128", help="shipped name, folder or hub id")
    parser.add_argument("--predictor", required=True, help="folder that textok train predictor wrote")
    parser.add_argument("--data", default=str(ROOT / "datasets" / "icons-128"))
    parser.add_argument("--splits", nargs="+", default=["test-drawing", "test-concept"])
    parser.add_argument("--measure", default="psnr", choices=["psnr", "perceptual"])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--quality", type=float, default=20.0, help="of the budgets that are timed")
    parser.add_argument("--loss", type=float, default=0.1, help="of the budgets that are timed")
    parser.add_argument("--limit", type=int, help="pictures of each split; all when left out")
    parser.add_argument("--timed", type=int, default=64, help="pictures that times are taken on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    tokenizer, head = (
        ImageTokenizer.from_pretrained(options.model),
        QualityPredictor.from_pretrained(options.predictor),
    )
    rows = [row for name in options.splits for row in split_rows(name, tokenizer, head, options)]
    told = {k: v for k, v in vars(options).items() if k not in ("out", "model", "data", "predictor")}
    told |= {"model_id": tokenizer.model_id, "predictor": head.model_id, "dtype": str(tokenizer.dtype)}
    settings = told | {"data": Path(options.data).name, "predictor_made_by": head.made_by}
    write_result(options.out, settings=settings, rows=rows, made_by=environment())
    for row in rows:
        print({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
