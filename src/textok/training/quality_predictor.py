"""Training of small heads on frozen features; here the quality predictor.

Pictures are decoded at a few budgets each, and the head learns the outcome. The tokenizer makes the pictures that it
was trained on better than others, so the head is corrected by the mean error on held-out pictures.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from textok.budgets.encoder import DecodedCurves
from textok.budgets.predictor import QualityPredictor, QualityPredictorConfig, picture_detail
from textok.checks import check
from textok.data import DataConfig, EvalLoader, Source
from textok.data.samples import SourceSubset, report_bad
from textok.display import with_progress
from textok.locking import writing_alone
from textok.models.config_json import encode_config
from textok.objectives.quality import MeasureName, find_measure
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pixels import to_unit
from textok.training.run_folder import environment


@dataclass(frozen=True, kw_only=True)
class HeadRun:
    """How a head is trained.

    Attributes:
        data: captioned pictures.
        split: their part to train on.
        limit: number of pictures of each part, at most.
        on_bad: "stop" at a picture that cannot be read, or "skip" it; those are listed in bad.jsonl.
        steps: optimizer steps.
        batch_size: number of pictures per step.
        lr: AdamW's largest learning rate; rises over the warm-up, then falls as a cosine to zero.
        weight_decay: AdamW's.
        seed: decides weights, order, dropout and all other draws.
    """

    data: str = "icons"
    split: str | None = "train"
    limit: int | None = None
    on_bad: Literal["stop", "skip"] = "stop"
    steps: int = 800
    batch_size: int = 512
    lr: float = 1e-3
    weight_decay: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        limits = ("limit",) if self.limit is not None else ()
        check(self, "", "steps", at_least=1)
        check(self, "", "batch_size", *limits, at_least=2)
        check(self, "", "lr", above=0)
        check(self, "", "weight_decay", at_least=0)

    def open(self, split: str | None, *, side: int, source: Source | None = None) -> EvalLoader:
        """The first pictures of a part, of this side in pixels; ``source`` where the part is open already."""
        size = (side, side)
        config = DataConfig(source=self.data, split=split, size=size, on_bad=self.on_bad, max_bad_share=1.0)
        source = source or config.open()
        places = range(min(len(source), self.limit or len(source)))
        return EvalLoader(config, batch_size=64, source=SourceSubset(source, places))


def fit_head(
    run: HeadRun,
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
    loss_of: Callable[[], Tensor],
    *,
    warmup: float,
    title: str,
) -> None:
    """Minimise with AdamW the loss of batches that ``loss_of`` draws; the rate rises over ``warmup`` steps."""

    def share_of_lr(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1.0, warmup))
        return rise * 0.5 * (1 + math.cos(math.pi * step / run.steps))

    optimizer = torch.optim.AdamW(parameters, lr=run.lr, weight_decay=run.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_lr)
    for _ in with_progress(range(run.steps), run.steps, unit="step", title=title):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def record_of(run: HeadRun, *, pictures: int, scores: Any) -> dict[str, Any]:
    """The record stored with the weights of a head: its settings, its scores, and the code that trained it."""
    machine = environment()
    code = {key: machine[key] for key in ("code", "python", "libraries")}
    return {"run": encode_config(run), "pictures": pictures, "scores": scores, "environment": code}


# --- the quality predictor ----------------------------------------------------------------------------------

NAME = "quality-predictor"
_WARMUP = 0.05  # of the steps


@dataclass(frozen=True, kw_only=True)
class PredictorRun(HeadRun):
    """How a quality predictor is trained; each picture is encoded and decoded with its first caption.

    Attributes:
        model: the tokenizer it is for: a shipped name, a folder or a hub id.
        held_out: part of the data, which the tokenizer was not trained on, to correct the head by; none when None.
        scored: part of the data to score the head on, another one than ``held_out``; none when None.
        num_probes: budgets that each picture is decoded at, one drawn from each of so many equal parts of 1 to K.
        measure: the quality to predict.
    """

    limit: int | None = 2000
    batch_size: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.05
    model: str = "icons-128"
    held_out: str | None = "val"
    scored: str | None = "test-drawing"
    num_probes: int = 8
    measure: MeasureName = "psnr"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "", "num_probes", at_least=1)
        trained_on = "which the head is trained on"
        for name, other, use in (
            ("scored", self.held_out, "which corrects the head"),
            ("held_out", self.split, trained_on),
            ("scored", self.split, trained_on),
        ):
            if (value := getattr(self, name)) is not None and value == other:
                raise ValueError(f"{name}: got {value!r}, {use}; expected another part, or None")


@dataclass(frozen=True, eq=False)
class MeasuredPictures:
    """The inputs of the head for n pictures, and their quality at r budgets each."""

    latents: Float[Tensor, "n K c"]
    detail: Float[Tensor, "n f"]
    budgets: Int[Tensor, "n r"]
    quality: Float[Tensor, "n r"]

    def __len__(self) -> int:
        return len(self.latents)


@writing_alone
def train_predictor(
    run: PredictorRun, out: Path, *, tokenizer: ImageTokenizer | None = None
) -> dict[str, Any]:
    """Measure, train, correct, score, and write the head to a folder.

    Returns:
        The scores of :func:`score`, and under "uncorrected" those before the correction; empty when no part is
        scored.

    Raises:
        ValueError: when there are fewer than two pictures, or more probes than tokens.
    """
    tokenizer = tokenizer or ImageTokenizer.from_pretrained(run.model)
    side = tokenizer.model.config.image_size
    splits = dict.fromkeys([run.split, *(name for name in (run.held_out, run.scored) if name is not None)])
    parts = {name: run.open(name, side=side) for name in splits}  # all of them, before any work
    measured = {
        name: measure_pictures(run, tokenizer, part, name=name or run.data) for name, part in parts.items()
    }
    model = tokenizer.model.config
    config = QualityPredictorConfig(
        tokenizer=tokenizer.model_id,
        measure=run.measure,
        num_latents=model.num_latents,
        latent_dim=model.latent_dim,
    )
    head = fit(run, measured[run.split], config=config)
    before = {} if run.scored is None else score(head, measured[run.scored])
    if run.held_out is not None:
        correct(head, measured[run.held_out])
    scores = {} if run.scored is None else score(head, measured[run.scored]) | {"uncorrected": before}
    made_by = record_of(run, pictures=len(measured[run.split]), scores=scores)
    head.save_pretrained(out, name=NAME, made_by=made_by)
    report_bad((bad for part in parts.values() for bad in part.bad.samples), out)
    return scores


@torch.no_grad()
def measure_pictures(
    run: PredictorRun, tokenizer: ImageTokenizer, loader: EvalLoader, *, name: str
) -> MeasuredPictures:
    """Encode pictures once, and decode each at the budgets drawn for it."""
    generator, most = torch.Generator().manual_seed(run.seed), tokenizer.model.config.num_latents
    measure, parts = find_measure(run.measure), list[tuple[Tensor, ...]]()
    for batch in with_progress(loader, len(loader), unit="batch", title=name):
        budgets = draw_budgets(len(batch), num_probes=run.num_probes, num_latents=most, generator=generator)
        curves = DecodedCurves(
            tokenizer, batch.images, batch.captions, measure=measure, batch_size=len(batch)
        )
        rows = torch.arange(len(batch))[:, None].expand_as(budgets)
        quality = curves.at(rows.flatten(), budgets.flatten()).view(budgets.shape).float()
        latents, detail = curves.encoding.latents.float().cpu(), picture_detail(to_unit(batch.images))
        parts.append((latents, detail, budgets, quality))
    return MeasuredPictures(*map(torch.cat, zip(*parts, strict=True)))


def draw_budgets(
    count: int, *, num_probes: int, num_latents: int, generator: torch.Generator
) -> Int[Tensor, "b r"]:
    """For each picture one budget of each of ``num_probes`` equal parts of 1 to K; ``ValueError`` for more than K."""
    if num_probes > num_latents:
        raise ValueError(f"num_probes: got {num_probes}, expected at most the model's {num_latents} tokens")
    within = torch.rand(count, num_probes, generator=generator, dtype=torch.float64)
    return ((torch.arange(num_probes) + within) * num_latents / num_probes).long() + 1


def fit(run: PredictorRun, data: MeasuredPictures, *, config: QualityPredictorConfig) -> QualityPredictor:
    """A head trained on these measurements, of two pictures or more; the same for the same seed."""
    if len(data) < 2:
        raise ValueError(f"quality predictor: got {len(data)} pictures, expected at least 2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        head = QualityPredictor(config).train()
        head.curve_mean.copy_(_mean_curve(head, data.budgets, data.quality))
        head.curve_std.copy_(data.quality.std().clamp(min=1e-6))
        head.detail_mean.copy_(data.detail.mean(dim=0))
        head.detail_std.copy_(data.detail.std(dim=0).clamp(min=1e-3))

        def loss_of() -> Tensor:
            rows = torch.randint(len(data), (run.batch_size,))
            predicted = _predicted(head, data, rows)
            return F.smooth_l1_loss(predicted / head.curve_std, data.quality[rows] / head.curve_std, beta=0.3)

        fit_head(run, head.parameters(), loss_of, warmup=_WARMUP * run.steps, title="quality predictor")
    return head.eval().requires_grad_(False)


@torch.no_grad()
def correct(head: QualityPredictor, data: MeasuredPictures) -> None:
    """Add the mean error of the predictions on these pictures to every curve, smoothly in log k."""
    error = data.quality - _predicted(head, data, torch.arange(len(data)))
    head.correction += _mean_curve(head, data.budgets, error)


@torch.no_grad()
def score(head: QualityPredictor, data: MeasuredPictures) -> dict[str, Any]:
    """How well the head predicts the quality of pictures at the budgets that were measured.

    ``bias`` is the mean of prediction minus measurement, and like ``rmse`` in the measure's unit; ``explained`` is the
    share of the variance of quality about the pictures' mean curve.
    """
    error = _predicted(head, data, torch.arange(len(data))) - data.quality
    mean_curve = _mean_curve(head, data.budgets, data.quality)
    spread = (mean_curve[data.budgets - 1] - data.quality).square().mean()
    return {
        "pictures": len(data),
        "bias": float(error.mean()),
        "rmse": float(error.square().mean().sqrt()),
        "explained": float(1 - error.square().mean() / spread.clamp(min=1e-12)),
    }


def _predicted(
    head: QualityPredictor, data: MeasuredPictures, rows: Int[Tensor, "b"]
) -> Float[Tensor, "b r"]:
    return head(data.latents[rows], data.detail[rows]).gather(1, data.budgets[rows] - 1)


def _mean_curve(
    head: QualityPredictor, budgets: Int[Tensor, "n r"], values: Float[Tensor, "n r"]
) -> Float[Tensor, "K"]:
    """The mean of values that were measured at some budgets, by least squares over the head's shapes."""
    at = head.shapes.T[budgets.flatten() - 1].double()  # (n*r j)
    weights = torch.linalg.lstsq(at, values.flatten().double()[:, None]).solution[:, 0]
    return (weights @ head.shapes.double()).float()
