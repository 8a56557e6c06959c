"""Draw the figures of README and site from the shipped weights and the recorded results: python docs/figures.py.

    python docs/figures.py --model scenes-128     # other weights, whose records are in benchmarks/results
    python docs/figures.py --model FOLDER --only flow seeds     # of any tokenizer with a flow decoder

Everything is drawn anew with fixed seeds; pictures are the ones that travel with the package, by their keys below.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.pages.curves import curve_chart
from textok.evaluation.pages.grids import sample_grid, save_picture
from textok.models.checkpoint import shipped_folder
from textok.models.decoder import FlowDecoder
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pixels import to_uint8, to_unit
from textok.writing import write_text

ROOT = Path(__file__).resolve().parents[1]
FIGURES, RESULTS, PAGES = (
    ROOT / "docs/figures",
    ROOT / "benchmarks/results",
    ROOT / "src/textok/evaluation/pages",
)
BUDGETS = (1, 2, 4, 8, 32)
TEASER, CHANGED = (
    "a glossy 3D emoji of a strawberry",
    "a flat vector emoji of a cat face, on a teal background; animal",
)
PROMPTS = (
    "a glossy 3D emoji of a red apple; food, fruit",
    "a flat vector emoji of a cat face, on a teal background; animal",
    "a blue car",
    "a green cat wearing a crown",
)
CODECS, MOST_BYTES = ("JPEG", "WebP", "AVIF"), 1100
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)
FLOW_TOKENS, FLOW_STEPS = 4, 6


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="icons-128", help="a shipped name with its records, or a folder")
    parser.add_argument("--only", nargs="+", help="figures by name, such as flow; all when not given")
    parser.add_argument("--out", type=Path, default=FIGURES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    figures = figures_of(options.model)
    for name in options.only or [name.partition(".")[0] for name in figures]:
        file = next((file for file in figures if file.startswith(f"{name}.")), None)
        if file is None:
            raise SystemExit(f"--only: got {name!r}, expected some of {', '.join(figures)}")
        write = write_text if file.endswith(".svg") else save_figure
        write(options.out / file, figures[file]())


def save_figure(path: Path, figure: Any) -> None:
    """A grid of pictures as a file."""
    save_picture(figure, path)


def figures_of(model: str) -> dict[str, Callable[[], Any]]:
    """File of each figure -> what draws it; a decoder that generates has two more."""
    tokenizer = ImageTokenizer.from_pretrained(model, dtype="float32")
    shown = tokenizer, *chosen(tokenizer)
    figures: dict[str, Callable[[], Any]] = {
        "tokens.png": lambda: tokens_grid(*shown),
        "captions.png": lambda: captions_grid(*shown),
        "noise.png": lambda: noise_grid(shown[1]),
        "prompts.png": lambda: prompts_grid(model, tokenizer),
        "quality.svg": lambda: quality_chart(model),
        "bytes.svg": bytes_chart,
    }
    if isinstance(tokenizer.model.decoder, FlowDecoder):
        figures |= {"flow.png": lambda: flow_grid(*shown), "seeds.png": lambda: seeds_grid(*shown)}
    return figures


def chosen(tokenizer: ImageTokenizer) -> tuple[UInt8[Tensor, "3 h w"], str]:
    """The picture of the teaser and its caption, among those that travel with the package and were never trained on."""
    side, folder = tokenizer.model.config.image_size, str(shipped_folder("demo-pictures"))
    pictures = CaptionedPictures.open(folder, split="test-drawing", side=side)
    place = next(i for i, caption in enumerate(pictures.captions) if caption.startswith(TEASER))
    return pictures.images[place], pictures.captions[place]


def tokens_grid(tokenizer: ImageTokenizer, picture: UInt8[Tensor, "3 h w"], caption: str) -> Any:
    """The picture at several numbers of tokens, with its caption and without."""
    rows = [torch.stack([picture, *_at(tokenizer, picture, text)]) for text in (caption, "")]
    heads = ["original", *map(_tokens, BUDGETS)]
    return sample_grid(
        torch.stack(rows), rows=[f"with its caption: {caption}", "without a caption"], columns=heads
    )


def _at(tokenizer: ImageTokenizer, picture: UInt8[Tensor, "3 h w"], caption: str) -> UInt8[Tensor, "n 3 h w"]:
    most = tokenizer.model.config.num_latents
    tokens = tokenizer.encode([picture], caption, num_tokens=most)
    return torch.cat([tokenizer.decode(tokens.first(k), output="uint8") for k in BUDGETS if k <= most])


def captions_grid(tokenizer: ImageTokenizer, picture: UInt8[Tensor, "3 h w"], caption: str) -> Any:
    """The same tokens, made with the caption, decoded with three captions."""
    captions = {"its caption": caption, "without": "", "another": CHANGED}
    rows = []
    for k in (1, 4):
        tokens = tokenizer.encode([picture], caption, num_tokens=k)
        decoded = [tokenizer.decode(tokens, captions=text, output="uint8") for text in captions.values()]
        rows.append(torch.cat([picture[None], *decoded]))
    words = ["1 token", f"4 tokens; another caption: {CHANGED}"]
    return sample_grid(torch.stack(rows), rows=words, columns=["original", *captions])


def noise_grid(picture: UInt8[Tensor, "3 h w"]) -> Any:
    """What a flow decoder sees in training, from the picture to noise."""
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    clean = to_unit(picture)
    seen = torch.stack([to_uint8((1 - t) * clean + t * noise) for t in TIMES])
    return sample_grid(seen[None], rows=["share of noise"], columns=[f"{t:g}" for t in TIMES])


def flow_grid(tokenizer: ImageTokenizer, picture: UInt8[Tensor, "3 h w"], caption: str) -> Any:
    """A flow decoder at work: the noisy picture it sees at each step, and the clean one that it expects there."""
    steps: list[tuple[float, Tensor, Tensor]] = []
    decoder = tokenizer.model.decoder
    denoise = decoder.denoise

    def watched(
        *values: Any, times: Tensor | None = None, noisy: Tensor | None = None, **named: Any
    ) -> Tensor:
        estimate = denoise(*values, times=times, noisy=noisy, **named)
        if times is not None and noisy is not None:
            steps.append((times[0].item(), to_uint8(noisy[0]), to_uint8(estimate[0])))
        return estimate

    tokens = tokenizer.encode([picture], caption, num_tokens=FLOW_TOKENS)
    with patch.object(decoder, "denoise", watched):
        tokenizer.decode(tokens, steps=FLOW_STEPS, guidance=1.0, start=1.0)
    times, noisy, expected = zip(*steps, strict=True)
    return sample_grid(
        torch.stack([torch.stack(noisy), torch.stack(expected)]),
        rows=[f"what it sees, from {_tokens(FLOW_TOKENS)}: {caption}", "what it expects"],
        columns=[f"{time:.0%} noise" for time in times],
    )


def seeds_grid(tokenizer: ImageTokenizer, picture: UInt8[Tensor, "3 h w"], caption: str) -> Any:
    """The same few tokens in one pass, and sampled from several seeds: what the tokens leave open."""
    rows, budgets = [], (1, FLOW_TOKENS)
    for budget in budgets:
        tokens = tokenizer.encode([picture], caption, num_tokens=budget)
        seeds = [torch.Generator().manual_seed(seed) for seed in range(4)]
        drawn = [tokenizer.decode(tokens, output="uint8", generator=seed) for seed in seeds]
        rows.append(torch.cat([picture[None], tokenizer.decode(tokens, output="uint8", steps=0), *drawn]))
    heads = ["original", "one pass", *(f"seed {seed}" for seed in range(4))]
    words = [f"{_tokens(budget)}: {caption}" for budget in budgets]
    return sample_grid(torch.stack(rows), rows=words, columns=heads)


def _tokens(count: int) -> str:
    return f"{count} token{'s' * (count > 1)}"


def prompts_grid(model: str, tokenizer: ImageTokenizer) -> Any:
    """The first pictures of seed 0 for each prompt; none is picked."""
    pipeline = Pipeline.from_pretrained(model, tokenizer=tokenizer, dtype="float32")
    drawn = pipeline(list(PROMPTS), num_images=5, generator=torch.Generator().manual_seed(0), output="uint8")
    return sample_grid(drawn.unflatten(0, (len(PROMPTS), 5)), rows=PROMPTS)


def quality_chart(model: str) -> str:
    """PSNR over tokens on new drawings, with the caption, without and with a wrong one."""
    rows = _rows(f"reconstruction_{model}.json")
    lines: dict[str, dict[int, float]] = {name: {} for name in ("right", "none", "wrong")}
    for row in rows:
        if row["split"] == "test-drawing":
            lines[row["captions"]][row["budget"]] = row["psnr"]
    return _alone(curve_chart(lines, title="PSNR over tokens", unit="PSNR in dB"))


def bytes_chart() -> str:
    """PSNR over bytes of whole files on new drawings: the best of every codec up to each size."""
    lines: dict[str, dict[int, float]] = {}
    rows = [
        row
        for row in _rows("rate_distortion.json")
        if row["split"] == "test-drawing" and row["bytes"] < MOST_BYTES
    ]
    for row in sorted(rows, key=lambda row: row["bytes"]):
        line = lines.setdefault(row["codec"] if row["codec"] in CODECS else "tokens", {})
        if row["psnr"] > max(line.values(), default=0):  # no setting of this codec is smaller and better
            line[round(row["bytes"])] = row["psnr"]
    return _alone(curve_chart(lines, title="PSNR over bytes", unit="PSNR in dB", across="bytes a picture"))


def _rows(name: str) -> list[Mapping[str, Any]]:
    return json.loads((RESULTS / name).read_text())["rows"]


def _alone(chart: str) -> str:
    """A chart of the report as a file of its own, with the colours and the font of the pages."""
    style = (PAGES / "look.css").read_text() + ".chart { font: 13px var(--text); background: var(--paper); }"
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="480" height="280" '
    return str(chart).replace("<svg ", head, 1).replace(">", f"><style>\n{style}\n</style>", 1)


if __name__ == "__main__":
    main()
