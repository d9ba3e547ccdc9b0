"""What a person asks of a running job by an annotation, and what the operator asks of the run: the file control.json of the ConfigMap.

A roll-back is a request to one start of the gang: the operator writes the step and the attempt that is to begin there, and then orders that
attempt. So it is carried out once, whoever dies in between: a request whose attempt has not been ordered yet is ordered at the next look,
and a later attempt does not go back again. A run obeys `rollbackTo` when `rollbackAttempt` is its own attempt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from reasonrl.api import names
from reasonrl.controller.records import JobRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`rollback_request` is the annotation that was answered last, so that the same text is not a new request. `suspended_seconds` adds up
    the suspensions that are over, the last of which began at `suspension_counted`."""

    advance_to: str | None = None
    rollback_to: int | None = None
    rollback_attempt: int | None = None
    rollback_request: str | None = None
    suspended_seconds: int = 0
    suspension_counted: str | None = None

    def text(self) -> str:
        return json.dumps(
            {
                "advanceTo": self.advance_to,
                "rollbackTo": self.rollback_to,
                "rollbackAttempt": self.rollback_attempt,
                "rollbackRequest": self.rollback_request,
                "suspendedSeconds": self.suspended_seconds,
                "suspensionCounted": self.suspension_counted,
            }
        )

    def suspension_over(self, *, since: str, seconds: float) -> Control:
        """Counted once, however often the end of it is looked at."""
        if self.suspension_counted == since:
            return self
        return replace(self, suspended_seconds=self.suspended_seconds + max(0, round(seconds)), suspension_counted=since)

    def outlived(self, attempt: int) -> Control:
        """Without a roll-back that an attempt before this one carried out."""
        if self.rollback_attempt is None or self.rollback_attempt >= attempt:
            return self
        return replace(self, rollback_to=None, rollback_attempt=None)

    def orders(self, attempt: int) -> bool:
        """Whether a roll-back waits for an attempt after this one."""
        return self.rollback_to is not None and self.rollback_attempt is not None and self.rollback_attempt > attempt

    def rolled_back(self, *, step: int, attempt: int) -> Control:
        return replace(self, rollback_to=step, rollback_attempt=attempt)


@dataclass(frozen=True, slots=True)
class Answer:
    """The control file as it should be; `refusal` says why a request was not carried out."""

    control: Control
    refusal: str | None = None


def read_control(data: Mapping[str, str]) -> Control:
    try:
        body = json.loads(data.get(names.CONFIG_CONTROL_FILE, "{}"))
    except ValueError:
        return Control()
    if not isinstance(body, dict):
        return Control()
    return Control(
        advance_to=_text(body.get("advanceTo")),
        rollback_to=_count(body.get("rollbackTo")),
        rollback_attempt=_count(body.get("rollbackAttempt")),
        rollback_request=_text(body.get("rollbackRequest")),
        suspended_seconds=_count(body.get("suspendedSeconds")) or 0,
        suspension_counted=_text(body.get("suspensionCounted")),
    )


def answer_requests(control: Control, job: JobRecord, *, checkpoints: set[int], next_attempt: int) -> Answer:
    """`checkpoints` are the steps that are kept, `next_attempt` is the one that a roll-back would order."""
    asked = job.annotations.get(names.ANNOTATION_ROLLBACK) or None
    control = replace(control, advance_to=job.annotations.get(names.ANNOTATION_ADVANCE) or None)
    if asked == control.rollback_request:
        return Answer(control)
    control = replace(control, rollback_request=asked)
    if asked is None:
        return Answer(control)
    if not asked.isdecimal() or int(asked) not in checkpoints:
        kept = ", ".join(map(str, sorted(checkpoints))) or "none yet"
        return Answer(control, f"{names.ANNOTATION_ROLLBACK}: {asked!r} is not the step of a kept checkpoint; kept are {kept}")
    return Answer(control.rolled_back(step=int(asked), attempt=next_attempt))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
