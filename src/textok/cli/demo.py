"""``textok demo``: one report that shows the tokenizer at work."""

from pathlib import Path


def demo(*, out: Path = Path("textok-demo"), model: str = "icons-128") -> None:
    """Write a report that shows the tokenizer at work; needs no network, only what travels in the package.

    Args:
        out: the folder for the report.
        model: a shipped name, a folder or a hub id.
    """
    from textok.evaluation.demo import write_demo

    print(write_demo(out, model=model))
