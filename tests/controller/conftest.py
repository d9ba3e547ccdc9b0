"""A small HTTP server that answers as a test says: for how the operator's parts behave where an API server misbehaves in a way that has to
be timed exactly. How they behave with a real one is tested in tests/kube.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from reasonrl.controller.api_client import ApiClient, Patience

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    accept: str


@dataclass
class ScriptedServer:
    """Rules are tried in order; each has its answers given one after the other, the last one for ever."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    _rules: list[tuple[str, str, bool | None, list[Answer]]] = field(default_factory=list)

    def on(self, method: str, path: str, *answers: Answer, watch: bool | None = None) -> None:
        self._rules.append((method, path, watch, list(answers)))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.asked.append(
            Asked(request.method, request.path, dict(request.query), json.loads(text) if text else None, request.headers.get("Accept", ""))
        )
        for method, path, watch, answers in self._rules:
            if method == request.method and re.fullmatch(path, request.path) and watch in (None, "watch" in request.query):
                return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)
        raise web.HTTPNotFound(text="{}")

    def count(self, method: str, path: str = ".*") -> int:
        return sum(1 for one in self.asked if one.method == method and re.fullmatch(path, one.path))

    @staticmethod
    def say(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.json_response(body, status=status, headers=headers)

        return answer

    @staticmethod
    def refuse(code: int, reason: str, headers: dict[str, str] | None = None) -> Answer:
        return ScriptedServer.say({"kind": "Status", "code": code, "reason": reason, "message": "scripted"}, code, headers)

    @staticmethod
    def hang() -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(3600)
            raise AssertionError

        return answer

    @staticmethod
    def cut() -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        return answer

    @staticmethod
    def stream(*events: Any, then: str = "end") -> Answer:
        """Sends the events, and then ends cleanly (`end`), breaks (`cut`) or stays open without a word (`hang`). Text is sent as it is."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for event in events:
                await response.write(event.encode() if isinstance(event, str) else json.dumps(event).encode() + b"\n")
            if then == "cut":
                assert request.transport is not None
                request.transport.abort()
            if then == "hang":
                await asyncio.sleep(3600)
            return response

        return answer

    def client(self, **options: Any) -> ApiClient:
        patience = Patience(deadline=10.0, attempt=5.0, attempts=5, first_wait=0.001, longest_wait=0.01)
        return ApiClient(Configuration(host=self.url), **{"random": lambda: 0.5, "patience": patience} | options)


@asynccontextmanager
async def _scripted() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
def scripted() -> Callable[[], Any]:
    """Starts a scripted server within a running loop: `async with scripted() as server`."""
    return _scripted


async def _until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.001)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits until something is true, with a deadline."""
    return _until
