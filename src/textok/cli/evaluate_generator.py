"""``textok evaluate generator``: pictures for held-out captions, and all scores of them."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.conf import arg

from textok.cli.checks import check_at_least, check_files, check_needs, check_seed
from textok.cli.distributed import check_single_process, open_device
from textok.cli.evaluate_generation import DEFAULT_NETWORK, NetworkChoice, read_pictures
from textok.cli.options import STOP_AT_BAD, BadPictures, ModelOptions
from textok.cli.output import score_table
from textok.data.samples import write_bad
from textok.display import Progress
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.generation import FEATURE_BATCH, GeneratorEvaluator, SampledCell
from textok.evaluation.metrics.paired import MIN_FRECHET
from textok.evaluation.picture_sets import open_pictures, picture_settings
from textok.evaluation.reconstruction import check_budgets
from textok.evaluation.results import write_result
from textok.pipeline.generation import Pipeline
from textok.sampling.flow import Guidance
from textok.training.run_folder import environment

_MODEL = ModelOptions(batch_size=16)
HEADS = {"split": "split", "budget": "tokens", "guidance": "guidance", "count": "count"}


def evaluate_generator(
    network: Annotated[NetworkChoice, arg(name="")] = DEFAULT_NETWORK,
    model: Annotated[ModelOptions, arg(name="")] = _MODEL,
    bad: Annotated[BadPictures, arg(name="")] = STOP_AT_BAD,
    *,
    data: Annotated[str, arg(metavar="SOURCE")],
    split: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    train: Annotated[str | None, arg(metavar="SOURCE", help_behavior_hint="")] = None,
    train_split: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    tokenizer: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="")] = None,
    budgets: Annotated[
        tuple[int, ...], arg(help_behavior_hint="(default: a quarter, half and all of the model's)")
    ] = (),
    guidance: tuple[float, ...] = (1.0, 3.0),
    steps: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: the model's)")] = None,
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None,
    out: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Score a text-conditional generator: one picture for each caption of a held-out split, set against the real ones.

    Args:
        data: captioned pictures that it was not trained on.
        split: the part of them.
        train: the training pictures, to find copies of them.
        train_split: the part of them.
        tokenizer: the generator's tokenizer, when it is not where it was at training.
        budgets: tokens per picture.
        guidance: scales of classifier-free guidance.
        steps: of the sampler.
        limit: take only so many captions, spread over the split.
        out: result file: settings, rows, and the values of every picture.
        seed: of the noise.
        json: print the rows as JSON instead of a table.
    """
    check_at_least(1, steps=steps)
    check_at_least(MIN_FRECHET, limit=limit)
    check_seed(seed)
    check_needs(absent=train is None, by="train", train_split=train_split)
    check_files(out=out)
    check_single_process()
    scales = [Guidance(scale=scale).scale for scale in dict.fromkeys(guidance)]
    device = open_device(model.device, float64=True)
    pipeline = _open_pipeline(model, tokenizer=tokenizer, device=device, steps=steps)
    chosen = _budgets(budgets, pipeline.generator.config.num_latents)
    cells = [SampledCell(num_tokens=k, guidance=scale) for k in chosen for scale in scales]
    side = pipeline.tokenizer.model.config.image_size
    write_bad(out, [])
    reading: dict[str, Any] = {"batch_size": FEATURE_BATCH, "size": (side, side), **bad.policy}
    held_out = open_pictures(data, split=split, **reading)
    if not any(held_out.source.captions()):
        raise ValueError(f"data: got {data}, whose pictures have no captions, expected captions to draw")
    trained_on = open_pictures(train, split=train_split, **reading) if train else None
    reader = network.reader(device, semantics=True)
    evaluator = GeneratorEvaluator(
        pipeline=pipeline,
        reader=reader,
        reference=read_pictures(reader, held_out, out=out),
        train=read_pictures(reader, trained_on, out=out) if trained_on else None,
        batch_size=model.batch_size,
        seed=seed,
    )
    prompts = CaptionedPictures.open(
        data, split=split, name=split or Path(data).name, side=side, **bad.policy
    )
    prompts = prompts if limit is None else prompts.spread(limit)
    with Progress(len(prompts) * len(cells), unit="image", title="samples") as bar:
        scores = evaluator.score(prompts, cells, progress=bar.update)
    if out is not None:
        settings = reader.settings | _settings(pipeline) | {"budgets": chosen, "guidance": sorted(scales)}
        settings |= {"reference": picture_settings(held_out), "seed": seed, "limit": limit}
        settings |= {"train": trained_on and picture_settings(trained_on)}
        write_result(out, settings=settings, made_by=environment(), **vars(scores))
    heads = HEADS | {name: name for name in scores.rows[0] if name not in HEADS}
    print(json_format.dumps(scores.rows) if json else score_table(scores.rows, heads))


def _budgets(budgets: tuple[int, ...], max_tokens: int) -> list[int]:
    """The budgets, or a quarter, half and all of the model's tokens."""
    usual = (max(1, max_tokens // 4), max(1, max_tokens // 2), max_tokens)
    return check_budgets(budgets or usual, max_tokens=max_tokens)


def _open_pipeline(
    options: ModelOptions, *, tokenizer: str | None, device: torch.device, steps: int | None
) -> Pipeline:
    """A text-conditional generator, with so many steps of its sampler."""
    pipeline = Pipeline.from_pretrained(
        options.model, tokenizer=tokenizer, device=device, dtype=options.dtype
    )
    if pipeline.generator.config.condition.kind != "text":
        raise ValueError(
            f"model: got {options.model}, which is conditioned on classes, expected a generator of pictures from "
            "captions"
        )
    if steps is not None:
        pipeline.defaults = pipeline.defaults.changed(pipeline.generator, steps=steps)
    return pipeline


def _settings(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "model": pipeline.model_id,
        "precision": str(pipeline.dtype),
        "tokenizer": pipeline.tokenizer.model_id,
        "sampling": pipeline.defaults.record(pipeline.generator),
    }
