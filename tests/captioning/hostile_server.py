"""A server of the OpenAI protocol that misbehaves as real ones do; a process of its own, for tests and a benchmark.

``python hostile_server.py --faults 429,hang,cut --share 0.3`` prints its port, then serves until it is killed. Each
answer that it wrote whole is one line of ``--log``: the hash of the picture that was sent. ``words`` are good answers
of which some have to be mended or asked again.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
from pathlib import Path

FAULTS = "429,429-after,429-date,500,503,hang,cut,half,json,empty,html,null,late,long"
WORDS = "refusal,preamble,cut off,repeats,blank,german,leak"
PAST = "Wed, 21 Oct 2015 07:28:00 GMT"


class Server:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.random = random.Random(options.seed)
        self.busy = self.most_busy = self.requests = 0
        self.log = options.log.open("a", buffering=1) if options.log else None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                headers = {}
                while header := (await reader.readline()).decode().strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.busy += 1
                self.most_busy = max(self.most_busy, self.busy)
                try:
                    going_on = await self.answer(line.decode().split()[1], headers, body, writer)
                finally:
                    self.busy -= 1
                if not going_on:
                    break
        writer.close()

    async def answer(self, path: str, headers: dict, body: bytes, writer: asyncio.StreamWriter) -> bool:
        if path == "/facts":
            return await self.send(writer, 200, {"requests": self.requests, "most_busy": self.most_busy})
        self.requests += 1
        key = headers.get("authorization", "").removeprefix("Bearer ")
        if self.options.key and key != self.options.key:
            return await self.error(writer, 401, f"Incorrect API key provided: {key}")
        request = json.loads(body)
        if request["model"] != "tiny":
            return await self.error(writer, 404, f"The model `{request['model']}` does not exist")
        content = request["messages"][0]["content"]
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        if urls and self.options.textual:
            return await self.error(writer, 400, "this model takes text only")
        await asyncio.sleep(self.options.latency)
        fault = self.draw(self.options.faults) if request["max_tokens"] > 1 else None
        if fault and fault != "late":
            return await self.misbehave(fault, writer)
        if fault == "late":  # answers out of order
            await asyncio.sleep(3 * self.options.latency)
        name = hashlib.sha256(urls[0].encode()).hexdigest()[:12] if urls else "no picture"
        word = self.draw(self.options.words)
        going_on = await self.send(writer, 200, self.caption(name, word, content[-1]["text"], bool(urls)))
        if self.log and request["max_tokens"] > 1:
            self.log.write(f"{name} {word or 'good'}\n")
        return going_on

    def draw(self, kinds: str) -> str | None:
        return (
            self.random.choice(kinds.split(","))
            if kinds and self.random.random() < self.options.share
            else None
        )

    def caption(self, name: str, word: str | None, prompt: str, has_picture: bool) -> dict:
        text = f"A red square with the sign {name} on a plain background, seen from the front."
        texts = {
            "refusal": "I'm sorry, but I can't help with that.",
            "preamble": f"Sure! This image shows a{text[1:]}",
            "repeats": "a red square a red square a red square a red square a red square a red square",
            "blank": " \n",
            "german": "Ein rotes Quadrat auf einem weißen Grund, das von der Seite mit der Lampe beleuchtet ist.",
            "leak": prompt.splitlines()[0],
        }
        finish = "length" if word == "cut off" else "stop"
        tokens = 20 + (0 if self.options.blind or not has_picture else 64)
        return {
            "id": "1", "object": "chat.completion", "created": 0, "model": "tiny",
            "choices": [{"index": 0, "finish_reason": finish,
                         "message": {"role": "assistant", "content": texts.get(word or "", text)}}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 10, "total_tokens": tokens + 10},
        }  # fmt: skip

    async def misbehave(self, fault: str, writer: asyncio.StreamWriter) -> bool:
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault in ("cut", "half"):
            writer.write(
                b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"choices": [' if fault == "half" else b""
            )
            writer.transport.abort() if fault == "cut" else await writer.drain()
            return False
        good = self.caption("x", None, "?", True)
        texts = {
            "json": b'{"choices": [{"mess', "html": b"<html>502 from a proxy</html>", "null": b"null",
            "empty": json.dumps({**good, "choices": []}).encode(),
            "long": json.dumps(self.caption("x" * (1 << 20), None, "?", True)).encode(),
        }  # fmt: skip
        if fault in texts:
            kind = "text/html" if fault == "html" else "application/json"
            return await self.send(writer, 200, texts[fault], kind=kind)
        after = {"429-after": self.options.after, "429-date": PAST}.get(fault)
        return await self.error(writer, int(fault[:3]), "try later", after=after)

    async def error(
        self, writer: asyncio.StreamWriter, status: int, text: str, after: str | None = None
    ) -> bool:
        return await self.send(writer, status, {"error": {"message": text, "type": "error"}}, after=after)

    async def send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: dict | bytes,
        *,
        kind: str = "application/json",
        after: str | None = None,
    ) -> bool:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
        writer.write((head + (f"Retry-After: {after}\r\n" if after else "") + "\r\n").encode() + data)
        await writer.drain()
        return True


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--faults", default="", help=FAULTS)
    parser.add_argument("--words", default="", help=WORDS)
    parser.add_argument("--after", default="0.05", help="seconds that 429-after asks to wait")
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", default="")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--blind", action="store_true", help="pictures count no tokens")
    parser.add_argument("--textual", action="store_true", help="requests with pictures are refused")
    server = await asyncio.start_server(Server(parser.parse_args()).serve, "127.0.0.1", 0, limit=1 << 24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
