"""The operator's own metrics, `reasonrl_operator_*`: base units, labels with few values, never a job's name."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from reasonrl.api.names import ROLES
from reasonrl.controller.records import JobRecord
from reasonrl.controller.work_queue import QueueNumbers

_STATES = ("Pending", "Starting", "Running", "Paused", "Suspended", "Restarting", "Stalled", "Succeeded", "Failed")
_MOST_REASONS = 32
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_START = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200)


class Metrics:
    """All metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "reasonrl_operator_reconcile_seconds", "Time of one look at one job.", ["result"], buckets=_FAST, registry=self.registry
        )
        self.queue_seconds = Histogram(
            "reasonrl_operator_queue_seconds", "Time that a job waited for a worker.", buckets=_FAST, registry=self.registry
        )
        self.api_calls = Counter(
            "reasonrl_operator_api_calls", "Requests to the API server.", ["verb", "kind", "code"], registry=self.registry
        )
        self.api_seconds = Histogram(
            "reasonrl_operator_api_call_seconds", "Time of one request to the API server.", ["verb"], buckets=_FAST, registry=self.registry
        )
        self.restarts = Counter("reasonrl_operator_restarts", "Restarts of a role of a job.", ["role", "reason"], registry=self.registry)
        self.created_to_running = Histogram(
            "reasonrl_operator_created_to_running_seconds",
            "Time from a job's creation to the first time that it runs.",
            buckets=_START,
            registry=self.registry,
        )
        self.polls = Counter("reasonrl_operator_status_polls", "Questions to running jobs.", ["result"], registry=self.registry)
        self.relists = Counter(
            "reasonrl_operator_relists", "Times that a kind was listed from the beginning.", ["kind"], registry=self.registry
        )
        self.leading = Gauge("reasonrl_operator_leading", "1 in the process that acts.", registry=self.registry)
        self.events_dropped = Gauge(
            "reasonrl_operator_events_dropped", "Kubernetes events that could not be written.", registry=self.registry
        )
        self.loop_lag = Gauge("reasonrl_operator_loop_lag_seconds", "How late the event loop was last.", registry=self.registry)
        self._reasons: set[str] = set()

    def count_call(self, verb: str, kind: str, code: str, seconds: float) -> None:
        self.api_calls.labels(verb, kind, code).inc()
        if verb != "watch":
            self.api_seconds.labels(verb).observe(seconds)

    def count_transition(self, job: JobRecord, wanted: Mapping[str, Any], now: float) -> None:
        """What a status that was just written says has happened since the one before."""
        before, after = job.status.get("attempts") or {}, wanted.get("attempts") or {}
        for role in ROLES:
            old, new = before.get(role) or {}, after.get(role) or {}
            more = int(new.get("failures") or 0) - int(old.get("failures") or 0)
            if more > 0:
                self.restarts.labels(role, self._bounded(str(new.get("lastReason") or "Unknown"))).inc(more)
        first = job.status.get("summary") in (None, "", "Pending", "Starting")
        once = int((after.get("trainer") or {}).get("started") or 0) <= 1
        if wanted.get("summary") == "Running" and first and once:
            self.created_to_running.observe(max(0.0, now - job.created))

    def _bounded(self, reason: str) -> str:
        if reason not in self._reasons and (len(self._reasons) >= _MOST_REASONS or not reason.isalnum() or len(reason) > 64):
            return "Other"
        self._reasons.add(reason)
        return reason

    def follow(self, *, queue: Callable[[], QueueNumbers], jobs: Callable[[], Iterable[JobRecord]]) -> None:
        """What is counted when it is asked for."""
        self.registry.register(_Now(queue, jobs))


class _Now:
    def __init__(self, queue: Callable[[], QueueNumbers], jobs: Callable[[], Iterable[JobRecord]]) -> None:
        self._queue = queue
        self._jobs = jobs

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        numbers = self._queue()
        for name, about, value in (
            ("depth", "Jobs that wait for a worker.", numbers.ready),
            ("delayed", "Jobs that are to be looked at later.", numbers.delayed),
            ("working", "Jobs that are being looked at.", numbers.working),
            ("oldest_seconds", "How long the longest waiting job has waited.", numbers.oldest),
            ("longest_work_seconds", "How long the longest look has taken until now.", numbers.longest_work),
            ("adds", "Times that a job was added.", numbers.adds),
            ("retries", "Times that a job was added after a failure.", numbers.retries),
        ):
            yield GaugeMetricFamily(f"reasonrl_operator_queue_{name}", about, value=value)
        states = Tally(str(job.status.get("summary") or "Pending") for job in self._jobs())
        family = GaugeMetricFamily("reasonrl_operator_jobs", "Jobs by state.", labels=["state"])
        for state in _STATES:
            family.add_metric([state], states.pop(state, 0))
        if states:
            family.add_metric(["Other"], sum(states.values()))
        yield family
