"""Prompts to pictures: a generator, the tokenizer it was trained for, and the text encoder of both."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count as count_from
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from textok.data.images import tensor_to_image
from textok.models.checkpoint import CLASS_CAPTIONS_FILE, FIT_FILE, resolve, weights_hash
from textok.models.conditions import Condition
from textok.models.dit import DiTConfig
from textok.models.generators import Generator, load_generator
from textok.models.hub import Hub
from textok.models.layers import lay_out_for_few_rows
from textok.pipeline import sampling
from textok.pipeline.image_tokenizer import ImageTokenizer, decode_values
from textok.pipeline.precision import Precision, inference_dtype, torch_device
from textok.pipeline.text import RememberedText
from textok.pixels import to_uint8
from textok.sampling.flow import OnStep
from textok.sampling.random import normal, seeded


class Pipeline:
    """Make pictures from prompts, or from classes.

    Examples:
        >>> pipeline = Pipeline.from_pretrained("icons-128")
        >>> pipeline("a red apple on a white background", num_images=4, num_tokens=16)[0].save("apple.png")

    Args:
        generator: a DiT or a MaskGIT; put in eval mode, moved and cast.
        class_captions: captions of each class, of which the decoder gets one at random, as in the paper.
        device: where all run: "cpu", "cuda", "auto".
        dtype: that of the weights, "float32" or "bfloat16"; "auto" takes bfloat16 where the processor has it.

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
        dtype: Precision | torch.dtype = "auto",
    ) -> None:
        self.model_id = generator.model_id  # before a cast changes the weights
        trained_for = generator.config.tokenizer
        if trained_for and weights_hash(trained_for) != weights_hash(tokenizer.model_id):
            raise ValueError(
                f"tokenizer: got {tokenizer.model_id!r}, expected {trained_for!r}, which this generator was trained for"
            )
        self.generator = generator.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.class_captions = class_captions or {}
        self.defaults = sampling.Sampling.of(generator)
        condition, config = generator.config.condition, tokenizer.model.config
        shared = (config.text_encoder, config.max_text_tokens)
        self._text: RememberedText | None = None  # the tokenizer's
        if condition.kind == "text" and (condition.text_encoder, condition.max_text_tokens) != shared:
            self._text = RememberedText(condition.text_encoder, max_tokens=condition.max_text_tokens)
        self.to(device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "icons-128",
        *,
        tokenizer: str | Path | ImageTokenizer | None = None,
        device: torch.device | str = "cpu",
        dtype: Precision | torch.dtype = "auto",
        **hub: Unpack[Hub],
    ) -> "Pipeline":
        """Load a generator and its tokenizer: a shipped name, a folder or a hub id.

        Args:
            name_or_folder: where the generator is.
            tokenizer: where its tokenizer is, when it is not where it was at training.
            **hub: revision (of the generator), token and cache_dir of hub ids.

        ``FileNotFoundError`` when one of them is not there, ``ValueError`` when they are damaged or no pair.
        """
        generator = load_generator(name_or_folder, **hub)
        folder = resolve(str(name_or_folder), shipped=type(generator).shipped, **hub)
        hub.pop("revision", None)
        if tokenizer is None and (fit := folder.parent.parent / FIT_FILE).is_file():  # it may have been moved
            tokenizer = fit.parent
        if not isinstance(tokenizer, ImageTokenizer):
            tokenizer = _load_tokenizer(generator, tokenizer, device=device, dtype=dtype, **hub)
        captions = sampling.read_class_captions(folder / CLASS_CAPTIONS_FILE)
        return cls(generator, tokenizer, class_captions=captions, device=device, dtype=dtype)

    def to(self, device: torch.device | str, dtype: Precision | torch.dtype | None = None) -> "Pipeline":
        """Move everything to a device and cast to a dtype; without one the earlier choice holds."""
        self.device = torch_device(device)
        self._dtype_choice = self._dtype_choice if dtype is None else dtype
        self.dtype = inference_dtype(self.device, self._dtype_choice)
        lay_out_for_few_rows(self.generator.to(self.device, self.dtype))
        self.tokenizer.to(self.device, dtype)
        if self._text is not None:
            self._text.to(self.device, self.dtype)
        return self

    _dtype_choice: Precision | torch.dtype = "auto"

    def __repr__(self) -> str:
        kind = self.generator.config.condition.kind
        where = f"{str(self.dtype).removeprefix('torch.')} on {self.device}"
        return f"Pipeline({self.model_id!r}: {kind} to pictures of {self.tokenizer.model_id!r}; {where})"

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
        negative_prompt: str | Sequence[str] | None = None,
        num_images: int = 1,
        first_index: int = 0,
        num_tokens: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        sampler: str | None = None,
        generator: torch.Generator | None = None,
        decoder_steps: int | None = None,
        decoder_guidance: float | None = None,
        batch_size: int = 16,
        progress: bool = False,
        on_step: OnStep | None = None,
        output: Literal["pil", "uint8"] = "pil",
        **more: Any,
    ) -> list[Image.Image] | UInt8[Tensor, "b 3 h w"]:
        """Pictures for every prompt, or every class: those of the first come first.

        Args:
            prompts: one or many, for a text-conditional generator; "" draws without a condition.
            labels: one or many classes, for a class-conditional one.
            negative_prompt: what guidance leads away from: one for all prompts, or one each.
            num_images: pictures for each prompt.
            first_index: number of the first picture; a part of a longer run is drawn as the whole would be.
            num_tokens: the budget k; fewer are faster and coarser.
            steps, guidance, guidance_interval, sampler: see Sampling; the defaults come with the weights.
            generator: source of all randomness; a new one with seed 0 when None. Every picture has a generator
                of its own, made from it: the i-th picture does not depend on how many there are, up to the
                rounding of the dtype (of 255 levels at most 1 in float32, a few in bfloat16).
            decoder_steps, decoder_guidance: those of a tokenizer whose decoder samples; see ``TexTok.decode``.
            progress: show the sampler's steps on stderr.
            on_step: is called after each step with the number of finished ones, of ``steps`` for each batch.
            output: "pil", whose ``info["textok"]`` says how each was drawn, or "uint8".
            **more: other settings of Sampling.

        Raises:
            ValueError: for settings, prompts or labels that do not fit the generator.
        """
        changes = {"num_tokens": num_tokens, "steps": steps, "guidance": guidance}
        changes |= {"guidance_interval": guidance_interval, "sampler": sampler}
        settings = self.defaults.changed(self.generator, **changes, **more)
        self._check(settings, num_images=num_images, batch_size=batch_size)
        random = generator or torch.Generator().manual_seed(0)
        prompts, labels = sampling.checked_conditions(self.generator.config.condition, prompts, labels)
        negatives = sampling.checked_negatives(negative_prompt, texts=prompts, guidance=settings.guidance)
        start = int(torch.randint(2**62, (), generator=random, device=random.device))
        count = num_images * len(prompts or labels)
        randoms = [seeded(start, first_index + index) for index in range(count)]
        texts = list(zip(prompts, negatives, strict=True))
        requests = [sampling.Request(text, negative=no) for text, no in texts for _ in range(num_images)]
        classes = [label for label in labels for _ in range(num_images)]
        requests = requests or list(map(self._request_of_class, classes, randoms))
        decoding = {"steps": decoder_steps, "guidance": decoder_guidance}
        record = settings.record(self.generator)
        batches = [slice(first, first + batch_size) for first in range(0, count, batch_size)]
        with tqdm(total=record["steps"] * len(batches), unit="step", disable=not progress) as bar:
            finished = count_from(1)  # a bar that is not shown does not count

            def count_step(_: int) -> None:
                bar.update()
                if on_step is not None:
                    on_step(next(finished))

            draw = partial(self._draw, settings=settings, decoding=decoding, on_step=count_step)
            pixels = torch.cat([draw(requests[rows], randoms=randoms[rows]) for rows in batches])
        if output == "uint8":
            return pixels
        record |= {f"decoder_{name}": value for name, value in decoding.items() if value is not None}
        record |= {"start": start, "seed": random.initial_seed()}
        return self._images(pixels, requests, record, first_index=first_index)

    def _images(
        self,
        pixels: UInt8[Tensor, "b 3 h w"],
        requests: Sequence[sampling.Request],
        settings: Mapping[str, Any],
        *,
        first_index: int,
    ) -> list[Image.Image]:
        """Pictures whose ``info["textok"]`` says how each was drawn."""
        shared = {"generator": self.model_id, "tokenizer": self.tokenizer.model_id}
        shared |= {"precision": str(self.dtype).removeprefix("torch."), **settings}
        images: list[Image.Image] = []
        for index, (picture, request) in enumerate(zip(pixels, requests, strict=True), first_index):
            own = {"prompt": request.caption, "label": request.label, "index": index}
            own |= {"negative_prompt": request.negative} if request.negative else {}
            images.append(tensor_to_image(picture))
            images[-1].info["textok"] = json.dumps(own | shared)
        return images

    def _draw(
        self,
        requests: Sequence[sampling.Request],
        settings: sampling.Sampling,
        *,
        randoms: Sequence[torch.Generator],
        decoding: Mapping[str, Any],
        on_step: OnStep,
    ) -> UInt8[Tensor, "b 3 h w"]:
        """One batch, on the device throughout: condition -> tokens -> pixels."""
        condition, negative = self._conditions(requests)
        noise, config = None, self.generator.config
        if isinstance(config, DiTConfig):  # at full K, so that budgets share it; codes start as masks
            noise = normal((len(randoms), config.num_latents, config.latent_dim), randoms, device=self.device)
        own: dict[str, Any] = {"negative": negative, "random": randoms, "noise": noise, "on_step": on_step}
        tokens = sampling.draw_tokens(self.generator, condition, settings, **own)
        if not bool(torch.isfinite(tokens).all()):
            raise ValueError(f"{self.model_id}: drew NaN or infinite latents; are its weights damaged?")
        text = self.tokenizer.text_of([request.caption for request in requests])
        pictures = decode_values(self.tokenizer.model, tokens, text, generator=randoms, **decoding)
        return to_uint8(pictures).cpu()

    def _conditions(self, requests: Sequence[sampling.Request]) -> tuple[Condition, Condition | None]:
        """What the generator follows, and what guidance leads away from, where that is more than nothing."""
        if self.generator.config.condition.kind == "class":
            return Condition(labels=torch.tensor([r.label for r in requests], device=self.device)), None
        text = self._text or self.tokenizer.remembered_text
        negatives = [request.negative for request in requests]
        negative = Condition(text=text(negatives)) if any(negatives) else None
        return Condition(text=text([request.caption for request in requests])), negative

    def _request_of_class(self, label: int, random: torch.Generator) -> sampling.Request:
        """The decoder's caption is drawn from the captions of the class."""
        captions = self.class_captions.get(label)
        caption = captions[int(torch.randint(len(captions), (), generator=random))] if captions else ""
        return sampling.Request(caption, label)

    def _check(self, settings: sampling.Sampling, *, num_images: int, batch_size: int) -> None:
        most = self.generator.config.num_latents
        if settings.num_tokens is not None and not 1 <= settings.num_tokens <= most:
            raise ValueError(f"num_tokens: got {settings.num_tokens}, expected 1 to {most}")
        for name, value in {"num_images": num_images, "batch_size": batch_size}.items():
            if value < 1:
                raise ValueError(f"{name}: got {value}, expected at least 1")


def _load_tokenizer(
    generator: Generator, name_or_folder: str | Path | None, **options: Any
) -> ImageTokenizer:
    """The tokenizer of a generator: the one that is named, or that from where it was at training."""
    source = name_or_folder or generator.config.tokenizer_source
    try:
        if not source:
            raise FileNotFoundError("the generator does not say where its tokenizer is")
        return ImageTokenizer.from_pretrained(source, **options)
    except FileNotFoundError as error:
        if name_or_folder:
            raise
        raise FileNotFoundError(
            f"the generator's tokenizer {generator.config.tokenizer}: {error}; name it (tokenizer=, --tokenizer)"
        ) from error
