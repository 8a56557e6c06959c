"""``textok demo``: one report that shows the tokenizer at work."""

from pathlib import Path
from typing import Annotated

from textok.cli.options import (
    DATA_HELP,
    Bad,
    Decoder,
    Json,
    Model,
    ModelOptions,
    Split,
    check_at_least,
    check_folders,
    optional,
)
from textok.cli.output import report
from textok.display import note
from textok.evaluation.demo import CREDIT, load_pictures, write_demo
from textok.models.checkpoint import SHIPPED_GENERATORS, shipped_folder
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer


def demo(
    model: Model,
    decoder: Decoder,
    bad: Bad,
    *,
    out: Path = Path("textok-demo"),
    data: Annotated[str | None, optional("DATA", "pictures of the package", about=DATA_HELP)] = None,
    split: Split = None,
    limit: int = 24,
    json: Json = False,
) -> None:
    """Write a report that shows the tokenizer at work, on the pictures of the package or on your own.

    Needs no network. Every picture is reconstructed at several budgets, with its caption, without and with the
    caption of another picture.

    Args:
        out: the folder for the report.
        limit: take at most so many pictures of the data, from the first.
    """
    check_at_least(1, limit=limit)
    check_folders(out=out)
    tokenizer = model.load()
    note(f"writing {out / 'report.html'}; without a GPU that takes minutes")
    side = tokenizer.model.config.image_size
    page = write_demo(
        out,
        tokenizer,
        load_pictures(data, split=split, limit=limit, side=side, out=out, **bad.policy),
        batch_size=model.batch_size,
        decoding=decoder.settings,
        pipeline=shipped_pipeline(model, tokenizer),
        credit=CREDIT if data is None else "",
    )
    report({"report": str(page)}, str(page), json=json)


def shipped_pipeline(model: ModelOptions, tokenizer: ImageTokenizer) -> Pipeline | None:
    """The generator that travels with a shipped tokenizer, where there is one."""
    if model.model not in SHIPPED_GENERATORS:
        return None
    try:
        shipped_folder(SHIPPED_GENERATORS[model.model])
    except FileNotFoundError:
        return None
    return Pipeline.from_pretrained(
        model.model, tokenizer=tokenizer, device=tokenizer.device, dtype=model.dtype
    )
