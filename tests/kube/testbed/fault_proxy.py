"""A reverse proxy before the API server that misbehaves on request: what a network, a load balancer or a busy server does to an operator.

It speaks plain HTTP on loopback to its clients and TLS to the server, and passes the caller's token on. Watches are streamed event by
event. Rules (`fault_rules`) name what goes wrong and how often; `freeze` stops the events of watches that stay open, which no client
can tell from silence.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp
from aiohttp import web
from yarl import URL

from testbed.client import Client
from testbed.control_plane import ADMIN, ControlPlane
from testbed.fault_rules import Answer, CloseWatch, Delay, DropAfter, DropBefore, DuplicateEvents, ExpireWatch, Fault, Rule
from testbed.kubeconfig import write_kubeconfig
from testbed.loop_thread import LoopThread

T = TypeVar("T")
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "upgrade", "te", "trailer"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came; `status` is what the caller got, 0 when the connection was dropped."""

    method: str
    path: str
    watch: bool
    status: int


@dataclass(slots=True, eq=False)
class _Stream:
    """A watch that is open."""

    path: str
    response: web.StreamResponse
    cut: asyncio.Event


@dataclass(slots=True)
class Freeze:
    """Watches whose path matches deliver nothing. What comes meanwhile arrives when it thaws, or never if `lose`."""

    path: str
    lose: bool
    thawed: asyncio.Event

    def holds(self, path: str) -> bool:
        return not self.thawed.is_set() and re.search(self.path, path) is not None


