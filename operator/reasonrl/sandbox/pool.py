"""A pool of killable workers: functions run in processes that the pool can end at any moment.

A limit in wall-clock time cannot be kept from within: a signal alarm is lost in threads, and code in C never looks at it. So the
parent counts the time and ends the process. One thread drives the pool; every wait in it has a deadline.
"""

from __future__ import annotations

import os
import selectors
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from reasonrl.sandbox.calls import Call, CallOutcome, CallResult, FunctionReference, Isolation, Limits
from reasonrl.sandbox.errors import SandboxError, SandboxWarning
from reasonrl.sandbox.frames import FrameError
from reasonrl.sandbox.worker_process import WorkerGoneError, WorkerProcess, start_worker

START_SECONDS = 60.0
MAX_FAILED_STARTS = 3
"""Workers in a row that may die while they start before the pool gives up."""

_MISSING_WALLS = {
    "network": "the sandboxed code can reach the network",
    "processes": "what the sandboxed code starts can outlive a call, until its worker ends",
    "files": "the sandboxed code can write wherever this user can",
}


@dataclass(slots=True)
class _Seat:
    """A place for one worker. `call_id` is set while it works, `deadline` while it starts or works."""

    worker: WorkerProcess
    deadline: float
    ready: bool = False
    call_id: int | None = None


