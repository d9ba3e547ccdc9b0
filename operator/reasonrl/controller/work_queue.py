"""The work queue: which job to look at next. Whatever happens to a job only adds its key here, and workers take keys one at a time, so
that a burst of events costs one look and no job is ever worked on twice at once.

The rules are those of client-go's queue. A key is held once however often it is added; a key added while it is being worked on comes back
once, after `done`; a failed key waits exponentially longer, with jitter, up to a cap; a key may be added for later, and the earliest time
wins. Namespaces take turns, so that a team with a thousand jobs does not delay a team with one. The clock and the randomness are given, and
everything except `get` is synchronous: the queue can be tested without waiting.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from reasonrl.controller.records import JobKey


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Seconds to wait after the n-th failure in a row: `first`, doubled each time up to `cap`, less a random share of up to `jitter`."""

    first: float = 0.25
    cap: float = 120.0
    jitter: float = 0.5

    def seconds(self, failures: int, random: float) -> float:
        # The exponent is bounded before it is used: 2.0**5000 is an error, not infinity.
        full = min(self.cap, self.first * 2.0 ** min(max(failures - 1, 0), 60))
        return full * (1.0 - self.jitter * random)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A key handed to a worker, with the seconds that it waited and how often in a row it has failed."""

    key: JobKey
    waited: float
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueNumbers:
    """What the queue looks like now. `oldest` is the wait of the longest ready key, `longest_work` the age of the longest turn in hand."""

    ready: int
    delayed: int
    working: int
    oldest: float
    longest_work: float
    adds: int
    retries: int


class WorkQueue:
    """The queue of one process. Not for threads: all calls are made from the event loop."""

    def __init__(self, *, clock: Callable[[], float], random: Callable[[], float], back_off: BackOff | None = None) -> None:
        self._clock = clock
        self._random = random
        self._back_off = back_off or BackOff()
        self._ready: dict[str, OrderedDict[JobKey, float]] = {}
        self._turns: deque[str] = deque()
        self._dirty: dict[JobKey, float] = {}
        self._working: dict[JobKey, float] = {}
        self._due: dict[JobKey, float] = {}
        self._heap: list[tuple[float, int, JobKey]] = []
        self._serial = 0
        self._failures: dict[JobKey, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = float("inf")
        self._adds = 0
        self._retries = 0

    def add(self, key: JobKey) -> None:
        """Asks for a look at the key as soon as possible."""
        self._adds += 1
        if key in self._dirty:
            return
        self._dirty[key] = self._clock()
        if key not in self._working:
            self._make_ready(key)

    def add_after(self, key: JobKey, seconds: float) -> None:
        """Asks for a look at the key in `seconds`. Of several such wishes the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._serial += 1
            heapq.heappush(self._heap, (due, self._serial, key))
            if len(self._heap) > 2 * len(self._due) + 64:
                self._drop_replaced()
            self._set_timer()

    def add_failed(self, key: JobKey) -> float:
        """Asks for another look after a failure, later each time; returns the seconds until then."""
        self._retries += 1
        self._failures[key] = self._failures.get(key, 0) + 1
        seconds = self._back_off.seconds(self._failures[key], self._random())
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: JobKey) -> None:
        """The key succeeded: its next failure counts as the first."""
        self._failures.pop(key, None)

    def take(self) -> Turn | None:
        """The next key, if one is ready, which is then being worked on until `done`."""
        self._wake_due()
        if not self._turns:
            return None
        namespace = self._turns.popleft()
        keys = self._ready[namespace]
        key, since = keys.popitem(last=False)
        if keys:
            self._turns.append(namespace)
        else:
            del self._ready[namespace]
        del self._dirty[key]
        now = self._clock()
        self._working[key] = now
        return Turn(key=key, waited=max(0.0, now - since), failures=self._failures.get(key, 0))

    async def get(self) -> Turn:
        """Waits for a key. Cancelling the wait loses nothing."""
        while (turn := self.take()) is None:
            self._set_timer()
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                else:
                    self._wake_one()
                raise
        return turn

    def done(self, key: JobKey) -> None:
        """The worker has finished with the key; if it changed meanwhile, it is ready again."""
        self._working.pop(key, None)
        if key in self._dirty:
            self._make_ready(key)

    def numbers(self) -> QueueNumbers:
        self._wake_due()
        now = self._clock()
        heads = [next(iter(keys.values())) for keys in self._ready.values()]
        return QueueNumbers(
            ready=sum(len(keys) for keys in self._ready.values()),
            delayed=len(self._due),
            working=len(self._working),
            oldest=max(0.0, now - min(heads)) if heads else 0.0,
            longest_work=max(0.0, now - min(self._working.values())) if self._working else 0.0,
            adds=self._adds,
            retries=self._retries,
        )

    def _make_ready(self, key: JobKey) -> None:
        keys = self._ready.get(key.namespace)
        if keys is None:
            keys = self._ready[key.namespace] = OrderedDict()
            self._turns.append(key.namespace)
        # Ready from now on: a key that changed during its own turn has not been waiting for a worker meanwhile.
        keys[key] = self._clock()
        self._wake_one()

    def _wake_due(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            # An entry that an earlier wish has replaced stays in the heap and is dropped here.
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

    def _drop_replaced(self) -> None:
        """A key that is always wanted sooner than it was would leave an entry behind each time."""
        self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
        heapq.heapify(self._heap)

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self) -> None:
        """One timer for the earliest delayed key, however many workers wait; none where nobody waits in `get`."""
        if not self._heap or self._heap[0][0] >= self._timer_due:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = self._heap[0][0]
        self._timer = loop.call_later(max(0.0, self._timer_due - self._clock()), self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer, self._timer_due = None, float("inf")
        self._wake_due()
        self._set_timer()
