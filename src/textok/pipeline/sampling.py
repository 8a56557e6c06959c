"""How a generator is sampled: the settings, the walk from noise (or masks) to tokens, and what it is asked for.

Axes: b batch, k latent tokens, K the most of them, c latent channels.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from textok.checks import check
from textok.models.conditions import NO_CLASS, Condition, ConditionConfig
from textok.models.dit import DiT
from textok.models.generators import Generator
from textok.models.maskgit import MaskGIT
from textok.pipeline.text import as_captions
from textok.sampling.flow import Guidance, OnStep, Predict, sample, time_grid
from textok.sampling.masked import decode_masked
from textok.sampling.random import Random


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of a draw; a generator's weights come with its own defaults.

    Attributes:
        num_tokens: the budget k; None for the generator's K.
        steps: the number of steps of the sampler.
        guidance: scale of classifier-free guidance; 1 for none.
        guidance_interval: times within which it acts; 1 is pure noise.
        sampler: "euler", "heun", "adams" or "stochastic".
        time_shift: above 1 spends more steps near the noise.
        temperature: that of the codes' distribution (MaskGIT).
        confidence_temperature: noise in the order in which codes are fixed (MaskGIT).
    """

    num_tokens: int | None = None
    steps: int = 24
    guidance: float = 3.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    sampler: str = "euler"
    time_shift: float = 1.0
    temperature: float = 1.0
    confidence_temperature: float = 4.5

    def __post_init__(self) -> None:
        check(self, "", "steps", at_least=1)
        check(self, "", "temperature", "time_shift", above=0)
        check(self, "", "confidence_temperature", at_least=0)
        Guidance(scale=self.guidance, interval=self.guidance_interval)

    @classmethod
    def of(cls, generator: Generator) -> "Sampling":
        """The defaults that came with the weights."""
        saved: dict[str, Any] = {"steps": 12} if isinstance(generator, MaskGIT) else {}
        saved |= getattr(generator, "made_by", {}).get("sampling", {})
        if "guidance_interval" in saved:
            saved["guidance_interval"] = tuple(saved["guidance_interval"])
        try:
            return cls(**saved)
        except TypeError as error:
            raise ValueError(f"{generator.model_id}: its sampling defaults are damaged ({error})") from error

    def changed(self, generator: Generator, **values: Any) -> "Sampling":
        """The settings with every value that is not None put in place."""
        changes = {name: value for name, value in values.items() if value is not None}
        known = _settings_of(generator)
        for name, value in changes.items():
            if name not in known:
                raise ValueError(
                    f"{name}: got {value!r}, expected settings of this generator: {', '.join(known)}"
                )
        return replace(self, **changes)

    def record(self, generator: Generator) -> dict[str, Any]:
        """What acts on this generator, as JSON values."""
        values = asdict(self) | {"num_tokens": self.num_tokens or generator.config.num_latents}
        if isinstance(generator, MaskGIT):
            values["steps"] = min(self.steps, values["num_tokens"])
        return {name: values[name] for name in _settings_of(generator)}


def _settings_of(generator: Generator) -> tuple[str, ...]:
    shared = ("num_tokens", "steps", "guidance")
    if isinstance(generator, MaskGIT):
        return (*shared, "temperature", "confidence_temperature")
    return (*shared, "guidance_interval", "sampler", "time_shift")


