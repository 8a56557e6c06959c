"""From prompts and classes to pictures: what is the same for a seed, what follows the settings, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from textok.data.images import save_png
from textok.models.checkpoint import CLASS_CAPTIONS_FILE, CONFIG_FILE
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiT, DiTConfig
from textok.models.generators import load_generator
from textok.models.maskgit import MaskGIT, MaskGITConfig
from textok.models.text_encoder import TextEncoder
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.sampling import Sampling, read_class_captions
from textok.sampling.random import seeded as seeded_by

SHAPE = {"dim": 16, "depth": 1, "num_heads": 2, "num_latents": 4}
LATENTS = SHAPE | {"latent_dim": 4}
LETTERS = ConditionConfig(text_dim=12)  # as the tokenizer: both read captions by one text encoder
CLASSES = ConditionConfig(kind="class", num_classes=3)


def woken(model: DiT | MaskGIT) -> DiT | MaskGIT:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def pipeline(tokenizer: ImageTokenizer) -> Pipeline:
    config = DiTConfig(**LATENTS, condition=LETTERS, tokenizer=tokenizer.model_id)
    return Pipeline(woken(DiT(config)), tokenizer, dtype="float32")


@pytest.fixture
def by_class(tokenizer: ImageTokenizer) -> Pipeline:
    generator = woken(DiT(DiTConfig(**LATENTS, condition=CLASSES, tokenizer=tokenizer.model_id)))
    captions = {0: ["a red thing"], 1: ["a blue thing", "a blue box"]}
    return Pipeline(generator, tokenizer, class_captions=captions, dtype="float32")


@pytest.fixture
def masked(discrete: ImageTokenizer) -> Pipeline:
    config = MaskGITConfig(**SHAPE, num_codes=1000, condition=LETTERS, tokenizer=discrete.model_id)
    return Pipeline(woken(MaskGIT(config)), discrete, dtype="float32")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(pipeline: Pipeline, *args: object, **named: object) -> torch.Tensor:
    return pipeline(*args, **({"steps": 3} | named), output="uint8")


def test_a_prompt_gives_the_asked_number_of_pictures(pipeline: Pipeline) -> None:
    images = pipeline("a red apple", num_images=3, steps=2)
    assert len(images) == 3
    assert all(isinstance(image, Image.Image) and image.size == (32, 32) for image in images)
    assert len({image.tobytes() for image in images}) == 3


@pytest.mark.parametrize("sampler", ["euler", "heun", "stochastic"])
def test_a_seed_gives_the_same_pictures(pipeline: Pipeline, sampler: str) -> None:
    first, again, other = (
        pixels(pipeline, "a cat", num_images=2, sampler=sampler, generator=seeded(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("sampler", ["euler", "stochastic"])
def test_pictures_do_not_depend_on_the_batch(pipeline: Pipeline, sampler: str) -> None:
    prompts = ["a cat", "a much longer caption", ""]
    whole, parts, fewer = (
        pixels(pipeline, prompts[:count], num_images=2, batch_size=size, sampler=sampler)
        for size, count in ((6, 3), (4, 3), (1, 2))
    )
    assert int((whole.int() - parts.int()).abs().max()) <= 1
    assert int((whole[:4].int() - fewer.int()).abs().max()) <= 1


def test_codes_do_not_depend_on_the_batch(masked: Pipeline) -> None:
    whole, parts = (pixels(masked, "a cat", num_images=3, batch_size=size) for size in (3, 1))
    assert torch.equal(whole, parts)


def test_budgets_share_their_start(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[torch.Tensor] = []
    monkeypatch.setattr(
        "textok.pipeline.sampling.sample",
        lambda predict, noise, *args, **named: starts.append(noise) or noise,
    )
    for budget in (2, 4):
        pixels(pipeline, "a cat", num_images=2, num_tokens=budget)
    assert torch.equal(starts[0], starts[1][:, :2])


def test_settings_reach_the_sampler(pipeline: Pipeline) -> None:
    base = pixels(pipeline, "a cat", num_images=4)
    for change in ({"guidance": 8.0}, {"steps": 9}, {"time_shift": 3.0}, {"guidance_interval": (0.0, 0.4)}):
        assert not torch.equal(pixels(pipeline, "a cat", num_images=4, **change), base)


def test_settings_reach_the_filling_in_of_codes(masked: Pipeline) -> None:
    base = pixels(masked, "a cat", num_images=8)
    changes = ({"guidance": 8.0}, {"temperature": 0.1}, {"confidence_temperature": 0.0}, {"steps": 1})
    for change in changes:
        assert not torch.equal(pixels(masked, "a cat", num_images=8, **change), base), change


@pytest.mark.parametrize("guidance", [float("nan"), float("inf"), -1.0])
def test_other_guidance_is_refused(pipeline: Pipeline, guidance: float) -> None:
    with pytest.raises(ValueError, match="guidance:"):
        pixels(pipeline, "a cat", guidance=guidance)


def captions_read(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The captions of each batch that the decoder reads, as they come."""
    text_of, read = pipeline.tokenizer.text_of, list[tuple[str, ...]]()
    monkeypatch.setattr(
        pipeline.tokenizer, "text_of", lambda captions: read.append(tuple(captions)) or text_of(captions)
    )
    return read


