"""``textok demo``: one report that shows the tokenizer at work."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from textok.cli.choices import DEFAULT_MODEL, ModelChoice

if TYPE_CHECKING:
    from textok.pipeline.generation import Pipeline
    from textok.pipeline.image_tokenizer import ImageTokenizer


def demo(
    model: Annotated[ModelChoice, arg(name="")] = DEFAULT_MODEL,
    *,
    out: Path = Path("textok-demo"),
    source: Annotated[
        str | None, arg(metavar="SOURCE", help_behavior_hint="(default: pictures of the package)")
    ] = None,
    split: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    limit: int = 24,
) -> None:
    """Write a report that shows the tokenizer at work, on the pictures of the package or on your own.

    Needs no network. Every picture is reconstructed at several budgets, with its caption, without and with the
    caption of another picture.

    Args:
        out: the folder for the report.
        source: captioned pictures of your own: a folder of pictures with metadata.jsonl or .txt files, webdataset
            tars, parquet, a Hugging Face datasets folder.
        split: which part of the source, such as test-drawing; not needed when it has only one.
        limit: take at most so many pictures of the source, from the first.
    """
    if limit < 1:
        raise ValueError(f"limit: got {limit}; expected at least 1")
    from textok.evaluation.demo import write_demo

    tokenizer = model.load()
    options = {"source": source, "split": split, "limit": limit, "batch_size": model.batch_size}
    print(f"textok: writing {out / 'report.html'}; without a GPU that takes minutes", file=sys.stderr)
    told = partial(print, "textok:", file=sys.stderr)
    print(write_demo(out, tokenizer, pipeline=_pipeline(model, tokenizer), tell=told, **options))


def _pipeline(model: ModelChoice, tokenizer: "ImageTokenizer") -> "Pipeline | None":
    """The generator that travels with a shipped tokenizer, where there is one."""
    from textok.models.checkpoint import SHIPPED_GENERATORS, shipped_folder
    from textok.pipeline.generation import Pipeline

    if model.model not in SHIPPED_GENERATORS:
        return None
    try:
        shipped_folder(SHIPPED_GENERATORS[model.model])
    except FileNotFoundError:
        return None
    device, precision = tokenizer.device, model.precision
    return Pipeline.from_pretrained(model.model, tokenizer=tokenizer, device=device, precision=precision)
