"""What is shown of a generator: the pictures of the prompts themselves, each under its words."""

import re
from html import unescape

import numpy as np
import pytest
import torch

from textok.evaluation import demo
from textok.evaluation.demo import PROMPTS, generate_prompts
from textok.evaluation.pages import render
from textok.evaluation.pages.grids import fitted_words, sample_grid
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiT, DiTConfig
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer
from tiny import tiny_model


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """A generator of at most twelve tokens that draws noise, in two steps."""
    tokenizer = tiny_model(num_latents=12)
    config = DiTConfig(
        dim=32,
        depth=1,
        num_heads=2,
        num_latents=12,
        latent_dim=tokenizer.config.latent_dim,
        condition=ConditionConfig(),
        tokenizer=tokenizer.model_id,
    )
    generator = DiT(config)
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    made = Pipeline(generator, ImageTokenizer(tokenizer), dtype="float32")
    made.defaults = made.defaults.changed(generator, steps=2)
    return made


def test_every_prompt_is_drawn_at_every_budget_from_the_same_noise(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "TIMED_ROUNDS", 1)
    prompts = generate_prompts(pipeline, seed=3)
    assert prompts["budgets"] == [8] and [card["prompt"] for card in prompts["cards"]] == list(PROMPTS)
    assert set(prompts["seconds"]) == {8} and prompts["seconds"][8] > 0 and "2 steps" in prompts["settings"]
    card = prompts["cards"][4]
    assert card["pictures"].shape == (1, 4, 3, 32, 32) and card["note"] == PROMPTS[card["prompt"]]
    generator = torch.Generator().manual_seed(3)
    alone = pipeline(card["prompt"], num_images=4, num_tokens=8, generator=generator, output="uint8")
    assert torch.equal(card["pictures"][0], alone)
    assert len({one["pictures"].numpy().tobytes() for one in prompts["cards"]}) == len(PROMPTS)


def test_the_section_tells_times_and_escapes_prompts() -> None:
    pictures = torch.randint(0, 256, (2, 3, 3, 16, 16), dtype=torch.uint8)
    card = {"prompt": "a <cat> & a hat", "note": "Never shown.", "pictures": pictures}
    html = render(
        "prompts.html",
        prompts={
            "model_id": "toy-12345678",
            "cards": [card],
            "budgets": [4, 8],
            "seconds": {4: 0.012, 8: 0.034},
            "batch": 3,
            "settings": "euler, 2 steps, guidance 3",
            "parameters": 2_000_000,
        },
    )
    assert html.count("<img ") == 6 and re.findall(r'<th scope="row">(\d+)', html) == ["4", "8"]
    assert "12 ms with 4 tokens, 34 ms with 8 tokens" in html and "2 M parameters" in html
    assert "<cat>" not in html and "<h4>a <cat> & a hat</h4>" in unescape(html) and "Never shown." in html


def test_a_sample_grid_holds_the_pictures_in_their_places() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (2, 3, 3, 128, 128), generator=generator, dtype=torch.uint8)
    sheet = np.asarray(sample_grid(pictures, rows=["a cat", "a dog"], columns=["1", "2", "3"]))
    for row in range(2):
        for column in range(3):
            top, left = 16 + 20 + row * (128 + 20), 16 + column * (128 + 6)
            shown = sheet[top : top + 128, left : left + 128]
            # The frame is drawn on the picture's last line.
            assert (shown[:127, :127] == pictures[row, column].permute(1, 2, 0).numpy()[:127, :127]).all()
    without = np.asarray(sample_grid(pictures, rows=["a cat", "a dog"]))
    assert sheet.shape[0] - without.shape[0] == 20 and sheet.shape[1] == without.shape[1]


def test_long_words_are_cut_to_their_room() -> None:
    words = "a very long prompt " * 20
    short = fitted_words(words, room=200, size=13)
    assert short.endswith("…") and words.startswith(short[:-1])
    assert fitted_words("short", room=200, size=13) == "short"
