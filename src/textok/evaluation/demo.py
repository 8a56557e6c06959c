"""``textok demo``: run a tokenizer on test pictures and write the report about it."""

import io
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.data.images import decode_image, tensor_to_image
from textok.data.samples import write_bad
from textok.display import Progress, note
from textok.evaluation.captioned import CONDITIONS, CaptionedPictures, usable_conditions
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.networks import EffNetLite2, FeatureNetwork
from textok.evaluation.pages.report import Report, Scores, Section, render_report
from textok.evaluation.reconstruction import Meter, Reconstructions, usual_budgets
from textok.models.checkpoint import shipped_folder
from textok.objectives.quality import psnr_per_image
from textok.pipeline.facts import bytes_per_image, model_facts
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer, decode_values, encode_pixels
from textok.writing import write_text

SHIPPED_PICTURES = "demo-pictures"
KINDS = {
    "test-drawing": (
        "Known things, new drawings",
        "Test drawings of things that the training split shows drawn by other hands.",
    ),
    "test-concept": (
        "Unknown things",
        "Test drawings of things that occur in no picture and no caption of the training split.",
    ),
    "photos": ("Photographs", "Natural photographs: out of domain for a tokenizer trained on drawings."),
}
PLACES = {
    "both": "encoder and decoder",
    "encoder": "the encoder only",
    "decoder": "the decoder only",
    "none": "neither side",
}
CREDIT = (
    "Drawings: Fluent Emoji by Microsoft (MIT), Noto Emoji by Google and FxEmoji by Mozilla (Apache-2.0),"
    " Twemoji by Twitter and contributors and Emoji One 2.x by its contributors (CC-BY-4.0), Open Clip Art"
    " Library (public domain); resized, some on a colored background. Photographs: public domain or CC0-1.0,"
    " from scikit-image and GCompris. Authors and full licence texts: ATTRIBUTION.md beside the pictures."
)
PROMPTS = {
    "a glossy 3D emoji of a red apple; food, fruit": "",
    "a flat vector emoji of a cat face, on a teal background; animal": "",
    "a clip art drawing of a house, in black and white": "",
    "a simple flat-colored emoji of a woman firefighter with dark skin; person": "",
    "a blue car": "A bare prompt: no style, no keywords.",
    "a green cat wearing a crown": "A combination that no training picture shows.",
    "a purple banana, on a yellow background": "A color that no training picture has.",
    "a glossy 3D emoji of a flying bicycle; transport": "A combination that no training picture shows.",
}
PROMPT_BUDGETS = (8, 16, 32)
PICTURES_PER_PROMPT = 4
WEBP_QUALITIES = (0, 10, 30, 60, 90)
TIMED_ROUNDS = 3
_TIMED_SECONDS = 2.0


def write_demo(
    out_dir: str | Path,
    tokenizer: ImageTokenizer,
    kinds: Sequence[CaptionedPictures],
    *,
    batch_size: int = 32,
    decoding: Mapping[str, Any] | None = None,
    pipeline: Pipeline | None = None,
    credit: str = "",
) -> Path:
    """Reconstruct test pictures at every budget and caption condition, and write it all into one HTML file.

    Args:
        out_dir: folder for ``report.html``; made if missing.
        tokenizer: what the report is about.
        kinds: what :func:`load_pictures` gives.
        batch_size: pictures at a time.
        decoding: steps and guidance of a decoder that samples, where they are not the model's own.
        pipeline: a generator over the tokenizer's tokens, whose pictures the report shows too.
        credit: whose pictures these are.

    Returns:
        The file.
    """
    network, sections = EffNetLite2().to(tokenizer.device), []
    for pictures in kinds:
        note(f"{pictures.split}: {len(pictures)} pictures, at every budget and caption condition")
        sections.append(make_section(tokenizer, pictures, network, batch_size=batch_size, decoding=decoding))
    note("speed" if pipeline is None else "speed, and pictures from captions")
    report = Report(
        model_id=tokenizer.model_id,
        perceptual=f"perceptual_{network.name}",
        sections=sections,
        token_bytes={k: bytes_per_image(tokenizer.model, num_tokens=k) for k in sections[0].budgets},
        file_bytes=_file_bytes(kinds),
        caption_bytes=statistics.fmean(len(c.encode()) for pictures in kinds for c in pictures.captions),
        speed=measure_speed(tokenizer, kinds[0]),
        facts=_facts(tokenizer),
        details=json.dumps(tokenizer.model.made_by, indent=1) if tokenizer.model.made_by else "",
        credit=credit,
        prompts=None if pipeline is None else generate_prompts(pipeline),
    )
    path = Path(out_dir) / "report.html"
    write_text(path, render_report(report))
    return path


