"""Training of the judge on scenes of train drawings, at full and at half resolution."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from research.judge.network import Judge
from research.judge.vocabulary import Targets, concepts_of
from textok.data.scenes.source import SceneOptions, SceneSource, scene_picture

_SIZES = (64, 128)
_SAMPLED = 24  # cells of a picture whose concept is asked: the list is long


@dataclass(frozen=True, kw_only=True)
class JudgeRun:
    """How a judge is trained.

    Attributes:
        pictures: how many scenes it sees.
        batch_size: scenes of a step; even steps show 64 pixels, odd ones 128.
        lr: peak of the learning rate; the pretrained part takes a third of it.
        seed: of the weights and of the scenes.
    """

    pictures: int = 200_000
    batch_size: int = 32
    lr: float = 2e-3
    seed: int = 1

    @property
    def steps(self) -> int:
        """Steps of the training."""
        return self.pictures // self.batch_size


def train_judge(run: JudgeRun, out: Path) -> Judge:
    """Train a judge and write it to ``out``; prints its loss now and then."""
    torch.manual_seed(run.seed)
    source = SceneSource("train", SceneOptions(seed=1000 + run.seed))
    judge = Judge(concepts_of(source.drawings)).train()
    pretrained = [p for p in judge.backbone.parameters() if p.requires_grad]
    rest = [p for name, p in judge.named_parameters() if not name.startswith("backbone.")]
    optimizer = torch.optim.AdamW([{"params": pretrained}, {"params": rest}], weight_decay=0.01)
    start, running = time.monotonic(), 0.0
    for step in range(run.steps):
        images, targets = _batch(source, step, run, judge.concepts)
        rate = run.lr * min(1.0, (step + 1) / 500, 4 * (1 - step / run.steps))
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = rate / 3, rate
        loss = judge_loss(judge, images, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        running += 0.02 * (loss.item() - running) if step else loss.item()
        if (step + 1) % 200 == 0:
            speed = (step + 1) * run.batch_size / (time.monotonic() - start)
            print(f"step {step + 1} of {run.steps}: loss {running:.3f}, {speed:.0f} pictures/s", flush=True)
        if (step + 1) % 1000 == 0:
            judge.save(out)
    judge.save(out)
    return judge.eval().requires_grad_(False)


def judge_loss(judge: Judge, images: UInt8[Tensor, "b 3 h w"], targets: Targets) -> Float[Tensor, ""]:
    """Cross entropies of concepts, colours and backgrounds, and the error of middles and sides."""
    cells = judge.features(images)
    covered = targets.concept < len(judge.concepts)
    # The rare cells of things are asked three times as often as those of the background.
    picked = torch.multinomial(covered.float() * 2 + 1, _SAMPLED)
    rows = torch.arange(len(images))[:, None]
    concept = F.cross_entropy(
        judge.concept(cells[rows, picked]).flatten(0, 1), targets.concept[rows, picked].flatten()
    )
    colours = F.binary_cross_entropy_with_logits(judge.colours(cells), targets.colours, reduction="none").sum(
        2
    )
    shape = (judge.shape(cells) - targets.shape).abs().sum(2)
    grounds = F.cross_entropy(judge.background(cells).flatten(0, 1), targets.grounds.flatten())
    return concept + _mean(colours, targets.has_colour) + 5 * _mean(shape, covered.float()) + grounds


def _mean(values: Float[Tensor, "b cells"], weights: Float[Tensor, "b cells"]) -> Float[Tensor, ""]:
    return (values * weights).sum() / weights.sum().clamp(min=1)


def _batch(
    source: SceneSource, step: int, run: JudgeRun, concepts: tuple[str, ...]
) -> tuple[UInt8[Tensor, "b 3 h w"], Targets]:
    numbers = range(step * run.batch_size, (step + 1) * run.batch_size)
    scenes, size = [source.facts(number) for number in numbers], _SIZES[step % 2]
    images = torch.stack([scene_picture(facts, source.drawings).draw((size, size)) for facts in scenes])
    return images, Targets.of(scenes, concepts)
