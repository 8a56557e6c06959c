"""``textok demo`` and ``textok app``: a report that shows the tokenizer at work, and a page to play with."""

from pathlib import Path
from typing import Annotated

from textok.app.serve import free_port, serve
from textok.app.studio import Studio
from textok.cli import checks
from textok.cli.options import DATA_HELP, Bad, Decoder, Json, Model, ModelOptions, Split, optional
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
    checks.at_least(1, limit=limit)
    checks.folders(out=out)
    tokenizer = model.load()
    note(f"writing {out / 'report.html'}; without a GPU that takes minutes")
    side = tokenizer.model.config.image_size
    page = write_demo(
        out,
        tokenizer,
        load_pictures(data, split=split, limit=limit, side=side, out=out, **bad.policy),
        batch_size=model.batch_size,
        decoding=decoder.settings,
        pipeline=_pipeline(model, tokenizer),
        credit=CREDIT if data is None else "",
    )
    report({"report": str(page)}, str(page), json=json)


def app(
    model: Model,
    *,
    generator: Annotated[str | None, optional("MODEL", "that of the model")] = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    browser: bool = False,
) -> None:
    """Open a page to play with: pictures to tokens and back, words to pictures, quality over tokens.

    Needs the extra app, and no network. Nothing of a visit is kept after it.

    Args:
        generator: draws pictures from words; a shipped name, a folder or a hub id.
        host: the address to listen at; 0.0.0.0 lets other machines in.
        port: where the page is; 0 takes any that is free.
        browser: open it in the browser of this machine.
    """
    port = free_port(host, port)
    tokenizer = model.load()
    drawn_by = _pipeline(model, tokenizer, generator)
    serve(Studio(drawn_by or tokenizer, source=model.model), host=host, port=port, browser=browser)


def _pipeline(model: ModelOptions, tokenizer: ImageTokenizer, name: str | None = None) -> Pipeline | None:
    """The generator of that name; without one that which travels with a shipped tokenizer, where there is one."""
    if name is None:
        try:
            shipped_folder(SHIPPED_GENERATORS[model.model])
        except (KeyError, FileNotFoundError):
            return None
    return Pipeline.from_pretrained(
        name or model.model, tokenizer=tokenizer, device=tokenizer.device, dtype=model.dtype
    )