class WorkerPool:
    """Runs calls on `workers` processes; `preload` are functions that each worker imports before it takes calls.

    Use it as a context manager, from one thread. Importing what a call needs counts as a part of that call unless it is preloaded.
    """

    def __init__(self, *, workers: int, limits: Limits | None = None, preload: Sequence[FunctionReference] = ()) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}; at least 1 is needed")
        self._count = workers
        self._limits = limits or Limits()
        self._preload = tuple(preload)
        self._seats: list[_Seat] = []
        self._selector = selectors.DefaultSelector()
        self._failed_starts = 0
        self._calls_made = 0
        self._open = False
        self._isolation: Isolation | None = None

    def __enter__(self) -> WorkerPool:
        """Returns when the first worker is ready. Raises SandboxError when none can be, with the reason."""
        self._open = True
        try:
            for _ in range(self._count):
                self._add_worker()
            while not any(seat.ready for seat in self._seats):
                self._listen({})
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def isolation(self) -> Isolation:
        """The walls that this machine permits. Raises SandboxError before a worker is ready."""
        if self._isolation is None:
            raise SandboxError("the walls are known once the pool has been entered")
        return self._isolation

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the supervisors, for whoever wants to look; the code itself runs in a child of each."""
        return tuple(seat.worker.process.pid for seat in self._seats)

    def run(self, calls: Sequence[Call]) -> list[CallResult]:
        """The results in the order of the calls."""
        results: dict[int, CallResult] = dict(self.run_each(calls))
        return [results[index] for index in range(len(calls))]

    def run_each(self, calls: Iterable[Call]) -> Iterator[tuple[int, CallResult]]:
        """`(index, result)` as calls end; `calls` is consumed no faster than workers are free.

        A caller that stops early ends the workers that are still at it. Raises SandboxError when workers cannot be started any more.
        """
        if not self._open:
            raise SandboxError("the pool is closed")
        waiting = enumerate(calls)
        indices: dict[int, int] = {}
        more = True
        try:
            while True:
                for seat in list(self._seats):
                    if not more or not seat.ready or seat.call_id is not None:
                        continue
                    following = next(waiting, None)
                    if following is None:
                        more = False
                        break
                    index, call = following
                    self._calls_made += 1
                    indices[self._calls_made] = index
                    refusal = self._give(seat, call, self._calls_made)
                    if refusal is not None:
                        yield indices.pop(self._calls_made), refusal
                if not more and not indices:
                    return
                for call_id, result in self._listen(indices):
                    yield indices.pop(call_id), result
        finally:
            for seat in [each for each in self._seats if each.call_id is not None]:
                self._replace(seat)

    def close(self) -> None:
        """Ends every worker and waits for it. Safe to call twice."""
        self._open = False
        seats, self._seats = self._seats, []
        for seat in seats:
            with suppress(KeyError):
                self._selector.unregister(seat.worker.replies)
            with suppress(KeyError):
                self._selector.unregister(seat.worker.requests)
            seat.worker.ask_to_end()
        for seat in seats:
            seat.worker.end()
        self._selector.close()

    def _add_worker(self) -> None:
        try:
            worker = start_worker(limits=self._limits, preload=self._preload)
        except OSError as error:
            raise SandboxError(f"no worker process can be started: {error}") from error
        seat = _Seat(worker, deadline=time.monotonic() + START_SECONDS)
        self._seats.append(seat)
        self._selector.register(worker.replies, selectors.EVENT_READ, seat)

    def _remove(self, seat: _Seat) -> int:
        self._seats.remove(seat)
        self._selector.unregister(seat.worker.replies)
        with suppress(KeyError):
            self._selector.unregister(seat.worker.requests)
        seat.worker.ask_to_end()
        return seat.worker.end()

    def _replace(self, seat: _Seat) -> int:
        status = self._remove(seat)
        if self._open:
            self._add_worker()
        return status

    def _give(self, seat: _Seat, call: Call, call_id: int) -> CallResult | None:
        """Hands the call over; a result at once when it cannot be."""
        seat.deadline = time.monotonic() + call.timeout_seconds
        seat.call_id = call_id
        try:
            seat.worker.send(call, call_id=call_id)
        except FrameError as error:
            seat.call_id = None
            return CallResult(outcome=CallOutcome.ERROR, detail=f"the arguments are too large: {error}")
        except WorkerGoneError:
            return self._crashed(seat)
        if seat.worker.unsent:
            self._selector.register(seat.worker.requests, selectors.EVENT_WRITE, seat)
        return None

    def _listen(self, indices: dict[int, int]) -> list[tuple[int, CallResult]]:
        """Waits for the next thing to happen, deadlines included; returns the calls that ended."""
        now = time.monotonic()
        deadlines = [seat.deadline for seat in self._seats if not seat.ready or seat.call_id is not None]
        timeout = max(0.0, min(deadlines) - now) if deadlines else 0.0
        ended: list[tuple[int, CallResult]] = []
        for key, event in self._selector.select(timeout):
            seat: _Seat = key.data
            if seat not in self._seats:
                continue
            ended += self._write(seat) if event & selectors.EVENT_WRITE else self._read(seat)
        now = time.monotonic()
        for seat in [each for each in self._seats if each.deadline <= now]:
            if not seat.ready:
                self._start_failed(seat, f"it was not ready within {START_SECONDS:.0f} s")
            elif seat.call_id is not None:
                ended.append((seat.call_id, CallResult(outcome=CallOutcome.TIMEOUT, detail="the wall-clock limit ended it")))
                self._replace(seat)
        return [each for each in ended if each[0] in indices]

    def _write(self, seat: _Seat) -> list[tuple[int, CallResult]]:
        try:
            seat.worker.send_more()
        except WorkerGoneError:
            return self._lost(seat)
        if not seat.worker.unsent:
            self._selector.unregister(seat.worker.requests)
        return []

    def _read(self, seat: _Seat) -> list[tuple[int, CallResult]]:
        try:
            messages = seat.worker.receive()
        except WorkerGoneError:
            return self._lost(seat)
        except FrameError as error:
            return self._lost(seat, f"it sent {error}")
        ended: list[tuple[int, CallResult]] = []
        for message in messages:
            if not isinstance(message, dict):
                continue
            if not seat.ready:
                self._started(seat, message)
            elif message.get("id") == seat.call_id and seat.call_id is not None:
                ended.append((seat.call_id, _result(message)))
                seat.call_id = None
                if message.get("spent"):
                    self._replace(seat)
                    break
        return ended

    def _started(self, seat: _Seat, message: dict[str, object]) -> None:
        if message.get("ready") is not True:
            # What its functions raise while they are imported, they will raise again.
            raise SandboxError(f"a worker could not load what it is to run: {message.get('detail')}")
        seat.ready = True
        self._failed_starts = 0
        found = message["isolation"]
        assert isinstance(found, dict)
        if self._isolation is None:
            self._isolation = Isolation(**found)
            _warn_of_missing_walls(self._isolation)

    def _start_failed(self, seat: _Seat, reason: str) -> None:
        words = seat.worker.last_words()
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise SandboxError(
                f"{self._failed_starts} workers in a row could not start; the last: {reason}" + (f" ({words})" if words else "")
            )
        self._replace(seat)

    def _lost(self, seat: _Seat, reason: str = "") -> list[tuple[int, CallResult]]:
        """The worker ended, or speaks nonsense."""
        if not seat.ready:
            self._start_failed(seat, reason or "it ended")
            return []
        call_id = seat.call_id
        result = self._crashed(seat, reason)
        return [] if call_id is None else [(call_id, result)]

    def _crashed(self, seat: _Seat, reason: str = "") -> CallResult:
        words = seat.worker.last_words()
        # Its supervisor is about to leave with the worker's status; asked to end first, it would say that it was asked.
        with suppress(Exception):
            seat.worker.process.wait(1.0)
        status = self._replace(seat)
        said = f"; it said: {words}" if words else ""
        return CallResult(outcome=CallOutcome.CRASH, detail=f"the worker died ({reason or _cause(status)}){said}")


def _result(message: dict[str, object]) -> CallResult:
    if message.get("outcome") == "value":
        return CallResult(outcome=CallOutcome.VALUE, value=message.get("value"))
    return CallResult(outcome=CallOutcome.ERROR, detail=str(message.get("detail", "")))


def _cause(status: int) -> str:
    if status < 0 or status > 128:
        number = -status if status < 0 else status - 128
        return f"signal {number}"
    return f"exit status {status}"


def _warn_of_missing_walls(isolation: Isolation) -> None:
    missing = [what for name, what in _MISSING_WALLS.items() if not getattr(isolation, name)]
    # Python shows the same warning from the same place once in a process.
    text = f"this machine does not permit every wall of the sandbox ({isolation.detail}): {'; '.join(missing)}"
    if missing:
        warnings.warn(text, SandboxWarning, stacklevel=2)


def worker_count(requested: int | None) -> int:
    """`requested`, or one worker for each core that this process may use."""
    return requested or max(1, len(os.sched_getaffinity(0)))
