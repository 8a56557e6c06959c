"""``python -m research.alignment``: train the two-tower head, which says how well a caption fits a picture.

The features of both are frozen, computed once and kept in memory; the head itself is small: minutes on a CPU.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from tyro.conf import arg

from research.command import run as run_command
from textok.checks import check
from textok.cli import checks
from textok.cli.output import report
from textok.data import DataConfig, EvalLoader
from textok.data.samples import report_bad
from textok.display import with_progress
from textok.evaluation.alignment import (
    SHIPPED_NAME,
    TwoTower,
    TwoTowerConfig,
    caption_features,
    distinct_captions,
    ranks_of_own,
)
from textok.evaluation.networks import EffNetLite2
from textok.models.tokenizer import TexTokConfig
from textok.pipeline.text import CachedText
from textok.training.quality_predictor import HeadRun, fit_head, record_of

FIRST_SCALE = 1 / 0.07
MAX_SCALE = 100.0


@dataclass(frozen=True, kw_only=True)
class AlignmentRun(HeadRun):
    """How a two-tower head is trained; each picture of a batch has the captions of the others as wrong answers.

    Attributes:
        scored: parts of the data to score caption retrieval on, after the training.
        sizes: sides in pixels that the pictures are read at; in training each picture of a batch comes at one of
            them by chance, so that the head can judge small pictures too.
        warmup: steps over which the learning rate rises.
        text_cache: folder of caption features; the cache of the user when None.
        model: the head.
    """

    scored: tuple[str, ...] = ("val", "test-drawing", "test-concept")
    sizes: tuple[int, ...] = (128, 64)
    warmup: int = 20
    text_cache: str | None = None
    model: TwoTowerConfig = field(default_factory=TwoTowerConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "", "warmup", at_least=0)
        if not self.sizes or min(self.sizes) < 32:
            raise ValueError(f"sizes: got {self.sizes}, expected one or more sides of at least 32 pixels")


@dataclass(frozen=True, kw_only=True)
class AlignmentData:
    """Frozen features of captioned pictures.

    Attributes:
        images: pooled picture features at each of s sizes.
        captions: mean token states, of the same n pictures.
        texts: the captions.
    """

    images: Float[Tensor, "s n i"]
    captions: Float[Tensor, "n d"]
    texts: list[str]


def train_alignment(run: AlignmentRun, out: Path) -> list[dict[str, Any]]:
    """Train a head, score it, and write it to a folder, at 16 bits.

    Args:
        run: how.
        out: gets config.json and model.safetensors, each whole or not at all.

    Returns:
        One row per scored split and size: split, size, captions (the distinct ones it chooses from), and the share
        of pictures whose own caption comes first (r1) or among the first five (r5).

    Raises:
        ValueError: when there are fewer pictures than a batch takes, or a split is not there.
    """
    parts = {name: _loaders(run, name) for name in dict.fromkeys((run.split, *run.scored))}
    network, text = EffNetLite2(), _text(run)
    features = {
        name: read_features(loaders, network=network, text=text, name=name or run.data)
        for name, loaders in parts.items()
    }
    head = fit(run, features[run.split]).to(torch.float16).float()  # as it will be stored
    rows = [row for name in run.scored for row in retrieval_rows(head, features[name], split=name, run=run)]
    made_by = record_of(run, pictures=len(features[run.split].texts), scores=rows)
    head.save_pretrained(out, name=SHIPPED_NAME, dtype=torch.float16, made_by=made_by)
    report_bad((bad for loaders in parts.values() for bad in loaders[0].bad.samples), out)
    return rows


def read_features(
    loaders: list[EvalLoader], *, network: EffNetLite2, text: CachedText, name: str
) -> AlignmentData:
    """Features of the pictures of a split, read at every size, and of their captions.

    Args:
        loaders: one per size, of the same pictures.
        network: reads the pictures.
        text: reads the captions; encodes those it does not know yet.
        name: the name of the split, for the progress bar.

    Raises:
        ValueError: when a picture has no caption.
    """
    texts, images = [], []
    for loader in loaders:
        title, pooled, texts = f"{name} {loader.config.size[0]} px", [], []
        for batch in with_progress(loader, len(loader), unit="batch", title=title):
            pooled.append(network(batch.images).pooled)
            texts += batch.captions
        images.append(torch.cat(pooled))
    if not all(caption.strip() for caption in texts):
        raise ValueError(f"{name}: got a picture without a caption, expected one for every picture")
    text.warm(texts, progress=True)
    return AlignmentData(images=torch.stack(images), captions=caption_features(texts, text=text), texts=texts)


def fit(run: AlignmentRun, data: AlignmentData) -> TwoTower:
    """A head trained on these features; the same for the same seed, whatever was drawn before.

    Raises:
        ValueError: when there are fewer pictures than a batch takes.
    """
    count = len(data.texts)
    if count < run.batch_size:
        raise ValueError(
            f"batch_size: got {run.batch_size}, expected at most the {count} pictures; lower it or use more data"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        head = TwoTower(run.model).train()
        log_scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())
        batches = _batches(run, count)

        def loss_of() -> Tensor:
            rows, sizes = next(batches), torch.randint(len(data.images), (run.batch_size,))
            images = head.embed_images(data.images[sizes, rows])
            captions = head.embed_captions(data.captions[rows])
            return contrastive_loss(images, captions, scale=log_scale.exp().clamp(max=MAX_SCALE))

        groups = [{"params": head.parameters()}, {"params": [log_scale], "weight_decay": 0.0}]
        fit_head(run, groups, loss_of, warmup=float(run.warmup), title="two-tower")
    return head.eval()


def contrastive_loss(
    images: Float[Tensor, "b e"], captions: Float[Tensor, "b e"], *, scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy of finding each picture's caption and each caption's picture in the batch (CLIP).

    Args:
        images: unit vectors.
        captions: unit vectors, row i belongs to picture i.
        scale: factor of the cosines.
    """
    scores = scale * images @ captions.T
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


