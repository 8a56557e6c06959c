"""Does a tokenizer that reads captions also give better generation: the same generator on several tokenizers' tokens.

Also what one generator for every budget costs against one trained for a single budget, and a MaskGIT of the same
width and depth on the codes of a discrete tokenizer. Resumable at any moment; every arm is a normal run folder.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from research import scoring
from research.command import check_names
from research.scoring import is_finished, scores_in
from research.tables import curve, markdown, mean_curve, relative_gain
from textok.data import DataConfig
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.generation import FEATURE_BATCH, FeatureReader, score_generator
from textok.evaluation.results import Result, Scores
from textok.models.bottleneck import FSQConfig, VQConfig
from textok.models.dit import DiTConfig
from textok.models.maskgit import MaskGIT, MaskGITConfig
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.pipeline.cache_latents import CachingRun, cache_latents
from textok.pipeline.generation import Pipeline
from textok.training.generator.config import GeneratorRun
from textok.training.generator.train import train_generator
from textok.training.run import BudgetDraw
from textok.training.run_folder import environment
from textok.writing import write_json, write_text

RESULTS = "results.json"
BUDGETS = (8, 16, 32)
GUIDANCE = (1.0, 3.0)
MASKED_STEPS = 12
FD = "fd_effnet_lite2"
COLUMNS = {
    FD: ("Fréchet ↓", "{:.0f}"),
    "kd_effnet_lite2": ("kernel ↓", "{:.2f}"),
    "precision_effnet_lite2": ("precision ↑", "{:.2f}"),
    "recall_effnet_lite2": ("recall ↑", "{:.2f}"),
    "alignment_two_tower": ("alignment ↑", "{:.3f}"),
}
"""Metrics of the table: heading and form."""

PAPER = (
    "The paper: captions in the tokenizer make gFID 16.3 % (256 px) and 34.3 % (512 px) better, on average."
)


@dataclass(frozen=True, kw_only=True)
class GenerationArm:
    """One generator.

    Attributes:
        name: of its run folder.
        tokenizer: name of the tokenizer whose latents it learns.
        run: the training.
        budgets: numbers of tokens that it is judged at.
    """

    name: str
    tokenizer: str
    run: GeneratorRun
    budgets: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class GenerationSetting:
    """What all arms share.

    Attributes:
        data: source of the captioned pictures.
        train: its part to train on.
        held_out: its part for the loss during training.
        test: its part whose captions are drawn, and whose pictures are the reference.
        limit: most pictures of each part.
        steps: of a DiT's sampler; a MaskGIT takes ``MASKED_STEPS``.
    """

    data: str
    train: str = "train"
    held_out: str = "val"
    test: str = "test-drawing"
    limit: int | None = None
    steps: int = 24


def generation_arms(
    base: GeneratorRun, tokenizers: Mapping[str, TexTokConfig], out: Path, *, alone: Sequence[int] = (8, 32)
) -> list[GenerationArm]:
    """One generator of every budget for each tokenizer; for the first, also one for each single budget.

    Args:
        base: what every arm is made of.
        tokenizers: by names; the tokens of each are in ``out/latents-NAME``.
        out: folder of the study.
        alone: the single budgets.

    Raises:
        ValueError: without a tokenizer.
    """
    if not tokenizers:
        raise ValueError("tokenizers: got none, expected at least one NAME=FOLDER")

    def arm(name: str, tokenizer: str, budgets: tuple[int, ...], draw: BudgetDraw) -> GenerationArm:
        held_out = str(latents_folder(out, tokenizer, held_out=True))
        run = replace(
            base,
            name=name,
            model=model_for(base.model, tokenizers[tokenizer]),
            latents=str(latents_folder(out, tokenizer)),
            budgets=draw,
            preview=replace(base.preview, held_out=held_out, tokenizer="none"),
        )
        return GenerationArm(name=name, tokenizer=tokenizer, run=run, budgets=budgets)

    every = [arm(f"generator-{name}", name, BUDGETS, base.budgets) for name in tokenizers]
    first = next(iter(tokenizers))
    single = [
        arm(f"generator-{first}-only-{k}", first, (k,), BudgetDraw(kind="fixed", length=k)) for k in alone
    ]
    return every + single


def model_for(base: DiTConfig | MaskGITConfig, tokenizer: TexTokConfig) -> DiTConfig | MaskGITConfig:
    """The base itself for latents; for codes a MaskGIT of its width and depth.

    Codes of a finite scalar quantizer are two digits, each a group of its channels.
    """
    bottleneck = tokenizer.bottleneck
    if not isinstance(bottleneck, FSQConfig | VQConfig):
        return base
    masked = MaskGITConfig(dim=base.dim, depth=base.depth, num_heads=base.num_heads, condition=base.condition)
    if isinstance(bottleneck, VQConfig):
        return masked
    levels, codes = bottleneck.levels, math.prod(bottleneck.levels)
    groups = (math.prod(levels[:channels]) for channels in range(1, len(levels) + 1))
    return replace(masked, num_codes=codes, factors=2, base=next(size for size in groups if size**2 >= codes))


def latents_folder(out: Path, tokenizer: str, *, held_out: bool = False) -> Path:
    """Where the latents of a tokenizer are."""
    return out / f"latents-{tokenizer}{'-held-out' if held_out else ''}"


def study_generation(
    base: GeneratorRun,
    tokenizers: Mapping[str, str],
    out: str | Path,
    *,
    setting: GenerationSetting,
    only: Sequence[str] = (),
    train: bool = True,
) -> Path:
    """Cache, train and score every arm, then write ``tables.md`` and ``results.json``; returns the folder.

    Args:
        base: what every generator is made of.
        tokenizers: name -> folder of its weights; gains are of the first over the second.
        out: folder of the study; what is finished there is not done again.
        setting: what all arms share.
        only: names of the arms to train in this call; all by default.
        train: False trains nothing.

    Raises:
        ValueError: for an unknown arm.
        KeyboardInterrupt: when a part was asked to stop; the same command goes on.
    """
    out = Path(out)
    configs = {name: TexTok.from_pretrained(folder).config for name, folder in tokenizers.items()}
    arms = generation_arms(base, configs, out)
    check_names("arm", only, [arm.name for arm in arms])
    for arm in arms if train else ():
        if not only or arm.name in only:
            _cache(arm.tokenizer, tokenizers[arm.tokenizer], out, setting)
            train_generator(arm.run, out / arm.name)
            if not is_finished(out / arm.name, steps=arm.run.steps):
                raise KeyboardInterrupt
            scores_of(arm, out, setting)
    done = [arm for arm in arms if is_finished(out / arm.name, steps=arm.run.steps)]
    scored = {arm.name: scores_of(arm, out, setting) for arm in done}
    write_text(out / "tables.md", tables(arms, scored))
    arms_json = {name: {"settings": result.settings, "rows": result.rows} for name, result in scored.items()}
    write_json(out / RESULTS, {"made_by": environment(), "arms": arms_json})
    return out


def _cache(name: str, folder: str, out: Path, setting: GenerationSetting) -> None:
    side = TexTok.from_pretrained(folder).config.image_size
    for held_out, split in ((False, setting.train), (True, setting.held_out)):
        data = DataConfig(source=setting.data, split=split, size=(side, side))
        run = CachingRun(tokenizer=folder, data=data, limit=setting.limit)
        if cache_latents(run, latents_folder(out, name, held_out=held_out)) is None:
            raise KeyboardInterrupt


def scores_of(arm: GenerationArm, out: Path, setting: GenerationSetting) -> Result:
    """The scores of a finished arm; evaluated once, then read."""
    pipeline = Pipeline.from_pretrained(out / arm.name / "weights")
    steps = MASKED_STEPS if isinstance(pipeline.generator, MaskGIT) else setting.steps
    pipeline.defaults = pipeline.defaults.changed(pipeline.generator, steps=steps)
    semantics = scoring.judges(scoring.FEATURE_SIDE, "cpu")
    reader = FeatureReader(network=semantics.network, semantics=semantics)
    settings = reader.settings | {
        "model": pipeline.model_id,
        "tokenizer": pipeline.tokenizer.model_id,
        "data": setting.data,
        "split": setting.test,
        "limit": setting.limit,
        "budgets": list(arm.budgets),
        "guidance": list(GUIDANCE),
        "sampling": pipeline.defaults.record(pipeline.generator),
        "precision": str(pipeline.dtype),
        "seed": 0,
    }
    settings = json.loads(json.dumps(settings))  # as it is read back
    return scores_in(
        out / arm.name / scoring.SCORES_FILE, settings, lambda: _score(pipeline, reader, arm, setting)
    )


def _score(
    pipeline: Pipeline, reader: FeatureReader, arm: GenerationArm, setting: GenerationSetting
) -> Scores:
    side = pipeline.tokenizer.model.config.image_size
    pictures = CaptionedPictures.open(setting.data, split=setting.test, side=side, limit=setting.limit)
    reference = reader.read(pictures.batches(FEATURE_BATCH), judged=True)
    cells = product(arm.budgets, GUIDANCE)
    return score_generator(pipeline, pictures, cells, reader=reader, reference=reference, batch_size=50)


# --- tables ---------------------------------------------------------------------------------------------


def tables(arms: Sequence[GenerationArm], scored: Mapping[str, Result]) -> str:
    """Markdown: every arm's scores, and the mean gain of the first tokenizer over the second."""
    done = [arm for arm in arms if arm.name in scored]
    if not done:
        return "Not run yet.\n"
    heads = ["generator", "tokens", "guidance", *(head for head, _ in COLUMNS.values())]
    rows = [line for arm in done for line in _lines(arm, scored[arm.name])]
    missing = ", ".join(arm.name for arm in arms if arm.name not in scored) or "none"
    parts = [PAPER, markdown(heads, rows), _gain(arms, scored), f"Not run yet: {missing}."]
    return "\n\n".join(filter(None, parts)) + "\n"


def _lines(arm: GenerationArm, result: Result) -> list[list[str]]:
    return [
        [arm.name, str(row["budget"]), f"{row['guidance']:g}"]
        + [form.format(row[name]) if name in row else "" for name, (_, form) in COLUMNS.items()]
        for row in result.rows
    ]


def _gain(arms: Sequence[GenerationArm], scored: Mapping[str, Result]) -> str:
    every = [arm for arm in arms if arm.budgets == BUDGETS][:2]
    if len(every) < 2 or any(arm.name not in scored for arm in every):
        return ""
    gains = []
    for scale in GUIDANCE:
        first, second = (_curve(scored[arm.name], scale) for arm in every)
        if first and second:
            gain = relative_gain(first, second, lower_is_better=True)
            gains.append(f"{100 * gain:+.1f} % with guidance {scale:g}")
    names = " over ".join(arm.tokenizer for arm in every)
    return f"Mean relative gain in {FD} of {names}: {', '.join(gains)}." if gains else ""


def _curve(result: Result, scale: float) -> dict[int, float]:
    rows = [row | {"captions": "right"} for row in result.rows if row["guidance"] == scale and FD in row]
    return mean_curve([curve(rows, FD, split=str(rows[0]["split"]), captions="right")]) if rows else {}