class FaultProxy:
    """Runs in a thread of its own; the methods are for the test's thread."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._rules: list[Rule] = []
        self._freezes: list[Freeze] = []
        self._streams: set[_Stream] = set()
        self._seen: list[Seen] = []
        self._lost = 0
        self._thread = LoopThread("fault-proxy")
        self.port = self._thread.call(self._begin())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, user: str = ADMIN, *, token: str = "", namespace: str = "default") -> Path:
        """A kubeconfig that leads through this proxy, for a user of the control plane or the bearer of `token`."""
        path = self._plane.directory / f"proxy-{self.port}-{user}.kubeconfig"
        return write_kubeconfig(path, server=self.url, token=token or self._plane.tokens[user], namespace=namespace)

    def client(self, user: str = ADMIN) -> Client:
        return Client(self.url, token=self._plane.tokens[user])

    def inject(
        self,
        fault: Fault,
        *,
        method: str = "",
        path: str = "",
        watch: bool | None = None,
        skip: int = 0,
        times: int | None = 1,
        probability: float = 1.0,
        seed: int = 0,
    ) -> Rule:
        """Adds a rule and returns it; its `hits` says how often it struck. All rules that match a request act, in the order added."""
        rule = Rule(fault, method=method, path=path, watch=watch, skip=skip, times=times, probability=probability, seed=seed)
        self._now(lambda: self._rules.append(rule))
        return rule

    def clear(self) -> None:
        """From now on nothing goes wrong any more; streams that a rule already hit keep their fate."""

        def forget() -> None:
            self._rules.clear()
            for freeze in self._freezes:
                freeze.thawed.set()
            self._freezes.clear()

        self._now(forget)

    def close_watches(self, path: str = "") -> int:
        """Cuts the open watches whose path matches; returns how many."""

        def cut() -> int:
            streams = [stream for stream in self._streams if re.search(path, stream.path)]
            for stream in streams:
                stream.cut.set()
            return len(streams)

        return self._now(cut)

    @contextmanager
    def frozen(self, path: str = "", *, lose: bool = False) -> Iterator[None]:
        """While the block lasts, watches whose path matches stay open and deliver nothing, those open now and those opened meanwhile."""
        freeze = Freeze(path, lose, asyncio.Event())
        self._now(lambda: self._freezes.append(freeze))
        try:
            yield
        finally:
            self._now(freeze.thawed.set)
            self._now(lambda: self._freezes.remove(freeze) if freeze in self._freezes else None)

    def requests(self, *, method: str = "", path: str = "") -> list[Seen]:
        """What was asked through the proxy so far, oldest first."""
        seen = self._now(lambda: list(self._seen))
        return [one for one in seen if (not method or one.method == method) and re.search(path, one.path)]

    def open_watches(self, path: str = "") -> int:
        return self._now(lambda: sum(1 for stream in self._streams if re.search(path, stream.path)))

    @property
    def lost_events(self) -> int:
        """How many events lossy freezes have swallowed."""
        return self._lost

    def stop(self) -> None:
        self.clear()
        self.close_watches()
        self._thread.call(self._runner.cleanup())
        self._thread.stop_after(self._session.close())

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _now(self, do: Callable[[], T]) -> T:
        async def run() -> T:
            return do()

        return self._thread.call(run())

    async def _begin(self) -> int:
        context = ssl.create_default_context(cafile=str(self._plane.certificate_authority))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") in ("true", "1", "True")
        path = request.path_qs
        faults = [rule.fault for rule in self._rules if rule.strikes(method=request.method, path=path, watch=watch)]
        status = 0
        try:
            response = await self._answer(request, watch, faults)
            status = response.status
            return response
        finally:
            self._seen.append(Seen(request.method, path, watch, status))

    async def _answer(self, request: web.Request, watch: bool, faults: list[Fault]) -> web.StreamResponse:
        body = await request.read()
        for fault in faults:
            match fault:
                case Delay(seconds):
                    await asyncio.sleep(seconds)
                case DropBefore():
                    return _drop(request)
                case Answer():
                    return _refusal(fault)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = URL(self._plane.url + request.raw_path, encoded=True)
        try:
            async with self._session.request(request.method, url, headers=headers, data=body or None) as upstream:
                if watch and upstream.status == 200:
                    return await self._stream(request, upstream, faults)
                content = await upstream.read()
                if any(isinstance(fault, DropAfter) for fault in faults):
                    return _drop(request)
                kept = {name: value for name, value in upstream.headers.items() if name.lower() not in _HOP_BY_HOP}
                return web.Response(status=upstream.status, body=content, headers=kept)
        except aiohttp.ClientConnectionError as error:
            return web.Response(status=502, text=f"the API server is not there: {error}")

    async def _stream(self, request: web.Request, upstream: aiohttp.ClientResponse, faults: list[Fault]) -> web.StreamResponse:
        response = web.StreamResponse(status=200, headers={"Content-Type": upstream.headers.get("Content-Type", "application/json")})
        response.enable_chunked_encoding()
        await response.prepare(request)
        stream = _Stream(request.path_qs, response, asyncio.Event())
        self._streams.add(stream)
        relay = asyncio.ensure_future(self._relay(upstream, stream, faults))
        cut = asyncio.ensure_future(stream.cut.wait())
        try:
            await asyncio.wait({relay, cut}, return_when=asyncio.FIRST_COMPLETED)
            if relay.done():
                relay.result()
        except (ConnectionResetError, aiohttp.ClientPayloadError, _Torn):
            return _drop(request)
        finally:
            self._streams.discard(stream)
            relay.cancel()
            cut.cancel()
        return response

    async def _relay(self, upstream: aiohttp.ClientResponse, stream: _Stream, faults: list[Fault]) -> None:
        """Events one by one, until the server ends the watch or a fault does."""
        delivered = 0
        pending = b""
        if await _end_if_due(stream, faults, delivered, b""):
            return
        async for part in upstream.content.iter_any():
            *lines, pending = (pending + part).split(b"\n")
            for line in lines:
                if not await self._thaw(stream.path):
                    continue
                copies = max([fault.copies for fault in faults if isinstance(fault, DuplicateEvents)], default=1)
                await stream.response.write((line + b"\n") * copies)
                delivered += 1
                if await _end_if_due(stream, faults, delivered, line):
                    return

    async def _thaw(self, path: str) -> bool:
        """Waits until no freeze holds the stream; False when the event is to be lost."""
        while (freeze := next((one for one in self._freezes if one.holds(path)), None)) is not None:
            if freeze.lose:
                self._lost += 1
                return False
            await freeze.thawed.wait()
        return True


class _Torn(Exception):
    """The stream is to break inside an event."""


async def _end_if_due(stream: _Stream, faults: list[Fault], delivered: int, line: bytes) -> bool:
    for fault in faults:
        if isinstance(fault, CloseWatch) and delivered >= fault.events:
            if fault.torn:
                await stream.response.write(line[: len(line) // 2] or b'{"type":')
                raise _Torn
            return True
        if isinstance(fault, ExpireWatch) and delivered >= fault.events:
            gone = {"type": "ERROR", "object": _status(410, "Expired", "too old resource version: injected by a test")}
            await stream.response.write(json.dumps(gone).encode() + b"\n")
            return True
    return False


def _drop(request: web.Request) -> web.StreamResponse:
    """Breaks the caller's connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


def _refusal(fault: Answer) -> web.Response:
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return web.json_response(_status(fault.status, fault.reason, fault.message), status=fault.status, headers=headers)


_REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}


def _status(code: int, reason: str, message: str) -> dict[str, object]:
    reason = reason or _REASONS.get(code, "")
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}
