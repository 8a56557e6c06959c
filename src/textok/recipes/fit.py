"""What ``textok fit`` chooses for somebody's own pictures, and the commands that carry it out."""

from dataclasses import dataclass
from pathlib import Path

FEW, MANY = 1000, 5000
"""Fewer pictures than these take the small generator; as many as these may train a tokenizer from nothing."""
SHARE = 0.45
"""Of the hours, for each of the two trainings; the rest is for reading, validation and the cache."""
LEAST_STEPS = 4
PASSES = {"tuned": 30, "new": 60, "generator": 100}
"""How often each picture is worth seeing; below that a training of the same weights is not done."""
LEAST_WORTH = {"tuned": 200, "new": 3800, "generator": 600}
MOST_WORTH = {"tuned": 3800, "new": 25_000, "generator": 25_000}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained.

    Attributes:
        tokenizer, generator: the recipes.
        init_from: the weights that the tokenizer starts from; None for new ones.
        tokenizer_steps, generator_steps: how long they train.
        batch_size: pictures of a step of either.
        reasons: why, a sentence each.
    """

    tokenizer: str = "icons-128"
    generator: str = "icons-128-dit"
    init_from: str | None = "icons-128"
    tokenizer_steps: int
    generator_steps: int
    batch_size: int = 64
    reasons: tuple[str, ...] = ()


def choose(count: int, hours: float | None, speed: float) -> Plan:
    """The recipes and steps for so many training pictures.

    Args:
        count: pictures to train on.
        hours: most hours for everything; None takes what the pictures are worth.
        speed: pictures a second that the tokenizer trains on; a generator takes about as many rows a second (measured
            on one machine: 52 and 47). Is not used without ``hours``.

    Raises:
        ValueError: for no picture, or hours that are not positive.
    """
    if count < 1:
        raise ValueError(f"count: got {count}, expected at least 1 training picture")
    if hours is not None and not 0 < hours < float("inf"):
        raise ValueError(f"hours: got {hours}, expected a positive number")
    batch = min(64, count)
    affordable = None if hours is None else max(LEAST_STEPS, int(SHARE * 3600 * hours * speed / batch))
    new = count >= MANY and (affordable is None or affordable >= LEAST_WORTH["new"])
    kind, small = "new" if new else "tuned", count < FEW
    tokenizer_steps, generator_steps = (
        _steps(name, count, batch, affordable) for name in (kind, "generator")
    )
    return Plan(
        generator="icons-64-dit" if small else "icons-128-dit",
        init_from=None if new else "icons-128",
        tokenizer_steps=tokenizer_steps,
        generator_steps=generator_steps,
        batch_size=batch,
        reasons=(
            f"{count:,} training pictures, {batch} a step, at 128 x 128 px",
            "the tokenizer starts from nothing: there are pictures and time enough"
            if new
            else "the tokenizer starts from icons-128, which so many pictures or hours can only tune",
            f"the generator is the {'small' if small else 'usual'} one: it has {'under' if small else 'at least'} "
            f"{FEW:,} pictures",
            "the steps are what so many pictures are worth"
            if affordable is None
            else f"the steps fit into {hours:g} hours at {speed:.1f} pictures a second, as measured here",
        ),
    )


def _steps(kind: str, count: int, batch: int, affordable: int | None) -> int:
    worth = min(max(PASSES[kind] * count // batch, LEAST_WORTH[kind]), MOST_WORTH[kind])
    return worth if affordable is None else min(worth, affordable)


def commands(
    plan: Plan, *, data: str, out: Path, captions: str | None, seed: int, flip: bool, skip_bad: bool
) -> dict[str, list[str]]:
    """The words of each command after ``textok``, by the folder in ``out`` that it fills, in their order."""
    given = [] if captions is None else ["--captions", captions]
    given += ["--on-bad", "skip"] if skip_bad else []
    mirror = ["--flip"] if flip else []
    of_data = [word.replace("--", "--data.") if word.startswith("--") else word for word in [*given, *mirror]]
    common = ["--batch-size", str(plan.batch_size), "--seed", str(seed), "--name", out.name or "fit"]
    start = [] if plan.init_from is None else ["--init-from", plan.init_from, "--optimizer.lr", "3e-4"]
    tokenizer = ["train", "tokenizer", plan.tokenizer, "--data.source", data, "--data.split", "None"]
    tokenizer += [*of_data, *start, "--steps", str(plan.tokenizer_steps)]
    tokenizer += [*common, "--validation.best-by", "psnr", "--out", str(out / "tokenizer")]
    cache = ["cache", "--model", str(out / "tokenizer"), "--data", data, *given]
    generator = ["train", "generator", plan.generator, "--latents", str(out / "latents")]
    generator += ["--preview.held-out", str(out / "latents-held-out"), "--steps", str(plan.generator_steps)]
    return {
        "tokenizer": tokenizer,
        "latents": [*cache, "--part", "train", *mirror, "--out", str(out / "latents")],
        "latents-held-out": [*cache, "--part", "held-out", "--out", str(out / "latents-held-out")],
        "generator": [*generator, *common, "--out", str(out / "generator")],
    }
