"""How the input of a step is prepared changes its speed, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import active_count

import pytest
import torch

from textok.data import BadSampleError
from textok.models.tokenizer import TexTokConfig
from textok.pipeline.text import CachedText
from textok.training.generator.config import GeneratorRun
from textok.training.generator.train import train_generator
from textok.training.input import StepInputs
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

CPU = torch.device("cpu")


class Counting:
    """A loader whose batches are numbers; the fifth is bad."""

    def __init__(self) -> None:
        self.place = 0

    def __next__(self) -> int:
        self.place += 1
        if self.place == 5:
            raise OSError("the fifth is bad")
        return self.place

    def state_dict(self) -> dict[str, int]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place = state["place"]


def inputs(ahead: int) -> StepInputs:
    return StepInputs(Counting(), lambda batch, step: iter([(batch, step)]), device=CPU, ahead=ahead)


@pytest.mark.parametrize("ahead", [0, 2])
def test_the_position_is_that_of_the_last_input_that_was_handed_out(ahead: int):
    made = inputs(ahead)
    made.load_state_dict({"place": 1})
    made.begin(7)
    first, second = next(made), next(made)
    assert [list(one.parts) for one in (first, second)] == [[(2, 7)], [(3, 8)]]
    assert made.state_dict() == {"place": 3}
    made.close()


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_comes_at_its_place(ahead: int):
    made = inputs(ahead)
    made.begin(0)
    assert [next(made).batch for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(OSError, match="fifth"):
        next(made)
    made.close()


def test_closing_ends_the_thread_whatever_waits():
    before = active_count()
    made = inputs(2)
    made.begin(0)
    next(made)
    assert active_count() == before + 1
    made.close()
    assert active_count() == before


@pytest.mark.slow
def test_a_thread_and_held_pictures_leave_a_training_as_it_is(
    tiny: TokenizerRun, tmp_path: Path, read_checkpoint: Callable, read_metrics: Callable
):
    held = replace(tiny, data=replace(tiny.data, resident=str(tmp_path / "held")), prepare_ahead=2)
    train_tokenizer(tiny, tmp_path / "plain", stop_at=4)
    train_tokenizer(tiny, tmp_path / "plain", stop_at=6)
    train_tokenizer(held, tmp_path / "held-run", stop_at=4)
    train_tokenizer(held, tmp_path / "held-run", stop_at=6)
    (plain, state), (threaded, held_state) = (
        read_checkpoint(tmp_path / name, 6) for name in ("plain", "held-run")
    )
    assert all(torch.equal(plain[name], threaded[name]) for name in plain)
    assert state == held_state
    assert read_metrics(tmp_path / "plain") == read_metrics(tmp_path / "held-run")


@pytest.mark.slow
def test_bad_pictures_are_listed_when_a_thread_meets_them(tiny: TokenizerRun, tmp_path: Path):
    torn = replace(tiny.data, split="torn", on_bad="skip", bad_grace=0, max_bad_share=0.0)
    run = replace(tiny, data=torn, prepare_ahead=2)
    with pytest.raises(BadSampleError, match="bad"):
        train_tokenizer(run, tmp_path / "run")
    assert "bad" in (tmp_path / "run" / "bad.jsonl").read_text()


@pytest.mark.slow
def test_a_generator_trains_alike_with_a_thread(
    generator_run: GeneratorRun, tmp_path: Path, read_checkpoint: Callable
):
    train_generator(generator_run, tmp_path / "plain", stop_at=4)
    train_generator(replace(generator_run, prepare_ahead=2), tmp_path / "ahead", stop_at=4)
    plain, ahead = (read_checkpoint(tmp_path / name, 4) for name in ("plain", "ahead"))
    assert all(torch.equal(plain[0][name], ahead[0][name]) for name in plain[0]) and plain[1] == ahead[1]


@pytest.mark.slow
def test_states_of_the_text_encoder_itself_are_those_that_a_cache_stores(tmp_path: Path):
    captions = ["a red apple", "", "two green cats left of a small house, on a yellow background"]
    stored, online = (CachedText(TexTokConfig(), folder=str(tmp_path)) for _ in range(2))
    stored.warm(captions, progress=False)
    online.encode_online()
    expected, text = stored(captions), online(captions)
    length = expected.mask.shape[1]
    assert torch.equal(text.mask[:, :length], expected.mask) and not text.mask[:, length:].any()
    assert text.mask.shape[1] == 32
    difference = (text.embeddings[:, :length] - expected.embeddings)[expected.mask].abs().max()
    assert difference < 2e-3
