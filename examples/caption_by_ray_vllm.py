"""Captions by Ray Data's own vLLM stage instead of a server. Planned, not run: here is no GPU and no vLLM.

    pip install 'open-textok[caption,ray]' 'ray[llm]'
    python examples/caption_by_ray_vllm.py PICTURES --out my-captions --model Qwen/Qwen3-VL-8B-Instruct --engines 8

The prompt, the judge and the folder are those of `textok caption --writer openai --model MODEL`: either goes on with
what the other one wrote. One caption a picture; a picture that cannot be read ends the run. What is rejected is asked
about again in a second and a third pass, each of which starts the engines anew.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.data.llm import build_processor, vLLMEngineProcessorConfig

from textok.captioning import CaptionConfig, Prompt, load_prompt
from textok.captioning.journal import Journal, Row
from textok.captioning.judging import judge, printable
from textok.captioning.writers import Answer, chat_content, jpeg_base64, open_picture
from textok.data import DataConfig, Source
from textok.data.contents import HALF, content_of
from textok.display import Progress
from textok.locking import only_writer

ANSWER = ("key", "picture", "place", "generated_text", "num_input_tokens", "num_generated_tokens")
ERROR = "__inference_error__"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What vLLM is asked about the picture of a row, made by whichever worker has the row."""

    data: DataConfig
    config: CaptionConfig
    prompt: Prompt
    ask: int

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """What the stages of Ray need of the picture at ``row["place"]``."""
        sample = opened(self.data).read(row["place"])
        image = open_picture(sample.image, side=self.config.side)
        content = chat_content(self.prompt.render(), jpeg_base64(image, quality=self.config.quality))
        sampling = {"temperature": self.config.temperature, "max_tokens": self.config.max_tokens}
        return {
            "key": sample.key,
            "picture": content_of(sample)[:HALF],
            "messages": [{"role": "user", "content": content}],
            "sampling_params": sampling | {"seed": self.config.seed + self.ask},
        }


@lru_cache
def opened(data: DataConfig) -> Source:
    """The pictures, once a process."""
    return data.open(all_parts=True)


def processor(question: Question, *, engines: int) -> Any:
    """The stages of Ray: picture and prompt, chat template, vLLM."""
    config = vLLMEngineProcessorConfig(
        model_source=question.config.model,
        engine_kwargs={"max_model_len": 4096, "limit_mm_per_prompt": {"image": 1}},
        concurrency=engines,
        batch_size=64,
        should_continue_on_error=True,
        prepare_multimodal_stage={"enabled": True, "chat_template_content_format": "openai"},
        tokenize_stage=False,  # vLLM puts the tokens of the picture between those of the words
        detokenize_stage=False,
    )
    return build_processor(
        config, preprocess=question, postprocess=lambda row: {name: row[name] for name in ANSWER}
    )


def verdict(row: dict[str, Any], question: Question) -> tuple[Row, bool]:
    """The row of the journal that an answer of Ray gives, and whether to ask no more."""
    config, failure = question.config, row.get(ERROR) or None
    tokens_in, tokens_out = int(row.get("num_input_tokens") or 0), int(row.get("num_generated_tokens") or 0)
    finish = "length" if tokens_out >= config.max_tokens else "stop"
    answer = Answer(text=row.get("generated_text") or "", finish=finish)
    if failure is None:
        answer = judge(answer, prompt=question.prompt.render(), language=config.language)
        failure = answer.failure
    written = Row(
        key=row["key"],
        caption=answer.text if failure is None else printable(answer.text[:1000]),
        reason=failure and printable(failure)[:200],
        changes=answer.changes,
        seed=config.seed + question.ask,
        temperature=config.temperature,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        asks=question.ask,
        picture=row["picture"],
    )
    return written, failure is None or question.ask == config.asks


def ask(question: Question, places: Sequence[int], journal: Journal, *, engines: int) -> list[int]:
    """Write down the verdicts on these pictures as they come; returns the places of those to ask about again."""
    again = list[int]()
    rows = ray.data.from_items([{"place": place} for place in places])
    with Progress(len(places), unit="image", title=f"ask {question.ask}") as progress:
        for row in processor(question, engines=engines)(rows).iter_rows():
            written, is_last = verdict(row, question)
            if is_last:
                journal.add(written)
            else:
                again.append(row["place"])
            progress.update(1)
    return again


def main() -> None:
    """Ask about the pictures that have no verdict yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", default="dense")
    parser.add_argument("--engines", type=int, default=1, help="of vLLM, a GPU each")
    parser.add_argument("--address", help="of a cluster, such as auto")
    options = parser.parse_args()
    config = CaptionConfig(writer="openai", model=options.model, prompt=options.prompt)
    data, prompt = DataConfig(source=options.data), load_prompt(options.prompt)
    ray.init(address=options.address)
    with (
        only_writer(options.out),
        Journal(options.out, config, model=options.model, prompt=prompt) as journal,
    ):
        source = opened(data)
        places = [place for place in range(len(source)) if (source.read(place).key, 0) not in journal.done]
        for number in range(1, config.asks + 1):
            question = Question(data=data, config=config, prompt=prompt, ask=number)
            places = ask(question, places, journal, engines=options.engines) if places else []
    print(journal.facts())


if __name__ == "__main__":
    main()
