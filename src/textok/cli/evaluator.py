"""A tokenizer with everything that scores it, put together from the options of ``textok evaluate``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textok.cli.checks import check_at_least, check_size
from textok.cli.distributed import is_first, note, place, scoring_device
from textok.cli.tested import NetworkChoice, TestedPictures

if TYPE_CHECKING:
    import torch

    from textok.data import Source
    from textok.evaluation.captioned import CaptionedPictures
    from textok.evaluation.metrics.semantics import Semantics
    from textok.evaluation.networks import FeatureNetwork
    from textok.evaluation.reconstruction import ReconstructionScores, TextSource
    from textok.models.tokenizer import TexTok

SEED = "0 for the subsets of the kernel distance and the order of shuffled words; nothing else is drawn at random"
WRONG = "that of the picture half the split further on, or the next that reads differently"


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """A tokenizer with everything that scores it."""

    model: "TexTok"
    source: str
    text: "TextSource"
    network: "FeatureNetwork"
    semantics: "Semantics | None"
    budgets: list[int]
    captions: list[str]
    batch_size: int
    autocast: "torch.dtype | None"

    @classmethod
    def prepare(
        cls,
        name: str,
        network: NetworkChoice,
        *,
        budgets: Sequence[str],
        captions: Sequence[str],
        device: str,
        precision: str,
        batch_size: int,
        size: tuple[int, int] | None,
        semantics: bool,
    ) -> "Evaluator":
        """Load the tokenizer, its text encoder and the feature networks.

        Raises:
            ValueError: for budgets, caption conditions or a size of pictures that the tokenizer has not.
        """
        import torch

        from textok.models.text_encoder import TextEncoder
        from textok.models.tokenizer import TexTok

        check_at_least(1, batch_size=batch_size)
        where = scoring_device(device)
        model = TexTok.from_pretrained(name).to(where)
        config = model.config
        check_size(size, patch=config.patch_size)
        chosen = checked_budgets(budgets, longest=config.num_latents)
        conditions = checked_captions(captions, reads_captions=config.placement != "none")
        text: TextSource = _no_text
        if config.placement != "none":
            text = TextEncoder.from_pretrained(
                config.text_encoder, max_tokens=config.max_text_tokens, device=where
            )
        reader = network.load(where)
        return cls(
            model=model,
            source=name,
            text=text,
            network=reader,
            semantics=load_semantics(reader, where) if semantics else None,
            budgets=chosen,
            captions=conditions,
            batch_size=batch_size,
            autocast=torch.bfloat16 if precision == "bfloat16" else None,
        )

    @property
    def device(self) -> "torch.device":
        """Where the tokenizer is."""
        return next(self.model.parameters()).device

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader of the numbers must know of how they were made."""
        from textok.pixels import UINT8_RULE

        return {
            "task": "reconstruction",
            "model": self.model.model_id,
            "model_source": self.source,
            "text_encoder": self.model.config.text_encoder,
            "feature_network": self.network.name,
            "two_tower": None if self.semantics is None else self.semantics.two_tower.model_id,
            "precision": "float32" if self.autocast is None else "bfloat16 autocast",
            "uint8": UINT8_RULE,
            "seed": SEED,
            "wrong_caption": WRONG,
            "budgets": self.budgets,
            "captions": self.captions,
        }

    def read(
        self, pictures: TestedPictures, name: str, source: "Source", *, settings: dict[str, Any]
    ) -> "CaptionedPictures":
        """The pictures of a split at the model's size; what they are goes into the settings."""
        side = self.model.config.image_size
        size = pictures.size or (side, side)
        found = pictures.read(name, source, size=size, batch_size=self.batch_size)
        settings["size"] = list(size)
        settings.setdefault("splits", {})[name] = {
            "fingerprint": source.fingerprint,
            "count": len(found),
            "captioned": sum(map(bool, found.captions)),
        }
        return self._with_variants(found)

    def _with_variants(self, pictures: "CaptionedPictures") -> "CaptionedPictures":
        """With the asked conditions that are made of the right captions, as far as these allow."""
        from textok.evaluation.caption_variants import VARIANTS, with_variants

        asked = [name for name in usable_conditions(pictures, self.captions) if name in VARIANTS]
        text = self._similarity_text() if "near" in asked else _no_text
        return with_variants(pictures, asked, text=text)

    def _similarity_text(self) -> "TextSource":
        """What "near" is judged by: that of the judges, whatever text encoder the tokenizer has."""
        from textok.models.text_encoder import TextEncoder

        if self.semantics is not None:
            return self.semantics.text
        return TextEncoder.from_pretrained(device=self.device)

    def score(self, pictures: "CaptionedPictures", conditions: Sequence[str]) -> "ReconstructionScores":
        """Every metric of a split, the same in every process, with a progress bar of the first one's share."""
        from tqdm import tqdm

        from textok.evaluation import reconstruction

        rank, count = place()
        share = len(range(rank, len(pictures), count))
        with tqdm(total=share, desc=pictures.split, unit="image", disable=not is_first()) as bar:
            return reconstruction.evaluate_reconstruction(
                self.model,
                pictures,
                text=self.text,
                network=self.network,
                semantics=self.semantics,
                budgets=self.budgets,
                captions=conditions,
                batch_size=self.batch_size,
                rank=rank,
                world_size=count,
                autocast=self.autocast,
                progress=bar.update,
            )

    def write_samples(self, folder: Path, pictures: "CaptionedPictures", conditions: Sequence[str]) -> None:
        """An ADM sample file of the originals and of each condition's and budget's reconstructions."""
        from textok.evaluation import adm
        from textok.evaluation.reconstruction import reconstruct_all

        stem = pictures.split.replace("/", "-")
        adm.write_samples(folder / f"{stem}-original.npz", pictures.images)
        for condition in conditions:
            for budget in self.budgets:  # one at a time: the pictures of all cells may not fit in memory
                found = reconstruct_all(
                    self.model,
                    pictures,
                    text=self.text,
                    budgets=[budget],
                    captions=[condition],
                    batch_size=self.batch_size,
                    autocast=self.autocast,
                )
                adm.write_samples(folder / f"{stem}-{condition}-{budget}.npz", found[condition, budget])


