"""Which of several operator processes acts: the one whose name is in a coordination.k8s.io Lease and which renews it.

The official client has an election, which does not do here: it goes by the wall clock, so that a clock that is set makes two leaders; a
call that hangs hangs its renewals; an unreachable server ends it with an error; and it does not give the lease back. This one measures
everything with a clock that only runs forward and counts a suspended machine's time, and gives each call the time that is left.

A holder must be sure to have stopped writing before another may begin. So it counts its time from before a renewal is sent, and stops after
`renew` seconds without one (`check` then refuses every write); the others wait `duration`, longer by a margin for requests on their way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reasonrl.controller.api_client import ApiClient, Patience
from reasonrl.controller.api_errors import AlreadyExists, ApiError, Conflict, NotFound, NotLeading
from reasonrl.controller.kinds import LEASE

logger = logging.getLogger(__name__)


class LeaseLost(Exception):
    """This process may not act any longer, and must end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """Seconds: how long a lease lasts that is not renewed, after how long its holder gives up, and between two tries."""

    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0


def steady_clock() -> float:
    """Seconds that only run forward, also while the machine sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Lease:
    """One candidate. `now` is Unix time, written for people to read and never compared."""

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        now: Callable[[], float],
        sleep: Callable[[float], Any] = asyncio.sleep,
        times: LeaseTimes | None = None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._times = times or LeaseTimes()
        self._seen: tuple[str, str] | None = None
        self._seen_at = 0.0
        self._version = ""
        self._transitions = 0
        self._renewed: float | None = None

    @property
    def held(self) -> bool:
        """Whether this process may act at this moment."""
        return self._renewed is not None and self._clock() < self._renewed + self._times.renew

    @property
    def age(self) -> float | None:
        """Seconds since the last renewal; None while another holds the lease."""
        return None if self._renewed is None else self._clock() - self._renewed

    def check(self) -> None:
        """The fence before each write."""
        if not self.held:
            raise NotLeading("this operator does not hold its lease: another may be acting")

    async def acquire(self) -> None:
        """Waits until this process holds the lease."""
        while not await self._try():
            await self._sleep(self._times.retry)
        logger.info("leading as %s", self._identity)

    async def keep(self) -> None:
        """Renews for ever. LeaseLost where that was not possible in time, or another holds it."""
        while True:
            await self._sleep(self._times.retry)
            try:
                held = await self._try()
            except LeaseLost:
                self._renewed = None
                raise
            if not held and not self.held:
                self._renewed = None
                raise LeaseLost(f"lease {self._namespace}/{self._name} was not renewed for {self._times.renew:g} s")

    async def release(self) -> None:
        """Gives the lease back, so that another need not wait for its end. This process must have stopped acting."""
        if self._renewed is None:
            return
        self._renewed = None
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._micro_time()}
        try:
            await self._patch(spec, seconds=3.0)
        except ApiError as error:
            logger.warning("the lease was not given back, the next leader waits for its end: %s", error)

    async def _try(self) -> bool:
        """One try to take or renew. False where another holds it or no answer came; LeaseLost where another has taken ours."""
        sent = self._clock()
        left = self._times.renew if self._renewed is None else self._renewed + self._times.renew - sent
        if left <= 0:
            return False
        try:
            if not self._version:
                await self._read(seconds=left)
            if self._renewed is None and not self._free():
                # Looked at again each time: that is how a renewal by its holder is noticed.
                self._version = ""
                return False
            await self._write(seconds=left)
        except NotFound:
            if self._renewed is not None:
                logger.warning("the lease was deleted; making it again")
            return await self._create(sent, seconds=left)
        except (Conflict, AlreadyExists):
            self._version = ""
            return await self._after_conflict(seconds=left)
        except ApiError as error:
            logger.warning("lease: %s", error)
            return False
        self._renewed = sent
        return True

    async def _after_conflict(self, *, seconds: float) -> bool:
        """Somebody wrote between our reading and our writing. If it was another holder while we led, we no longer do."""
        if self._renewed is None:
            return False
        try:
            holder = await self._read(seconds=seconds)
        except ApiError as error:
            logger.warning("lease: %s", error)
            return False
        if holder != self._identity:
            raise LeaseLost(f"lease {self._namespace}/{self._name} is held by {holder or 'nobody'} now")
        return False

    async def _create(self, sent: float, *, seconds: float) -> bool:
        body = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec(acquired=True),
        }
        try:
            made = await self._client.create(LEASE, body, namespace=self._namespace, patience=_within(seconds))
        except ApiError as error:
            logger.info("lease: %s", error)
            self._version = ""
            return False
        self._note(made)
        self._renewed = sent
        return True

    async def _read(self, *, seconds: float) -> str:
        held = await self._client.get(LEASE, namespace=self._namespace, name=self._name, patience=_within(seconds))
        return self._note(held)

    async def _write(self, *, seconds: float) -> None:
        await self._patch(self._spec(acquired=self._renewed is None), seconds=seconds)

    async def _patch(self, spec: dict[str, Any], *, seconds: float) -> None:
        body = {"metadata": {"resourceVersion": self._version}, "spec": spec}
        self._note(await self._client.patch(LEASE, body, namespace=self._namespace, name=self._name, patience=_within(seconds)))

    def _note(self, body: dict[str, Any]) -> str:
        """Takes in what the API server holds. Time counts from when a change is first seen here, never by its writer's clock."""
        spec = body.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        self._version = str(body["metadata"]["resourceVersion"])
        self._transitions = int(spec.get("leaseTransitions") or 0)
        state = (holder, self._version)
        if state != self._seen:
            self._seen, self._seen_at = state, self._clock()
        return holder

    def _free(self) -> bool:
        assert self._seen is not None
        holder = self._seen[0]
        return holder in ("", self._identity) or self._clock() - self._seen_at >= self._times.duration

    def _spec(self, *, acquired: bool) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._times.duration),
            "renewTime": self._micro_time(),
        }
        if acquired:
            spec |= {"acquireTime": spec["renewTime"], "leaseTransitions": self._transitions + 1}
        return spec

    def _micro_time(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _within(seconds: float) -> Patience:
    return Patience(deadline=max(0.1, seconds), attempt=min(5.0, max(0.1, seconds)), attempts=2)
