"""``textok app``: a page to play with."""

from typing import Annotated

from tyro.conf import arg

from textok.app.serve import free_port, serve
from textok.app.studio import Studio
from textok.cli.demo import shipped_pipeline
from textok.cli.options import Model
from textok.pipeline.generation import Pipeline


def app(
    model: Model,
    *,
    generator: Annotated[
        str | None, arg(metavar="MODEL", help_behavior_hint="(default: that of the model)")
    ] = None,
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
    pipeline = shipped_pipeline(model, tokenizer)
    if generator is not None:
        pipeline = Pipeline.from_pretrained(
            generator, tokenizer=tokenizer, device=tokenizer.device, dtype=model.dtype
        )
    serve(Studio(pipeline or tokenizer, source=model.model), host=host, port=port, browser=browser)
