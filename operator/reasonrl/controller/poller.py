"""Asks running jobs how far they are: one poller for all, each job at its own time, so many at once and no more.

It asks trainer-0 of each job at its pod's address. What answers there is code of the job's owner, so nothing of it is trusted: the answer
is bounded in size and time, redirects are not followed, no proxy is used, and what is not a JSON object is no answer. An answer goes into
the caches, and the job into the queue if the answer says something new.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import aiohttp
import orjson

from reasonrl.api.names import STATUS_PORT
from reasonrl.controller.records import JobKey, Progress
from reasonrl.controller.work_queue import BackOff

logger = logging.getLogger(__name__)
Result = Literal["new", "same", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The pod of a running job that knows how far it is."""

    job: JobKey
    job_uid: str
    pod_uid: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PollTimes:
    """Seconds. A job is asked every `interval`, more or less by a fifth; one that does not answer less and less often. With very many jobs
    each is asked less often: what is new leads to a write, and all jobs together ask for at most `most_a_second`."""

    interval: float = 10.0
    answer: float = 3.0
    sweep: float = 1.0
    longest: float = 60.0
    most_a_second: float = 40.0


class Poller:
    """`targets` says whom to ask; `progress` (by job UID) gets the answers; `news` is told of jobs that have something new to say."""

    def __init__(
        self,
        *,
        targets: Callable[[], Iterable[Target]],
        progress: MutableMapping[str, Progress],
        news: Callable[[JobKey], None],
        now: Callable[[], float],
        clock: Callable[[], float],
        random: Callable[[], float],
        count: Callable[[Result], None],
        times: PollTimes | None = None,
        at_once: int = 32,
        longest_body: int = 65_536,
        port: int = STATUS_PORT,
    ) -> None:
        self._targets = targets
        self._progress = progress
        self._news = news
        self._now = now
        self._clock = clock
        self._random = random
        self._count = count
        self._times = times or PollTimes()
        self._at_once = at_once
        self._longest_body = longest_body
        self._port = port
        self._known: dict[str, Target] = {}
        self._failures: dict[str, int] = {}
        self._due: list[tuple[float, str]] = []

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=self._times.answer)
        connector = aiohttp.TCPConnector(limit=self._at_once, force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False, auto_decompress=False) as session:
            free = asyncio.Semaphore(self._at_once)

            async def ask(target: Target) -> None:
                try:
                    await self._ask(session, target)
                finally:
                    free.release()

            async with asyncio.TaskGroup() as group:
                while True:
                    for target in self.due():
                        await free.acquire()
                        group.create_task(ask(target))
                    await asyncio.sleep(self._times.sweep)

    @property
    def interval(self) -> float:
        """Seconds between two questions to one job, with as many jobs as there are."""
        return max(self._times.interval, len(self._known) / self._times.most_a_second)

    def due(self) -> list[Target]:
        """Whom to ask now. A pod is asked first a random part of an interval after it is met: jobs that start together spread out."""
        wanted = {target.pod_uid: target for target in self._targets()}
        now = self._clock()
        jobs = {target.job_uid for target in wanted.values()}
        for job_uid in [job_uid for job_uid in self._progress if job_uid not in jobs]:
            del self._progress[job_uid]
        for pod_uid in [pod_uid for pod_uid in self._known if pod_uid not in wanted]:
            del self._known[pod_uid]
            self._failures.pop(pod_uid, None)
        for pod_uid, target in wanted.items():
            if pod_uid not in self._known:
                heapq.heappush(self._due, (now + self.interval * 0.2 * self._random(), pod_uid))
            self._known[pod_uid] = target
        ready = []
        while self._due and self._due[0][0] <= now:
            _, pod_uid = heapq.heappop(self._due)
            if pod_uid in self._known:
                ready.append(self._known[pod_uid])
        return ready

    async def _ask(self, session: aiohttp.ClientSession, target: Target) -> None:
        body, told = await self._answer(session, target)
        if target.pod_uid not in self._known:
            return
        if body is None:
            failures = self._failures[target.pod_uid] = self._failures.get(target.pod_uid, 0) + 1
            wait = BackOff(first=self.interval, cap=max(self._times.longest, self.interval), jitter=0.2).seconds(failures, self._random())
            self._count("error")
        else:
            self._failures.pop(target.pod_uid, None)
            wait = self.interval * (0.8 + 0.4 * self._random())
            before = self._progress.get(target.job_uid)
            self._progress[target.job_uid] = Progress(pod_uid=target.pod_uid, seen=self._now(), body=body, told=told, at=self._clock())
            new = before is None or before.pod_uid != target.pod_uid or before.body != body
            self._count("new" if new else "same")
            if new:
                self._news(target.job)
        heapq.heappush(self._due, (self._clock() + wait, target.pod_uid))

    async def _answer(self, session: aiohttp.ClientSession, target: Target) -> tuple[dict[str, Any] | None, float | None]:
        """The answer, and the time by the pod's clock that came with it."""
        host = f"[{target.address}]" if ":" in target.address else target.address
        try:
            async with session.get(f"http://{host}:{self._port}/status", allow_redirects=False) as response:
                if response.status != 200:
                    return None, None
                text = bytearray()
                async for chunk in response.content.iter_chunked(8192):
                    text += chunk
                    if len(text) > self._longest_body:
                        logger.info("%s/%s: its status is longer than %d bytes", target.job.namespace, target.job.name, self._longest_body)
                        return None, None
            body = orjson.loads(bytes(text))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            logger.debug("%s/%s: no status: %s", target.job.namespace, target.job.name, error)
            return None, None
        return (body if isinstance(body, dict) else None), _date(response.headers.get("Date"))


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None
