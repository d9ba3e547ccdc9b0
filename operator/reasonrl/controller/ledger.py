"""The books of starts and failures by role, as they stand in the job's status.

They are the only thing that the operator must not forget and that the pods do not show once they are gone. So a failure is first written
here, and only then is the failed pod deleted. What the books lack, because a write was lost or the status was wiped, is taken from the
labels of the pods: a pod of attempt 3 says that there were four starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reasonrl.api.names import Role
from reasonrl.controller.records import PodRecord
from reasonrl.controller.settings import Budget, part
from reasonrl.controller.times import seconds_of, timestamp

CLOCK_SLACK = 60.0
"""Seconds by which the clocks of two operators may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """`started` counts starts, the one ordered but not yet made included; `in_a_row` the failures since the last progress;
    `not_before` is when the next start may be made, Unix seconds."""

    started: int = 0
    failures: int = 0
    in_a_row: int = 0
    last_reason: str = ""
    not_before: float | None = None

    @property
    def wanted(self) -> int:
        """The attempt that pods should be of, from 0."""
        return max(self.started - 1, 0)

    def at_least(self, attempt: int) -> Attempts:
        return self if self.started > attempt else replace(self, started=attempt + 1)

    def wait_left(self, now: float, longest: float) -> float:
        """Seconds until the next start may be made. A time further away than the `longest` wait was written by a clock that was set back
        since, and does not count."""
        left = 0.0 if self.not_before is None else self.not_before - now
        return left if 0.0 < left <= longest + CLOCK_SLACK else 0.0

    def failed(self, reason: str, *, budget: Budget, now: float) -> Attempts:
        """After a failure that counts: the next start is ordered, for later."""
        in_a_row = self.in_a_row + 1
        return replace(
            self,
            started=self.wanted + 2,
            failures=self.failures + 1,
            in_a_row=in_a_row,
            last_reason=reason,
            not_before=now + budget.wait(in_a_row),
        )

    def interrupted(self, reason: str, *, wait: float, now: float) -> Attempts:
        """After an end that is nobody's fault: the next start is ordered, and nothing is counted."""
        return replace(self, started=self.wanted + 2, last_reason=reason, not_before=now + wait if wait else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """`trainer` is the gang's. `rollout` sums up the rollout pods; `replaced` has those that were ever replaced, by index."""

    trainer: Attempts = field(default_factory=Attempts)
    rollout: Attempts = field(default_factory=Attempts)
    replaced: Mapping[int, Attempts] = field(default_factory=dict)

    def of_rollout(self, index: int) -> Attempts:
        """Those of a pod that was never replaced have no entry."""
        return self.replaced.get(index) or Attempts(started=1)

    def after_progress(self, indexes: set[int]) -> Ledger:
        """A new checkpoint gives every budget back. `indexes` are those of living rollout pods: their labels remember their attempts."""
        return Ledger(
            trainer=replace(self.trainer, in_a_row=0),
            rollout=replace(self.rollout, in_a_row=0),
            replaced={index: replace(each, in_a_row=0) for index, each in self.replaced.items() if index not in indexes},
        )

    def with_rollout(self, index: int, attempts: Attempts, *, counted: bool) -> Ledger:
        summed = replace(
            self.rollout,
            started=self.rollout.started + 1,
            failures=self.rollout.failures + int(counted),
            in_a_row=self.rollout.in_a_row + int(counted),
            last_reason=attempts.last_reason,
        )
        return replace(self, rollout=summed, replaced={**self.replaced, index: attempts})

    def without_rollouts_from(self, count: int) -> Ledger:
        """Rollout pods that are no longer wanted leave no entry behind."""
        if all(index < count for index in self.replaced):
            return self
        return replace(self, replaced={index: each for index, each in self.replaced.items() if index < count})

    def to_status(self) -> dict[str, Any]:
        replaced = [{"index": index, **_written(each)} for index, each in sorted(self.replaced.items())]
        return {"trainer": _written(self.trainer), "rollout": {**_written(self.rollout), "replaced": replaced}}


def read_ledger(status: Mapping[str, Any], pods: Iterable[PodRecord]) -> Ledger:
    attempts = part(status, "attempts")
    rollout = part(attempts, "rollout")
    trainer = _read(part(attempts, "trainer"))
    listed = rollout.get("replaced")
    replaced = {
        int(each["index"]): _read(each)
        for each in (listed if isinstance(listed, (list, tuple)) else ())
        if isinstance(each, Mapping) and isinstance(each.get("index"), int)
    }
    for pod in pods:
        if pod.role == "trainer":
            trainer = trainer.at_least(pod.attempt)
        elif pod.index in replaced:
            replaced[pod.index] = replaced[pod.index].at_least(pod.attempt)
    return Ledger(trainer=trainer, rollout=_read(rollout), replaced=replaced)


def role_budget_field(role: Role) -> str:
    """The field of the spec by which a person raises the role's budget."""
    return f"spec.failurePolicy.{role}.maxRestarts"


def _read(written: Mapping[str, Any]) -> Attempts:
    return Attempts(
        started=_count(written.get("started")),
        failures=_count(written.get("failures")),
        in_a_row=_count(written.get("consecutiveFailures")),
        last_reason=str(written.get("lastReason") or ""),
        not_before=seconds_of(written.get("notBefore")),
    )


def _count(value: object) -> int:
    return max(value, 0) if isinstance(value, int) else 0


def _written(attempts: Attempts) -> dict[str, Any]:
    written: dict[str, Any] = {
        "started": attempts.started,
        "failures": attempts.failures,
        "consecutiveFailures": attempts.in_a_row,
    }
    if attempts.last_reason:
        written["lastReason"] = attempts.last_reason
    if attempts.not_before is not None:
        written["notBefore"] = timestamp(attempts.not_before + 0.999)
    return written
