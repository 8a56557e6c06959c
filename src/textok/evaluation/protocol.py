"""How every evaluation reads its pictures, in the words that result files hold."""

from textok.evaluation.metrics.semantics import Semantics
from textok.evaluation.networks import Enlarged, FeatureNetwork
from textok.pixels import UINT8_RULE

CROP = "short side resized to fit, centre crop"
FILTER = "lanczos"
WRONG_CAPTION = "that of the picture half the split further on, or the next that reads differently"


def protocol(network: FeatureNetwork, semantics: Semantics | None) -> dict[str, str | None]:
    """What the numbers of an evaluation depend on besides the pictures and the model.

    Args:
        network: computes the distances.
        semantics: judges the captions; None where they are not judged.
    """
    return {
        "crop": CROP,
        "filter": FILTER,
        "uint8": UINT8_RULE,
        "feature_network": _description(network),
        "two_tower": None if semantics is None else semantics.two_tower.model_id,
    }


def _description(network: FeatureNetwork) -> str:
    if isinstance(network, Enlarged):
        return f"{network.name}, pictures enlarged to {network.side} px (bicubic)"
    return network.name
