"""How well a tokenizer reconstructs: every metric per split, caption condition and token budget.

Protocol: a picture is encoded once per caption condition to all K latents; a budget of k keeps the first k of
them; the decoder gets the same caption as the encoder. The same code runs inside training and on the command
line.

Every row also says what the encodings of its caption condition look like: the latents' statistics are those of all
K tokens, whatever the row's budget; the codes' are those of its first k, so that bits are those of the budget.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from textok.evaluation.alignment.mean_states import TextSource
from textok.evaluation.captioned import CAPTIONS, Caption, CaptionedPictures
from textok.evaluation.metrics.semantics import Semantics
from textok.evaluation.networks import FeatureNetwork
from textok.evaluation.reconstruction_tally import ChannelRow, Row, Tally
from textok.models.text import TextCondition
from textok.models.tokenizer import Encoding, TexTok
from textok.pixels import to_uint8, to_unit

BUDGETS = (2, 4, 8, 16, 32)

Reconstructions = dict[tuple[Caption, int], UInt8[Tensor, "n 3 h w"]]
"""uint8 pictures by caption condition and budget."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionScores:
    """What an evaluation found.

    Attributes:
        rows: one a caption condition and budget: split, captions, budget, count and the metrics by name.
        per_image: one a picture, caption condition and budget: split, key, captions, budget and the metrics
            that single pictures have (for bootstrap intervals).
        latents: one a caption condition: split, captions, and lists of the mean and std of every channel.
    """

    rows: list[Row]
    per_image: list[Row]
    latents: list[ChannelRow]


def evaluate_reconstruction(
    model: TexTok,
    pictures: CaptionedPictures,
    *,
    text: TextSource,
    network: FeatureNetwork,
    budgets: Sequence[int] = BUDGETS,
    captions: Sequence[Caption] = CAPTIONS,
    batch_size: int = 32,
    rank: int = 0,
    world_size: int = 1,
    autocast: torch.dtype | None = None,
    semantics: Semantics | None = None,
    progress: Callable[[int], object] | None = None,
) -> ReconstructionScores:
    """Score a tokenizer on a set of pictures.

    Args:
        model: the tokenizer (EMA weights, for training); evaluated in eval mode, left as it was found.
        pictures: the whole set, the same on every rank.
        text: turns captions into the model's text; not called for the condition "none".
        network: feature network of the perceptual and Fréchet distances, on the model's device.
        budgets: numbers of tokens, at most the model's K.
        captions: caption conditions.
        batch_size: pictures at a time.
        rank: this process; it takes every ``world_size``-th picture.
        world_size: processes of the torch.distributed job; all of them must call, all get the whole result.
        autocast: number type to run the model in by autocast; None runs it in that of its weights.
        semantics: judges of what the pictures say, on the model's device; give them the same ``network`` where
            it is theirs, so that it runs once. None leaves those metrics out.
        progress: told after every batch how many pictures are done more.

    Raises:
        ValueError: when a budget is not in 1..K.
    """
    _check_budgets(budgets, longest=model.config.num_latents)
    device, size = next(model.parameters()).device, pictures.images.shape[-2:]
    texts = {caption: pictures.captions_under(caption) for caption in captions}
    judge = semantics.judge(pictures.captions) if semantics is not None else None
    tally = Tally(network, captions=captions, budgets=budgets, judge=judge, num_codes=model.num_codes)
    with eval_mode(model):
        for indices in torch.arange(rank, len(pictures), world_size).split(batch_size):
            originals = tally.add_originals(pictures.images[indices].to(device), indices)
            for caption in captions:
                condition = text_for(texts[caption], indices, text=text)
                encoding = encode(model, originals.images, condition, autocast=autocast)
                tally.add_encoding(caption, encoding)
                for k in budgets:
                    made = decode(model, encoding, condition, budget=k, size=size, autocast=autocast)
                    tally.add((caption, k), originals, made)
            if progress is not None:
                progress(len(indices))
    if world_size > 1:
        tally.merge_ranks(device)
    return ReconstructionScores(
        rows=tally.rows(pictures), per_image=tally.per_image(pictures), latents=tally.latents(pictures)
    )


