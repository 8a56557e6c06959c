"""Whether a caption contradicts what is known of its picture, judged by a text encoder alone."""

import threading
from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from textok.evaluation.alignment.captions import caption_features
from textok.evaluation.alignment.class_posterior import ClassPosterior
from textok.models.text_encoder import TextEncoder


class Agreement:
    """Compares a caption with its known words, and with the names of all ImageNet classes as a measure.

    The encoder is MiniLM, which comes with the package; the score is the cosine of mean token states.

    Args:
        quantile: a caption contradicts when this share of the class names fits it better than its known words.
    """

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._text = TextEncoder.from_pretrained("minilm")
        self._classes = ClassPosterior.imagenet(text=self._text).classes
        self._one_at_a_time = threading.Lock()

    def contradicts(self, caption: str, known: Sequence[str]) -> bool:
        """Whether the known words fit the caption worse than that quantile of the class names."""
        with self._one_at_a_time, torch.inference_mode():
            features = normalize(caption_features([caption, "; ".join(known)], text=self._text), dim=1)
        usual = torch.quantile(self._classes @ features[0], self._quantile)
        return bool(features[0] @ features[1] < usual)
