"""Whether the operator lives, whether it is ready, and its metrics, over HTTP.

Alive means that it does its work, not that its process runs: the event loop turns, the watches of every kind hear something, the queue is
worked off, and the lease is renewed. An operator that does not lead is alive as long as it watches. Ready means that the caches are filled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from reasonrl.controller.work_queue import QueueNumbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds above which something counts as stuck. A watch hears a bookmark each minute and is made again after 75 s of silence."""

    loop: float = 30.0
    watch: float = 300.0
    queue: float = 300.0
    work: float = 400.0
    lease: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What is measured: ages in seconds. `lease` is None where another leads."""

    loop: float
    watches: Mapping[str, float]
    queue: QueueNumbers
    lease: float | None
    unsynced: tuple[str, ...] = ()


def ailments(vitals: Vitals, limits: Limits) -> list[str]:
    """What is wrong, in words; empty for a healthy operator."""
    found = []
    if vitals.loop > limits.loop:
        found.append(f"the event loop last turned {vitals.loop:.0f} s ago")
    for kind, age in sorted(vitals.watches.items()):
        if age > limits.watch:
            found.append(f"the watch of {kind} has heard nothing for {age:.0f} s")
    if vitals.queue.oldest > limits.queue:
        found.append(f"a job has waited for a worker for {vitals.queue.oldest:.0f} s")
    if vitals.queue.longest_work > limits.work:
        found.append(f"a worker has been busy with one job for {vitals.queue.longest_work:.0f} s")
    if vitals.lease is not None and vitals.lease > limits.lease:
        found.append(f"the lease was last renewed {vitals.lease:.0f} s ago")
    return found


@dataclass(slots=True)
class LoopPulse:
    """Measures how late the event loop is: a sleep that ends late had to wait for something that does not yield."""

    clock: Callable[[], float]
    report: Callable[[float], None]
    period: float = 1.0
    last: float = field(init=False)

    def __post_init__(self) -> None:
        self.last = self.clock()

    async def run(self) -> None:
        while True:
            before = self.clock()
            await asyncio.sleep(self.period)
            self.last = self.clock()
            self.report(max(0.0, self.last - before - self.period))


class HealthServer:
    """/healthz, /readyz and /metrics."""

    def __init__(self, *, vitals: Callable[[], Vitals], registry: CollectorRegistry, limits: Limits | None = None) -> None:
        self._vitals = vitals
        self._registry = registry
        self._limits = limits or Limits()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port, which the system chooses where 0 is asked for."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        address = self._runner.addresses[0]
        return int(address[1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        found = ailments(self._vitals(), self._limits)
        return web.Response(text="\n".join(found) or "ok", status=503 if found else 200)

    async def _readyz(self, request: web.Request) -> web.Response:
        unsynced = self._vitals().unsynced
        text = f"not listed yet: {', '.join(unsynced)}" if unsynced else "ok"
        return web.Response(text=text, status=503 if unsynced else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
