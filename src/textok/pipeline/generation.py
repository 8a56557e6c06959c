"""Prompts to pictures: a generator, the tokenizer it was trained for, and the text encoder of both."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from textok.data.images import tensor_to_image
from textok.models.checkpoint import CLASS_CAPTIONS_FILE, resolve
from textok.models.conditions import NO_CLASS, Condition
from textok.models.dit import DiTConfig
from textok.models.generators import Generator, load_generator
from textok.models.text_encoder import TextEncoder
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.precision import Precision, inference_dtype
from textok.pipeline.sampling import Sampling, draw_tokens
from textok.pipeline.tokens import Tokens
from textok.sampling.flow import OnStep
from textok.sampling.random import normal


@dataclass(frozen=True)
class Request:
    """One picture to make: what the generator reads, and what the decoder reads."""

    caption: str
    label: int | None = None


class Pipeline:
    """Make pictures from prompts, or from classes.

    >>> pipeline = Pipeline.from_pretrained("icons-128")
    >>> pipeline("a red apple on a white background", num_images=4, num_tokens=16)[0].save("apple.png")

    Args:
        generator: a DiT or a MaskGIT; put in eval mode, moved and cast.
        tokenizer: the tokenizer whose tokens it makes.
        class_captions: captions of each class, of which the decoder gets one at random, as in the paper.
        device: where all run.
        precision: number type of the weights; "auto" takes bfloat16 where the processor has it.

    Raises:
        ValueError: when the generator was trained for another tokenizer.
    """

    def __init__(
        self,
        generator: Generator,
        tokenizer: ImageTokenizer,
        *,
        class_captions: dict[int, list[str]] | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        self.model_id = generator.model_id  # before a cast changes the weights
        wanted = generator.config.tokenizer
        if wanted and wanted != tokenizer.model_id:
            raise ValueError(
                f"this generator makes tokens of tokenizer {wanted!r}, and this is {tokenizer.model_id!r}: "
                "pass the tokenizer it was trained for"
            )
        self.generator = generator.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.class_captions = class_captions or {}
        self.defaults = Sampling.of(generator)
        self._precision: Precision = precision
        self._text_encoder: TextEncoder | None = None
        self.to(device)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "icons-128",
        *,
        tokenizer: str | Path | ImageTokenizer | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> "Pipeline":
        """Load a generator and its tokenizer: a shipped name, a folder or a hub id.

        Args:
            name_or_folder: of the generator.
            tokenizer: where its tokenizer is, when it is not where it was at training.
            device: where all run.
            precision: number type of the weights.

        Raises:
            FileNotFoundError: when one of them is not there.
            ValueError: when the files are damaged or do not belong together.
        """
        generator = load_generator(name_or_folder)
        if not isinstance(tokenizer, ImageTokenizer):
            tokenizer = load_tokenizer(generator, tokenizer, device=device, precision=precision)
        folder = resolve(str(name_or_folder), shipped=type(generator).shipped)
        return cls(
            generator,
            tokenizer,
            class_captions=read_class_captions(folder / CLASS_CAPTIONS_FILE),
            device=device,
            precision=precision,
        )

    def to(self, device: torch.device | str) -> "Pipeline":
        """Move everything to a device, in the number type that suits it."""
        self.device = torch.device(device)
        self.dtype = inference_dtype(self.device, self._precision)
        self.generator.to(self.device, self.dtype)
        self.tokenizer.to(self.device)
        return self

    @property
    def text_encoder(self) -> TextEncoder:
        """The generator's text encoder: the tokenizer's when it is the same one."""
        wanted = self.generator.config.condition
        theirs = self.tokenizer.model.config
        if (wanted.text_encoder, wanted.max_text_tokens) == (theirs.text_encoder, theirs.max_text_tokens):
            return self.tokenizer.text_encoder
        if self._text_encoder is None:
            self._text_encoder = TextEncoder.from_pretrained(
                wanted.text_encoder, max_tokens=wanted.max_text_tokens, device=self.device
            )
        return self._text_encoder

    @overload
    def __call__(
        self, prompts: Any = ..., *, output: Literal["pil"] = ..., **k: Any
    ) -> list[Image.Image]: ...
    @overload
    def __call__(
        self, prompts: Any = ..., *, output: Literal["uint8"], **k: Any
    ) -> UInt8[Tensor, "b 3 h w"]: ...

    @torch.inference_mode()
    def __call__(
        self,
        prompts: str | Sequence[str] | None = None,
        *,
        labels: int | Sequence[int] | None = None,
        num_images: int = 1,
        num_tokens: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        sampler: str | None = None,
        generator: torch.Generator | None = None,
        batch_size: int = 16,
        progress: bool = False,
        output: Literal["pil", "uint8"] = "pil",
        **more: Any,
    ) -> list[Image.Image] | UInt8[Tensor, "b 3 h w"]:
        """Pictures for every prompt, or every class: those of the first come first.

        Args:
            prompts: one or many, for a text-conditional generator; "" draws without a condition.
            labels: one or many classes, for a class-conditional one.
            num_images: pictures for each prompt.
            num_tokens: the budget k; fewer are faster and coarser.
            steps, guidance, guidance_interval, sampler: see Sampling; the defaults come with the weights.
            generator: source of all randomness; a new one with seed 0 when None. Every picture has a generator
                of its own, made from it: the i-th picture does not depend on how many there are, up to the
                rounding of the number type (of 255 levels at most 1 in float32, a few in bfloat16).
            batch_size: pictures at a time.
            progress: show the sampler's steps on stderr.
            output: "pil", whose ``info["textok"]`` says how each was made, or "uint8".
            **more: other settings of Sampling.

        Raises:
            ValueError: for settings, prompts or labels that do not fit the generator.
        """
        asked = {"num_tokens": num_tokens, "steps": steps, "guidance": guidance}
        asked |= {"guidance_interval": guidance_interval, "sampler": sampler}
        settings = self.defaults.changed(self.generator, **asked, **more)
        self._check(settings, num_images=num_images, batch_size=batch_size)
        random = generator or torch.Generator().manual_seed(0)
        prompts, labels = self._asked(prompts, labels)
        start = int(torch.randint(2**62, (), generator=random, device=random.device))
        count = num_images * len(prompts or labels)
        randoms = [picture_generator(start, index) for index in range(count)]
        requests = self._requests(prompts, labels, num_images=num_images, randoms=randoms)
        parts = []
        recorded = settings.record(self.generator)
        starts = range(0, count, batch_size)
        bar = tqdm(total=recorded["steps"] * len(starts), unit="step", disable=not progress)
        for first in starts:
            rows = slice(first, first + batch_size)
            parts.append(
                self._make(requests[rows], settings, randoms=randoms[rows], on_step=lambda _: bar.update())
            )
        bar.close()
        pixels = torch.cat(parts)
        if output == "uint8":
            return pixels
        images: list[Image.Image] = []
        made = {"generator": self.model_id, "tokenizer": self.tokenizer.model_id, "start": start}
        made |= {"seed": random.initial_seed(), "precision": str(self.dtype).removeprefix("torch.")}
        made |= recorded
        for index, (picture, request) in enumerate(zip(pixels, requests, strict=True)):
            note = {"prompt": request.caption, "label": request.label, "index": index}
            images.append(tensor_to_image(picture))
            images[-1].info["textok"] = json.dumps(note | made)
        return images

    def _make(
        self,
        requests: Sequence[Request],
        settings: Sampling,
        *,
        randoms: Sequence[torch.Generator],
        on_step: OnStep,
    ) -> UInt8[Tensor, "b 3 h w"]:
        """One batch: condition -> tokens -> pixels."""
        condition = self.condition(requests)
        noise = self._noise(randoms)
        tokens = draw_tokens(
            self.generator, condition, settings, random=randoms, noise=noise, on_step=on_step
        )
        side = self.tokenizer.model.config.side
        return self.tokenizer.decode(
            Tokens(
                values=tokens.cpu(),
                model_id=self.tokenizer.model_id,
                grid=(side, side),
                keys=tuple(str(i) for i in range(len(requests))),
                captions=tuple(request.caption for request in requests),
            ),
            output="uint8",
        )

    def condition(self, requests: Sequence[Request]) -> Condition:
        """What the generator reads."""
        if self.generator.config.condition.kind == "class":
            return Condition(labels=torch.tensor([r.label for r in requests], device=self.device))
        text = self.text_encoder([request.caption for request in requests])
        return Condition(text=text.to(self.device, self.dtype))

    def _asked(
        self, prompts: str | Sequence[str] | None, labels: int | Sequence[int] | None
    ) -> tuple[list[str], list[int]]:
        """Prompts or labels as lists, the other one empty; checked against what the generator reads."""
        config = self.generator.config.condition
        asked, refused = (labels, prompts) if config.kind == "class" else (prompts, labels)
        name = "labels" if config.kind == "class" else "prompts"
        if asked is None or refused is not None:
            raise ValueError(f"this generator is conditioned on {config.kind}: pass {name}, and them only")
        listed = [asked] if isinstance(asked, str | int) else list(asked)
        if not listed:
            raise ValueError(f"{name}: got none, expected at least one")
        if config.kind == "text":
            return [str(text) for text in listed], []
        numbers = [int(label) for label in listed]
        if min(numbers) < NO_CLASS or max(numbers) >= config.num_classes:
            raise ValueError(
                f"labels: got {min(numbers)} to {max(numbers)}, expected 0 to {config.num_classes - 1}, "
                f"or {NO_CLASS} for no class"
            )
        return [], numbers

    def _requests(
        self,
        prompts: Sequence[str],
        labels: Sequence[int],
        *,
        num_images: int,
        randoms: Sequence[torch.Generator],
    ) -> list[Request]:
        """One for each picture; for a class the decoder's caption is drawn from the captions of that class."""
        if prompts:
            return [Request(caption=text) for text in prompts for _ in range(num_images)]
        every = [label for label in labels for _ in range(num_images)]
        return [
            Request(caption=self._caption_of(label, random), label=label)
            for label, random in zip(every, randoms, strict=True)
        ]

    def _caption_of(self, label: int, random: torch.Generator) -> str:
        known = self.class_captions.get(label)
        return known[int(torch.randint(len(known), (), generator=random))] if known else ""

    def _noise(self, randoms: Sequence[torch.Generator]) -> Tensor | None:
        """A DiT's starts at full K, so that budgets share them; None for codes, which start as masks."""
        config = self.generator.config
        if not isinstance(config, DiTConfig):
            return None
        shape = (len(randoms), config.num_latents, config.latent_dim)
        return normal(shape, randoms, device=self.device)

    def _check(self, settings: Sampling, *, num_images: int, batch_size: int) -> None:
        most = self.generator.config.num_latents
        if settings.num_tokens is not None and not 1 <= settings.num_tokens <= most:
            raise ValueError(f"num_tokens: got {settings.num_tokens}, expected 1 to {most}")
        for name, value in (("num_images", num_images), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name}: got {value}, expected at least 1")


