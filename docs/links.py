"""Check a built site: every link leads to a file and an anchor in it, and nothing is loaded from elsewhere.

python docs/links.py site
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The links of a page, the anchors in it, and what a browser would load for it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what the tag names."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        loaded = values.get(LOADED.get(tag, ""))
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            loaded = values.get("href")
        self.loaded += [loaded] if loaded else []
        self.links += [link for link in (values.get("href") if tag == "a" else None, loaded) if link]


@cache
def read(path: Path) -> Page:
    """The page of a file."""
    return Page(path.read_text(encoding="utf-8"))


def faults(site: Path) -> list[str]:
    """What is wrong, one line each."""
    read.cache_clear()
    site = site.resolve()
    pages = sorted(site.rglob("*.html"))
    away = [f"{page}: loads {link}" for page in pages for link in read(page).loaded if urlsplit(link).netloc]
    return away + [
        f"{page}: {link}" for page in pages for link in read(page).links if not leads(page, link, site)
    ]


def leads(page: Path, link: str, site: Path) -> bool:
    """Whether a link of a page leads somewhere within the site; those to other places are not followed."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file() or not target.is_relative_to(site):
        return page.name == "404.html"  # its links start at the root of a server
    anchor = unquote(parts.fragment)
    return not anchor or target.suffix != ".html" or anchor in read(target).anchors


if __name__ == "__main__":
    broken = faults(Path(sys.argv[1]))
    print("\n".join(broken) or f"{len(list(Path(sys.argv[1]).rglob('*.html')))} pages, no broken link")
    sys.exit(bool(broken))
