"""What the metrics' names in result files mean: which way is better, and how to say it to a reader."""

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Meaning:
    """What a metric says.

    Attributes:
        title: its name in words.
        unit: written on its axis.
        better: 1 when higher is better, -1 when lower is, 0 when it is a fact and not a score.
    """

    title: str
    unit: str
    better: int

    @property
    def advice(self) -> str:
        """The title, with which way is better."""
        return self.title + {1: ": higher is better", -1: ": lower is better", 0: ""}[self.better]


# By how the name begins: the whole name, or what stands before an underscore. Longer beginnings win.
_BY_START = {
    "psnr": Meaning("PSNR", "dB", 1),
    "ssim": Meaning("SSIM", "similarity", 1),
    "ms_ssim": Meaning("Multi-scale SSIM", "similarity", 1),
    "perceptual": Meaning("Perceptual distance", "distance", -1),
    "lpips": Meaning("LPIPS", "distance", -1),
    "fd": Meaning("Fréchet distance", "distance", -1),
    "fid": Meaning("FID", "distance", -1),
    "kd": Meaning("Kernel distance", "distance", -1),
    "kid": Meaning("KID", "distance", -1),
    "precision": Meaning("Precision", "share", 1),
    "recall": Meaning("Recall", "share", 1),
    "is": Meaning("Inception score", "score", 1),
    "retrieval": Meaning("Caption retrieval", "share", 1),
    "posterior_agreement": Meaning("Agreement of class posteriors", "share", 1),
    "top1_agreement": Meaning("Agreement on the class", "share", 1),
    "alignment": Meaning("Caption alignment", "score", 1),
    "nearest_train_median": Meaning("Median distance to the nearest training picture", "distance", 0),
    "latent_mean_abs_max": Meaning("Latents: largest mean of a channel, without its sign", "", 0),
    "latent_std_min": Meaning("Latents: smallest standard deviation of a channel", "", 0),
    "latent_std_max": Meaning("Latents: largest standard deviation of a channel", "", 0),
    "kl_nats_per_token": Meaning("Divergence of a token's latents from the standard normal", "nats", 0),
    "code_usage": Meaning("Share of the codes that occur", "share", 0),
    "code_perplexity": Meaning("Perplexity of the codes", "codes", 0),
    "bits_per_image": Meaning("Size of a picture's codes at a fixed length", "bits", 0),
    "copied_share": Meaning("Pictures nearer to a training picture than 99 % of real ones", "share", -1),
}
# Facts about a score, told by how its name ends.
_FACTS = ("_floor", "_original", "_standard_error", "_std", "_held_out")


_JUDGES = {"_two_tower": "two-tower head", "_class_posterior": "class posteriors"}


@lru_cache(maxsize=256)
def meaning(metric: str) -> Meaning:
    """What the metric of that name says; a name that is not known is a fact that nothing is better in."""
    starts = [start for start in _BY_START if metric == start or metric.startswith(f"{start}_")]
    if not starts:
        return Meaning(metric.replace("_", " "), "", 0)
    found = _BY_START[max(starts, key=len)]
    title = found.title
    if components := re.search(r"_pca(\d+)", metric):
        title += f" along {components[1]} directions"
    if "_unpaired" in metric:
        title += " between unpaired halves"
    if metric.endswith("_beside_floor"):
        title += " of as many as the floor"
    title += next((f" by {words}" for judge, words in _JUDGES.items() if judge in metric), "")
    for ending in _FACTS:
        if metric.endswith(ending) and not metric.endswith("_beside_floor"):
            return Meaning(f"{title}: {ending.strip('_').replace('_', ' ')}", found.unit, 0)
    return Meaning(title, found.unit, found.better)
