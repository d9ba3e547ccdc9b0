"""Keeps a store equal to what the API server holds of one kind: a list, then a watch from there, for ever.

Nothing may be lost. A watch that ends or breaks goes on from the last resource version seen, which bookmarks keep fresh. Where that version
is too old (410), everything is listed again and compared with the store, so that a deletion in between is noticed. A watch that carries
nothing, not even a bookmark, for `silence` seconds counts as broken: a connection can die without a word. Every failure waits longer than
the last before the next try, with jitter, and for ever: an operator without watches must go on trying, and its health page says since when
it is deaf.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from reasonrl.controller.api_client import ApiClient
from reasonrl.controller.api_errors import ApiError, Forbidden, Gone, NoAnswer, NotFound
from reasonrl.controller.kinds import Kind
from reasonrl.controller.records import JobKey
from reasonrl.controller.store import Store, revision_of
from reasonrl.controller.work_queue import BackOff

R = TypeVar("R")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchTimes:
    """Seconds. The server sends a bookmark about every 60."""

    watch: float = 290.0
    silence: float = 75.0
    absent: float = 300.0
    back_off: BackOff = field(default_factory=lambda: BackOff(first=0.2, cap=30.0))


class Reflector(Generic[R]):
    """Follows one kind, in one namespace or in all (None). `changed` is told each job for which something changed."""

    def __init__(
        self,
        client: ApiClient,
        kind: Kind,
        store: Store[R],
        *,
        namespace: str | None,
        selector: str,
        changed: Callable[[JobKey], None],
        clock: Callable[[], float],
        random: Callable[[], float],
        times: WatchTimes | None = None,
        metadata_only: bool = False,
        optional: bool = False,
    ) -> None:
        self.kind = kind
        self.store = store
        self.synced = asyncio.Event()
        self.last_heard = clock()
        """When the server last said anything about this kind, by `clock`."""
        self.relists = 0
        self.reconnects = 0
        self._client = client
        self._namespace = namespace
        self._selector = selector
        self._changed = changed
        self._clock = clock
        self._random = random
        self._times = times or WatchTimes()
        self._metadata_only = metadata_only
        self._optional = optional
        self._since = ""
        self._failures = 0
        self._told_absent = False

    async def run(self) -> None:
        """Lists and watches until it is cancelled."""
        while True:
            try:
                if not self._since:
                    await self._list()
                await self._watch()
            except Gone:
                logger.info("%s: the watch is too far behind; listing again", self.kind.plural)
                self._since = ""
                # At once the first time: the next failure in a row waits.
                await self._wait_after_failure(from_second=True)
            except NotFound as error:
                await self._wait_for_kind(error)
            except Forbidden as error:
                await self._wait_for_rights(error)
            except ApiError as error:
                log = logger.info if isinstance(error, NoAnswer) else logger.warning
                log("%s", error)
                await self._wait_after_failure(from_second=True)

    async def _list(self) -> None:
        self.relists += 1
        shown: set[str] = set()
        revision = ""
        async for page in self._client.list_pages(
            self.kind, namespace=self._namespace, selector=self._selector, metadata_only=self._metadata_only
        ):
            self.last_heard = self._clock()
            revision = revision or str(page["metadata"]["resourceVersion"])
            # An empty list of metadata has null for items.
            for body in page.get("items") or ():
                shown.add(str(body["metadata"]["uid"]))
                self._put(body)
            # Other work must not wait until all pages are taken in.
            await asyncio.sleep(0)
        self._tell(self.store.keep_only(shown, revision_of(revision), namespace=self._namespace))
        self._since = revision
        self._told_absent = False
        self.synced.set()

    async def _watch(self) -> None:
        self.reconnects += 1
        heard = False
        seconds = self._times.watch * (0.8 + 0.2 * self._random())
        async for kind_of_event, body in self._client.watch(
            self.kind,
            namespace=self._namespace,
            since=self._since,
            selector=self._selector,
            seconds=seconds,
            silence=self._times.silence,
            metadata_only=self._metadata_only,
        ):
            heard = True
            self.last_heard = self._clock()
            self._failures = 0
            self._take(kind_of_event, body)
        # The server ended it, as it does after `seconds`. One that says nothing and ends must not be asked in a tight loop.
        if not heard:
            await self._wait_after_failure(from_second=True)

    def _take(self, kind_of_event: str, body: dict[str, Any]) -> None:
        if kind_of_event in ("ADDED", "MODIFIED"):
            self._put(body)
        elif kind_of_event == "DELETED":
            self._tell(self.store.remove(body))
        seen = str(body["metadata"]["resourceVersion"])
        # A repeated event must not turn the watch back.
        if revision_of(seen) >= revision_of(self._since):
            self._since = seen

    def _put(self, body: dict[str, Any]) -> None:
        try:
            changed = self.store.put(body)
        except (KeyError, TypeError, ValueError, AttributeError):
            # One odd object must not blind the operator to all others.
            metadata = body.get("metadata") or {}
            logger.exception("%s %s/%s cannot be read", self.kind.plural, metadata.get("namespace"), metadata.get("name"))
            return
        self._tell(changed)

    def _tell(self, jobs: set[JobKey]) -> None:
        for job in jobs:
            self._changed(job)

    async def _wait_after_failure(self, *, from_second: bool) -> None:
        self._failures += 1
        failures = self._failures - 1 if from_second else self._failures
        if failures:
            await asyncio.sleep(self._times.back_off.seconds(failures, self._random()))

    async def _wait_for_kind(self, error: NotFound) -> None:
        """The cluster does not have the kind. One that only some clusters have counts as empty, and is asked for now and then."""
        self._since = ""
        if not self._optional:
            logger.warning("%s", error)
            await self._wait_after_failure(from_second=False)
            return
        self._tell(self.store.keep_only(set(), 2**63, namespace=self._namespace))
        await self._do_without(error)

    async def _wait_for_rights(self, error: Forbidden) -> None:
        """Nobody lets us look. Of a kind that only some clusters have that is no reason not to begin. What is held of it stays: a right
        that is taken away says nothing about the objects."""
        if self._optional:
            self._since = ""
            await self._do_without(error)
            return
        logger.warning("%s", error)
        await self._wait_after_failure(from_second=False)

    async def _do_without(self, error: ApiError) -> None:
        """Counts the kind as listed, and waits for long before it is asked for again. It is told once, not each time."""
        if not self._told_absent:
            self._told_absent = True
            logger.info("%s are done without, and asked for again every few minutes: %s", self.kind.plural, error)
        self.synced.set()
        ends = self._clock() + self._times.absent * (0.5 + self._random())
        while self._clock() < ends:
            self.last_heard = self._clock()
            await asyncio.sleep(min(30.0, self._times.absent))
