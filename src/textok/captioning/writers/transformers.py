"""A local image-to-text model read by ``transformers``: chat models with a template, and the BLIP kind without."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from textok.captioning import CaptionConfig
from textok.captioning.writers import Answer, Request, Writer, open_picture
from textok.data.samples import RawSample


class TransformersWriter(Writer):
    """Batches of pictures through a model in this process.

    A model without a chat template (BLIP, GIT) writes what it was trained to: it gets the picture and no prompt. One
    seed serves a batch: that of its first picture.
    """

    varies = True
    in_flight = 2  # one batch is made ready while the model works on the other

    def __init__(self, config: CaptionConfig) -> None:
        if config.model is None:
            raise ValueError("model: got none, expected a folder or a hub id of an image-to-text model")
        self.model, self.batch_size, self._config = config.model, config.batch_size, config
        self._device = torch.device(config.device)
        self._one_at_a_time = threading.Lock()
        self._processor, network = _load(config.model)
        self._network = network.to(self._device).eval()
        self._is_chat = getattr(self._processor, "chat_template", None) is not None
        kind = "asked by the prompt" if self._is_chat else "which has no chat template and gets no prompt"
        self.notice = f"transformers: {config.model} on {self._device}, {kind}"

    def prepare(self, sample: RawSample) -> Image.Image:
        """The picture, reduced to the side asked for."""
        return open_picture(sample.image, side=self._config.side)

    async def write(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer per request."""
        return await asyncio.to_thread(self._write, requests)

    def _write(self, requests: Sequence[Request]) -> list[Answer]:
        inputs = self._inputs(requests).to(self._device)
        devices = [self._device] if self._device.type == "cuda" else []
        options: dict[str, Any] = {"max_new_tokens": self._config.max_tokens, "do_sample": False}
        if requests[0].temperature > 0:
            options |= {"do_sample": True, "temperature": requests[0].temperature}
        with self._one_at_a_time, torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(requests[0].seed)
            ids = self._network.generate(**inputs, **options)
        asked = inputs["attention_mask"].sum(1).tolist() if self._is_chat else [0] * len(ids)
        written = ids[:, inputs["input_ids"].shape[1] :] if self._is_chat else ids
        return [self._answer(row, tokens) for row, tokens in zip(written, asked, strict=True)]

    def _inputs(self, requests: Sequence[Request]) -> Any:
        pictures = [request.picture for request in requests]
        if not self._is_chat:
            return self._processor(images=pictures, return_tensors="pt")
        contents = [
            [{"type": "image", "image": picture}, {"type": "text", "text": request.prompt}]
            for picture, request in zip(pictures, requests, strict=True)
        ]
        return self._processor.apply_chat_template(
            [[{"role": "user", "content": content}] for content in contents],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )

    def _answer(self, ids: torch.Tensor, asked: int) -> Answer:
        ends = self._network.generation_config.eos_token_id
        is_whole = bool(torch.isin(ids.cpu(), torch.tensor([-1] if ends is None else ends)).any())
        return Answer(
            text=self._processor.tokenizer.decode(ids, skip_special_tokens=True),
            finish="stop" if is_whole or len(ids) < self._config.max_tokens else "length",
            tokens_in=asked,
            tokens_out=len(ids),
        )


def _load(model: str) -> tuple[Any, Any]:
    """Processor and network; ``ValueError`` when it is not there, or does not write about pictures."""
    try:
        config = AutoConfig.from_pretrained(model)
        if type(config) not in AutoModelForImageTextToText._model_mapping:
            raise ValueError(f"a {config.model_type} does not write about pictures")
        processor: Any = AutoProcessor.from_pretrained(model)
        network: Any = AutoModelForImageTextToText.from_pretrained(model, dtype="auto")
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"model: cannot take {model!r} ({reason}), expected an image-to-text model"
        ) from error
    processor.tokenizer.padding_side = "left"  # so that what is written follows the prompt in each row
    return processor, network
