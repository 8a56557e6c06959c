"""The page: what is on it, and which action each part calls. What actions compute is in ``studio``."""

import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from textok.app import fragments
from textok.app.studio import MAX_IMAGES, Sketch, Studio, packaged_pictures, reworded, roll
from textok.data.images import decode_whole, tensor_to_image
from textok.evaluation.demo import PROMPTS

INTRO = """# textok
A picture and its caption go in, a few tokens come out; the same caption and the tokens give the picture back."""
_EXAMPLES = 8
_CACHED = re.compile(r"/\S*/[0-9a-f]{32,}/")


def said(action: Callable[..., Any], failed: Sequence[Any]) -> Callable[..., Any]:
    """The action with one more result: a sentence about a visitor's mistake, without our folders in it, or "".

    Args:
        action: returns a value for each output, or the value of the only one.
        failed: the values of the outputs after a mistake.
    """

    @wraps(action)
    def run(*values: Any, **named: Any) -> Any:
        try:
            results = action(*values, **named)
        except (ValueError, OSError) as error:
            return *failed, fragments.notice(_CACHED.sub("", str(error)))
        return *(results if isinstance(results, tuple) else (results,)), ""

    return run


class Actions:
    """The actions of the page on values of its components."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        pictures = packaged_pictures()
        step = max(1, len(pictures) // _EXAMPLES)
        self.examples = [(decode_whole(data, side=256), caption) for data, caption in pictures[::step]]

    def start(
        self,
        picture: str | Image.Image | None,
        caption: str | None,
        changed: str | None,
        num_tokens: int,
        *decoder: Any,
    ) -> tuple[Any, ...]:
        """Encode a picture; the sketch, and what ``show`` gives."""
        if picture is None:
            return None, *self.show(None, num_tokens)
        stored = Path(picture).read_bytes() if isinstance(picture, str) else picture
        sketch = self.studio.sketch(stored, caption, changed)
        return sketch, *self.show(sketch, num_tokens, *decoder)

    def upload(self, picture: str | None, *settings: Any) -> tuple[Any, ...]:
        """The same for a new file, which stays in its place; a wrong one does not."""
        return gr.skip(), *self.start(picture, *settings)

    def change(
        self, sketch: Sketch | None, changed: str | None, num_tokens: int, *decoder: Any
    ) -> tuple[Any, ...]:
        """Read the same tokens with another caption."""
        sketch = sketch and reworded(sketch, changed)
        return sketch, *self.show(sketch, num_tokens, *decoder)

    def show(self, sketch: Sketch | None, num_tokens: int, *decoder: Any) -> tuple[Any, ...]:
        """Two pictures to slide between, the reconstructions, and the facts."""
        if sketch is None:
            return None, "", ""
        view = self.studio.view(sketch, num_tokens, decoding_of(*decoder))
        first = next(iter(view.pictures.values()))
        left = view.pictures["none"] if sketch.original is None else sketch.original
        file = self.studio.write_ttk(sketch, num_tokens)
        pair = (tensor_to_image(left), tensor_to_image(first))
        return pair, fragments.figures(view, sketch, num_tokens), fragments.facts(view, num_tokens, file)

    def open(self, file: str, num_tokens: int, *decoder: Any) -> tuple[Any, ...]:
        """A .ttk file: no picture, its caption, the sketch, and what ``show`` gives."""
        sketch = self.studio.read_ttk(file)
        return None, (sketch.first.captions or ("",))[0], sketch, *self.show(sketch, num_tokens, *decoder)

    def example(self, event: gr.EventData, *settings: Any) -> tuple[Any, ...]:
        """A picture of the package with its caption, and what ``start`` gives with them."""
        return self._given(*self.examples[int(event.choice)], *settings)

    def roll(self, *settings: Any) -> tuple[Any, ...]:
        """A random scene with its caption, and what ``start`` gives with them."""
        return self._given(*roll(), *settings)

    def _given(self, image: Image.Image, caption: str, *settings: Any) -> tuple[Any, ...]:
        return image, caption, *self.start(image, caption, *settings)

    def prompt(self, event: gr.EventData) -> str:
        """A prompt to try."""
        return list(PROMPTS)[int(event.choice)]

    def describe(
        self, picture: str | None, changed: str | None, num_tokens: int, *decoder: Any
    ) -> tuple[Any, ...]:
        """A caption of the picture, and what ``start`` gives with it."""
        if picture is None:
            raise ValueError("picture: got none, expected one; choose or upload a picture first")
        caption = self.studio.describe(Path(picture).read_bytes())
        return caption, *self.start(picture, caption, changed, num_tokens, *decoder)

    def curve(self, sketch: Sketch | None, *decoder: Any) -> tuple[str, str]:
        """Quality over budgets, and no pictures yet."""
        if sketch is None:
            raise ValueError("picture: got none, expected one; choose or upload it in the tab Tokens first")
        return fragments.curve(self.studio.curve(sketch, decoding_of(*decoder))), ""

    def look(self, event: gr.EventData, sketch: Sketch | None, *decoder: Any) -> str:
        """The pictures at a point of the curve."""
        if sketch is None:
            return ""
        num_tokens = int(event.choice)
        return fragments.figures(
            self.studio.view(sketch, num_tokens, decoding_of(*decoder)), sketch, num_tokens
        )

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
        """Pictures for a prompt."""
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
        return fragments.drawn(images, prompt or "")


def decoding_of(
    kind: str = "", steps: int = 0, guidance: int | float = 1.0, seed: int | None = 0
) -> dict[str, Any]:
    """The settings of a decoder that samples; none for another one."""
    if not kind:
        return {}
    if kind == "direct":
        return {"steps": 0}
    return {"steps": int(steps), "guidance": float(guidance), "seed": int(seed or 0)}


class Wiring:
    """Connects the parts of the page with the actions; what goes wrong is said at one place of the page."""

    def __init__(self) -> None:
        self.notice = gr.HTML(elem_classes="notice")

    def connect(
        self,
        triggers: Sequence[Any],
        action: Callable[..., Any],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        *,
        failed: Sequence[Any] | None = None,
        **more: Any,
    ) -> Any:
        """Call an action on any of the triggers; after a mistake the outputs stay, or are ``failed``."""
        failed = [gr.skip()] * len(outputs) if failed is None else failed
        return gr.on(list(triggers), said(action, failed), list(inputs), [*outputs, self.notice], **more)


def build_page(studio: Studio) -> gr.Blocks:
    """The whole page on these models."""
    actions = Actions(studio)
    with gr.Blocks(title="textok", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.Markdown(INTRO)
        wiring, sketch = Wiring(), gr.State(None, time_to_live=86400)
        with gr.Tab("Tokens"):
            decoder = _tokens_tab(actions, wiring, sketch)
        if studio.pipeline is not None:
            with gr.Tab("Words"):
                _words_tab(actions, wiring, studio)
        with gr.Tab("Budget"):
            _budget_tab(actions, wiring, sketch, decoder)
    return page


def _tokens_tab(actions: Actions, wiring: Wiring, sketch: gr.State) -> list[Any]:
    with gr.Row():
        with gr.Column(min_width=280):
            picture = gr.Image(label="Picture", type="filepath", sources=["upload", "clipboard"], height=260)
            picture.preprocess = path_of
            caption = gr.Textbox(label="Its caption", placeholder="a red apple; then Enter", max_lines=3)
            with gr.Row():
                describe = gr.Button("Describe it", size="sm", min_width=100)
                dice = gr.Button("Roll the dice", size="sm", min_width=100)
            changed = gr.Textbox(label="Another caption, for the same tokens", max_lines=3)
            upload = gr.UploadButton("Open a .ttk file", file_types=[".ttk"], size="sm")
            gr.Markdown("Or one of these:")
            examples = gr.HTML(fragments.choices(actions.examples), js_on_load=fragments.CHOOSE)
        with gr.Column(min_width=280, scale=2):
            budget = gr.Slider(
                1, actions.studio.max_tokens, value=min(8, actions.studio.max_tokens), step=1, label="Tokens"
            )
            decoder = _decoder_settings() if actions.studio.decoder_samples else []
            views = [
                gr.ImageSlider(
                    label="The picture and what its tokens give back",
                    interactive=False,
                    format="png",
                    max_height=420,
                ),
                gr.HTML(),
                gr.HTML(),
            ]
    settings, shown = [budget, *decoder], [sketch, *views]
    wording = [caption, changed, *settings]
    nothing = (None, None, None, "", "")
    wiring.connect([picture.input], actions.upload, [picture, *wording], [picture, *shown], failed=nothing)
    wiring.connect([caption.submit], actions.start, [picture, *wording], shown)
    wiring.connect([changed.submit], actions.change, [sketch, changed, *settings], shown)
    wiring.connect([dice.click], actions.roll, [changed, *settings], [picture, caption, *shown])
    wiring.connect([examples.click], actions.example, [changed, *settings], [picture, caption, *shown])
    wiring.connect([describe.click], actions.describe, [picture, changed, *settings], [caption, *shown])
    wiring.connect([upload.upload], actions.open, [upload, *settings], [picture, caption, *shown])
    newest: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
    wiring.connect([part.change for part in settings], actions.show, [sketch, *settings], views, **newest)
    return decoder


def path_of(payload: Any) -> str | None:
    """An upload as its path: Gradio does not open it, so that a file which is no picture gets a sentence of ours."""
    return payload.path if payload else None


def _decoder_settings() -> list[Any]:
    with gr.Accordion("Decoder", open=False):
        return [
            gr.Radio(["direct", "generative"], value="direct", label="How it decodes"),
            gr.Slider(1, 50, value=10, step=1, label="Steps"),
            gr.Slider(1, 5, value=1, step=0.1, label="Guidance"),
            gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, label="Seed"),
        ]


def _words_tab(actions: Actions, wiring: Wiring, studio: Studio) -> None:
    assert studio.pipeline is not None
    defaults, most = studio.pipeline.defaults, studio.max_tokens
    prompt = gr.Textbox(label="What to draw", max_lines=3)
    draw = gr.Button("Draw", variant="primary")
    with gr.Accordion("Settings", open=False):
        negative = gr.Textbox(label="What to avoid", max_lines=2)
        settings = [
            gr.Slider(1, MAX_IMAGES, value=4, step=1, label="Pictures"),
            gr.Slider(1, most, value=most, step=1, label="Tokens"),
            gr.Slider(1, 100, value=defaults.steps, step=1, label="Steps"),
            gr.Slider(1, 10, value=defaults.guidance, step=0.5, label="Guidance"),
            gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, label="Seed"),
        ]
    gallery = gr.HTML(min_height=120)
    wiring.connect([draw.click, prompt.submit], actions.draw, [prompt, negative, *settings], [gallery])
    gr.Markdown("Or one of these, the last ones to see how it fails:")
    examples = gr.HTML(fragments.prompts(PROMPTS), js_on_load=fragments.CHOOSE)
    wiring.connect([examples.click], actions.prompt, [], [prompt])


def _budget_tab(actions: Actions, wiring: Wiring, sketch: gr.State, decoder: Sequence[Any]) -> None:
    gr.Markdown("How much better does the picture of the tab *Tokens* get with more of them?")
    measure = gr.Button("Draw the curve", variant="primary")
    curve, pictures = gr.HTML(js_on_load=fragments.CHOOSE), gr.HTML()
    wiring.connect([measure.click], actions.curve, [sketch, *decoder], [curve, pictures])
    wiring.connect([curve.click], actions.look, [sketch, *decoder], [pictures], show_progress="hidden")
