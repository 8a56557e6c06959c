"""Pictures and captions side by side, to be looked at before money is spent; and what the whole will take."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from textok.captioning.journal import CAPTIONS, REJECTED, Journal, read_rows
from textok.captioning.pictures import jpeg_bytes, open_picture
from textok.captioning.writers.protocol import Writer
from textok.data.images import ImageError
from textok.data.samples import BadSampleError
from textok.data.sources import Source
from textok.evaluation.pages.document import html_page
from textok.writing import write_text

_SIDE = 256


def write_preview(source: Source, folder: Path, page: Path, *, limit: int) -> None:
    """A page of the first pictures with their captions, and of what was rejected and why.

    Args:
        source: the pictures.
        folder: of the captions.
        page: the HTML file, with the pictures inside.
        limit: pictures at most.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in (CAPTIONS, REJECTED):
        for row in read_rows(folder / name):
            rows.setdefault(row["key"], []).append(row)
    figures = [_figure(source, index, rows) for index in range(min(limit, len(source)))]
    makers = {
        f"{row['writer']} ({row['model']}, prompt {row['prompt']})" for some in rows.values() for row in some
    }
    body = f"<h1>Captions by {escape('; '.join(sorted(makers)))}</h1>\n" + "\n".join(figures)
    write_text(page, html_page(body, title="Captions: preview by textok"))


def estimate_rest(journal: Journal, *, pictures: int, writer: Writer) -> dict[str, int | float]:
    """What the captions that are missing of so many pictures will take, going by those that are there.

    Raises:
        ValueError: when there are no captions yet.
    """
    done = len(journal.done)
    if not done:
        raise ValueError(
            "estimate: got no captions to go by, expected some; caption a few first by --limit 20"
        )
    left = max(0, pictures * journal.config.captions_per_picture - done)
    rest = {
        name: round(getattr(journal, name) * left / done, 4) for name in ("tokens_in", "tokens_out", "cost")
    }
    hours = journal.seconds * left / done / writer.in_flight / 3600
    return {"captions": left, **rest, "hours": round(hours, 4)}


def _figure(source: Source, index: int, rows: dict[str, list[dict[str, Any]]]) -> str:
    try:
        sample = source.read(index)
    except BadSampleError as error:
        return f"<p><code>{escape(error.bad.key)}</code>: {escape(error.bad.reason)}</p>"
    try:
        picture = jpeg_bytes(open_picture(sample.image, side=_SIDE), quality=85)
        image = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
    except ImageError as error:
        image = escape(str(error))
    texts = _texts(rows.get(sample.key, ()))
    return (
        f'<section style="display:flex;gap:1.5em;margin:1.5em 0;align-items:flex-start">'
        f'<div style="flex:0 0 {_SIDE}px">{image}</div><div><code>{escape(sample.key)}</code>{texts}'
        "</div></section>"
    )


def _texts(rows: Sequence[dict[str, Any]]) -> str:
    texts = []
    for row in rows:
        reason = row.get("reason")
        note = f"rejected: {reason}" if reason else ", ".join(row["changes"])
        text = f"<s>{escape(row['caption'][:300])}</s>" if reason else escape(row["caption"])
        words = "" if reason else f"{len(row['caption'].split())} words; "
        tokens = f"{row['tokens_in']} + {row['tokens_out']} tokens, {row['seconds']:.1f} s"
        texts.append(f"<p>{text}<br><small>{escape(f'{words}{tokens}; {note}'.rstrip('; '))}</small></p>")
    return "".join(texts) or "<p><em>not asked about yet</em></p>"
