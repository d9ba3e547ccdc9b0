"""Asking running jobs: at their times, within bounds, and trusting nothing of what answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from reasonrl.controller.poller import Poller, PollTimes, Target
from reasonrl.controller.records import JobKey, Progress


def target(number: int = 0, address: str = "127.0.0.1", pod: str = "") -> Target:
    return Target(job=JobKey("a", f"j{number}"), job_uid=f"job-{number}", pod_uid=pod or f"pod-{number}", address=address)


class Asking:
    """A poller and what it found. Its clock is the test's, unless `clock` is given."""

    def __init__(
        self, targets: list[Target], *, port: int = 1, clock: Callable[[], float] | None = None, answer: float = 0.3, **options: Any
    ) -> None:
        self.now = 0.0
        self.targets = targets
        self.progress: dict[str, Progress] = {}
        self.news: list[str] = []
        self.results: list[str] = []
        self.poller = Poller(
            targets=lambda: self.targets,
            progress=self.progress,
            news=lambda key: self.news.append(key.name),
            now=lambda: 1.8e9,
            clock=clock or (lambda: self.now),
            random=lambda: 0.5,
            count=self.results.append,
            times=PollTimes(interval=0.05, answer=answer, sweep=0.005, longest=0.2),
            port=port,
            **options,
        )


def ask(scripted: Any, until: Any, answers: Callable[[Any], Any], enough: Callable[[Asking], bool], **options: Any) -> tuple[Asking, Any]:
    async def main() -> tuple[Asking, Any]:
        async with scripted() as server:
            server.on("GET", "/status", *answers(server))
            asking = Asking(
                options.pop("targets", [target()]),
                port=int(server.url.rsplit(":", 1)[1]),
                clock=asyncio.get_running_loop().time,
                **options,
            )
            task = asyncio.create_task(asking.poller.run())
            await until(lambda: enough(asking))
            assert not task.done(), task
            task.cancel()
            await asyncio.wait([task])
            return asking, server

    return asyncio.run(main())


def test_a_new_answer_is_kept_and_told_once(scripted: Any, until: Any) -> None:
    asking, _ = ask(scripted, until, lambda server: [server.say({"step": 1}), server.say({"step": 2})], lambda it: len(it.results) >= 4)
    assert asking.results[:4] == ["new", "new", "same", "same"]
    assert asking.news == ["j0", "j0"]
    assert asking.progress["job-0"].body == {"step": 2}
    assert asking.progress["job-0"].pod_uid == "pod-0"
    told = asking.progress["job-0"].told
    assert told is not None, "the pod's own time came with the answer"
    assert abs(told - time.time()) < 60


@pytest.mark.parametrize("how", ["list", "text", "long", "error", "redirect", "hang", "cut"])
def test_what_is_not_a_status_is_no_answer(scripted: Any, until: Any, how: str) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/secret")

    def answer(server: Any) -> list[Any]:
        return [
            {
                "list": server.say([1]),
                "text": server.stream("<html>"),
                "long": server.stream('{"a": "' + "x" * 70_000 + '"}'),
                "error": server.say({"step": 1}, 500),
                "redirect": redirect,
                "hang": server.hang(),
                "cut": server.cut(),
            }[how]
        ]

    asking, server = ask(scripted, until, answer, lambda it: len(it.results) >= 2)
    assert set(asking.results) == {"error"}
    assert asking.progress == {}
    assert asking.news == []
    assert server.count("GET", "/secret") == 0


def test_questions_at_once_are_bounded_and_a_silent_job_does_not_hold_up_the_rest(scripted: Any, until: Any) -> None:
    open_now, most, silent = 0, 0, 0

    def answer(server: Any) -> list[Any]:
        async def slow(request: web.Request) -> web.StreamResponse:
            nonlocal open_now, most, silent
            open_now, most = open_now + 1, max(most, open_now + 1)
            try:
                if silent == 0:
                    silent += 1
                    await asyncio.sleep(3600)
                await asyncio.sleep(0.01)
            finally:
                open_now -= 1
            return web.json_response({"step": 1})

        return [slow]

    targets = [target(number) for number in range(40)]
    asking, _ = ask(scripted, until, answer, lambda it: len(it.news) >= 39, targets=targets, at_once=4, answer=3600.0)
    assert len(set(asking.news)) == 39
    assert most <= 4


def test_jobs_that_start_together_are_asked_at_different_times() -> None:
    asking = Asking([target(0)])
    assert asking.poller.due() == []
    asking.now = 0.05
    assert asking.poller.due() == [target(0)]
    assert asking.poller.due() == []


def test_an_answer_of_a_job_that_ended_is_forgotten() -> None:
    asking = Asking([target(0)])
    asking.poller.due()
    asking.progress["job-0"] = Progress(pod_uid="pod-0", seen=0.0, body={})
    asking.targets = []
    asking.now = 1.0
    assert asking.poller.due() == []
    assert asking.progress == {}


def test_a_restarted_trainer_is_asked_as_a_new_one() -> None:
    asking = Asking([target(0)])
    asking.poller.due()
    asking.targets = [target(0, pod="pod-again")]
    asking.poller.due()
    asking.now = 1.0
    assert [one.pod_uid for one in asking.poller.due()] == ["pod-again"]


def test_very_many_jobs_are_asked_less_often_each() -> None:
    asking = Asking([target(number) for number in range(400)])
    assert asking.poller.interval == 0.05
    asking.poller.due()
    assert asking.poller.interval == 400 / 40
