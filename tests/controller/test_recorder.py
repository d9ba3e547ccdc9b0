"""Events: counted where they repeat, gathered where they are many, and never in the way of the work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from reasonrl.controller.actions import Happening
from reasonrl.controller.caches import Caches
from reasonrl.controller.recorder import Recorder


class World:
    """A recorder on a scripted server, and the job that it tells of."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.client = server.client()
        self.recorder = Recorder(self.client, now=lambda: 1.8e9, clock=lambda: 0.0, instance="test")
        caches = Caches()
        metadata = {"name": "j", "namespace": "a", "uid": "uid-j", "resourceVersion": "5", "generation": 1}
        caches.jobs.put({"metadata": metadata, "spec": {}, "status": {}})
        entry = caches.jobs.get("a", "j")
        assert entry is not None
        self.job = entry.record


def in_world(scripted: Any, story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with scripted() as server:
            world = World(server)
            try:
                async with asyncio.timeout(20):
                    await story(world)
            finally:
                await world.client.close()

    asyncio.run(main())


def echo(uid: bool = True) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(await request.json(), status=201)

    return answer


def test_a_repeated_event_is_counted_in_one_object_also_after_a_restart(scripted: Any) -> None:
    async def story(world: World) -> None:
        stored: dict[str, Any] = {}

        async def post(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            if body["metadata"]["name"] in stored:
                return await world.server.refuse(409, "AlreadyExists")(request)
            stored[body["metadata"]["name"]] = body
            return web.json_response(body, status=201)

        async def patch(request: web.Request) -> web.StreamResponse:
            held = stored[request.path.rsplit("/", 1)[-1]]
            held.update(await request.json())
            return web.json_response(held)

        async def get(request: web.Request) -> web.StreamResponse:
            return web.json_response(stored[request.path.rsplit("/", 1)[-1]])

        for method, answer in (("POST", post), ("PATCH", patch), ("GET", get)):
            world.server.on(method, ".*events.*", answer)
        failed = Happening(type="Warning", reason="PodFailed", message="trainer-0 failed")
        for _ in range(3):
            world.recorder.emit(world.job, failed)
        await world.recorder.flush(5)
        world.recorder.emit(world.job, failed)
        await world.recorder.flush(5)
        restarted = Recorder(world.client, now=lambda: 1.9e9, clock=lambda: 0.0, instance="other")
        restarted.emit(world.job, failed)
        await restarted.flush(5)
        (event,) = stored.values()
        assert event["count"] == 5
        assert event["firstTimestamp"] < event["lastTimestamp"]
        assert event["involvedObject"]["uid"] == "uid-j"

    in_world(scripted, story)


def test_repetitions_wait_and_many_messages_of_one_reason_become_one_event(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.server.on("POST", ".*", echo())
        for number in range(100):
            world.recorder.emit(world.job, Happening(type="Warning", reason="Odd", message=f"number {number}"))
        await world.recorder.flush(5)
        assert world.server.count("POST") == 11
        assert world.server.asked[-1].body["count"] == 90

    in_world(scripted, story)


def test_an_event_that_cannot_be_written_hurts_nobody(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.server.on("POST", ".*", world.server.refuse(403, "Forbidden"))
        world.recorder.emit(world.job, Happening(type="Normal", reason="Created", message="m"))
        await world.recorder.flush(5)
        assert world.recorder.dropped == 1

    in_world(scripted, story)