def load_pictures(
    source: str | Path | None, *, split: str | None, limit: int, side: int, out: Path, **policy: Any
) -> list[CaptionedPictures]:
    """The pictures by kind: those that travel with the package, or at most ``limit`` of one kind from ``source``.

    ``policy`` is about bad ones, which are listed beside ``out``; ``ValueError`` for a split without a source.
    """
    if source is None and split is not None:
        raise ValueError(f"split: got {split!r} without a source, expected a source of pictures beside it")
    if source is None:
        folder = str(shipped_folder(SHIPPED_PICTURES))
        return [CaptionedPictures.open(folder, split=name, side=side) for name in KINDS]
    name = split or Path(source).stem
    write_bad(out, [])
    pictures = CaptionedPictures.open(
        str(source), split=split, name=name, side=side, limit=limit, out=out, **policy
    )
    return [pictures]


def make_section(
    tokenizer: ImageTokenizer,
    pictures: CaptionedPictures,
    network: FeatureNetwork,
    *,
    batch_size: int = 32,
    decoding: Mapping[str, Any] | None = None,
) -> Section:
    """Reconstruct and score pictures of one kind, at the usual budgets and the model's longest."""
    config = tokenizer.model.config
    reads_captions = config.placement != "none"
    conditions, _ = usable_conditions(pictures, CONDITIONS if reads_captions else ["none"])
    evaluator = Evaluator(
        model=tokenizer.model,
        text=tokenizer.remembered_text.encoder if reads_captions else None,
        network=network,
        batch_size=batch_size,
        decoding=decoding or {},
    )
    budgets = usual_budgets(config.num_latents)
    with Progress(len(pictures) * len(conditions), unit="image", title=pictures.split) as bar:
        outputs = evaluator.reconstruct(pictures, budgets=budgets, captions=conditions, progress=bar.update)
    title, about = KINDS.get(pictures.split, (pictures.split, ""))
    return Section(
        title=title,
        note=about,
        pictures=pictures,
        outputs=outputs,
        scores=score(pictures, outputs, network),
        classic=through_webp(pictures.images),
    )


def through_webp(images: UInt8[Tensor, "n 3 h w"]) -> dict[int, float]:
    """Mean bytes of the pictures as WebP files of several qualities -> their mean PSNR."""
    points = {}
    for quality in WEBP_QUALITIES:
        files = [_file(tensor_to_image(image), format="WEBP", quality=quality) for image in images]
        back = torch.stack([decode_image(file, (images.shape[2], images.shape[3])) for file in files])
        points[round(statistics.fmean(map(len, files)))] = float(psnr_per_image(images, back).mean())
    return points


def score(pictures: CaptionedPictures, outputs: Reconstructions, network: FeatureNetwork) -> Scores:
    """The metrics of every single reconstruction."""
    meter = Meter(network=network, judge=None)
    originals, _ = meter.originals(pictures.images, torch.arange(len(pictures)))
    scores = {}
    for cell, images in outputs.items():
        columns = meter.reconstructions(originals, images)
        scores[cell] = {name: column.tolist() for name, column in columns.items() if name != "vectors"}
    return scores