def test_the_decoder_reads_the_prompt(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    read = captions_read(pipeline, monkeypatch)
    pixels(pipeline, ["a cat", "a dog"], num_images=2, batch_size=3)
    assert read == [("a cat", "a cat", "a dog"), ("a dog",)]


def test_the_decoder_reads_a_caption_of_the_class(
    by_class: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = captions_read(by_class, monkeypatch)
    by_class(labels=[0, 1], num_images=2, steps=1)
    read = [caption for batch in batches for caption in batch]
    assert read[:2] == ["a red thing"] * 2 and set(read[2:]) <= {"a blue thing", "a blue box"}


def test_a_prompt_is_encoded_once(
    tokenizer: ImageTokenizer, letters: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pictures are drawn from it, by generator and decoder together."""
    encoded, encode = list[str](), type(letters).__call__
    monkeypatch.setattr(
        type(letters), "__call__", lambda self, captions: encoded.extend(captions) or encode(self, captions)
    )
    fresh = ImageTokenizer(tokenizer.model, text_encoder=letters, dtype="float32")
    config = DiTConfig(**LATENTS, condition=LETTERS, tokenizer=tokenizer.model_id)
    drawn = Pipeline(woken(DiT(config)), fresh, dtype="float32")
    pixels(drawn, ["one cat", "one dog"], num_images=4, batch_size=3)
    assert encoded == ["one cat", "one dog"]
    encoded.clear()
    fresh.reconstruct(torch.zeros(5, 3, 32, 32, dtype=torch.uint8), ["a", "b", "a", "a", "b"], batch_size=2)
    assert encoded == ["b", "a"] or encoded == ["a", "b"]


def test_a_picture_says_how_it_was_made(pipeline: Pipeline, tmp_path: Path) -> None:
    image = pipeline("a cat", steps=2, guidance=2.5, num_tokens=3, generator=seeded(7))[0]
    with Image.open(save_png(image, tmp_path / "deep" / "cat.png")) as found:
        note = json.loads(found.info["textok"])
    assert (note["prompt"], note["seed"], note["steps"], note["guidance"]) == ("a cat", 7, 2, 2.5)
    assert (note["num_tokens"], note["sampler"], note["index"]) == (3, "euler", 0)
    assert note["generator"] == pipeline.model_id
    assert "temperature" not in note, "a DiT reads none"


def test_a_class_draws_one_of_its_captions(by_class: Pipeline) -> None:
    randoms = [seeded_by(0, index) for index in range(24)]
    labels = [label for label in range(3) for _ in range(8)]
    found = list(map(by_class._request_of_class, labels, randoms))
    assert [request.label for request in found] == [0] * 8 + [1] * 8 + [2] * 8
    assert {request.caption for request in found[:8]} == {"a red thing"}
    assert {request.caption for request in found[8:16]} == {"a blue thing", "a blue box"}
    assert {request.caption for request in found[16:]} == {""}
    assert by_class(labels=1, num_images=2, steps=2, output="uint8").shape == (2, 3, 32, 32)


@pytest.mark.parametrize("labels", [3, [0, -2], []])
def test_other_labels_are_refused(by_class: Pipeline, labels: int | list[int]) -> None:
    with pytest.raises(ValueError, match="labels:"):
        by_class(labels=labels)


def test_codes_become_pictures(masked: Pipeline) -> None:
    first, again = (pixels(masked, ["a cat", "a dog"], num_tokens=3, generator=seeded(3)) for _ in range(2))
    assert first.shape == (2, 3, 32, 32)
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"prompts": "a", "num_tokens": 5}, "num_tokens: got 5, expected 1 to 4"),
        ({"prompts": "a", "steps": 0}, "steps"),
        ({"prompts": "a", "num_images": 0}, "num_images"),
        ({"prompts": "a", "sampler": "magic"}, "sampler"),
        ({"labels": 1}, "prompts: this generator"),
        ({}, "prompts:"),
        ({"prompts": []}, "prompts: got none"),
        ({"prompts": "a", "temperature": 2.0}, "temperature: got"),
        ({"prompts": "a", "time_shift": 0.0}, "time_shift"),
    ],
)
def test_what_does_not_fit_is_refused(pipeline: Pipeline, asked: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pipeline(**asked)


def test_another_tokenizer_is_refused(tokenizer: ImageTokenizer) -> None:
    generator = DiT(DiTConfig(**LATENTS, condition=CLASSES, tokenizer="other-12345678"))
    with pytest.raises(ValueError, match="other-12345678"):
        Pipeline(generator, tokenizer)


def test_saved_parts_make_the_same_pictures(by_class: Pipeline, tmp_path: Path) -> None:
    by_class.tokenizer.model.save_pretrained(tmp_path / "tokenizer")
    by_class.generator.save_pretrained(
        tmp_path / "generator", made_by={"sampling": {"steps": 5, "guidance_interval": [0.1, 0.9]}}
    )
    (tmp_path / "generator" / CLASS_CAPTIONS_FILE).write_text('{"0": ["a red thing"]}')
    again = Pipeline.from_pretrained(tmp_path / "generator", tokenizer=by_class.tokenizer, dtype="float32")
    assert again.defaults == Sampling(steps=5, guidance_interval=(0.1, 0.9))
    assert again.class_captions == {0: ["a red thing"]}
    assert torch.equal(pixels(again, labels=0), pixels(by_class, labels=0, guidance_interval=(0.1, 0.9)))


def test_a_folder_without_a_generator_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no generator"):
        load_generator(tmp_path)
    (tmp_path / CONFIG_FILE).write_text('{"model": {"kind": "zebra"}}')
    with pytest.raises(ValueError, match="dit or maskgit"):
        load_generator(tmp_path)


def test_a_broken_caption_list_is_named(tmp_path: Path) -> None:
    file = tmp_path / CLASS_CAPTIONS_FILE
    assert read_class_captions(file) == {}
    for text in ("[1, 2]", '{"0": "a goldfish"}', '{"a": ["b"]}'):
        file.write_text(text)
        with pytest.raises(ValueError, match="class_captions"):
            read_class_captions(file)


def test_pngs_are_replaced_whole(tmp_path: Path) -> None:
    save_png(Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_an_empty_negative_prompt_is_none_and_another_changes_the_pictures(pipeline: Pipeline) -> None:
    plain, empty, away, each = (
        pixels(pipeline, ["a cat", "a dog"], negative_prompt=negative)
        for negative in (None, "", "a red box", ["a red box", ""])
    )
    assert torch.equal(plain, empty)
    assert torch.equal(each, torch.stack([away[0], plain[1]]))
    assert not torch.equal(away[0], plain[0]) and not torch.equal(away[1], plain[1])


def test_a_masked_generator_reads_a_negative_prompt_too(masked: Pipeline) -> None:
    assert not torch.equal(pixels(masked, "a cat"), pixels(masked, "a cat", negative_prompt="a red box"))


def test_a_prompt_away_from_itself_is_drawn_without_guidance(pipeline: Pipeline) -> None:
    away = pixels(pipeline, "a cat", negative_prompt="a cat", guidance=7.0).int()
    assert (away - pixels(pipeline, "a cat", guidance=1.0).int()).abs().max() <= 1


def test_a_negative_prompt_that_nothing_reads_is_refused(pipeline: Pipeline, by_class: Pipeline) -> None:
    with pytest.raises(ValueError, match="negative_prompt: got one with guidance 1"):
        pixels(pipeline, "a cat", negative_prompt="a dog", guidance=1.0)
    with pytest.raises(ValueError, match="negative_prompt: got one, expected none"):
        pixels(by_class, labels=1, negative_prompt="a dog")
    with pytest.raises(ValueError, match="captions: got 1"):
        pixels(pipeline, ["a cat", "a dog"], negative_prompt=["a box"])


def test_a_negative_prompt_is_kept_with_the_picture(pipeline: Pipeline) -> None:
    image = pipeline("a cat", steps=2, negative_prompt="a dog")[0]
    assert json.loads(image.info["textok"])["negative_prompt"] == "a dog"


def test_a_part_of_a_run_is_drawn_as_in_the_whole(pipeline: Pipeline) -> None:
    prompts = ["a cat", "a dog", "a red box"]
    whole = pixels(pipeline, prompts, batch_size=1, generator=seeded(3))
    part = pixels(pipeline, prompts[1:], batch_size=1, generator=seeded(3), first_index=1)
    assert torch.equal(part, whole[1:])
    image = pipeline(prompts[2], steps=2, first_index=2, generator=seeded(3))[0]
    assert json.loads(image.info["textok"])["index"] == 2


def test_every_step_of_every_batch_is_counted(pipeline: Pipeline) -> None:
    numbers: list[int] = []
    pixels(pipeline, ["a cat", "a dog"], batch_size=1, steps=3, on_step=numbers.append)
    assert numbers == [1, 2, 3, 4, 5, 6]
