"""The frame of every HTML page here: one self-contained file, no external resource, readable without JavaScript."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files


def html_page(body: str, *, title: str) -> str:
    """A whole page around its body, with the style inside."""
    style = files("textok.evaluation.pages").joinpath("report.css").read_text()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def plain_table(rows: Iterable[Iterable[str]], *, heads: Sequence[str] = (), style: str = "plain") -> str:
    """A table of texts that scrolls sideways where it is wider than the page."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"""<div class="wide"><table class="{style}"><thead><tr>{head}</tr></thead>
<tbody>{body}</tbody></table></div>"""
