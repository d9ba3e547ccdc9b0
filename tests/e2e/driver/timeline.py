"""What a job went through, second by second: a thread that looks at it again and again, as a person with `kubectl get -w` would."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from driver.jobs import Job
from driver.kubectl import KubectlRefused


@dataclass(slots=True)
class Timeline:
    """`seen` has each change once, with the seconds since the beginning; the lists have values in the order of their first sight."""

    seen: list[tuple[float, str]] = field(default_factory=list)
    summaries: list[str] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    uids: dict[str, set[str]] = field(default_factory=dict)
    """Of each pod's name, those who bore it."""

    def text(self) -> str:
        return "\n".join(f"{seconds:7.1f}  {what}" for seconds, what in self.seen)


@contextmanager
def watched(job: Job, timeline: Timeline) -> Iterator[None]:
    """Fills `timeline` for as long as the block lasts."""
    started, done = time.monotonic(), threading.Event()

    def note(what: str) -> None:
        if all(what != said for _, said in timeline.seen):
            timeline.seen.append((time.monotonic() - started, what))

    def look() -> None:
        status = job.status()
        for values, value, name in (
            (timeline.summaries, status.get("summary"), "summary"),
            (timeline.phases, status.get("phase"), "phase"),
            (timeline.steps, status.get("step"), "step"),
            (timeline.checkpoints, status.get("lastCheckpointStep"), "checkpoint"),
        ):
            if value is not None and value not in values:
                values.append(value)
                note(f"{name} {value}")
        for name, pod in job.pods().items():
            timeline.uids.setdefault(name, set()).add(pod["metadata"]["uid"])
            ready = any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions") or ())
            note(f"pod {name} {pod['metadata']['uid'][:8]} {pod['status'].get('phase')}{' and ready' if ready else ''}")
        for reason, message in job.events():
            note(f"event {reason}: {message}")

    def follow() -> None:
        while True:
            last = done.wait(1.0)
            try:
                look()
            except KubectlRefused as error:  # An API server that restarts; the next look finds it.
                note(f"no answer: {error}")
            if last:
                return

    thread = threading.Thread(target=follow, name=f"timeline of {job.name}")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