@torch.no_grad()
def retrieval_rows(
    head: TwoTower, data: AlignmentData, *, split: str, run: AlignmentRun
) -> list[dict[str, Any]]:
    """Share of pictures whose own caption comes first, and among the first five, at every size."""
    distinct, own = distinct_captions(data.texts)
    first_use = [data.texts.index(caption) for caption in distinct]
    captions = head.embed_captions(data.captions[first_use])
    rows = []
    for size, images in zip(run.sizes, data.images, strict=True):
        ranks = ranks_of_own(head.embed_images(images), captions, own)
        shares = {f"r{k}": float((ranks < k).double().mean()) for k in (1, 5)}
        rows.append({"split": split, "size": size, "captions": len(distinct)} | shares)
    return rows


def _loaders(run: AlignmentRun, split: str | None) -> list[EvalLoader]:
    source = DataConfig(source=run.data, split=split, on_bad=run.on_bad).open()
    return [run.open(split, side=side, source=source) for side in run.sizes]


def _text(run: AlignmentRun) -> CachedText:
    """The head's text encoder, by the cache that tokenizers of the same encoder use."""
    head = run.model
    config = TexTokConfig(
        text_encoder=head.text_encoder, text_dim=head.text_dim, max_text_tokens=head.max_text_tokens
    )
    return CachedText(config, folder=run.text_cache)


def _batches(run: AlignmentRun, count: int) -> Iterator[Tensor]:
    """Rows of the batches; every picture once an epoch, but for the last few that fill no batch."""
    left = torch.empty(0, dtype=torch.long)
    for _ in range(run.steps):
        if len(left) < run.batch_size:
            left = torch.randperm(count)
        yield left[: run.batch_size]
        left = left[run.batch_size :]


_DEFAULTS = AlignmentRun()


def alignment(
    run: Annotated[AlignmentRun, arg(name="")] = _DEFAULTS, *, out: Path, json: bool = False
) -> None:
    """Train the two-tower head, which says how well a caption fits a picture; minutes on a CPU.

    Args:
        out: the folder for the head; Semantics.from_pretrained(OUT) judges with it.
        json: print the scores as JSON.
    """
    checks.seed(run.seed)
    checks.folders(out=out)
    rows = train_alignment(run, out)
    lines = [
        f"  {row['split']:<13} {row['size']:>4} px  {row['r1']:6.1%} first, {row['r5']:6.1%} among the first 5, "
        f"of {row['captions']} captions"
        for row in rows
    ]
    report(rows, f"{out}: two-tower head; pictures whose own caption is found", *lines, json=json)


if __name__ == "__main__":
    sys.exit(run_command(alignment, prog="research.alignment"))