def checked_budgets(asked: Sequence[str], *, longest: int) -> list[int]:
    """The budgets as numbers; the usual ones up to the model's K, and K, when none are asked.

    Raises:
        ValueError: for words that are no numbers from 1 to K.
    """
    from textok.evaluation.reconstruction import BUDGETS

    if not asked:
        return sorted({k for k in BUDGETS if k < longest} | {longest})
    if not all(word.isdecimal() and 1 <= int(word) <= longest for word in asked):
        raise ValueError(
            f"budgets: got {','.join(asked)}; expected numbers from 1 to the model's {longest} tokens"
        )
    return list(dict.fromkeys(int(word) for word in asked))


def checked_captions(asked: Sequence[str], *, reads_captions: bool) -> list[str]:
    """The caption conditions; only "none" for a tokenizer that reads no captions.

    Raises:
        ValueError: for an unknown one.
    """
    from textok.evaluation.caption_variants import VARIANTS
    from textok.evaluation.captioned import CAPTIONS

    known = (*CAPTIONS, *VARIANTS)
    if not asked or not set(asked) <= set(known):
        raise ValueError(f"captions: got {','.join(asked)!r}; expected some of {','.join(known)}")
    if not reads_captions and list(asked) != ["none"]:
        note("this tokenizer reads no captions: evaluated with none only")
        return ["none"]
    return list(asked)


def load_semantics(network: "FeatureNetwork", device: "torch.device") -> "Semantics":
    """The judges of what pictures say; they share the network where it is theirs."""
    from textok.evaluation.metrics.semantics import Semantics

    shared = network if network.name == NetworkChoice.network else None
    return Semantics.from_pretrained(network=shared, device=device)


def usable_conditions(pictures: "CaptionedPictures", asked: Sequence[str]) -> list[str]:
    """The asked conditions that these pictures' captions allow; ["none"] when there is no other."""
    from textok.evaluation.caption_variants import names_things
    from textok.evaluation.captioned import lends_captions

    captions = pictures.captions
    needs = {"none": True, "wrong": lends_captions(captions), "near": names_things(captions)}
    captioned = any(caption.strip() for caption in captions)
    return [name for name in asked if needs.get(name, captioned)] or ["none"]


def tell_left_out(pictures: "CaptionedPictures", asked: Sequence[str], usable: Sequence[str]) -> None:
    """Say on stderr which of the asked conditions are not evaluated, and why."""
    left_out = [name for name in asked if name not in usable]
    if left_out:
        note(f"{pictures.split}: not evaluated: {', '.join(left_out)}: {_why_left_out(pictures, left_out)}")


def _why_left_out(pictures: "CaptionedPictures", left_out: Sequence[str]) -> str:
    if not any(caption.strip() for caption in pictures.captions):
        return "the pictures have no captions"
    if left_out == ["near"]:
        return "all captions name the same thing"
    return "all captions say the same"


def _no_text(captions: Sequence[str]) -> Any:
    raise AssertionError("a tokenizer without text was asked for captions")
