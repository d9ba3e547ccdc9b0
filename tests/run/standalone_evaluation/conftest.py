"""A model small enough to be asked many times, and a real HTTP server that speaks as OpenAI-compatible ones do."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from reasonrl.api.model_spec import ScratchSpec
from reasonrl.data.chained_digits import WORDS
from reasonrl.data.word_tokenizer import word_tokenizer
from reasonrl.train.scratch_model import make_scratch_model

Answering = Callable[["Served", dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass
class Served:
    """A server at `url`. `requests` are (path, authorization, body) in the order of arrival; `answering` may be replaced."""

    url: str
    answering: Answering
    requests: list[tuple[str, str | None, dict[str, Any]]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0


def completion(text: str, *, finish: str = "stop", tokens: int | None = 7) -> web.Response:
    usage = {} if tokens is None else {"usage": {"completion_tokens": tokens}}
    return web.json_response({"choices": [{"text": text, "finish_reason": finish}], **usage})


def chat(text: str | None, *, finish: str = "stop", **more: str) -> web.Response:
    message = {"role": "assistant", "content": text, **more}
    return web.json_response({"choices": [{"message": message, "finish_reason": finish}], "usage": {"completion_tokens": 7}})


@pytest.fixture
def reply() -> Any:
    """How a server words what it says: `reply.completion` and `reply.chat`."""

    class Replies:
        completion = staticmethod(completion)
        chat = staticmethod(chat)

    return Replies


@pytest.fixture
def serve() -> Iterator[Callable[[Answering], Served]]:
    """Starts a server on a free port of this machine; all end with the test."""
    started: list[tuple[asyncio.AbstractEventLoop, threading.Thread, web.AppRunner]] = []

    def start(answering: Answering) -> Served:
        loop = asyncio.new_event_loop()
        served = Served("", answering)
        ready = threading.Event()

        async def handle(request: web.Request) -> web.StreamResponse:
            served.at_once += 1
            served.most_at_once = max(served.most_at_once, served.at_once)
            try:
                body = json.loads(await request.text())
                served.requests.append((request.path, request.headers.get("Authorization"), body))
                return await served.answering(served, body)
            finally:
                served.at_once -= 1

        application = web.Application()
        application.router.add_post("/{tail:.*}", handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)

        async def open_port() -> None:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            ready.set()

        def run() -> None:
            loop.run_until_complete(open_port())
            loop.run_forever()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert ready.wait(60)
        started.append((loop, thread, runner))
        return served

    yield start
    for loop, thread, runner in started:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model from nothing that knows the words of the task, as a Hugging Face directory."""
    directory = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = word_tokenizer(WORDS, context_tokens=96)
    scratch = ScratchSpec.model_validate(
        {"hiddenSize": 32, "layers": 1, "heads": 2, "keyValueHeads": 2, "feedForwardSize": 48, "initializerRange": 0.1, "contextTokens": 96}
    )
    make_scratch_model(scratch, tokenizer, seed=3).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
