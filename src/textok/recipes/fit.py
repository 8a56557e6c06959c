"""What ``textok fit`` chooses for somebody's own pictures, and the commands that carry it out."""

from dataclasses import dataclass
from pathlib import Path

FEW, MANY = 1000, 5000
"""Fewer pictures than these take the small generator; as many as these may train a tokenizer from nothing."""
TOKENIZER_ENDS, GENERATOR_ENDS = 0.45, 0.9
"""After these shares of the hours the trainings end; the rest is for the report."""
SLACK = 0.8
"""Of the time until then, for steps; the rest is for validation and a machine that slows down."""
LEAST_STEPS = 4
PASSES = {"tuned": 30, "new": 60, "generator": 100}
"""How often each picture is worth seeing; below that a training of the same weights is not done."""
LEAST_WORTH = {"tuned": 200, "new": 3800, "generator": 600}
MOST_WORTH = {"tuned": 7500, "new": 25_000, "generator": 25_000}
BATCH = {"tuned": 16, "new": 64, "generator": 64}
MIX, CROP = "icons:0.25", 0.1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained."""

    tokenizer: str = "icons-128"
    generator: str = "icons-128-dit"
    init_from: str | None = "icons-128"  # None for new weights
    mix: str | None = None  # pictures that the start was made of, mixed into the batches of the tokenizer
    vary: bool = False  # crop and mirror the pictures
    tokenizer_steps: int
    generator_steps: int
    tokenizer_batch: int
    generator_batch: int
    reasons: tuple[str, ...] = ()  # a sentence each


def choose(count: int, hours: float | None, speed: float, *, mix: bool) -> Plan:
    """The recipes and steps for ``count`` training pictures.

    Args:
        hours: most hours for everything; None takes what the pictures are worth.
        speed: pictures a second that the tokenizer trains on; is not used without ``hours``.
        mix: whether the pictures that the shipped weights were made of are there.
    """
    if count < 1:
        raise ValueError(f"count: got {count}, expected at least 1 training picture")
    if hours is not None and not 0 < hours < float("inf"):
        raise ValueError(f"hours: got {hours}, expected a positive number")
    seconds = None if hours is None else TOKENIZER_ENDS * 3600 * hours
    new = count >= MANY and (
        seconds is None or affordable(seconds, speed, BATCH["new"]) >= LEAST_WORTH["new"]
    )
    kind, small, few = "new" if new else "tuned", count < FEW, count < MANY
    mix = mix and not new and count > 1
    reasons = [
        f"{count:,} training pictures at 128 x 128 px, {min(BATCH[kind], count)} a step",
        "the tokenizer starts from nothing: there are pictures and time enough"
        if new
        else "the tokenizer starts from icons-128, which so many pictures or hours can only tune",
        f"the generator is the {'small' if small else 'usual'} one: it has {'under' if small else 'at least'} "
        f"{FEW:,} pictures",
    ]
    if mix:
        reasons.append(f"drawings are mixed in ({MIX}), so that less of what the start knew is lost")
    if few:
        reasons.append("few pictures are cropped mildly, and mirrored where the caption names no side")
    return Plan(
        generator="icons-64-dit" if small else "icons-128-dit",
        init_from=None if new else "icons-128",
        mix=MIX if mix else None,
        vary=few,
        tokenizer_steps=steps(kind, count, seconds, speed),
        generator_steps=steps("generator", count, seconds, speed),
        tokenizer_batch=min(BATCH[kind], count),
        generator_batch=min(BATCH["generator"], count),
        reasons=tuple(reasons),
    )


def affordable(seconds: float, speed: float, batch: int) -> int:
    """Steps that so many seconds allow at so many pictures a second."""
    return max(LEAST_STEPS, int(SLACK * seconds * speed / batch))


def steps(kind: str, count: int, seconds: float | None, speed: float) -> int:
    """Steps of a training, "tuned", "new" or "generator": what the pictures are worth, or the seconds allow."""
    batch = min(BATCH[kind], count)
    worth = min(max(PASSES[kind] * count // batch, LEAST_WORTH[kind]), MOST_WORTH[kind])
    return worth if seconds is None else min(worth, affordable(seconds, speed, batch))


def commands(
    plan: Plan, *, data: str, out: Path, captions: str | None, seed: int, mirror: bool, skip_bad: bool
) -> dict[str, list[str]]:
    """The words of each command after ``textok``, by the folder in ``out`` that it fills, in their order.

    ``mirror`` also has the generator learn mirrored pictures.
    """
    given = [] if captions is None else ["--captions", captions]
    given += ["--on-bad", "skip"] if skip_bad else []
    common = ["--seed", str(seed), "--name", out.name or "fit"]
    tokenizer = ["train", "tokenizer", plan.tokenizer, "--data.source", data, "--data.split", "None"]
    tokenizer += [word.replace("--", "--data.") if word.startswith("--") else word for word in given]
    tokenizer += ["--data.flip", "--data.crop", str(CROP)] if plan.vary else []
    tokenizer += [] if plan.init_from is None else ["--init-from", plan.init_from]
    tokenizer += [] if plan.mix is None else ["--mix", plan.mix]
    tokenizer += ["--steps", str(plan.tokenizer_steps), "--batch-size", str(plan.tokenizer_batch), *common]
    tokenizer += ["--validation.best-by", "psnr", "--validation.budgets", "2,8,32"]
    cache = ["cache", "--model", str(out / "tokenizer"), "--data", data, *given]
    generator = ["train", "generator", plan.generator, "--latents", str(out / "latents")]
    generator += ["--preview.held-out", str(out / "latents-held-out"), "--preview.tokenizer", "none"]
    generator += ["--steps", str(plan.generator_steps), "--batch-size", str(plan.generator_batch), *common]
    return {
        "tokenizer": [*tokenizer, "--out", str(out / "tokenizer")],
        "latents": [*cache, "--part", "train", *(["--flip"] * mirror), "--out", str(out / "latents")],
        "latents-held-out": [*cache, "--part", "held-out", "--out", str(out / "latents-held-out")],
        "generator": [*generator, "--out", str(out / "generator")],
    }
