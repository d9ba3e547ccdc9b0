"""What happens to a job by somebody's wish or by the clock: suspending and pausing, the deadline, the deletion after the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reasonrl.controller.conditions import find, is_true, since
from reasonrl.controller.kueue import QUEUE_LABEL
from reasonrl.controller.records import JobRecord
from reasonrl.controller.requests import Control
from reasonrl.controller.times import seconds_of, span

PAUSED = "Paused"


@dataclass(frozen=True, slots=True)
class Hold:
    """The job is to have no pods for now."""

    reason: str
    message: str

    @property
    def paused(self) -> bool:
        return self.reason.startswith(PAUSED)


def hold_of(job: JobRecord) -> Hold | None:
    """Why the job may have no pods. A pause by its health lasts until somebody suspends and resumes the job, or rolls it back."""
    if job.spec.get("suspend") is True:
        queue = job.labels.get(QUEUE_LABEL)
        if queue and not job.status.get("startTime"):
            message = (
                f"waits in queue {queue} (label {QUEUE_LABEL}): it begins when spec.suspend is unset, which the queue's controller does"
            )
            return Hold("Queued", message)
        return Hold("SuspendRequested", "spec.suspend is set: checkpoints are kept, pods are deleted, GPUs are free; unset it to go on")
    before = find(job.status, "Suspended")
    if before.get("status") == "True" and str(before.get("reason") or "").startswith(PAUSED):
        return Hold(str(before["reason"]), str(before.get("message") or ""))
    return None


def end_of_suspension(control: Control, job: JobRecord, *, now: float) -> Control:
    """The control file after a job was let go on: the time it stood still is not held against its deadline."""
    if not is_true(job.status, "Suspended") or not job.status.get("startTime"):
        return control
    before = find(job.status, "Suspended")
    return control.suspension_over(since=str(before.get("lastTransitionTime")), seconds=now - since(before, now))


def deadline_left(spec: Mapping[str, Any], status: Mapping[str, Any], control: Control, *, now: float) -> float | None:
    """Seconds until spec.activeDeadlineSeconds is over; None without one, before the start, and while the job is suspended."""
    limit, start = spec.get("activeDeadlineSeconds"), seconds_of(status.get("startTime"))
    if not isinstance(limit, int) or start is None or is_true(status, "Suspended"):
        return None
    return start + control.suspended_seconds + limit - now


def deadline_message(spec: Mapping[str, Any]) -> str:
    return f"the job was active for {span(spec['activeDeadlineSeconds'])}, which is spec.activeDeadlineSeconds; its checkpoints are kept"


def time_to_live(job: JobRecord, frozen: Mapping[str, Any], *, now: float) -> float | None:
    """Seconds until the finished job is deleted, None for never. The job's own field may be changed after its end."""
    seconds = job.spec.get("ttlSecondsAfterFinished")
    if not isinstance(seconds, int):
        seconds = frozen.get("ttlSecondsAfterFinished")
    completed = seconds_of(job.status.get("completionTime"))
    if not isinstance(seconds, int) or completed is None:
        return None
    return completed + seconds - now
