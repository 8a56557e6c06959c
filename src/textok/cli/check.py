"""``textok check``: what a source holds and what would go wrong with it, without training or encoding anything."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from textok.cli.options import DATA_HELP, Json, Limit, OnBad, Size, Split, optional
from textok.cli.output import report
from textok.data import BadSampleError, DataConfig, Source
from textok.evaluation.pages import render
from textok.evaluation.source_check import check_source
from textok.models.checkpoint import SHIPPED, read_config, resolve
from textok.writing import check_target, write_text

_SHOWN = 24


def check(
    data: Annotated[Positional[str], arg(metavar="DATA", help=DATA_HELP)],
    *,
    split: Split = None,
    limit: Limit = None,
    model: str = "icons-128",
    size: Size = None,
    on_bad: OnBad = "skip",
    page: Annotated[Path | None, optional("FILE.html")] = None,
    json: Json = False,
) -> None:
    """Read captioned pictures and report what is in them: counts, sizes, captions, bad samples, repeats.

    Args:
        model: for whose picture size and text encoder it is judged what would be cut.
        size: height and width, instead of the model's.
        on_bad: what to do with a file that cannot be opened: stop, or count it. Bad samples are listed either way.
        page: write a page with the worst samples here.
    """
    if page is not None:
        check_target(page, option="page", sources=[data])
    settings = read_config(resolve(model, shipped=SHIPPED) / "config.json")["model"]
    size = size or (settings["image_size"], settings["image_size"])
    config = DataConfig(source=data, split=split, size=size, on_bad=on_bad)
    result, source = check_source(config, limit=limit)
    facts = result.facts(
        size=size, text_encoder=settings["text_encoder"], max_tokens=settings["max_text_tokens"]
    )
    if page is not None:
        write_text(page, _page(data, facts, source))
    report(facts, *_lines(data, facts), json=json)


def _lines(data: str, facts: dict[str, Any]) -> list[str]:
    tokens, cut, small = facts["caption_tokens"], facts["captions_cut"], facts["smaller_than_model"]
    heights, widths = facts["heights"], facts["widths"]
    lines = [
        f"{data}: {facts['pictures']:,} pictures, {facts['captioned']:,} with captions ({facts['captions']:,} in all)",
        f"  sizes      height {heights['least']} to {heights['most']} px, median {heights['median']}; width "
        f"{widths['least']} to {widths['most']} px, median {widths['median']}",
        f"  cropped    {facts['cropped_share']:.0%} of each picture on average, to {small['size'][0]} x "
        f"{small['size'][1]} px; {small['count']:,} pictures are smaller",
        f"  captions   {tokens['least']} to {tokens['most']} tokens, median {tokens['median']}; {cut['count']:,} are "
        f"cut to {cut['limit']}",
    ]
    passed = facts["census"]["passed_over"]
    problems = {
        "bad": [f"{bad['key']}: {bad['reason']}" for bad in facts["bad"]],
        "passed": [f"{one['count']} {reason} ({', '.join(one['first'])})" for reason, one in passed.items()],
        "notes": facts["census"]["notes"],
        "animated": [f"{key}: first frame" for key in facts["animated"]],
        "repeats": [" = ".join(group) for group in facts["repeats"]],
        "look alike": [" ~ ".join(pair) for pair in facts["near_repeats"]],
    }
    for name, values in problems.items():
        if values:
            first = "; ".join(values[:3])
            lines.append(f"  {name:<10} {len(values):,}: {first}{'; ...' if len(values) > 3 else ''}")
    return lines


def _page(data: str, facts: dict[str, Any], source: Source) -> str:
    small = ([key] for key in facts["smaller_than_model"]["first"])
    suspects = [key for group in (*facts["repeats"], *facts["near_repeats"], *small) for key in group]
    pictures = list(_pictures(source, set(suspects[:_SHOWN]))) if suspects else []
    words = {"title": f"textok check {data}", "data": data, "lines": "\n".join(_lines(data, facts))}
    return render("check.html", **words, facts=facts, pictures=pictures)


def _pictures(source: Source, keys: set[str]) -> Iterator[tuple[str, str]]:
    """The pictures of these keys: in base64, and their key with the first caption."""
    for index in range(len(source)):
        try:
            raw = source.read(index)
        except BadSampleError:
            continue
        if raw.key in keys and isinstance(raw.image, bytes):
            yield base64.b64encode(raw.image).decode(), f"{raw.key} {raw.captions[0] if raw.captions else ''}"
