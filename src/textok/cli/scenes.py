"""``textok scenes``: composed pictures with their captions and facts, as tars, and a page of examples."""

from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from textok.cli import checks
from textok.cli.options import Json, optional
from textok.cli.output import report
from textok.data.scenes.captions import DENSITIES
from textok.data.scenes.drawings import check_scene_size
from textok.data.scenes.source import CARD, LENGTHS, Format, SceneOptions, SceneSource, write_shards
from textok.display import Progress
from textok.evaluation.pages import cards_page, data_uri
from textok.writing import check_target, mark_folder_for, strict_json, write_text

DEFAULTS = SceneOptions(count=1000)
_ON_PAGE, _CARD_SIDE = 48, 256


def scenes(
    options: Annotated[SceneOptions, arg(name="")] = DEFAULTS,
    *,
    out: Path,
    split: Literal["train", "val", "test-drawing", "test-concept"] = "train",
    size: int = 128,
    file_format: Format = "webp",
    page: Annotated[Path | None, optional("FILE.html", "no page")] = None,
    json: Json = False,
) -> None:
    """Compose captioned pictures from drawings: tars with pictures, captions and the facts behind them.

    The same command goes on where it was stopped. README.md is the card of a data set for a hub. Trainings need no
    tars: --data.source scenes draws them as they are needed.

    Args:
        out: the folder for the tars.
        split: whose drawings they show; no drawing is in two splits.
        size: pixels a side, 64 to 512.
        file_format: the format of the pictures, lossless both.
        page: HTML file for a page with the first 48 scenes and all three captions of each.
    """
    count = options.count
    checks.at_least(1, count=count)
    check_scene_size(size)
    if count > LENGTHS[split]:
        raise ValueError(f"count: got {count}, expected at most {LENGTHS[split]:,} for {split}")
    source = SceneSource(split, replace(options, count=0))  # so that more scenes of the same are a longer run
    settings = strict_json({"scenes": source.fingerprint, "size": size, "format": file_format})
    check_target(out)
    mark_folder_for(out, settings)
    before = 0
    with Progress(count, unit="scene") as progress:
        for done in write_shards(source, out, count=count, size=size, file_format=file_format):
            progress.update(done - before)
            before = done
    text = CARD.format(count=count, size=size, split=split, fingerprint=source.fingerprint)
    write_text(out / "README.md", text)
    if page is not None:
        cards = (_card(source, index) for index in range(min(count, _ON_PAGE)))
        write_text(page, cards_page(cards, title=f"Scenes of {source.split}"))
    facts = {"folder": str(out), "scenes": count, "split": split, "size": size, "page": page and str(page)}
    report(facts, f"{out}: {count} scenes of {split}, {size} px{f'; {page}' if page else ''}", json=json)


def _card(source: SceneSource, index: int) -> str:
    facts, uri = source.facts(index), data_uri(source.draw(index, _CARD_SIDE))
    captions = {density: source.caption(index, facts, density) for density in DENSITIES}
    lines = "".join(f"<p><b>{density}</b> {escape(text)}</p>" for density, text in captions.items())
    return f'<img src="{uri}" alt="">{lines}'
