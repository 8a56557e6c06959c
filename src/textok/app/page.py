"""The page: what is on it, and which action each part calls. What actions compute is in ``studio``."""

import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from textok.app import CHOOSE, part
from textok.app.studio import MAX_IMAGES, Sketch, Studio, packaged_pictures, reworded, roll
from textok.data.images import decode_whole, image_to_tensor, tensor_to_image
from textok.evaluation.demo import PROMPTS
from textok.evaluation.pages.curves import curve_chart
from textok.pipeline.sampling import Sampling

INTRO = """# textok
A picture and its caption go in, a few tokens come out; the same caption and the tokens give the picture back."""
_EXAMPLES = 8
_CACHED = re.compile(r"/\S*/[0-9a-f]{32,}/")


def build_page(studio: Studio) -> gr.Blocks:
    """The whole page on these models."""
    with gr.Blocks(title="textok", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.Markdown(INTRO)
        parts = _Page(studio)
        with gr.Tab("Tokens"):
            parts.tokens_tab()
        if studio.pipeline is not None:
            with gr.Tab("Words"):
                parts.words_tab(studio.pipeline.defaults)
        with gr.Tab("Budget"):
            parts.budget_tab()
    return page


class _Page:
    """The actions of the page on values of its components, and the components; made inside of ``gr.Blocks``."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.notice, self.sketch = gr.HTML(elem_classes="notice"), gr.State(None, time_to_live=86400)
        self.decoder = list[Any]()
        pictures = packaged_pictures()
        step = max(1, len(pictures) // _EXAMPLES)
        self.examples = [(decode_whole(data, side=256), caption) for data, caption in pictures[::step]]

    def start(
        self, picture: str | Image.Image | None, caption: str | None, changed: str | None, *settings: Any
    ) -> tuple[Any, ...]:
        """Encode a picture; the sketch, and what ``show`` gives."""
        if picture is None:
            return None, *self.show(None, *settings)
        stored = Path(picture).read_bytes() if isinstance(picture, str) else picture
        sketch = self.studio.sketch(stored, caption, changed)
        return sketch, *self.show(sketch, *settings)

    def upload(self, picture: str | None, *settings: Any) -> tuple[Any, ...]:
        """The same for a new file, which stays in its place; a wrong one does not."""
        return gr.skip(), *self.start(picture, *settings)

    def change(self, sketch: Sketch | None, changed: str | None, *settings: Any) -> tuple[Any, ...]:
        sketch = sketch and reworded(sketch, changed)
        return sketch, *self.show(sketch, *settings)

    def show(self, sketch: Sketch | None, num_tokens: int, *decoder: Any) -> tuple[Any, ...]:
        """Two pictures to slide between, the reconstructions, and the facts."""
        if sketch is None:
            return None, "", ""
        view = self.studio.view(sketch, num_tokens, decoding_of(*decoder))
        first = next(iter(view.pictures.values()))
        left = view.pictures["none"] if sketch.original is None else sketch.original
        file = self.studio.write_ttk(sketch, num_tokens)
        pair = (tensor_to_image(left), tensor_to_image(first))
        return pair, part("figures", view, sketch, num_tokens), part("facts", view, num_tokens, file)

    def open(self, file: str, *settings: Any) -> tuple[Any, ...]:
        """A .ttk file: no picture, its caption, the sketch, and what ``show`` gives."""
        sketch = self.studio.read_ttk(file)
        return None, (sketch.first.captions or ("",))[0], sketch, *self.show(sketch, *settings)

    def example(self, event: gr.EventData, *settings: Any) -> tuple[Any, ...]:
        image, caption = self.examples[int(event.choice)]
        return image, caption, *self.start(image, caption, *settings)

    def roll(self, *settings: Any) -> tuple[Any, ...]:
        image, caption = roll()
        return image, caption, *self.start(image, caption, *settings)

    def describe(self, picture: str | None, *settings: Any) -> tuple[Any, ...]:
        if picture is None:
            raise ValueError("picture: got none, expected one; choose or upload a picture first")
        caption = self.studio.describe(Path(picture).read_bytes())
        return caption, *self.start(picture, caption, *settings)

    def prompt(self, event: gr.EventData) -> str:
        return list(PROMPTS)[int(event.choice)]

    def curve(self, sketch: Sketch | None, *decoder: Any) -> tuple[str, str]:
        """Quality over budgets, and no pictures yet."""
        if sketch is None:
            raise ValueError("picture: got none, expected one; choose or upload it in the tab Tokens first")
        lines = self.studio.curve(sketch, decoding_of(*decoder))
        chart = curve_chart(lines, title="PSNR in dB over the number of tokens", unit="dB")
        return part("curve", chart, sorted(next(iter(lines.values())))), ""

    def look(self, event: gr.EventData, sketch: Sketch | None, *decoder: Any) -> str:
        if sketch is None:
            return ""
        num_tokens = int(event.choice)
        view = self.studio.view(sketch, num_tokens, decoding_of(*decoder))
        return part("figures", view, sketch, num_tokens)

    def draw(
        self,
        prompt: str | None,
        negative: str | None,
        num_images: int,
        num_tokens: int,
        steps: int,
        guidance: int | float,
        seed: int | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio passes one)
    ) -> str:
        images = self.studio.draw(
            prompt,
            num_images=int(num_images),
            num_tokens=int(num_tokens),
            steps=int(steps),
            guidance=float(guidance),
            seed=int(seed or 0),
            negative_prompt=negative,
            on_step=lambda done: progress((done, int(steps)), unit="steps"),
        )
        return part("drawn", map(image_to_tensor, images), prompt or "")

    def on(
        self,
        trigger: Any,
        action: Callable[..., Any],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        *,
        failed: Sequence[Any] | None = None,
        **more: Any,
    ) -> None:
        """Call an action. After a mistake of the visitor's, which is said, the outputs stay, or are ``failed``."""

        @wraps(action)
        def run(*values: Any, **named: Any) -> Any:
            try:
                results = action(*values, **named)
            except (ValueError, OSError) as error:
                kept = [gr.skip()] * len(outputs) if failed is None else failed
                return *kept, part("notice", _CACHED.sub("", str(error)))  # without our folders
            return *(results if isinstance(results, tuple) else (results,)), ""

        triggers = trigger if isinstance(trigger, list) else [trigger]
        gr.on(triggers, run, list(inputs), [*outputs, self.notice], **more)

    def tokens_tab(self) -> None:
        with gr.Row():
            with gr.Column(min_width=280):
                picture = gr.Image(
                    label="Picture", type="filepath", sources=["upload", "clipboard"], height=260
                )
                picture.preprocess = path_of
                caption = gr.Textbox(label="Its caption", placeholder="a red apple; then Enter", max_lines=3)
                with gr.Row():
                    describe = gr.Button("Describe it", size="sm", min_width=100)
                    dice = gr.Button("Roll the dice", size="sm", min_width=100)
                changed = gr.Textbox(label="Another caption, for the same tokens", max_lines=3)
                upload = gr.UploadButton("Open a .ttk file", file_types=[".ttk"], size="sm")
                gr.Markdown("Or one of these:")
                choices = [(image_to_tensor(image), words) for image, words in self.examples]
                examples = gr.HTML(part("choices", choices), js_on_load=CHOOSE)
            settings, views = self.results()
        shown = [self.sketch, *views]
        wording, given = [caption, changed, *settings], [picture, caption, *shown]
        nothing = (None, None, None, "", "")
        self.on(picture.input, self.upload, [picture, *wording], [picture, *shown], failed=nothing)
        self.on(caption.submit, self.start, [picture, *wording], shown)
        self.on(changed.submit, self.change, [self.sketch, changed, *settings], shown)
        self.on(dice.click, self.roll, [changed, *settings], given)
        self.on(examples.click, self.example, [changed, *settings], given)
        self.on(describe.click, self.describe, [picture, changed, *settings], [caption, *shown])
        self.on(upload.upload, self.open, [upload, *settings], given)
        newest: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
        self.on([one.change for one in settings], self.show, [self.sketch, *settings], views, **newest)

    def results(self) -> tuple[list[Any], list[Any]]:
        """The settings of a view, and the view."""
        most = self.studio.max_tokens
        with gr.Column(min_width=280, scale=2):
            budget = gr.Slider(1, most, value=min(8, most), step=1, label="Tokens")
            self.decoder = _decoder_settings() if self.studio.decoder_samples else []
            title = "The picture and what its tokens give back"
            slider = gr.ImageSlider(label=title, interactive=False, format="png", max_height=420)
            return [budget, *self.decoder], [slider, gr.HTML(), gr.HTML()]

    def words_tab(self, defaults: Sampling) -> None:
        most = self.studio.max_tokens
        prompt = gr.Textbox(label="What to draw", max_lines=3)
        draw = gr.Button("Draw", variant="primary")
        with gr.Accordion("Settings", open=False):
            negative = gr.Textbox(label="What to avoid", max_lines=2)
            settings = [
                gr.Slider(1, MAX_IMAGES, value=4, step=1, label="Pictures"),
                gr.Slider(1, most, value=most, step=1, label="Tokens"),
                gr.Slider(1, 100, value=defaults.steps, step=1, label="Steps"),
                gr.Slider(1, 10, value=defaults.guidance, step=0.5, label="Guidance"),
                _seed(),
            ]
        gallery = gr.HTML(min_height=120)
        self.on([draw.click, prompt.submit], self.draw, [prompt, negative, *settings], [gallery])
        gr.Markdown("Or one of these, the last ones to see how it fails:")
        examples = gr.HTML(part("prompts", PROMPTS), js_on_load=CHOOSE)
        self.on(examples.click, self.prompt, [], [prompt])

    def budget_tab(self) -> None:
        gr.Markdown("How much better does the picture of the tab *Tokens* get with more of them?")
        measure = gr.Button("Draw the curve", variant="primary")
        curve, pictures = gr.HTML(js_on_load=CHOOSE), gr.HTML()
        seen = [self.sketch, *self.decoder]
        self.on(measure.click, self.curve, seen, [curve, pictures])
        self.on(curve.click, self.look, seen, [pictures], show_progress="hidden")


def decoding_of(
    kind: str = "", steps: int = 0, guidance: int | float = 1.0, seed: int | None = 0
) -> dict[str, Any]:
    """The settings of a decoder that samples; none for another one."""
    if kind == "direct":
        return {"steps": 0}
    return {"steps": int(steps), "guidance": float(guidance), "seed": int(seed or 0)} if kind else {}


def path_of(payload: Any) -> str | None:
    """An upload as its path: Gradio does not open it, so that a file which is no picture gets a sentence of ours."""
    return payload.path if payload else None


def _decoder_settings() -> list[Any]:
    with gr.Accordion("Decoder", open=False):
        return [
            gr.Radio(["direct", "generative"], value="direct", label="How it decodes"),
            gr.Slider(1, 50, value=10, step=1, label="Steps"),
            gr.Slider(1, 5, value=1, step=0.1, label="Guidance"),
            _seed(),
        ]


def _seed() -> gr.Number:
    return gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, label="Seed")