@torch.inference_mode()
def measure_speed(tokenizer: ImageTokenizer, pictures: CaptionedPictures) -> dict[str, float]:
    """Pictures per second to and from all K tokens, in batches of 32, captions already encoded."""
    model, rows = tokenizer.model, [i % len(pictures) for i in range(32)]
    images = pictures.images[rows].to(tokenizer.device)
    text = tokenizer.text_of([pictures.captions[i] for i in rows])
    latents, patch = encode_pixels(model, images, text).latents, model.config.patch_size
    grid = (images.shape[2] // patch, images.shape[3] // patch)
    return {
        "encode": len(rows) / _seconds(lambda: encode_pixels(model, images, text)),
        "decode": len(rows) / _seconds(lambda: decode_values(model, latents, text, grid=grid)),
    }


def _seconds(call: Callable[[], Any], *, least: float | None = None) -> float:
    """Median time of three calls or more that together take ``least`` seconds, after one that warms up."""
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    call()
    times: list[float] = []
    while len(times) < TIMED_ROUNDS or sum(times) < (_TIMED_SECONDS if least is None else least):
        synchronize()
        start = time.perf_counter()
        call()
        synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _file_bytes(kinds: Sequence[CaptionedPictures]) -> dict[str, float]:
    formats = {
        "PNG": {"format": "PNG", "optimize": True},
        "WebP, quality 75": {"format": "WEBP", "quality": 75},
    }
    images = [tensor_to_image(pixels) for pictures in kinds for pixels in pictures.images]
    return {
        name: statistics.fmean(len(_file(image, **options)) for image in images)
        for name, options in formats.items()
    }


def _file(image: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def _facts(tokenizer: ImageTokenizer) -> dict[str, str]:
    config, facts = tokenizer.model.config, model_facts(tokenizer.model.config)
    total, encoder, decoder = (
        f"{facts['parameters'][part] / 1e6:.1f} M" for part in ("total", "encoder", "decoder")
    )
    longest = f"{config.num_latents} tokens of {config.latent_dim} channels"
    codes = "" if facts["codes"] is None else f", a vocabulary of {facts['codes']:,} codes"
    gmacs = facts["gmacs_per_image"]
    return {
        "Model": tokenizer.model_id,
        "Parameters": f"{total} ({encoder} encoder, {decoder} decoder)",
        "Picture": f"{config.image_size} x {config.image_size} pixels, patches of {config.patch_size}",
        "Tokens": f"up to {longest}{codes}; bottleneck {config.bottleneck.kind}",
        "Caption": f"read by {PLACES[config.placement]}; states of {config.text_encoder},"
        f" at most {config.max_text_tokens} word pieces",
        "Multiply-adds": f"{gmacs['encode']:.2f} G to encode a picture, {gmacs['decode']:.2f} G to decode it",
        "Timed on": _machine(tokenizer),
        "Licence of the weights": str(tokenizer.model.made_by.get("licence", "see the model card")),
    }


def _machine(tokenizer: ImageTokenizer) -> str:
    dtype = str(tokenizer.dtype).removeprefix("torch.")
    if tokenizer.device.type == "cuda":
        place = torch.cuda.get_device_name(tokenizer.device)
    else:
        processor = f"{platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"
        threads = torch.get_num_threads()
        place = f"{processor}, {threads} thread{'s' * (threads > 1)}"
    return f"{place}; {dtype}, batches of 32, torch {torch.__version__}; captions already encoded"


def generate_prompts(pipeline: Pipeline, *, seed: int = 0) -> dict[str, Any]:
    """What prompts.html shows: all prompts at all budgets from the noise of one seed, and the time of a picture."""
    most, settings = pipeline.generator.config.num_latents, pipeline.defaults
    budgets = [k for k in PROMPT_BUDGETS if k <= most] or [most]

    def seconds(k: int) -> float:
        draw = partial(
            pipeline, next(iter(PROMPTS)), num_images=PICTURES_PER_PROMPT, num_tokens=k, output="uint8"
        )
        return _seconds(draw, least=0.0) / PICTURES_PER_PROMPT

    return {
        "model_id": pipeline.model_id,
        "cards": [
            {"prompt": prompt, "note": note, "pictures": _pictures(pipeline, prompt, budgets, seed=seed)}
            for prompt, note in PROMPTS.items()
        ],
        "budgets": budgets,
        "seconds": {k: seconds(k) for k in budgets},
        "batch": PICTURES_PER_PROMPT,
        "settings": f"{settings.sampler}, {settings.steps} steps, guidance {settings.guidance:g}",
        "parameters": sum(parameter.numel() for parameter in pipeline.generator.parameters()),
    }


def _pictures(
    pipeline: Pipeline, prompt: str, budgets: list[int], *, seed: int
) -> UInt8[Tensor, "r n 3 h w"]:
    rows = [
        pipeline(
            prompt,
            num_images=PICTURES_PER_PROMPT,
            num_tokens=k,
            generator=torch.Generator().manual_seed(seed),
            output="uint8",
        )
        for k in budgets
    ]
    return torch.stack(rows)
