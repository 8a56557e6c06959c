"""Tokenizers and pipelines with the calls of the diffusers library, which is not needed for them.

>>> vae = AutoencoderTexTok.from_pretrained("icons-128")
>>> z = vae.encode(x, captions).latent_dist.sample() * vae.config.scaling_factor  # x (b, 3, h, w) in [-1, 1]
>>> vae.decode(z / vae.config.scaling_factor, captions).sample

Latents are sequences (b, k, c), not maps; they are of unit scale already, so that ``scaling_factor`` is 1. A result
is a tuple of one whose value has a name too, for ``return_dict=True`` and for ``return_dict=False``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.text import Captions, as_captions
from textok.sampling.flow import OnStep
from textok.sampling.random import normal

StepCallback = Callable[["TexTokPipeline", int, float, dict[str, Any]], object]
"""(pipeline, index of the step, share of the steps that are left, empty dict)."""


@dataclass(frozen=True, kw_only=True)
class LatentDistribution:
    """A diagonal Gaussian; a point where the tokenizer has no variance, and then every sample is the mean."""

    mean: Float[Tensor, "b k c"]
    logvar: Float[Tensor, "b k c"] | None = None

    @property
    def std(self) -> Float[Tensor, "b k c"]:
        """Standard deviation."""
        return torch.zeros_like(self.mean) if self.logvar is None else (0.5 * self.logvar).exp()

    @property
    def var(self) -> Float[Tensor, "b k c"]:
        """Variance."""
        return self.std.square()

    def mode(self) -> Float[Tensor, "b k c"]:
        """The likeliest latents."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "b k c"]:
        """Latents with noise of ``generator``, or of torch's own."""
        random = generator or torch.default_generator
        return self.mean + self.std * normal(self.mean.shape, random, device=self.mean.device).to(self.mean)


class EncoderOutput(NamedTuple):
    """What ``encode`` returns."""

    latent_dist: LatentDistribution


class DecoderOutput(NamedTuple):
    """Pictures (b, 3, h, w) on the scale [-1, 1]."""

    sample: Float[Tensor, "b 3 h w"]


class ImagesOutput(NamedTuple):
    """Pictures of the type that was asked for."""

    images: Any


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """What users of an autoencoder ask its ``config`` for; ``config["sample_size"]`` works too."""

    sample_size: int
    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int
    num_latents: int
    scaling_factor: float = 1.0
    shift_factor: float = 0.0

    def __getitem__(self, name: str) -> int | float:
        return asdict(self)[name]


