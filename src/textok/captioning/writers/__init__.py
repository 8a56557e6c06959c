"""Writers of captions by name. A new one is one file here and one row in ``WRITERS``."""

from importlib import import_module

from textok.captioning.config import CaptionConfig
from textok.captioning.writers.protocol import Writer

WRITERS = {
    "describe": "textok.captioning.writers.describe:DescribeWriter",
    "alt-text": "textok.captioning.writers.alt_text:AltTextWriter",
    "transformers": "textok.captioning.writers.transformers:TransformersWriter",
    "openai": "textok.captioning.writers.openai:OpenAIWriter",
}
"""Each class is made from a ``CaptionConfig``; its module is imported only when it is asked for."""


def open_writer(config: CaptionConfig) -> Writer:
    """The writer of that name.

    Raises:
        ValueError: when its package is not installed, or an option it needs is missing or makes no sense for it.
    """
    module, _, name = WRITERS[config.writer].partition(":")
    try:
        writer = getattr(import_module(module), name)(config)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"writer: got {config.writer!r}, but the package {error.name} is not installed; "
            "pip install 'open-textok[caption]'"
        ) from error
    if config.captions_per_picture > 1 and not writer.varies:
        raise ValueError(
            f"captions_per_picture: got {config.captions_per_picture} with {config.writer}, which writes the same "
            "each time, expected 1"
        )
    return writer
