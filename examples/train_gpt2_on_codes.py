"""Train a small GPT-2 on the codes of pictures, from random weights, and let it draw a few new ones.

    textok encode PICTURES --model MODEL --out codes.parquet           # a discrete model: FSQ or VQ
    python examples/train_gpt2_on_codes.py codes.parquet --out gpt2 --steps 1000 --samples drawn.safetensors
    textok decode drawn.safetensors --model MODEL --out pictures

The model is the stock class of transformers; its vocabulary is the codes and one more, with which a picture begins.
Captions are not read: that is the next step, and the ``caption`` column is there for it.
"""

import argparse
import json
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from textok import Tokens, save_tokens


def read_codes(path: Path) -> tuple[Tensor, dict[str, object]]:
    """Codes (n, k) of a parquet file or a folder of them, and what is told of them."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    tables = [pq.read_table(file) for file in files]
    about = json.loads(tables[0].schema.metadata[b"textok"])
    if about["kind"] != "codes":
        raise SystemExit(f"{path}: got {about['kind']}, expected codes; encode with a discrete model")
    return torch.tensor([row for table in tables for row in table["tokens"].to_pylist()]), about


def new_model(codes: Tensor, *, layers: int, width: int) -> GPT2LMHeadModel:
    """A GPT-2 for sequences of these codes."""
    begin = int(codes.max()) + 1
    config = GPT2Config(
        vocab_size=begin + 1,
        n_positions=codes.shape[1] + 1,
        n_embd=width,
        n_layer=layers,
        n_head=max(1, width // 64),
        bos_token_id=begin,
        eos_token_id=begin,
    )
    return GPT2LMHeadModel(config)


def train(model: GPT2LMHeadModel, codes: Tensor, *, steps: int, batch: int, rate: float) -> float:
    """Next-code prediction; returns the mean loss of the last tenth of the steps."""
    begin = torch.full((len(codes), 1), model.config.bos_token_id)
    sequences = torch.cat([begin, codes], dim=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    losses = []
    for step in range(steps):
        rows = sequences[torch.randint(len(sequences), (batch,))].to(model.device)
        loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % max(1, steps // 20) == 0:
            print(f"step {step}: loss {losses[-1]:.3f}", flush=True)
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def draw(model: GPT2LMHeadModel, count: int) -> Tensor:
    """New sequences of codes, (count, k)."""
    begin = torch.full((count, 1), model.config.bos_token_id, device=model.device)
    never = [[model.config.bos_token_id]]
    length = model.config.n_positions
    drawn = model.eval().generate(
        begin, do_sample=True, max_length=length, min_length=length, bad_words_ids=never
    )
    return drawn[:, 1:].cpu()


def main() -> None:
    """Train, save, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("codes", type=Path, help="a parquet file of textok encode, or a folder of them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the GPT-2")
    parser.add_argument("--samples", type=Path, help="token file for the drawn pictures, for textok decode")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    options = parser.parse_args()
    torch.manual_seed(0)
    codes, about = read_codes(options.codes)
    model = new_model(codes, layers=options.layers, width=options.width)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    loss = train(model, codes, steps=options.steps, batch=options.batch, rate=options.rate)
    model.save_pretrained(options.out)
    print(f"{options.out}: {len(codes)} pictures of {codes.shape[1]} codes, loss {loss:.3f}")
    if options.samples:
        drawn = draw(model, options.count)
        keys = tuple(f"drawn-{number:03d}" for number in range(len(drawn)))
        grid = tuple(about["grid"])
        save_tokens(
            Tokens(values=drawn, model_id=str(about["model_id"]), grid=grid, keys=keys), options.samples
        )


if __name__ == "__main__":
    main()
