"""Sampling ahead: while the trainer learns from one step, the engines already write the responses of the next ones.

A thread samples steps in order, takes the newest weights between two of them, and begins step k only while those are of version
k - max_staleness or later. So the bound holds for each response by construction, and not on average; the importance weights of the loss
correct for the difference. Steps that were sampled and not yet learnt from are saved with each checkpoint.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from reasonrl.api.setting import StepSetting
from reasonrl.rollout.fleet_weights import WeightSnapshot, snapshot_of
from reasonrl.rollout.protocol import RolloutEngine
from reasonrl.run.groups_file import GROUPS_FILE, StepAhead, read_steps, write_steps
from reasonrl.run.progress import Progress
from reasonrl.run.rollout_source import Refill, SampledStep, SamplingJob, sample_step

_CLOSE_SECONDS = 2.0
_LOOK_SECONDS = 1.0

Forecast = Callable[[Progress, int], StepSetting]
"""`forecast(progress, ahead)`: the setting of the step that many after `progress`, if the phase stays what it is."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A step to sample. `era` is another number after everything sampled ahead was thrown away."""

    step: int
    cursor: int
    setting: StepSetting
    era: int


class SamplingAhead:
    """A `RolloutSource` over an engine that samples in other processes. Its own thread is the only one that uses the engine, except while
    `engine()` lends it out. `max_staleness` in steps, at least 1; `version` is that of the weights that the engine holds."""

    def __init__(self, engine: RolloutEngine, job: SamplingJob, *, max_staleness: int, forecast: Forecast) -> None:
        self._engine = engine
        self._job = job
        self._max_staleness = max_staleness
        self._forecast = forecast
        self._changed = threading.Condition()
        # All of these are guarded by `_changed`.
        self._progress: Progress | None = None
        self._next = (0, 0)
        self._ready: list[StepAhead] = []
        self._weights: WeightSnapshot | None = None
        self._version = 0
        self._under_way: _Order | None = None
        self._era = 0
        self._lent = False
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="sampling ahead", daemon=True)
        self._thread.start()

    def take(self, progress: Progress, setting: StepSetting) -> SampledStep:
        with self._changed:
            self._expect(progress, setting)
            self._changed.notify_all()
            self._wait(lambda: bool(self._ready) and self._ready[0].step == progress.step)
            taken = self._ready.pop(0).sampled
            self._changed.notify_all()
            return taken

    def refill(self, refill: Refill, setting: StepSetting) -> SampledStep:
        raise ValueError("steps are sampled ahead, so the questions after this step are taken: dynamicSampling needs maxStaleness: 0")

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """Returns when the weights are safe from the next update; the engines take them before the next step that they sample."""
        snapshot = snapshot_of(weights, version=version)
        with self._changed:
            self._weights = snapshot
            self._version = version
            self._changed.notify_all()

    @contextmanager
    def engine(self) -> Iterator[RolloutEngine]:
        with self._changed:
            self._lent = True
        try:
            with self._changed:
                self._wait(lambda: self._under_way is None)
            self._load_newest()
            yield self._engine
        finally:
            with self._changed:
                self._lent = False
                self._changed.notify_all()

    def save(self, directory: Path) -> None:
        with self._changed:
            ready = list(self._ready)
        if ready:
            write_steps(directory / GROUPS_FILE, ready)

    def restore(self, directory: Path) -> None:
        path = directory / GROUPS_FILE
        if not path.exists():
            return
        restored = read_steps(path, take_prompts=self._job.take_prompts)
        with self._changed:
            self._ready = restored
            self._next = (restored[-1].step + 1, restored[-1].sampled.cursor)

    def close(self) -> None:
        """Close the engine first: a call that is under way ends with it, and this thread with the call."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=_CLOSE_SECONDS)

    def _expect(self, progress: Progress, setting: StepSetting) -> None:
        """Throws away what was sampled for another future than has come: a phase began, a setting was edited, or the run went back."""
        self._progress = copy.deepcopy(progress)
        under_way = self._under_way
        if self._ready:
            ahead = self._ready[0]
            wanted = ahead.serves(step=progress.step, cursor=progress.cursor, setting=setting)
        elif under_way is not None and under_way.era == self._era:
            wanted = (under_way.step, under_way.cursor) == (progress.step, progress.cursor) and _same_sampling(under_way.setting, setting)
        else:
            wanted = self._next == (progress.step, progress.cursor)
        if not wanted:
            self._ready.clear()
            self._era += 1
            self._next = (progress.step, progress.cursor)

    def _wait(self, until: Callable[[], bool]) -> None:
        """In short waits, so that a signal of the main thread is seen. The condition is held."""
        while not until():
            if self._error is not None:
                raise self._error
            self._changed.wait(_LOOK_SECONDS)

    def _serve(self) -> None:
        try:
            while (order := self._next_order()) is not None:
                self._load_newest()
                sampled = sample_step(self._engine, self._job, step=order.step, cursor=order.cursor, setting=order.setting)
                self._keep(order, sampled)
        except BaseException as error:  # noqa: BLE001 - raised in the loop's thread, which waits for the groups
            with self._changed:
                self._error = error
                self._under_way = None
                self._changed.notify_all()

    def _next_order(self) -> _Order | None:
        with self._changed:
            while not self._closed:
                step, cursor = self._next
                if self._progress is not None and not self._lent and step - self._version <= self._max_staleness:
                    setting = self._forecast(self._progress, step - self._progress.step)
                    self._under_way = _Order(step, cursor, setting, self._era)
                    return self._under_way
                self._changed.wait()
            return None

    def _load_newest(self) -> None:
        with self._changed:
            weights, self._weights = self._weights, None
        if weights is not None:
            self._engine.load(weights, version=weights.version)

    def _keep(self, order: _Order, sampled: SampledStep) -> None:
        with self._changed:
            self._under_way = None
            if order.era == self._era:
                self._ready.append(StepAhead.of(order.step, order.cursor, order.setting, sampled))
                self._next = (order.step + 1, sampled.cursor)
            self._changed.notify_all()


def _same_sampling(one: StepSetting, other: StepSetting) -> bool:
    return (one.max_response_tokens, one.temperature, one.prompts_per_step) == (
        other.max_response_tokens,
        other.temperature,
        other.prompts_per_step,
    )
