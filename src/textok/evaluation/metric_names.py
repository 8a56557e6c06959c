"""The meaning of the names of metrics in result files: words for a reader, and which way is better."""

import re
from functools import lru_cache

from textok.evaluation.metrics.paired import PICTURE_METRICS
from textok.evaluation.metrics.picture_metric import Meaning

# By how the name begins: the whole name, or what stands before an underscore. Longer beginnings win.
_BY_START = {metric.name: metric.meaning for metric in PICTURE_METRICS} | {
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
# How the names of facts about a score end.
_FACTS = ("_floor", "_original", "_standard_error", "_std", "_held_out")
_JUDGES = {"_two_tower": "two-tower head", "_class_posterior": "class posteriors"}


@lru_cache(maxsize=256)
def meaning(metric: str) -> Meaning:
    """The meaning of the metric of that name; an unknown name is a fact, in which nothing is better."""
    starts = [start for start in _BY_START if metric == start or metric.startswith(f"{start}_")]
    if not starts:
        return Meaning(metric.replace("_", " "), "", 0)
    base = _BY_START[max(starts, key=len)]
    title = base.title
    if components := re.search(r"_pca(\d+)", metric):
        title += f" along {components[1]} directions"
    if "_unpaired" in metric:
        title += " between unpaired halves"
    if metric.endswith("_beside_floor"):
        title += " of as many as the floor"
    title += next((f" by {words}" for judge, words in _JUDGES.items() if judge in metric), "")
    for ending in _FACTS:
        if metric.endswith(ending) and not metric.endswith("_beside_floor"):
            return Meaning(f"{title}: {ending.strip('_').replace('_', ' ')}", base.unit, 0)
    return Meaning(title, base.unit, base.better)
