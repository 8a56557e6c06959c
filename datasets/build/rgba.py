"""Pack the drawings with their alpha channel: python rgba.py SOURCES CACHE OUT (sources as in build.py).

``measure.py`` then adds what scenes need.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from build import SEED, RenderCache, assign, captioned, family_hash, read_all, withheld_hashes
from captions import compose
from PIL import Image
from write import choose_backgrounds, tint_of

sources, cache, out = (Path(a) for a in sys.argv[1:4])
samples = captioned(sources, RenderCache(cache), read_all(sources))
hidden = withheld_hashes()
samples = [s for s in samples if family_hash(s.family) not in hidden]
assign(samples, SEED)
backgrounds = choose_backgrounds(samples)
rows = {split: [] for split in ("train", "val", "test-drawing", "test-concept")}
for s in samples:
    pixels = np.array(s.rgba)
    pixels[pixels[..., 3] == 0] = 0
    packed = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(packed, "WEBP", quality=80, alpha_quality=90, method=5)
    background = backgrounds[s.drawing.uid]
    tint = tint_of(s.rgba) if s.drawing.source == "openclipart" else ""
    words = s.words
    rows[s.split].append({
        "key": s.drawing.uid, "image": packed.getvalue(), "style": s.drawing.source, "name": words.name, "phrase": words.phrase,
        "detail": words.detail, "keywords": list(words.keywords), "concept": s.concept, "tint": tint,
        "icon_caption": compose(s.drawing.source, words, background, tint), "icon_background": background,
    })
out.mkdir(parents=True, exist_ok=True)
for split, of_split in rows.items():
    pq.write_table(pa.Table.from_pylist(of_split), out / f"{split}.parquet", compression="zstd", row_group_size=1000)
