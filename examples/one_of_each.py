"""One call of each kind, in a page: tokens, files, budgets, prompts, data sets, the calls of diffusers, a training.

    python examples/one_of_each.py my-pictures --caption "a photo of our garden" --out tried

Tests run it, and hold it to the strict checks of mypy and pyright: what a call returns is known to an editor.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import textok
from datasets import Dataset, load_dataset  # type: ignore[import-untyped]
from textok.codec import find_prior, header_for
from textok.data import DataConfig, EvalLoader
from textok.recipes import RECIPES
from textok.training.tokenizer.train import train_tokenizer


def reconstruct(tokenizer: textok.ImageTokenizer, files: Sequence[Path], caption: str, out: Path) -> float:
    """Encode, keep, read and decode; returns the bytes of a picture in memory."""
    tokens: textok.Tokens = tokenizer.encode(files, [caption] * len(files), num_tokens=8)
    textok.save_tokens(tokens, out / "tokens.safetensors")
    again = textok.load_tokens(out / "tokens.safetensors")
    images: list[Image.Image] = tokenizer.decode(again.first(2), captions="")
    pixels: Tensor = tokenizer.decode(again, output="float")
    same: list[Image.Image] = tokenizer.reconstruct(files[0], caption, num_tokens=1)
    for name, image in {"without": images[0], "one-token": same[0]}.items():
        image.save(out / f"{name}.png")
    print(pixels.shape, tokens.keys[0], tokens.grid, again.lengths)
    return again.bytes_per_image


def compress(tokenizer: textok.ImageTokenizer, files: Sequence[Path], caption: str, out: Path) -> int:
    """As few tokens as a quality needs, in a .ttk file; returns its bytes."""
    budget = textok.SoftBudget(2, 16, quality=18.0)
    tokens, choice = textok.SoftEncoder(tokenizer, budget).encode(files, caption)
    prior = find_prior("icons-128", model_id=tokenizer.model_id)
    header = header_for(tokenizer.model, prior=prior)
    with open(out / "pictures.ttk", "wb") as stream, textok.TtkWriter(stream, header, prior=prior) as writer:
        writer.add(tokens)
    with textok.TtkReader(out / "pictures.ttk", prior=prior) as reader:
        print(choice.quality, reader[tokens.keys[0]].lengths)
    return (out / "pictures.ttk").stat().st_size


def draw(prompt: str, out: Path) -> Tensor:
    """Pictures from a prompt, as files and as a tensor."""
    pipeline = textok.Pipeline.from_pretrained("icons-128", device="cpu")
    images: list[Image.Image] = pipeline(prompt, num_images=2, steps=2, guidance=3.0)
    images[0].save(out / "drawn.png")
    return pipeline([prompt], output="uint8", steps=2, generator=torch.Generator().manual_seed(1))


def map_files(tokenizer: textok.ImageTokenizer, files: Sequence[Path]) -> Dataset:
    """Pictures as a data set of Hugging Face with a column of tokens."""
    pictures = load_dataset("imagefolder", data_files=list(map(str, files)), split="train")
    assert isinstance(pictures, Dataset)
    return pictures.map(tokenizer, batched=True, remove_columns="image")  # pyright: ignore[reportUnknownMemberType]


def as_diffusers(pixels: Tensor, caption: str) -> Tensor:
    """The calls of diffusers: pictures in [-1, 1] to latents and back, and a prompt to pictures."""
    vae = textok.AutoencoderTexTok.from_pretrained("icons-128", torch_dtype=torch.float32)
    z: Tensor = vae.encode(pixels, caption).latent_dist.sample() * vae.config.scaling_factor
    back: Tensor = vae.decode(z / vae.config.scaling_factor, caption).sample
    print(textok.TexTokPipeline.from_pretrained("icons-128")(caption, num_inference_steps=2).images)
    return back


def train(folder: Path, out: Path) -> Path:
    """A recipe with other values, for two steps; the folder of its weights."""
    run = RECIPES["toy"]()
    data = DataConfig(source=str(folder), size=(32, 32))
    validation = replace(run.validation, count=4)
    return train_tokenizer(replace(run, data=data, validation=validation, steps=2, batch_size=4), out)


def main() -> None:
    """Try everything on a folder of pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--caption", default="")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    pictures: Path = options.pictures
    caption: str = options.caption
    out: Path = options.out
    out.mkdir(parents=True)
    files = sorted(file for file in pictures.iterdir() if file.suffix in (".jpg", ".png", ".webp"))[:4]
    tokenizer = textok.ImageTokenizer.from_pretrained("icons-128")
    print(f"{reconstruct(tokenizer, files, caption, out):.0f} bytes a picture")
    print(f"{compress(tokenizer, files, caption, out)} bytes in a file")
    print(draw(caption, out).shape)
    print(map_files(tokenizer, files).column_names)
    for batch in EvalLoader(DataConfig(source=str(pictures), size=(128, 128)), batch_size=2):
        print(as_diffusers(batch.images / 127.5 - 1, caption).shape)
        break
    print(train(pictures, out / "run"))


if __name__ == "__main__":
    main()
