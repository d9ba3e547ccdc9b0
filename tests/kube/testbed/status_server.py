"""What a job's trainer-0 pods serve at /status, each at an address of its own in 127.0.0.0/8 and on the port of the contract.

An address is served only while its container runs, so a caller of a dead pod is refused as on a cluster. Every kubelet draws its own
part of 127.0.0.0/8: test sessions on one machine don't meet.
"""

from __future__ import annotations

import asyncio
import errno
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from reasonrl.api import names
from testbed.pod_script import Body

Manner = Literal["answer", "error", "hang", "nonsense"]
"""Answer the body; answer 500; take the request and never answer; answer something that is not JSON."""


@dataclass(slots=True)
class Serving:
    """What one pod answers. Without a body it answers 503: the run has nothing to say yet."""

    body: Body | Callable[[float], Body] | None = None
    manner: Manner = "answer"
    delay: float = 0.0
    started: float = 0.0
    asked: int = 0


class StatusServer:
    """Serves any number of addresses from one loop."""

    def __init__(self) -> None:
        self._network = f"127.{random.randint(1, 254)}"
        self._next = random.randint(1, 40_000)
        self._serving: dict[str, Serving] = {}
        self._sites: dict[str, web.TCPSite] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/status", self._status)
        app.router.add_get("/healthz", self._healthz)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, keepalive_timeout=600.0)
        await self._runner.setup()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def address(self) -> str:
        """An address that no other pod of this kubelet has had for long."""
        self._next = self._next % 65_000 + 1
        return f"{self._network}.{self._next // 255}.{self._next % 255 + 1}"

    async def serve(self, serving: Serving) -> str:
        """Serves `serving` at a fresh address, which is returned."""
        assert self._runner is not None
        for _ in range(100):
            address = self.address()
            site = web.TCPSite(self._runner, address, names.STATUS_PORT, backlog=16)
            try:
                await site.start()
            except OSError as error:
                await site.stop()
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            serving.started = time.time()
            self._serving[address], self._sites[address] = serving, site
            return address
        raise OSError(
            errno.EADDRINUSE,
            f"no address of {self._network}.0.0/16 has port {names.STATUS_PORT} free; does something listen on all of them?",
        )

    async def withdraw(self, address: str) -> None:
        """Stops serving an address: its container has ended."""
        self._serving.pop(address, None)
        if (site := self._sites.pop(address, None)) is not None:
            await site.stop()

    def _of(self, request: web.Request) -> Serving:
        address = request.transport.get_extra_info("sockname")[0] if request.transport is not None else ""
        serving = self._serving.get(address)
        if serving is None:
            # A connection kept open from before the container ended: cut it, as the end of the process would.
            if request.transport is not None:
                request.transport.close()
            raise web.HTTPServiceUnavailable(text="the container has ended")
        return serving

    async def _healthz(self, request: web.Request) -> web.Response:
        self._of(request)
        return web.Response(text="ok")

    async def _status(self, request: web.Request) -> web.Response:
        serving = self._of(request)
        serving.asked += 1
        if serving.delay:
            await asyncio.sleep(serving.delay)
        if serving.manner == "hang":
            await asyncio.Event().wait()
        if serving.manner == "error":
            raise web.HTTPInternalServerError(text="the run's status is broken")
        if serving.manner == "nonsense":
            return web.Response(text="<html>not a status</html>", content_type="text/html")
        body = serving.body(time.time() - serving.started) if callable(serving.body) else serving.body
        if body is None:
            raise web.HTTPServiceUnavailable(text="the run has nothing to say yet")
        return web.json_response(dict(body))