class AutoencoderTexTok(nn.Module):
    """A tokenizer as an autoencoder of diffusers, with which it is moved and cast.

    Gradients reach the pictures and latents, not the weights.
    """

    def __init__(self, tokenizer: ImageTokenizer) -> None:
        super().__init__()
        self.model: TexTok = tokenizer.model
        self.tokenizer = tokenizer
        self.use_slicing = False
        model = tokenizer.model.config
        self.config = AutoencoderConfig(
            sample_size=model.image_size, latent_channels=model.latent_dim, num_latents=model.num_latents
        )

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path = "icons-128", *, torch_dtype: torch.dtype = torch.float32, **hub: Any
    ) -> "AutoencoderTexTok":
        """Load a shipped name, a folder or a hub id; errors and ``hub`` as ``ImageTokenizer.from_pretrained``."""
        return cls(ImageTokenizer.from_pretrained(name_or_folder, dtype=torch_dtype, **hub))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the weights and the configuration, which all of this package reads."""
        self.model.save_pretrained(folder)

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights."""
        return self.tokenizer.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tokenizer.device

    def to(self, *where: Any, **named: Any) -> "AutoencoderTexTok":
        """Move to a device, cast to a dtype, or both; statistics of the latents stay in float32."""
        device, dtype, *_ = torch._C._nn._parse_to(*where, **named)
        self.tokenizer.to(device or self.device, dtype or self.dtype)
        return self

    def enable_slicing(self) -> None:
        """Encode and decode one picture at a time, in less memory."""
        self.use_slicing = True

    def disable_slicing(self) -> None:
        """Encode and decode all pictures at once."""
        self.use_slicing = False

    def encode(
        self,
        x: Float[Tensor, "b 3 h w"],
        captions: Captions = None,
        *,
        num_tokens: int | None = None,
        return_dict: bool = True,
    ) -> EncoderOutput:
        """Pictures in [-1, 1] to a distribution of latents; the ``Captions`` are one each, one for all, or none."""
        parts = [
            self.model.encode(pictures.to(self.device, self.dtype), text, num_tokens=num_tokens)
            for pictures, text in self._slices(x, captions)
        ]
        mean = torch.cat([part.latents for part in parts])
        variances = [part.log_variance for part in parts if part.log_variance is not None]
        logvar = torch.cat(variances) if variances else None
        return EncoderOutput(LatentDistribution(mean=mean, logvar=logvar))

    def decode(
        self,
        z: Float[Tensor, "b k c"],
        captions: Captions = None,
        *,
        return_dict: bool = True,
        **decoding: Any,
    ) -> DecoderOutput:
        """Latents to pictures; ``decoding`` is that of ``TexTok.decode``: grid, steps, guidance, generator."""
        parts = [
            self.model.decode(latents.to(self.device).float(), text, **decoding)
            for latents, text in self._slices(z, captions)
        ]
        return DecoderOutput(torch.cat(parts))

    def forward(
        self,
        sample: Float[Tensor, "b 3 h w"],
        captions: Captions = None,
        *,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> DecoderOutput:
        """Encode and decode pictures of the model's size, by the mode of the latents or by a sample of them."""
        distribution = self.encode(sample, captions).latent_dist
        z = distribution.sample(generator) if sample_posterior else distribution.mode()
        return self.decode(z, captions)

    def _slices(self, rows: Tensor, captions: Captions) -> Iterator[tuple[Tensor, TextCondition | None]]:
        """The rows that go through the model at a time, with their captions."""
        texts, size = as_captions(captions, len(rows)), 1 if self.use_slicing else max(1, len(rows))
        for start in range(0, max(1, len(rows)), size):
            text = self.tokenizer.text_of(texts[start : start + size])
            yield rows[start : start + size], text and text.to(self.device, self.dtype)


class TexTokPipeline:
    """A text-to-image pipeline with the arguments of diffusers' pipelines."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.vae = AutoencoderTexTok(pipeline.tokenizer)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "icons-128",
        *,
        torch_dtype: torch.dtype = torch.float32,
        **more: Any,
    ) -> "TexTokPipeline":
        """Load a generator and its tokenizer; errors and ``more`` as ``Pipeline.from_pretrained``."""
        return cls(Pipeline.from_pretrained(name_or_folder, dtype=torch_dtype, **more))

    def to(self, *where: Any, **named: Any) -> "TexTokPipeline":
        """Move to a device, cast to a dtype, or both."""
        device, dtype, *_ = torch._C._nn._parse_to(*where, **named)
        self.pipeline.to(device or self.pipeline.device, dtype)
        return self

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        **more: Any,
    ) -> ImagesOutput:
        """Pictures for prompts; see ``Pipeline`` for ``more``, such as num_tokens and sampler.

        Args:
            num_inference_steps, guidance_scale: of the sampler; None takes what comes with the weights.
            negative_prompt: what guidance leads away from: one for all prompts, or one each.
            num_images_per_prompt: those of the first prompt come first.
            generator: source of all randomness, of seed 0 when None.
            output_type: "pil", "np" (b, h, w, 3) or "pt" (b, 3, h, w), both of these in [0, 1].
            return_dict: the result is a tuple of one, with a name, for True and for False.
            callback_on_step_end: is called after each step; latents cannot be changed in it.
            **more: other arguments of ``Pipeline``.
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f"output_type: got {output_type!r}, expected 'pil', 'np' or 'pt'")
        output: Any = "pil" if output_type == "pil" else "uint8"
        images = self.pipeline(
            prompt,
            negative_prompt=negative_prompt,
            num_images=num_images_per_prompt,
            steps=num_inference_steps,
            guidance=guidance_scale,
            generator=generator,
            on_step=callback_on_step_end and self._on_step(callback_on_step_end, num_inference_steps, more),
            output=output,
            **more,
        )
        if isinstance(images, list):
            return ImagesOutput(images)
        pixels = images.float() / 255
        return ImagesOutput(pixels if output_type == "pt" else pixels.movedim(1, -1).numpy())

    def _on_step(self, callback: StepCallback, steps: int | None, more: dict[str, Any]) -> OnStep:
        """The callback for the steps of all batches, each of which begins with index 0."""
        network = self.pipeline.generator
        settings = self.pipeline.defaults.changed(network, steps=steps, num_tokens=more.get("num_tokens"))
        count: int = settings.record(network)["steps"]

        def report(done: int) -> None:
            index = (done - 1) % count
            callback(self, index, 1 - (index + 1) / count, {})

        return report
