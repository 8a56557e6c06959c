"""The check of a built site finds broken links, lost anchors and what would be loaded from elsewhere."""

import runpy
from pathlib import Path

faults = runpy.run_path(str(Path(__file__).parents[2] / "docs/links.py"))["faults"]


def test_broken_links_and_foreign_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">x</h1><a href="b.html#here">b</a><a href="https://arxiv.org">x</a>'
    )
    (tmp_path / "b.html").write_text('<p id="here">x</p><a href="a.html#top">a</a>')
    assert faults(tmp_path) == []
    (tmp_path / "b.html").write_text(
        '<a href="a.html#gone">a</a><a href="c.html">c</a><img src="https://a.org/x.png">'
        '<script src="gone.js"></script>'
    )
    broken = faults(tmp_path)
    assert len(broken) == 5 and all(
        any(word in line for line in broken) for word in ("#here", "#gone", "c.html")
    )
    assert any("loads https://a.org/x.png" in line for line in broken) and any(
        "gone.js" in line for line in broken
    )
