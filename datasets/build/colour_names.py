"""Which name a pixel's colour has, by integer rules; how measure.py knows what colours a drawing has."""

import numpy as np
from jaxtyping import Int, UInt8

from textok.data.scenes.colours import NAMES


def name_pixels(rgb: UInt8[np.ndarray, "n 3"]) -> Int[np.ndarray, "n"]:
    """The place in ``NAMES`` of each pixel's colour, by integer rules on hue, saturation and value."""
    hue, saturation, value = to_hsv(rgb)
    warm, red = (hue >= 14) & (hue < 66), (hue < 14) | (hue >= 346)
    rules = [
        ("black", (value < 52) | ((value < 76) & (saturation < 110))),
        ("white", (value >= 216) & (saturation < 40)),
        ("gray", (saturation < 32) | ((value < 120) & (saturation < 60) & ~warm)),
        ("beige", warm & (saturation < 100) & (value >= 175)),
        ("brown", warm & (hue < 50) & ((value < 165) | ((value < 200) & (saturation < 150)))),
        ("brown", red & (value < 165) & (saturation < 160)),
        ("brown", (hue >= 8) & (hue < 14) & (value < 210) & (saturation < 190)),
        ("pink", red & (saturation < 135) & (value >= 170)),
        ("red", red),
        ("orange", hue < 40),
        ("yellow", hue < 66),
        ("green", hue < 158),
        ("teal", hue < 192),
        ("blue", hue < 256),
        ("purple", (hue < 295) | ((hue < 330) & (value < 150))),
    ]
    places = [NAMES.index(name) for name, _ in rules]
    return np.select([rule for _, rule in rules], places, NAMES.index("pink"))


def shares(rgb: UInt8[np.ndarray, "n 3"]) -> list[tuple[str, int]]:
    """The names of the colours of some pixels with their shares in percent, the largest first."""
    counts = np.bincount(name_pixels(rgb), minlength=len(NAMES))
    ranked = sorted(zip((-counts).tolist(), NAMES, strict=True))
    return [(name, -count * 100 // max(1, len(rgb))) for count, name in ranked if count]


def seen_pixels(rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "n 3"]:
    """The colours of the pixels that are more opaque than not."""
    return rgba[rgba[..., 3] >= 128][:, :3]


def typical_hsv(rgb: UInt8[np.ndarray, "n 3"], name: str) -> tuple[int, int, int]:
    """Median hue (in 256ths), saturation and value (0..255) of the pixels of one name."""
    hue, saturation, value = to_hsv(rgb[name_pixels(rgb) == NAMES.index(name)])
    middle = (hue + 180) % 360 if name in ("red", "pink") else hue  # red lies around 0
    typical = int(np.median(middle)) + (180 if name in ("red", "pink") else 0)
    return typical % 360 * 256 // 360, int(np.median(saturation)), int(np.median(value))


def to_hsv(
    rgb: UInt8[np.ndarray, "n 3"],
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Hue in degrees, saturation and value in 0..255."""
    red, green, blue = rgb.astype(np.int32).T
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    safe = np.maximum(chroma, 1)
    hue = np.where(
        value == red,
        (green - blue) * 60 // safe % 360,
        np.where(value == green, (blue - red) * 60 // safe + 120, (red - green) * 60 // safe + 240),
    )
    return np.where(chroma == 0, 0, hue), chroma * 255 // np.maximum(value, 1), value