def _check_budgets(budgets: Sequence[int], *, longest: int) -> None:
    if not budgets or not all(1 <= k <= longest for k in budgets):
        raise ValueError(
            f"budgets: got {tuple(budgets)}; expected numbers from 1 to the model's {longest} tokens"
        )


def text_for(captions: Sequence[str], indices: Int[Tensor, "b"], *, text: TextSource) -> TextCondition | None:
    """The text of the pictures at ``indices``; None, without calling ``text``, when none has a caption."""
    chosen = [captions[i] for i in indices.tolist()]
    return text(chosen) if any(chosen) else None


def reconstruct(
    model: TexTok,
    images: UInt8[Tensor, "b 3 h w"],
    text: TextCondition | None,
    *,
    budgets: Sequence[int],
    autocast: torch.dtype | None = None,
) -> dict[int, UInt8[Tensor, "b 3 h w"]]:
    """Encode uint8 pictures once and decode the first k tokens for every budget k, to uint8 pictures."""
    encoding, size = encode(model, images, text, autocast=autocast), images.shape[-2:]
    return {k: decode(model, encoding, text, budget=k, size=size, autocast=autocast) for k in budgets}


@torch.no_grad()
def encode(
    model: TexTok,
    images: UInt8[Tensor, "b 3 h w"],
    text: TextCondition | None,
    *,
    autocast: torch.dtype | None = None,
) -> Encoding:
    """Encode uint8 pictures to all K tokens."""
    weights = next(model.parameters())
    with _autocast(weights, autocast):
        return model.encode(to_unit(images).to(weights.dtype), _text_like(weights, text))


@torch.no_grad()
def decode(
    model: TexTok,
    encoding: Encoding,
    text: TextCondition | None,
    *,
    budget: int,
    size: torch.Size,
    autocast: torch.dtype | None = None,
) -> UInt8[Tensor, "b 3 h w"]:
    """Decode the first ``budget`` tokens to uint8 pictures of this height and width."""
    weights, patch = next(model.parameters()), model.config.patch_size
    grid = (size[0] // patch, size[1] // patch)
    with _autocast(weights, autocast):
        output = model.decode(encoding.latents[:, :budget], _text_like(weights, text), grid=grid)
    return to_uint8(output.float())


def _autocast(weights: Tensor, dtype: torch.dtype | None) -> AbstractContextManager:
    return torch.autocast(weights.device.type, dtype) if dtype else nullcontext()


def _text_like(weights: Tensor, text: TextCondition | None) -> TextCondition | None:
    return None if text is None else text.to(weights.device, weights.dtype)


def reconstruct_all(
    model: TexTok,
    pictures: CaptionedPictures,
    *,
    text: TextSource,
    budgets: Sequence[int],
    captions: Sequence[Caption] = CAPTIONS,
    batch_size: int = 32,
    autocast: torch.dtype | None = None,
) -> Reconstructions:
    """The reconstructions themselves, for every caption condition and budget: few pictures, to be looked at.

    The arguments are those of :func:`evaluate_reconstruction`.
    """
    parts: dict[tuple[Caption, int], list[Tensor]] = {
        (caption, k): [] for caption in captions for k in budgets
    }
    device = next(model.parameters()).device
    with eval_mode(model):
        for caption in captions:
            texts = pictures.captions_under(caption)
            for indices in torch.arange(len(pictures)).split(batch_size):
                condition = text_for(texts, indices, text=text)
                images = pictures.images[indices].to(device)
                outputs = reconstruct(model, images, condition, budgets=budgets, autocast=autocast)
                for k, output in outputs.items():
                    parts[caption, k].append(output.cpu())
    return {cell: torch.cat(found) for cell, found in parts.items()}


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """The model in eval mode inside the block, in its former mode after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