def picture_generator(start: int, index: int) -> torch.Generator:
    """The random numbers of one picture."""
    digest = hashlib.sha256(f"{start}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def load_tokenizer(
    generator: Generator, named: str | Path | None, *, device: torch.device | str, precision: Precision
) -> ImageTokenizer:
    """The tokenizer of a generator: the one that is named, or where it was at training.

    Raises:
        FileNotFoundError: when it is not there; says how to name it.
    """
    source = named or generator.config.tokenizer_source
    try:
        if not source:
            raise FileNotFoundError("the generator does not say where its tokenizer is")
        return ImageTokenizer.from_pretrained(source, device=device, precision=precision)
    except FileNotFoundError as error:
        if named:
            raise
        raise FileNotFoundError(
            f"the generator's tokenizer {generator.config.tokenizer}: {error}; name it (tokenizer=, --tokenizer)"
        ) from error


def read_class_captions(path: Path) -> dict[int, list[str]]:
    """Captions of every class from a JSON object {label: [captions]}; empty when there is no file.

    Raises:
        ValueError: for a file of another form.
    """
    if not path.is_file():
        return {}
    try:
        found = {int(label): texts for label, texts in json.loads(path.read_text()).items()}
        if not all(
            isinstance(texts, list) and all(isinstance(t, str) for t in texts) for texts in found.values()
        ):
            raise ValueError("a class has something else")
        return found
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: expected a JSON object of {{label: [captions]}} ({error})") from error
