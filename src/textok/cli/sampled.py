"""``textok evaluate generator``: pictures for held-out captions, and all scores of them."""

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from textok.cli.choices import comma_list, torch_device
from textok.cli.evaluator import checked_budgets
from textok.cli.generation import FeatureReader
from textok.cli.option_ranges import check_at_least, check_files, check_needs, check_seeds
from textok.cli.picture_sets import open_pictures
from textok.cli.ranks import place
from textok.cli.tables import score_table
from textok.cli.tested import DEFAULT_NETWORK, NetworkChoice

HEADS = {"split": "split", "budget": "tokens", "guidance": "guidance", "count": "count"}


def evaluate_generator(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    network: Annotated[NetworkChoice, arg(name="")] = DEFAULT_NETWORK,
    *,
    data: Annotated[str, arg(metavar="SOURCE")],
    split: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    train: Annotated[str | None, arg(metavar="SOURCE", help_behavior_hint="")] = None,
    train_split: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    tokenizer: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="")] = None,
    budgets: Annotated[tuple[str, ...], arg(metavar="K,K")] = ("8,16,32",),
    guidance: Annotated[tuple[str, ...], arg(metavar="FLOAT,FLOAT")] = ("1,3",),
    steps: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: the model's)")] = None,
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None,
    out: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
    batch_size: int = 16,
    seed: int = 0,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    json: bool = False,
) -> None:
    """Score a text-conditional generator: one picture for each caption of a held-out split, set against the real ones.

    Args:
        model: a generator: a shipped name, a folder or a hub id.
        data: captioned pictures that it was not trained on.
        split: the part of them.
        train: the training pictures, to find copies of them.
        train_split: the part of them.
        tokenizer: the generator's tokenizer, when it is not where it was at training.
        budgets: tokens a picture.
        guidance: scales of classifier-free guidance.
        steps: of the sampler.
        limit: take only so many captions, spread over the split.
        out: result file: settings, rows, and the values of every picture.
        batch_size: pictures at a time.
        seed: of the noise.
        device: cpu, cuda, cuda:1, mps; auto takes cuda where there is one.
        precision: number type of the weights; auto takes bfloat16 where the processor has it.
        json: print the rows as JSON instead of a table.
    """
    from tqdm import tqdm

    from textok.data import DataConfig, EvalLoader
    from textok.evaluation.captioned import CaptionedPictures
    from textok.evaluation.metrics.paired import MIN_FRECHET
    from textok.evaluation.results import write_result
    from textok.evaluation.sampled import SampledCell, SampledJudge, evaluate_sampled
    from textok.pipeline.generation import Pipeline
    from textok.training.run_folder import environment

    check_at_least(1, batch_size=batch_size, steps=steps)
    check_at_least(MIN_FRECHET, limit=limit)
    check_seeds("seed", [seed])
    check_needs(absent=train is None, by="train", train_split=train_split)
    check_files(out=out)
    scales = _scales(guidance)
    asked_budgets = comma_list(budgets, name="budgets")
    if place().count > 1:
        raise ValueError("evaluate generator: runs as one process; start it without torchrun")
    where = torch_device(device)
    pipeline = Pipeline.from_pretrained(model, tokenizer=tokenizer, device=where, precision=precision)
    if pipeline.generator.config.condition.kind != "text":
        raise ValueError(
            f"{model}: is conditioned on classes; expected a generator of pictures from captions"
        )
    if steps is not None:
        pipeline.defaults = pipeline.defaults.changed(pipeline.generator, steps=steps)
    most = pipeline.generator.config.num_latents
    cells = [
        SampledCell(num_tokens=k, guidance=scale)
        for k in checked_budgets(asked_budgets, longest=most)
        for scale in scales
    ]
    side = pipeline.tokenizer.model.config.image_size
    config = DataConfig(source=data, split=split, size=(side, side))
    pictures = CaptionedPictures.collect(split or Path(data).name, EvalLoader(config, batch_size=64))
    asked = pictures if limit is None else pictures.spread(limit)
    reader = FeatureReader.prepare(network, device=device, batch_size=32, judged=True)
    judge = SampledJudge(
        network=reader.network,
        semantics=reader.semantics,
        reference=reader.read(open_pictures(data, split=split, size=(side, side))),
        train=reader.read(open_pictures(train, split=train_split, size=(side, side))) if train else None,
        device=where,
    )
    with tqdm(total=len(asked) * len(cells), desc="samples", unit="image") as bar:
        scores = evaluate_sampled(
            pipeline, asked, judge, cells=cells, seed=seed, batch_size=batch_size, progress=bar.update
        )
    if out is not None:
        settings: dict[str, Any] = reader.settings | {
            "model": pipeline.model_id,
            "precision": str(pipeline.dtype),
        }
        settings |= {
            "tokenizer": pipeline.tokenizer.model_id,
            "sampling": pipeline.defaults.record(pipeline.generator),
        }
        settings |= {"data": data, "split": split, "train": train, "seed": seed, "limit": limit}
        write_result(out, settings=settings, made_by=environment(), **vars(scores))
    heads = HEADS | {name: name for name in scores.rows[0] if name not in HEADS}
    print(json_format.dumps(scores.rows) if json else score_table(scores.rows, heads))


def _scales(words: Sequence[str]) -> list[float]:
    from textok.objectives.flow import Guidance

    asked = comma_list(words, name="guidance")
    try:
        scales = [float(word) for word in asked]
    except ValueError as error:
        raise ValueError(f"guidance: got {' '.join(words)}; expected numbers and commas") from error
    return [Guidance(scale=scale).scale for scale in scales]
