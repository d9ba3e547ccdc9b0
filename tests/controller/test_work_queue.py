"""The work queue against a model, and its waiting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reasonrl.controller.records import JobKey
from reasonrl.controller.work_queue import BackOff, WorkQueue

KEYS = [JobKey(namespace, name) for namespace in ("a", "b", "c") for name in ("x", "y")]


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def new_queue(clock: Clock, random: float = 0.0, **back_off: float) -> WorkQueue:
    return WorkQueue(clock=clock, random=lambda: random, back_off=BackOff(**back_off))


class QueueMachine(RuleBasedStateMachine):
    """Any order of adds, delayed adds, turns and clock ticks, against sets that say what must be owed."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.queue = new_queue(self.clock)
        self.owed: set[JobKey] = set()
        self.delayed: dict[JobKey, float] = {}
        self.working: list[JobKey] = []

    def _owe_due(self) -> None:
        for key, due in list(self.delayed.items()):
            if due <= self.clock.now:
                del self.delayed[key]
                self.owed.add(key)

    @rule(key=st.sampled_from(KEYS))
    def add(self, key: JobKey) -> None:
        self.queue.add(key)
        self.owed.add(key)

    @rule(key=st.sampled_from(KEYS), seconds=st.integers(1, 20))
    def add_after(self, key: JobKey, seconds: int) -> None:
        self._owe_due()
        self.queue.numbers()
        self.queue.add_after(key, seconds)
        self.delayed[key] = min(self.delayed.get(key, float("inf")), self.clock.now + seconds)

    @rule(seconds=st.integers(1, 30))
    def tick(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def take(self) -> None:
        self._owe_due()
        turn = self.queue.take()
        ready = self.owed - set(self.working)
        if turn is None:
            assert not ready
        else:
            assert turn.key in ready, "a key nobody asked for, or one that is being worked on"
            self.owed.remove(turn.key)
            self.working.append(turn.key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.working))
        self.working.remove(key)
        self.queue.done(key)

    @invariant()
    def counts_agree(self) -> None:
        self._owe_due()
        numbers = self.queue.numbers()
        assert numbers.ready == len(self.owed - set(self.working))
        assert numbers.working == len(self.working)
        assert numbers.delayed == len(self.delayed)

    def teardown(self) -> None:
        """Whatever was owed is handed out in the end, each key exactly once."""
        for key in self.working:
            self.queue.done(key)
        self.clock.now += 1000
        self.working = []
        self._owe_due()
        handed = []
        while (turn := self.queue.take()) is not None:
            handed.append(turn.key)
            self.queue.done(turn.key)
        assert sorted(map(str, handed)) == sorted(map(str, self.owed))


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestQueueAgainstModel = QueueMachine.TestCase


def test_namespaces_take_turns() -> None:
    queue = new_queue(Clock())
    for number in range(100):
        queue.add(JobKey("big", f"job-{number}"))
    queue.add(JobKey("small", "only"))
    order = [queue.take() for _ in range(3)]
    assert [turn.key.namespace for turn in order if turn] == ["big", "small", "big"]


def test_a_change_during_work_brings_the_key_back_once() -> None:
    queue = new_queue(Clock())
    key = JobKey("a", "x")
    queue.add(key)
    assert queue.take() is not None
    for _ in range(5):
        queue.add(key)
    assert queue.take() is None
    queue.done(key)
    assert queue.take() is not None
    queue.done(key)
    assert queue.take() is None


def test_back_off_doubles_to_its_cap_and_ends_with_success() -> None:
    clock = Clock()
    queue = new_queue(clock, first=1.0, cap=5.0)
    key = JobKey("a", "x")
    waits = []
    for _ in range(5):
        waits.append(queue.add_failed(key))
        clock.now += 10
        turn = queue.take()
        assert turn is not None
        queue.done(key)
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    queue.forget(key)
    assert queue.add_failed(key) == 1.0


def test_jitter_shortens_a_wait_by_at_most_its_share() -> None:
    assert BackOff(first=4.0, jitter=0.5).seconds(1, random=1.0) == 2.0
    assert BackOff(first=4.0, jitter=0.5).seconds(1, random=0.0) == 4.0
    assert BackOff(cap=60.0, jitter=0.0).seconds(100_000, random=0.0) == 60.0


def test_the_earliest_of_several_delays_counts() -> None:
    clock = Clock()
    queue = new_queue(clock)
    key = JobKey("a", "x")
    queue.add_after(key, 50)
    queue.add_after(key, 5)
    queue.add_after(key, 20)
    clock.now += 4.9
    assert queue.take() is None
    clock.now += 0.1
    assert queue.take() is not None
    queue.done(key)
    clock.now += 100
    assert queue.take() is None


def test_a_key_wanted_sooner_again_and_again_leaves_nothing_behind() -> None:
    clock = Clock()
    queue = new_queue(clock)
    key = JobKey("a", "x")
    for _ in range(1000):
        queue.add_after(key, 86_400)
        queue.add_after(key, 0.1)
        clock.now += 1
        assert queue.take() is not None
        queue.done(key)
    assert len(queue._heap) < 100


def test_the_oldest_key_and_the_longest_turn_have_an_age() -> None:
    clock = Clock()
    queue = new_queue(clock)
    queue.add(JobKey("a", "x"))
    queue.add(JobKey("b", "x"))
    clock.now += 7
    assert queue.numbers().oldest == 7
    turn = queue.take()
    assert turn is not None
    assert turn.waited == 7
    clock.now += 3
    assert queue.numbers().longest_work == 3
    assert queue.numbers().oldest == 10


def test_waiting_workers_are_woken_by_adds_and_by_time() -> None:
    async def story() -> list[JobKey]:
        loop = asyncio.get_running_loop()
        queue = WorkQueue(clock=loop.time, random=lambda: 0.0)
        got = asyncio.gather(queue.get(), queue.get(), queue.get())
        queue.add_after(JobKey("a", "late"), 0.02)
        queue.add(JobKey("a", "first"))
        queue.add(JobKey("a", "second"))
        return [turn.key for turn in await asyncio.wait_for(got, 10)]

    assert {key.name for key in asyncio.run(story())} == {"first", "second", "late"}


def test_a_cancelled_wait_hands_its_key_to_another_worker() -> None:
    async def story() -> JobKey:
        loop = asyncio.get_running_loop()
        queue = WorkQueue(clock=loop.time, random=lambda: 0.0)
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        while len(queue._waiters) < 2:
            await asyncio.sleep(0)
        queue.add(JobKey("a", "x"))
        first.cancel()
        return (await asyncio.wait_for(second, 10)).key

    assert asyncio.run(story()) == JobKey("a", "x")
