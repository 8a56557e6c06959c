"""Write ../ATTRIBUTION.md from the finished tars: licences, packages, authors.

    python attribution.py --data ..
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from verify import read_tar

# source -> (set, holder, licence, upstream, package)
SETS: dict[str, tuple[str, str, str, str, str]] = {
    "fluent-3d": ("Fluent Emoji, 3D", "Microsoft Corporation", "MIT", "github.com/microsoft/fluentui-emoji",
                  "npm @lobehub/fluent-emoji-3d 1.1.0"),
    "fluent-flat": ("Fluent Emoji, flat", "Microsoft Corporation", "MIT", "github.com/microsoft/fluentui-emoji",
                    "npm @iconify-json/fluent-emoji-flat 1.2.6"),
    "noto": ("Noto Emoji", "Google Inc", "Apache-2.0", "github.com/googlefonts/noto-emoji",
             "npm @iconify-json/noto 1.2.9"),
    "noto-v1": ("Noto Emoji, first design", "Google Inc", "Apache-2.0", "github.com/googlefonts/noto-emoji",
                "npm @iconify-json/noto-v1 1.2.5"),
    "twemoji": ("Twemoji", "Twitter, Inc and other contributors", "CC-BY-4.0", "github.com/jdecked/twemoji",
                "npm @iconify-json/twemoji 1.2.5"),
    "emojione": ("Emoji One 2.x (EmojiTwo)", "Emoji One and EmojiTwo contributors", "CC-BY-4.0",
                 "github.com/EmojiTwo/emojitwo", "npm @iconify-json/emojione 1.2.3"),
    "fxemoji": ("FxEmoji", "Mozilla", "Apache-2.0", "github.com/mozilla/fxemoji", "npm @iconify-json/fxemoji 1.2.2"),
    "openclipart": ("Open Clip Art Library 0.18", "its authors, listed below", "public domain dedication",
                    "www.openclipart.org", "Debian openclipart-svg 1:0.18+dfsg-19"),
}
LICENCES = """
The full texts are in `licences/`; they travel with every copy of the pictures.

| licence | text | note |
|---|---|---|
| MIT (SPDX `MIT`) | [licences/MIT-Microsoft.txt](licences/MIT-Microsoft.txt) | with the copyright line of its holder here, Microsoft Corporation; https://opensource.org/license/mit |
| MIT, emojibase-data | [licences/MIT-emojibase.txt](licences/MIT-emojibase.txt) | emoji names and keywords |
| Apache-2.0 | [licences/Apache-2.0.txt](licences/Apache-2.0.txt) | https://www.apache.org/licenses/LICENSE-2.0 |
| CC-BY-4.0 | [licences/CC-BY-4.0.txt](licences/CC-BY-4.0.txt) | credit is given here and in the field `source`; https://creativecommons.org/licenses/by/4.0/ |
| CC0-1.0 | [licences/CC0-1.0.txt](licences/CC0-1.0.txt) | https://creativecommons.org/publicdomain/zero/1.0/ |
"""
CHANGES = """All drawings were changed: rendered or resized to 128x128, centred, some put on a plain colored background, and
saved as lossy WebP. Emoji names and keywords come from Unicode CLDR through npm emojibase-data 17.0.0 (MIT; Unicode
License). The sentences around them are ours. The Debian word list `wamerican` (SCOWL, permissive) only served to tell
English titles; no part of it is included."""


def rows_of(folder: Path) -> list[dict[str, str]]:
    return [fields for path in sorted(folder.glob("*.tar")) for _, _, fields in read_tar(path)]


def set_table(counts: Counter[str]) -> list[str]:
    lines = ["| source | set | holder | licence | upstream | package | pictures |", "|---|---|---|---|---|---|---|"]
    for source, (name, holder, licence, upstream, package) in SETS.items():
        lines.append(f"| {source} | {name} | {holder} | {licence} | {upstream} | {package} | {counts[source]} |")
    return lines


def photo_lines(rows: list[dict[str, str]]) -> list[str]:
    return [f"- {r['file']}: {r['caption'].removeprefix('a photo of ')}; {r['author'] or 'author not stated'}; "
            f"{r['licence']}; {r['url'] or 'PyPI scikit-image 0.26.0'}" for r in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parent.parent)
    data = parser.parse_args().data
    icons, photographs = rows_of(data / "icons-128"), rows_of(data / "photos-256")
    authors = Counter(r.get("author") or "(not stated)" for r in icons if r["source"] == "openclipart")
    listed = "; ".join(f"{name} ({count})" for name, count in sorted(authors.items(), key=lambda a: a[0].lower()))
    lines = ["# Attribution", "", CHANGES, "", "## Drawings (icons-128)", "", *set_table(Counter(r["source"] for r in icons)),
             "", "### Authors of the OpenClipart drawings, with counts", "", listed, "", "## Licence texts", LICENCES,
             "## Photographs (photos-256)", "",
             "From Debian gcompris-qt-data 3.1-2 (licences as stated in its README files) and PyPI scikit-image "
             "(licences as stated in its documentation). Cropped square and resized.", "", *photo_lines(photographs)]
    (data / "ATTRIBUTION.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
