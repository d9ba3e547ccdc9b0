"""Kubernetes events of jobs, for `kubectl describe`: one object for each thing that happens to a job, and a count of how often.

An event's name is made from the job, the reason and the message, so that a restarted operator goes on counting instead of repeating itself.
Repetitions are held back and written together. Nothing here can fail or delay a reconcile: `emit` only takes a note, and what cannot be
written in time is dropped and counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reasonrl.controller.actions import Happening
from reasonrl.controller.api_client import ApiClient, Patience
from reasonrl.controller.api_errors import AlreadyExists, ApiError, NotFound
from reasonrl.controller.kinds import EVENT, JOB
from reasonrl.controller.records import JobRecord

COMPONENT = "reasonrl-operator"
_PATIENCE = Patience(deadline=10.0, attempt=5.0, attempts=3)
_LONGEST_MESSAGE = 1024
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pending:
    job: JobRecord
    happening: Happening
    first: float
    last: float
    count: int
    not_before: float


@dataclass(slots=True)
class _Written:
    count: int
    at: float


class Recorder:
    """`now` is Unix time for what people read, `clock` a steady clock for the waits."""

    def __init__(
        self,
        client: ApiClient,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
        instance: str,
        limit: int = 1000,
        quiet: float = 30.0,
        messages_per_reason: int = 10,
    ) -> None:
        self._client = client
        self._now = now
        self._clock = clock
        self._instance = instance
        self._limit = limit
        self._quiet = quiet
        self._messages_per_reason = messages_per_reason
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._written: OrderedDict[str, _Written] = OrderedDict()
        self._messages: OrderedDict[tuple[str, str], set[str]] = OrderedDict()
        self._wake = asyncio.Event()
        self.dropped = 0

    def emit(self, job: JobRecord, happening: Happening) -> None:
        name = self._name(job, happening)
        now = self._now()
        pending = self._pending.get(name)
        if pending is not None:
            pending.count += 1
            pending.last = now
            pending.happening = happening
            return
        written = self._written.get(name)
        not_before = self._clock() if written is None else written.at + self._quiet
        self._pending[name] = _Pending(job=job, happening=happening, first=now, last=now, count=1, not_before=not_before)
        if len(self._pending) > self._limit:
            self._pending.popitem(last=False)
            self.dropped += 1
        self._wake.set()

    async def run(self) -> None:
        """Writes what was noted, one event at a time: events never take the API server's time from pods."""
        while True:
            name = self._next()
            if name is None:
                self._wake.clear()
                await self._wait()
                continue
            await self._write(name, self._pending.pop(name))

    async def flush(self, seconds: float) -> None:
        """Writes what is left, for at most `seconds`: for the end of the process."""
        try:
            async with asyncio.timeout(seconds):
                while self._pending:
                    await self._write(*self._pending.popitem(last=False))
        except TimeoutError:
            self.dropped += len(self._pending)

    def _next(self) -> str | None:
        now = self._clock()
        return next((name for name, pending in self._pending.items() if pending.not_before <= now), None)

    async def _wait(self) -> None:
        due = min((pending.not_before for pending in self._pending.values()), default=None)
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _write(self, name: str, pending: _Pending) -> None:
        namespace = pending.job.key.namespace
        try:
            written = self._written.get(name)
            if written is None:
                count = await self._create_or_count(name, pending)
            else:
                count = written.count + pending.count
                try:
                    await self._client.patch(EVENT, self._again(pending, count), namespace=namespace, name=name, patience=_PATIENCE)
                except NotFound:
                    # The API server keeps events for an hour.
                    count = await self._create_or_count(name, pending)
        except ApiError as error:
            self.dropped += 1
            logger.info("an event of %s/%s was not written: %s", namespace, pending.job.key.name, error)
            return
        self._written[name] = _Written(count=count, at=self._clock())
        self._written.move_to_end(name)
        while len(self._written) > self._limit:
            self._written.popitem(last=False)

    async def _create_or_count(self, name: str, pending: _Pending) -> int:
        namespace = pending.job.key.namespace
        try:
            await self._client.create(EVENT, self._body(name, pending), namespace=namespace, patience=_PATIENCE)
        except AlreadyExists:
            # Written by this operator before it was restarted, or by the one that led before.
            held = await self._client.get(EVENT, namespace=namespace, name=name, patience=_PATIENCE)
            count = int(held.get("count") or 1) + pending.count
            await self._client.patch(EVENT, self._again(pending, count), namespace=namespace, name=name, patience=_PATIENCE)
            return count
        return pending.count

    def _again(self, pending: _Pending, count: int) -> dict[str, Any]:
        return {"count": count, "lastTimestamp": _timestamp(pending.last), "message": pending.happening.message[:_LONGEST_MESSAGE]}

    def _body(self, name: str, pending: _Pending) -> dict[str, Any]:
        job, happening = pending.job, pending.happening
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": name, "namespace": job.key.namespace},
            "involvedObject": {
                "apiVersion": JOB.api_version,
                "kind": JOB.kind,
                "namespace": job.key.namespace,
                "name": job.key.name,
                "uid": job.uid,
                "resourceVersion": job.resource_version,
            },
            "type": happening.type,
            "reason": happening.reason[:128],
            "message": happening.message[:_LONGEST_MESSAGE],
            "count": pending.count,
            "firstTimestamp": _timestamp(pending.first),
            "lastTimestamp": _timestamp(pending.last),
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance[:128],
        }

    def _name(self, job: JobRecord, happening: Happening) -> str:
        """A reason whose message is different each time counts as one thing after some messages, or it would fill the API server."""
        place = (job.uid, happening.reason)
        seen = self._messages.setdefault(place, set())
        self._messages.move_to_end(place)
        while len(self._messages) > self._limit:
            self._messages.popitem(last=False)
        message = happening.message
        if message not in seen:
            if len(seen) >= self._messages_per_reason:
                message = ""
            else:
                seen.add(message)
        parts = "\0".join((job.uid, happening.type, happening.reason, message))
        return f"{job.key.name[:200]}.{hashlib.sha256(parts.encode()).hexdigest()[:16]}"


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
