"""What every scenario of the scale benchmark begins with, whoever's operator it is: all jobs are created at once, until all of them run."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operator_scale_check import Fleet
from operator_scale_measure import AuditLog, JobWatch, Key, Usage, calls_between, calls_of_jobs, percentile
from operator_scale_rig import Rig

SAY_EVERY = 5.0
SAMPLE_EVERY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How a scenario is run. Times are seconds."""

    creators: int = 4
    steady: float = 20.0
    deadline: float = 900.0
    seed: int = 0
    profile: Path | None = None


@dataclass(slots=True)
class Meter:
    """Samples of the operator while something is waited for, and a word to who looks on."""

    rig: Rig
    audit: AuditLog
    jobs: JobWatch
    title: str
    began: float = field(default_factory=time.time)
    samples: list[dict[str, float]] = field(default_factory=list)
    _sampled: float = 0.0
    _said: float = 0.0

    def tick(self) -> None:
        now = time.time()
        if now - self._sampled < SAMPLE_EVERY:
            return
        self._sampled = now
        self.audit.read()
        usage = self.rig.operator.usage()
        self.samples.append(
            {
                "seconds": round(now - self.began, 2),
                "pods": self.audit.pods,
                "cpu": round(usage.cpu, 2),
                "residentMiB": round(usage.resident, 1),
                "peakMiB": round(usage.peak, 1),
            }
        )
        if now - self._said >= SAY_EVERY:
            self._said = now
            self.say(
                f"{self.audit.pods} pods made, jobs {dict(self.jobs.states())}, operator {usage.cpu:.1f} s CPU, {usage.resident:.0f} MiB"
            )

    def say(self, text: str) -> None:
        print(f"[{self.title} {time.time() - self.began:6.1f} s] {text}", file=sys.stderr, flush=True)

    def mark(self) -> tuple[Usage, Counter[str], float]:
        self.audit.read()
        return self.rig.operator.usage(), self.audit.calls.copy(), time.time()


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """What had been spent when the first job was created."""

    usage: Usage
    calls: Counter[str]
    at: float


def lead(rig: Rig, fleet: Fleet, title: str) -> Meter:
    """Starts the operator, until it leads."""
    assert rig.plane.audit_log is not None
    jobs = JobWatch(rig.plane.client(), resource=rig.contender.resource, word=rig.contender.word)
    rig.operator.start()
    rig.operator.wait_leading()
    meter = Meter(rig, AuditLog(rig.plane.audit_log), jobs, f"{title} {len(fleet.jobs)}×({fleet.trainers}+{fleet.rollouts})")
    usage = rig.operator.usage()
    meter.say(f"{rig.contender.name} leads, after {usage.cpu:.2f} s of CPU, with {usage.resident:.0f} MiB; pid {pid_of(rig)}")
    return meter


def bring_up(meter: Meter, fleet: Fleet, load: Load, *, meanwhile: Callable[[], dict[str, Any]] = dict) -> tuple[Began, dict[str, Any]]:
    """Creates the jobs, until all pods of all of them are ready by their status. `meanwhile` is called while they are being created, and
    what it answers is in the result. Raises WrongEnd."""
    rig, audit, jobs = meter.rig, meter.audit, meter.jobs
    load_before = os.getloadavg()[0]
    usage, calls, at = meter.mark()
    began = Began(usage=usage, calls=calls, at=at)
    cpu_before = rig.cpu_of_all()
    result: dict[str, Any] = {"operator": rig.contender.name, "jobs": len(fleet.jobs), "pods": fleet.pods, "start": of_process(usage)}
    with ThreadPoolExecutor(load.creators) as pool:
        creating = pool.submit(_create_jobs, rig, fleet, load)
        result |= meanwhile()
        all_ready = jobs.wait(dict.fromkeys(fleet.jobs, rig.contender.ready), deadline=load.deadline, tick=meter.tick)
        created_in = creating.result()
    usage, calls, _ = meter.mark()
    assert audit.last_pod is not None
    shown = jobs.reached[rig.contender.running]
    result |= {
        "jobsCreatedSeconds": round(created_in, 2),
        "lastPodSeconds": round(audit.last_pod - at, 2),
        "podsPerSecond": round(fleet.pods / (audit.last_pod - at), 1),
        "allRunningSeconds": round(max(shown.values()) - at, 2),
        "allReadySeconds": round(all_ready - at, 2),
        "createdToRunning": {
            str(share): round(percentile((shown[job] - jobs.reached["new"].get(job, at) for job in fleet.jobs), share), 2)
            for share in (0.5, 0.95, 1.0)
        },
        "peakMiBAtPods": _peaks(meter, fleet),
        "cpuSecondsOfAll": {name: round(cpu - cpu_before[name], 1) for name, cpu in rig.cpu_of_all().items()},
        "loadBefore": round(load_before, 1),
        "load": round(os.getloadavg()[0], 1),
    }
    result["untilRunning"] = part(fleet, (began.usage, began.calls), (usage, calls))
    meter.say("all run, and every pod is ready")
    return began, result


def _create_jobs(rig: Rig, fleet: Fleet, load: Load) -> float:
    began = time.monotonic()

    def create(job: Key) -> None:
        rig.api.create(rig.contender.manifest(job))

    with ThreadPoolExecutor(load.creators) as pool:
        list(pool.map(create, fleet.jobs))
    return time.monotonic() - began


def part(fleet: Fleet, before: tuple[Usage, Counter[str]], after: tuple[Usage, Counter[str]]) -> dict[str, Any]:
    calls = calls_between(before[1], after[1])
    jobs = len(fleet.jobs)
    return {
        "callsPerJob": round(calls_of_jobs(calls) / jobs, 2),
        "eventsPerJob": round(sum(count for call, count in calls.items() if call.endswith(" events")) / jobs, 2),
        "cpuMsPerJob": round(1000 * (after[0].cpu - before[0].cpu) / jobs, 2),
        "calls": dict(calls.most_common()),
    } | of_process(after[0])


def of_process(usage: Usage) -> dict[str, float]:
    return {"cpuSeconds": round(usage.cpu, 2), "residentMiB": round(usage.resident, 1), "peakMiB": round(usage.peak, 1)}


def _peaks(meter: Meter, fleet: Fleet) -> dict[str, float]:
    """The peak of memory when each thousand of pods had been made."""
    found: dict[str, float] = {}
    for sample in meter.samples:
        for thousands in range(1000, fleet.pods + 1, 1000):
            if sample["pods"] >= thousands:
                found.setdefault(str(thousands), sample["peakMiB"])
    return found


def pid_of(rig: Rig) -> int:
    assert rig.operator.child is not None
    return rig.operator.child.pid
