"""Add what the scenes need to the drawings: python measure.py IN OUT (folders of SPLIT.parquet).

Columns: colors (names and percent, the largest first), hsv (of the first color), turns (the colors it can be
turned to: at least half of it then measures so), cover (percent of opaque pixels), and the rows in the order of icons-128 with its key, icon_key.
"""

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from colour_names import seen_pixels, shares, typical_hsv
from textok.data.scenes.colours import TURNS, turn

COLOURLESS = ("black", "white", "gray")
LEAST_SHARE = 55


def measure(data: bytes) -> dict[str, object]:
    """The measured columns of one drawing."""
    rgba = np.array(Image.open(io.BytesIO(data)).convert("RGBA"))
    seen = seen_pixels(rgba)
    ranked = shares(seen)
    if not ranked:  # all of it is nearly transparent
        return {"colors": [], "hsv": (0, 0, 0), "turns": [], "cover": 0}
    main = ranked[0][0]
    typical = typical_hsv(seen, main)
    turns = [] if main in COLOURLESS or ranked[0][1] < 40 else [t for t in TURNS if t != main and lands(rgba, typical, t)]
    return {"colors": [{"name": name, "percent": percent} for name, percent in ranked[:3]], "hsv": typical, "turns": turns, "cover": len(seen) * 100 // (128 * 128)}


def lands(rgba: np.ndarray, typical: tuple[int, int, int], target: str) -> bool:
    """Whether the turned drawing is measured as the target, in full size and small."""
    for side in (128, 32):
        image = Image.fromarray(rgba).convert("RGBa").resize((side, side), Image.Resampling.BOX).convert("RGBA")
        turned = np.array(turn(image.convert("RGB"), typical, target))
        seen = turned[np.array(image)[..., 3] >= 128]
        if not len(seen) or shares(seen)[0][0] != target or shares(seen)[0][1] < LEAST_SHARE:
            return False
    return True


def place(key: str) -> str:
    """Where icons-128 shuffled a drawing to, see order() in splits.py."""
    return hashlib.sha256(f"shuffle|{key}".encode()).hexdigest()


def main() -> None:
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.glob("*.parquet")):
        rows = sorted(pq.read_table(file).to_pylist(), key=lambda row: place(row["key"]))
        table = [
            {"icon_key": f"{file.stem}-{number:06d}", **row, **measure(row["image"])} for number, row in enumerate(rows)
        ]
        pq.write_table(pa.Table.from_pylist(table), out / file.name, compression="zstd", row_group_size=1000)
        print(file.stem, len(table), flush=True)


if __name__ == "__main__":
    main()
