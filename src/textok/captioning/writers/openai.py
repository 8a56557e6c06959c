"""Any server that speaks the OpenAI protocol: vLLM, SGLang, Ollama, llama.cpp, ``transformers serve``, hosted ones."""

import asyncio
import os
import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

import openai
from PIL import Image

from textok.captioning import CaptionConfig
from textok.captioning.writers import Answer, Request, Writer, chat_content, jpeg_base64, open_picture
from textok.data.samples import RawSample

KEYS = ("TEXTOK_CAPTION_KEY", "OPENAI_API_KEY")
_GIVE_UP = 10  # pictures in a row that failed at the server
_PER_CLIENT = 16  # requests at a time: a client looks at all of its idle connections before each request
_PROBE_RETRIES = 2
_PROBE = "Which colour is this? Answer with one word."
_LOAD = (408, 429, 503)


class OpenAIWriter(Writer):
    """Sends each picture as JPEG with the prompt; as many requests at a time as the server takes.

    The client retries what fails, backs off and waits as long as the server asks it to. The key is read from the
    environment, goes into the header of the requests alone, and is taken out of all that comes back.
    """

    varies = True
    batch_size = 1

    def __init__(self, config: CaptionConfig) -> None:
        if config.base_url is None or config.model is None:
            missing = "base_url" if config.base_url is None else "model"
            raise ValueError(f"{missing}: got none, expected where the server is and the name of its model")
        address = urlsplit(config.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(f"base_url: got {config.base_url!r}, expected such as http://127.0.0.1:8000/v1")
        self._host = address.netloc.rpartition("@")[2]
        self.model, self.in_flight, self._config = config.model, config.concurrency, config
        self.notice = f"openai: the pictures are sent to {self._host} (model {config.model})"
        self._key = next((os.environ[name] for name in KEYS if os.environ.get(name)), "")
        self._gate = Gate(config.concurrency)
        self._clients = [self._new_client() for _ in range(0, config.concurrency, _PER_CLIENT)]
        self._turns = cycle(self._clients)
        self._failed_in_a_row = 0
        self._length = "max_tokens"

    def _new_client(self) -> openai.AsyncOpenAI:
        config, http = self._config, openai.DefaultAsyncHttpxClient(event_hooks={"response": [self._watch]})
        return openai.AsyncOpenAI(
            base_url=config.base_url, api_key=self._key or "none", timeout=config.timeout, http_client=http
        )

    async def check(self) -> None:
        """That the server is there (else ``ConnectionError``), takes the key, has the model, and that this one sees."""
        if self._config.no_probe:
            return
        red = jpeg_base64(Image.new("RGB", (64, 64), "red"), quality=90)
        seeing = await self._probe(chat_content(_PROBE, red), "does it take pictures?")
        blind = await self._probe(chat_content(_PROBE, None), "is it a chat model?")
        if seeing.tokens_in and seeing.tokens_in == blind.tokens_in:
            raise ValueError(
                f"model: {self.model} at {self._host} reads as many tokens with a picture as without, expected more: "
                "it does not see pictures; take another, or --no-probe if its counts are wrong"
            )

    def prepare(self, sample: RawSample) -> str:
        """The picture as JPEG in base64, reduced to the side asked for, without metadata."""
        image = open_picture(sample.image, side=self._config.side)
        return jpeg_base64(image, quality=self._config.quality)

    async def write(self, requests: Sequence[Request]) -> list[Answer]:
        """The answer to the only request; ``ConnectionError`` when many failed in a row, whatever was tried."""
        (request,) = requests
        content = chat_content(request.prompt, request.picture)
        options = {"seed": request.seed, "temperature": request.temperature}
        try:
            answer = await self._ask(content, self._config.retries, self._config.max_tokens, options)
        except (_NoAnswerError, ConnectionError) as error:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _GIVE_UP:
                raise ConnectionError(
                    f"base_url: got no answer from {self._host} ({error}); try later"
                ) from None
            return [Answer(text="", failure=f"server: {error}")]
        self._failed_in_a_row = 0
        return [answer]

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()

    async def _probe(self, content: list[dict[str, Any]], question: str) -> Answer:
        try:
            return await self._ask(content, _PROBE_RETRIES, 1, {"seed": 0, "temperature": 0.0})
        except ConnectionError as error:
            raise ConnectionError(f"base_url: got no answer from {self._host} ({error}); start it") from None
        except _NoAnswerError as error:
            raise ValueError(
                f"model: {self.model} at {self._host} refuses a probe ({error}); {question}"
            ) from None

    async def _ask(
        self, content: list[dict[str, Any]], retries: int, max_tokens: int, options: dict[str, Any]
    ) -> Answer:
        """Ask until there is an answer; answers that are none are asked for again like requests that fail."""
        client, failure = next(self._turns), _NoAnswerError()
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], **options}
        for _ in range(retries + 1):
            async with self._gate:
                start = time.monotonic()
                try:
                    # chat.completions.create walks the body, and builds objects of the answer, at twice the cost.
                    whole = {**body, self._length: max_tokens}
                    response: Any = await client.post(
                        "/chat/completions", cast_to=object, body=whole, options={"max_retries": retries}
                    )
                    self._gate.went_well(slow=time.monotonic() - start > self._config.timeout)
                    return self._answer(response)
                except openai.APIStatusError as error:
                    failure = self._failure(error)
                except openai.APIConnectionError as error:
                    raise ConnectionError(self._line(error)) from None
                except (openai.APIError, ValueError, AttributeError, LookupError, TypeError) as error:
                    failure = _NoAnswerError(f"not an answer: {type(error).__name__}")
        raise failure

    def _answer(self, response: Any) -> Answer:
        choice, usage = response["choices"][0], response.get("usage") or {}
        return Answer(
            text=self._without_key(choice["message"].get("content") or ""),
            finish=choice.get("finish_reason") or "stop",
            tokens_in=usage.get("prompt_tokens") or 0,
            tokens_out=usage.get("completion_tokens") or 0,
        )

    def _failure(self, error: openai.APIStatusError) -> "_NoAnswerError":
        """Return the failure that another name of an option may mend; raise all others."""
        status, line = error.status_code, self._line(error)
        if status in (401, 403):
            raise ValueError(
                f"{KEYS[0]}: {self._host} refuses the key ({status}); set the variable"
            ) from None
        if status == 404:
            raise ValueError(f"model: {self._host} has no {self.model!r} ({line})") from None
        if status == 400 and "max_completion_tokens" in str(error) and self._length == "max_tokens":
            self._length = "max_completion_tokens"  # what newer hosted models call it
            return _NoAnswerError(line)
        raise _NoAnswerError(f"{status} {line}") from None

    async def _watch(self, response: Any) -> None:
        """See each response, also those that the client will try again."""
        if response.status_code in _LOAD:
            self._gate.slow_down()

    def _line(self, error: Exception) -> str:
        return self._without_key(" ".join(str(error).split()) or type(error).__name__)[:200]

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


class _NoAnswerError(Exception):
    """The server is there, and gave no answer that can be read."""


class Gate:
    """Lets ``most`` requests through at a time: half as many when the server is overloaded, slowly more again."""

    def __init__(self, most: int) -> None:
        self._most, self._limit = most, float(most)
        self._active, self._halved = 0, 0.0
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._active < max(1, int(self._limit)))
            self._active += 1

    async def __aexit__(self, *_: object) -> None:
        async with self._changed:
            self._active -= 1
            self._changed.notify_all()

    def went_well(self, *, slow: bool = False) -> None:
        """A request was answered; ``slow``: after a time-out."""
        self._limit = min(self._most, self._limit + 1 / self._limit)
        if slow:
            self.slow_down()

    def slow_down(self) -> None:
        """The server has too much to do. The requests of one second meet the same overload, and count once."""
        if time.monotonic() - self._halved > 1:
            self._limit, self._halved = max(1.0, self._limit / 2), time.monotonic()
