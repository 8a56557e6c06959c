"""What the page computes, with tiny models: reconstructions, curves, files, pictures from words, and refusals."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from textok.app import part
from textok.app.studio import MAX_CAPTION, Studio, budgets_to, packaged_pictures, reworded, roll
from textok.evaluation.pages.curves import curve_chart
from textok.models.conditions import ConditionConfig
from textok.models.decoder import FlowDecoderConfig
from textok.models.dit import DiT, DiTConfig
from textok.models.tokenizer import TexTok
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer
from tiny import LetterEncoder, tiny_config


def encoded(side: int = 40) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.fixture(scope="module")
def pipeline(tokenizer: ImageTokenizer) -> Pipeline:
    torch.manual_seed(0)
    shape = {"dim": 16, "depth": 1, "num_heads": 2, "num_latents": 4, "latent_dim": 4}
    config = DiTConfig(**shape, condition=ConditionConfig(text_dim=12), tokenizer=tokenizer.model_id)
    generator = DiT(config)
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return Pipeline(generator, tokenizer, dtype="float32")


@pytest.fixture(scope="module")
def studio(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(pipeline, source=tmp_path_factory.mktemp("no prior"))


def test_a_view_is_what_the_tokenizer_gives(studio: Studio, tokenizer: ImageTokenizer) -> None:
    sketch = studio.sketch(encoded(), " a cat ", "a dog")
    view = studio.view(sketch, 2)
    tokens = tokenizer.encode(sketch.original[None], "a cat", num_tokens=2)
    expected = {
        "right": tokenizer.decode(tokens, output="uint8")[0],
        "none": tokenizer.decode(tokenizer.encode(sketch.original[None], num_tokens=2), output="uint8")[0],
        "changed": tokenizer.decode(tokens, "a dog", output="uint8")[0],
    }
    assert list(view.pictures) == list(expected) == list(view.psnr)
    for name, picture in expected.items():
        assert (view.pictures[name].int() - picture.int()).abs().max() <= 1, name
    assert view.num_bytes == 2 * 2 * 4


def test_without_a_caption_there_is_one_condition(studio: Studio) -> None:
    assert list(studio.sketch(encoded(), "", "").tokens) == ["none"]
    assert list(reworded(studio.sketch(encoded(), "", ""), "a cat").tokens) == ["none", "changed"]


def test_a_curve_has_every_budget(studio: Studio) -> None:
    sketch = studio.sketch(encoded(), "a cat")
    curve = studio.curve(sketch)
    assert curve["right"].keys() == curve["none"].keys() == {1, 2, 4}
    assert curve["right"][2] == studio.view(sketch, 2).psnr["right"]
    assert budgets_to(6) == [1, 2, 4, 6] and budgets_to(1) == [1]


def test_a_ttk_file_gives_the_tokens_and_the_caption_back(studio: Studio, tmp_path: Path) -> None:
    sketch = studio.sketch(encoded(), "a cat")
    (tmp_path / "one.ttk").write_bytes(studio.write_ttk(sketch, 2))
    opened = studio.read_ttk(tmp_path / "one.ttk")
    assert opened.original is None and opened.first.captions == ("a cat",) and opened.first.num_tokens == 2
    assert list(studio.view(opened, 4).pictures) == ["right", "none"] and not studio.view(opened, 4).psnr
    with pytest.raises(ValueError, match="picture: got tokens alone"):
        studio.curve(opened)


def test_a_file_of_another_model_is_refused(studio: Studio, make_model, letters, tmp_path: Path) -> None:
    other = Studio(ImageTokenizer(make_model(seed=3), text_encoder=letters, dtype="float32"), source=tmp_path)
    (tmp_path / "one.ttk").write_bytes(other.write_ttk(other.sketch(encoded(), "a cat"), 2))
    with pytest.raises(ValueError, match="model"):
        studio.read_ttk(tmp_path / "one.ttk")


def test_the_same_seed_draws_the_same_pictures_and_every_step_is_told(studio: Studio) -> None:
    steps: list[int] = []
    settings = {"num_images": 2, "num_tokens": 4, "steps": 3, "guidance": 2.0}
    first, again, other, away = (
        [image.tobytes() for image in studio.draw("a cat", **settings, **more)]
        for more in (
            {"seed": 1, "on_step": steps.append},
            {"seed": 1},
            {"seed": 2},
            {"seed": 1, "negative_prompt": "x"},
        )
    )
    assert first == again and first != other and first != away and steps == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"prompt": " "}, "prompt:"),
        ({"num_images": 9}, "pictures:"),
        ({"prompt": "a" * (MAX_CAPTION + 1)}, "caption:"),
    ],
)
def test_a_wrong_wish_is_refused(studio: Studio, change: dict[str, object], key: str) -> None:
    wish = {"prompt": "a cat", "num_images": 1, "num_tokens": 4, "steps": 1, "guidance": 1.0, "seed": 0}
    with pytest.raises(ValueError, match=key):
        studio.draw(**(wish | change))


def test_without_a_generator_nothing_is_drawn(tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    alone = Studio(tokenizer, source=tmp_path)
    with pytest.raises(ValueError, match="prompt: got one"):
        alone.draw("a cat", num_images=1, num_tokens=4, steps=1, guidance=1.0, seed=0)


def test_files_that_are_no_pictures_and_giants_are_refused(studio: Studio) -> None:
    with pytest.raises(ValueError, match="picture"):
        studio.sketch(b"no picture", "a cat")
    stream = io.BytesIO()
    Image.new("1", (8000, 8000)).save(stream, "png")
    with pytest.raises(ValueError, match="max_pixels"):
        studio.sketch(stream.getvalue(), "a cat")
    with pytest.raises(ValueError, match="caption: got 2001"):
        studio.sketch(encoded(), "a" * (MAX_CAPTION + 1))


def test_a_decoder_that_samples_takes_steps_and_a_seed(letters: LetterEncoder, tmp_path: Path) -> None:
    config = tiny_config(decoder=FlowDecoderConfig(), text_dim=12)
    torch.manual_seed(0)
    model = TexTok(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    studio = Studio(ImageTokenizer(model, text_encoder=letters, dtype="float32"), source=tmp_path)
    sketch = studio.sketch(encoded(), "a cat")
    one, same, other = (
        studio.view(sketch, 4, {"steps": 2, "guidance": 1.0, "seed": seed}).pictures["right"]
        for seed in (1, 1, 2)
    )
    assert studio.decoder_samples and torch.equal(one, same) and not torch.equal(one, other)


def test_a_direct_decoder_refuses_steps(studio: Studio) -> None:
    assert not studio.decoder_samples
    with pytest.raises(ValueError, match="steps"):
        studio.view(studio.sketch(encoded(), "a cat"), 4, {"steps": 3})


def test_dice_and_examples_are_pictures_with_captions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image, caption = roll()
    assert image.size == (256, 256) and caption
    monkeypatch.setattr("textok.app.studio.SceneSource", _missing)
    image, caption = roll()
    assert image.mode == "RGB" and caption in {caption for _, caption in packaged_pictures()}


def _missing(*_: object) -> None:
    raise FileNotFoundError


def test_fragments_escape_what_visitors_write(studio: Studio) -> None:
    sketch = studio.sketch(encoded(), '"><script>alert(1)</script>')
    html = part("figures", studio.view(sketch, 1), sketch, 1)
    assert "<script" not in html and "&lt;script&gt;" in html and html.count("alt=") == 2
    html = part("facts", studio.view(sketch, 1), 1, b"123")
    assert "1 token, 8 bytes" in html and "(3 bytes" in html


def test_a_curve_has_a_button_for_each_budget() -> None:
    chart = curve_chart({"right": {1: 10.0, 2: 12.0}, "none": {1: 9.0, 2: 11.5}}, title="PSNR", unit="dB")
    html = part("curve", chart, [1, 2])
    assert html.count("<polyline") == 2 and 'data-choice="1"' in html and 'data-choice="2"' in html
