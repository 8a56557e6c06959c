"""Peak signal-to-noise ratio; its computation is shared with the soft budgets, which choose by it."""

from textok.evaluation.metrics.picture_metric import Meaning, PictureMetric
from textok.objectives.quality import psnr_per_image

__all__ = ["PSNR", "psnr_per_image"]

PSNR = PictureMetric(
    name="psnr",
    meaning=Meaning("PSNR", "dB", 1),
    measure=lambda pairs: psnr_per_image(pairs.originals, pairs.reconstructions),
)
