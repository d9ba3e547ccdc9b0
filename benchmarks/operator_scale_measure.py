"""What the scale benchmark measures with: the operator's process in /proc, its calls in the API server's audit log, and jobs by a watch.

The audit log is the API server's own word on who asked for what and when; nothing the operator counts itself is used.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import urllib3
from testbed.client import ApiError, Client

OPERATOR = "operator"
_TICKS = os.sysconf("SC_CLK_TCK")
_OF_JOBS = frozenset(
    {
        "pods",
        "services",
        "configmaps",
        "secrets",
        "networkpolicies",
        "events",
        "reasoningrljobs",
        "reasoningrljobs/status",
        "rayclusters",
        "rayclusters/status",
    }
)


class WrongEnd(Exception):
    """What was to come did not come, or there is something that must not be; the text says what."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process: CPU seconds so far, resident MiB now and at the most."""

    cpu: float
    resident: float
    peak: float


def usage_of(pid: int) -> Usage:
    """ProcessLookupError when the process is gone."""
    try:
        # The command's name may hold spaces and brackets; what follows the last bracket does not.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    if "VmHWM" not in status:
        raise ProcessLookupError(pid)
    return Usage(
        cpu=(int(fields[11]) + int(fields[12])) / _TICKS,
        resident=int(status["VmRSS"].split()[0]) / 1024,
        peak=int(status["VmHWM"].split()[0]) / 1024,
    )


@dataclass(slots=True)
class AuditLog:
    """The operator's calls, read on from where the last reading ended. Times are Unix seconds."""

    path: Path
    calls: Counter[str] = field(default_factory=Counter)
    """By verb and resource: {"create pods": 8000, …}."""
    refused: Counter[str] = field(default_factory=Counter)
    """The same for calls answered with 400 and more, with the code."""
    created: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Objects really made, by resource, namespace and name."""
    first_pod: float | None = None
    last_pod: float | None = None
    pods: int = 0
    _at: int = 0

    def read(self) -> None:
        with self.path.open("rb") as log:
            log.seek(self._at)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                if b'"username":"operator"' in line:
                    self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        target, verb, stage = event.get("objectRef"), event["verb"], event["stage"]
        # A watch has a line when it starts and one when it ends, of which the first counts.
        if target is None or stage not in ("ResponseComplete", "ResponseStarted") or (verb == "watch" and stage == "ResponseComplete"):
            return
        resource = target.get("resource", "") + (f"/{target['subresource']}" if target.get("subresource") else "")
        code = int(event.get("responseStatus", {}).get("code", 0))
        self.calls[f"{verb} {resource}"] += 1
        if code >= 400:
            self.refused[f"{verb} {resource} {code}"] += 1
        elif verb == "create":
            self.created[resource, target.get("namespace", ""), target.get("name", "")] += 1
            if resource == "pods":
                at = datetime.fromisoformat(event["stageTimestamp"]).timestamp()
                self.first_pod = at if self.first_pod is None else self.first_pod
                self.last_pod = at
                self.pods += 1


def calls_between(before: Counter[str], after: Counter[str]) -> Counter[str]:
    return Counter({call: count - before[call] for call, count in after.items() if count > before[call]})


def calls_of_jobs(calls: Counter[str]) -> int:
    """Without what does not grow with jobs: lists, watches, the lease, and what Kopf asks for when it starts."""
    return sum(count for call, count in calls.items() if call.split()[0] not in ("list", "watch") and call.split()[1] in _OF_JOBS)


Key = tuple[str, str]
Check = Callable[[dict[str, Any]], bool]
"""Of a job's status."""


class JobWatch:
    """Follows all jobs of one kind by one watch in a thread, as `kubectl get -w` would.

    `word` is the field of their status that says in one word how they go; `reached` has when each job first showed each of these words.
    """

    def __init__(self, client: Client, *, resource: str, word: str) -> None:
        self._resource = resource
        self._word = word
        self.reached: dict[str, dict[Key, float]] = {}
        self.updates = 0
        self._jobs: dict[Key, dict[str, Any]] = {}
        self._client = client
        self._lock = threading.Lock()
        self._error: Exception | None = None
        threading.Thread(target=self._follow, name="jobs", daemon=True).start()

    def states(self) -> Counter[str]:
        with self._lock:
            return Counter(str(status.get(self._word, "new")) for status in self._jobs.values())

    def wait(self, checks: Mapping[Key, Check], *, deadline: float, tick: Callable[[], None]) -> float:
        """The time when all of these jobs had passed their checks, a quarter of a second late at most; `tick` is called meanwhile.

        WrongEnd after `deadline` seconds, with what the jobs say that are left.
        """
        left = dict(checks)
        until = time.monotonic() + deadline
        while True:
            if self._error is not None:
                raise WrongEnd(f"the watch of jobs broke: {self._error!r}")
            with self._lock:
                left = {key: check for key, check in left.items() if not check(self._jobs.get(key, {}))}
                shown = {"/".join(key): self._jobs.get(key) for key in list(left)[:2]}
            if not left:
                return time.time()
            if time.monotonic() > until:
                raise WrongEnd(f"{len(left)} of {len(checks)} jobs were not there after {deadline:g} s, such as {json.dumps(shown)}")
            tick()
            time.sleep(0.25)

    def _follow(self) -> None:
        since = ""
        try:
            while True:
                for event in self._client.watch(self._resource, since=since, seconds=1200):
                    if event["type"] == "ERROR":
                        raise ApiError(int(event["object"].get("code", 500)), json.dumps(event["object"]))
                    since = event["object"]["metadata"]["resourceVersion"]
                    self._take(event["type"], event["object"])
        except (urllib3.exceptions.HTTPError, ApiError) as error:
            self._error = error

    def _take(self, kind: str, body: dict[str, Any]) -> None:
        key = body["metadata"]["namespace"], body["metadata"]["name"]
        status = body.get("status", {})
        with self._lock:
            self.updates += 1
            if kind == "DELETED":
                self._jobs.pop(key, None)
                return
            self._jobs[key] = status
            self.reached.setdefault(status.get(self._word, "new"), {}).setdefault(key, time.time())


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
