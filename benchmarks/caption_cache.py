"""What caption features cost: bytes per caption, time to make them, time to look them up, error of 16 bits.

    python benchmarks/caption_cache.py --sample 0

encodes every distinct training caption of icons-128 with the packaged MiniLM into a throw-away folder
(--sample N: N of them, drawn at random) and writes benchmarks/results/caption_cache.json. Token counts are
always those of all captions.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textok.data.caption_cache import CaptionCache
from textok.data.sources import open_source
from textok.models.text_encoder import TextEncoder
from timing import seconds

ROOT = Path(__file__).resolve().parents[1]
T5_XL_DIM, PAPER_TOKENS = 2048, 128
LOOKUP_BATCH = 64
ERROR_SAMPLE = 256


def main() -> None:
    """Measure and write the results."""
    options = parse_options()
    torch.manual_seed(options.seed)
    captions = list(dict.fromkeys(open_source(ROOT / "datasets" / "icons-128", "train").captions()))
    order = torch.randperm(len(captions), generator=torch.Generator().manual_seed(options.seed)).tolist()
    sample = [captions[row] for row in order[: options.sample or None]]
    encoder = TextEncoder.from_pretrained("minilm")
    results = {
        "made_by": provenance(options),
        "distinct_train_captions": len(captions),
        "sample": len(sample),
        "bytes": count_bytes(captions),
        "errors": measure_errors(encoder, sample[:ERROR_SAMPLE]),
        "cache": measure_cache(encoder, sample),
    }
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=0, help="how many captions to encode; 0 = all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--machine-note", default="", help="recorded with the times, such as: shared machine")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "caption_cache.json")
    return parser.parse_args()


def provenance(options: argparse.Namespace) -> dict[str, Any]:
    """Command, seed, versions and machine."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return {
        "command": shlex.join(["python", "benchmarks/caption_cache.py", *sys.argv[1:]]),
        "seed": options.seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "safetensors")},
        },
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "bf16": [name for name in ("avx512_bf16", "amx_bf16") if name in flags],
            "note": options.machine_note,
        },
    }


def count_bytes(captions: list[str]) -> dict[str, Any]:
    """Bytes per caption from the token counts of all captions: padded float32 against ragged 16-bit."""
    from transformers import AutoTokenizer

    from textok.models.text_encoder_files import resolve

    tokenizer: Any = AutoTokenizer.from_pretrained(resolve("minilm"))
    tokens = tokenizer(captions, truncation=True, max_length=40)
    lengths = [len(ids) for ids in tokens["input_ids"]]
    mean = statistics.fmean(lengths)
    return {
        "tokens_per_caption": {"mean": mean, "median": statistics.median(lengths), "most": max(lengths)},
        "cut_at": 40,
        "t5_xl_padded_to_128_float32": PAPER_TOKENS * T5_XL_DIM * 4,
        "t5_xl_ragged_16_bit_same_token_counts": mean * T5_XL_DIM * 2,
        "minilm_padded_to_128_float32": PAPER_TOKENS * 384 * 4,
        "minilm_padded_to_40_float32": 40 * 384 * 4,
        "minilm_ragged_16_bit": mean * 384 * 2,
    }


def measure_errors(encoder: TextEncoder, captions: list[str]) -> dict[str, float]:
    """Relative error (Frobenius norm) of storing, and of computing, in 16 bits; time ratio of computing."""
    exact = torch.cat(encoder.encode_ragged(captions))
    rounded_encoder = TextEncoder.from_pretrained("minilm", dtype="bfloat16")
    computed = torch.cat(rounded_encoder.encode_ragged(captions)).float()
    exact_time = seconds(lambda: encoder.encode_ragged(captions))
    rounded_time = seconds(lambda: rounded_encoder.encode_ragged(captions))
    return {
        "largest_value": exact.abs().max().item(),
        "stored_float16": relative_error(exact.half().float(), exact),
        "stored_bfloat16": relative_error(exact.bfloat16().float(), exact),
        "computed_bfloat16": relative_error(computed, exact),
        "captions_per_second_float32": len(captions) / exact_time,
        "captions_per_second_bfloat16": len(captions) / rounded_time,
    }


def measure_cache(encoder: TextEncoder, captions: list[str]) -> dict[str, Any]:
    """Fill a cache, then open it afresh and look captions up in random batches."""
    info = encoder.info
    with tempfile.TemporaryDirectory() as folder:

        def open_cache() -> CaptionCache:
            return CaptionCache(
                folder, encoder_fingerprint=info.fingerprint, dim=info.dim, max_tokens=info.max_tokens
            )

        fill = seconds(lambda: open_cache().warm(captions, lambda: encoder.encode_ragged, progress=True))
        check = seconds(lambda: open_cache().warm(captions, refuse))
        cache = open_cache()
        batches = [captions[start : start + LOOKUP_BATCH] for start in range(0, len(captions), LOOKUP_BATCH)]
        cache.missing(captions[:1])  # opens the index
        first = [seconds(lambda batch=batch: cache.get(batch)) for batch in batches]
        again = [seconds(lambda batch=batch: cache.get(batch)) for batch in batches]
        sizes = [path.stat().st_size for path in cache.folder.iterdir()]
        count, tokens = len(cache), sum(map(len, cache.get(list(dict.fromkeys(captions)))))
    return {
        "bytes_per_caption_on_disk": sum(sizes) / count,
        "tokens_per_caption": tokens / count,
        "shards": len(sizes),
        "fill_seconds": fill,
        "fill_captions_per_second": len(captions) / fill,
        "open_and_find_nothing_missing_seconds": check,
        "lookup_of_64_first_time_and_verify_ms": statistics.median(first) * 1e3,
        "lookup_of_64_ms": statistics.median(again) * 1e3,
    }


def refuse() -> Callable[..., list[Tensor]]:
    """The encoder factory of a warm cache: never called."""
    raise AssertionError("a warm cache asked for the encoder")


def relative_error(value: Tensor, exact: Tensor) -> float:
    """|value - exact| / |exact| over all elements."""
    return ((value - exact).norm() / exact.norm()).item()


if __name__ == "__main__":
    main()
