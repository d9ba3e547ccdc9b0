"""The lease between two candidates: one acts at a time, whatever clocks, answers and people do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from reasonrl.controller.api_errors import NotLeading
from reasonrl.controller.lease import Lease, LeaseLost, LeaseTimes

COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
ITEM = f"{COLLECTION}/op"
TIMES = LeaseTimes(duration=15.0, renew=10.0, retry=2.0)


class Clock:
    """A clock that moves when somebody sleeps by it, or when a test moves it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class LeaseServer:
    """One Lease, with resource versions as preconditions."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.held: dict[str, Any] | None = None
        self.version = 0
        self.down = False
        server.on("GET", ITEM, self._get)
        server.on("POST", COLLECTION, self._create)
        server.on("PATCH", ITEM, self._patch)

    def write(self, spec: dict[str, Any]) -> None:
        self.version += 1
        self.held = {"metadata": {"name": "op", "resourceVersion": str(self.version)}, "spec": spec}

    @property
    def holder(self) -> str:
        assert self.held is not None
        return str(self.held["spec"]["holderIdentity"])

    async def _refuse(self, request: web.Request, code: int, reason: str) -> web.StreamResponse:
        return await self.server.refuse(code, reason)(request)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return await self._refuse(request, 500, "InternalError")
        if self.held is None:
            return await self._refuse(request, 404, "NotFound")
        return web.json_response(self.held)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return await self._refuse(request, 500, "InternalError")
        if self.held is not None:
            return await self._refuse(request, 409, "AlreadyExists")
        self.write((await request.json())["spec"])
        return web.json_response(self.held, status=201)

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return await self._refuse(request, 500, "InternalError")
        if self.held is None:
            return await self._refuse(request, 404, "NotFound")
        body = json.loads(await request.text())
        if body["metadata"]["resourceVersion"] != str(self.version):
            return await self._refuse(request, 409, "Conflict")
        self.write({**self.held["spec"], **body["spec"]})
        return web.json_response(self.held)


def with_server(scripted: Any, story: Callable[[LeaseServer, Callable[..., Lease]], Awaitable[None]]) -> None:
    async def main() -> None:
        async with scripted() as server:
            clients = []

            def candidate(identity: str, clock: Clock, wall: float = 1.8e9) -> Lease:
                clients.append(server.client())
                return Lease(
                    clients[-1],
                    namespace="ns",
                    name="op",
                    identity=identity,
                    clock=clock,
                    now=lambda: wall,
                    sleep=clock.sleep,
                    times=TIMES,
                )

            try:
                async with asyncio.timeout(20):
                    await story(LeaseServer(server), candidate)
            finally:
                for client in clients:
                    await client.close()

    asyncio.run(main())


def test_the_first_candidate_leads_and_the_second_waits_its_full_time(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        first_clock, second_clock = Clock(), Clock(5.0)
        first, second = candidate("one", first_clock), candidate("two", second_clock)
        await first.acquire()
        assert first.held
        started = second_clock.now
        await second.acquire()
        assert second_clock.now - started >= TIMES.duration
        assert server.holder == "two"
        # The first has not acted since its last renewal, by its own clock; the fence knows without asking anyone.
        first_clock.now += TIMES.duration
        with pytest.raises(NotLeading):
            first.check()
        with pytest.raises(LeaseLost):
            await first.keep()

    with_server(scripted, story)


def test_a_holder_that_renews_is_never_overtaken(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        clock = Clock()
        first, second = candidate("one", clock), candidate("two", clock)
        await first.acquire()
        for _ in range(40):
            clock.now += 1.9
            assert await first._try()
            assert not await second._try()
        assert server.holder == "one"

    with_server(scripted, story)


def test_a_lease_given_back_is_taken_at_once(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        clock = Clock()
        first, second = candidate("one", clock), candidate("two", clock)
        await first.acquire()
        assert not await second._try()
        await first.release()
        with pytest.raises(NotLeading):
            first.check()
        before = clock.now
        await second.acquire()
        assert clock.now == before
        assert server.held is not None
        assert server.held["spec"]["leaseTransitions"] == 2

    with_server(scripted, story)


def test_wall_clocks_that_are_wrong_or_jump_decide_nothing(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        clock = Clock()
        first, second = candidate("one", clock, wall=0.0), candidate("two", clock, wall=4e9)
        await first.acquire()
        for _ in range(10):
            clock.now += 2
            assert not await second._try()
            assert await first._try()

    with_server(scripted, story)


def test_a_process_that_slept_may_not_write_when_it_wakes(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        clock = Clock()
        lease = candidate("one", clock)
        await lease.acquire()
        lease.check()
        clock.now += TIMES.renew + 0.1
        with pytest.raises(NotLeading):
            lease.check()
        with pytest.raises(LeaseLost):
            await lease.keep()

    with_server(scripted, story)


def test_an_unreachable_server_ends_leading_before_another_may_begin(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        clock = Clock()
        lease = candidate("one", clock)
        await lease.acquire()
        started = clock.now
        server.down = True
        with pytest.raises(LeaseLost):
            await lease.keep()
        assert clock.now - started < TIMES.duration

    with_server(scripted, story)


def test_a_short_outage_does_not_end_leading(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        clock = Clock()
        lease = candidate("one", clock)
        await lease.acquire()
        server.down = True
        for _ in range(2):
            clock.now += 2
            assert not await lease._try()
        lease.check()
        server.down = False
        assert await lease._try()
        assert lease.age == 0

    with_server(scripted, story)


def test_a_lease_taken_by_force_ends_leading(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        lease = candidate("one", Clock())
        await lease.acquire()
        server.write({"holderIdentity": "somebody"})
        with pytest.raises(LeaseLost, match="somebody"):
            await lease.keep()
        with pytest.raises(NotLeading):
            lease.check()

    with_server(scripted, story)


def test_a_renewal_whose_answer_was_lost_is_no_loss(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        clock = Clock()
        lease = candidate("one", clock)
        await lease.acquire()
        assert server.held is not None
        server.write(server.held["spec"])
        assert not await lease._try()
        lease.check()
        assert await lease._try()

    with_server(scripted, story)


def test_a_deleted_lease_is_made_again_by_its_holder(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        lease = candidate("one", Clock())
        await lease.acquire()
        server.held = None
        assert await lease._try()
        assert server.holder == "one"

    with_server(scripted, story)


def test_two_candidates_that_come_together_do_not_both_lead(scripted: Any) -> None:
    async def story(server: LeaseServer, candidate: Callable[..., Lease]) -> None:
        for _ in range(20):
            server.held = None
            clock = Clock()
            leases = [candidate("one", clock), candidate("two", clock)]
            await asyncio.gather(*(lease._try() for lease in leases))
            assert sum(lease.held for lease in leases) == 1

    with_server(scripted, story)
