"""``--rehearse`` runs every phase for real, says what the whole takes, and leaves nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from textok.cli import main
from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.training import rehearsal
from textok.training.generator.config import GeneratorRun
from textok.training.generator.train import train_generator
from textok.training.rehearsal import rehearse
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def gan(tiny: TokenizerRun) -> TokenizerRun:
    return replace(
        tiny,
        adversarial=AdversarialConfig(start_step=900, discriminator_warmup_steps=50, r1_every=16),
        discriminator=DiscriminatorConfig(base=8, multipliers=(1.0, 1.0), stem_stride=2),
        steps=1000,
        validation=replace(tiny.validation, every=300),
    )


def test_a_gan_is_rehearsed_with_every_phase(gan: TokenizerRun, tmp_path: Path) -> None:
    made = rehearse(gan, tmp_path / "run", train_tokenizer)
    assert made.gan_step is not None and made.r1_step is not None
    steps = 900 * made.step + 100 * (made.gan_step + max(0.0, made.r1_step - made.gan_step) / 16)
    assert made.whole == pytest.approx(steps + 4 * made.validation)
    assert made.memory > 1e8 and made.disk > 3 * made.checkpoint > 0
    assert not list(tmp_path.iterdir())
    assert "1,000 steps of 8" in made.lines(gan)[0] and "R1" in made.lines(gan)[2]


def test_no_step_that_is_measured_is_one_of_words_alone(tiny: TokenizerRun, tmp_path: Path) -> None:
    seen = []

    def train(run: TokenizerRun, out: Path, **options: int) -> Path:
        seen.append(run)
        return train_tokenizer(run, out, **options)

    rehearse(replace(tiny, words_first=0.9), tmp_path / "run", train)
    assert [run.words_first for run in seen] == [0, 0]


def test_a_generator_is_rehearsed(generator_run: GeneratorRun, tmp_path: Path) -> None:
    made = rehearse(generator_run, tmp_path / "run", train_generator)
    assert made.step > 0 and made.gan_step is None and not list(tmp_path.iterdir())


def test_too_large_a_micro_batch_is_refused_with_one_that_fits(
    tiny: TokenizerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: dict[int, Callable[[], float]] = {1: 2e9, 2: 3e9}
    monkeypatch.setattr(rehearsal, "step_bytes", lambda run, pictures: used[pictures])
    monkeypatch.setattr(rehearsal, "memory_bytes", lambda: 6e9)
    with pytest.raises(ValueError, match=r"micro_batch: got 8.*--micro-batch 4.*--activation-checkpointing"):
        rehearse(replace(tiny, micro_batch=8), tmp_path / "run", train_tokenizer)
    monkeypatch.setattr(rehearsal, "memory_bytes", lambda: 1e9)
    with pytest.raises(ValueError, match=r"micro_batch: got 8.*larger device"):
        rehearse(replace(tiny, micro_batch=8), tmp_path / "run", train_tokenizer)


def test_missing_data_end_the_command_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        "tokenizer",
        "toy",
        "--out",
        str(tmp_path / "run"),
        "--data.source",
        "nowhere",
        "--rehearse",
    ]
    assert main(words) == 2
    assert "nowhere" in capsys.readouterr().err and not list(tmp_path.iterdir())