@torch.inference_mode()
def draw_tokens(
    network: Generator,
    condition: Condition,
    settings: Sampling,
    *,
    random: Random,
    negative: Condition | None = None,
    noise: Float[Tensor, "b K c"] | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Latents (b, k, c) of unit scale, or codes (b, k), of the budget of the settings.

    Guidance leads away from ``negative``, or from no condition. A DiT starts from ``noise``, standard normal, of which
    the first k tokens are read; ``random`` serves samplers that draw on the way.
    """
    budget = settings.num_tokens or network.config.num_latents
    if isinstance(network, MaskGIT):
        shape, both = (len(condition), budget), condition.joined(negative or condition.unconditional())
        return _draw_codes(network, condition, settings, both, shape=shape, generator=random, on_step=on_step)
    if noise is None:
        raise ValueError("noise: got none, expected that from which a DiT starts")
    guidance = Guidance(scale=settings.guidance, interval=settings.guidance_interval)
    predict = guided(network, condition, guidance, negative=negative)
    times = time_grid(settings.steps, shift=settings.time_shift)
    start = noise[:, :budget]
    return sample(predict, start, times, sampler=settings.sampler, generator=random, on_step=on_step)


def guided(
    network: DiT, condition: Condition, guidance: Guidance, *, negative: Condition | None = None
) -> Predict:
    """A network as a function of latents and time; both predictions of guidance come from one pass."""
    both = condition.joined(negative or condition.unconditional())

    def predict(x: Float[Tensor, "b k c"], time: float) -> Float[Tensor, "b k c"]:
        times = torch.full((len(x),), time, device=x.device)
        if not guidance.acts(time):
            return network(x, times, condition)
        conditional, unconditional = network(x.repeat(2, 1, 1), times.repeat(2), both).chunk(2)
        return guidance.combine(conditional, unconditional)

    return predict


def _draw_codes(
    network: MaskGIT, condition: Condition, settings: Sampling, both: Condition, **drawing: Any
) -> Int[Tensor, "b k"]:
    """All masks to codes; guidance, between the two halves of ``both``, rises over the steps up to its scale."""

    def predict(codes: Int[Tensor, "b k"], progress: float) -> Tensor:
        if settings.guidance == 1:
            return network(codes, condition)
        conditional, unconditional = network(codes.repeat(2, 1), both).chunk(2)
        scale = 1 + (settings.guidance - 1) * progress
        return Guidance(scale=scale).combine(conditional, unconditional)

    return decode_masked(
        predict,
        mask_code=network.config.num_codes,
        steps=settings.steps,
        temperature=settings.temperature,
        confidence_temperature=settings.confidence_temperature,
        device=condition.device,
        **drawing,
    )


# --- what is drawn: prompts or classes, checked, one request for each picture -----------------------------------


class Request(NamedTuple):
    """One picture to make."""

    caption: str  # what the decoder reads, and a generator conditioned on text
    label: int | None = None  # for a generator conditioned on classes
    negative: str = ""  # what guidance leads away from


def checked_conditions(
    config: ConditionConfig, prompts: str | Sequence[str] | None, labels: int | Sequence[int] | None
) -> tuple[list[str], list[int]]:
    """Prompts or labels as lists, the other one empty; ``ValueError`` for what such a generator does not read."""
    name, given, other = ("prompts", prompts, labels)
    if config.kind == "class":
        name, given, other = ("labels", labels, prompts)
    if given is None or other is not None:
        raise ValueError(
            f"{name}: this generator is conditioned on {config.kind}; pass {name}, and them only"
        )
    values = [given] if isinstance(given, str | int) else list(given)
    if not values:
        raise ValueError(f"{name}: got none, expected at least one")
    if config.kind == "text":
        texts: Any = values  # as_captions checks them
        return list(as_captions(texts, len(values))), []
    numbers = [int(label) for label in values]
    if min(numbers) < NO_CLASS or max(numbers) >= config.num_classes:
        raise ValueError(
            f"labels: got {min(numbers)} to {max(numbers)}, expected 0 to {config.num_classes - 1}, "
            f"or {NO_CLASS} for no class"
        )
    return [], numbers


def checked_negatives(
    negative_prompt: str | Sequence[str] | None, *, texts: Sequence[str], guidance: float
) -> tuple[str, ...]:
    """A negative prompt for each text, "" for none; ``ValueError`` for one that nothing reads."""
    if negative_prompt and not texts:
        raise ValueError("negative_prompt: got one, expected none: this generator is conditioned on class")
    if negative_prompt and guidance == 1:
        raise ValueError(
            "negative_prompt: got one with guidance 1, expected a guidance above 1, by which alone it acts"
        )
    return as_captions(negative_prompt, len(texts))


def read_class_captions(path: Path) -> dict[int, list[str]]:
    """Captions of every class from a JSON object {label: [captions]}; empty when there is no file."""
    if not path.is_file():
        return {}
    try:
        captions = {int(label): texts for label, texts in json.loads(path.read_text()).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: got {error}, expected a JSON object {{label: [captions]}}") from error
    lists = all(isinstance(texts, list) for texts in captions.values())
    if not lists or not all(isinstance(text, str) for texts in captions.values() for text in texts):
        raise ValueError(f"{path}: got something else, expected a JSON object {{label: [captions]}}")
    return captions
