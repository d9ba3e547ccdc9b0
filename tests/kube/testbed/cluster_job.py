"""A ReasoningRLJob on the real API server, as a test drives it and asks about it: edits, progress, and what became of its pods."""

from __future__ import annotations

import copy
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasonrl.api import names
from reasonrl.api.status import parse_job_status
from testbed.audit import AuditTrail
from testbed.client import Client
from testbed.deadline import DeadlinePassed, wait_for
from testbed.fake_kubelet import FakeKubelet
from testbed.operator_process import OperatorProcess
from testbed.pod_script import run_status

JOBS = names.JOB_PLURAL
WAIT_SECONDS = 30.0
_BUDGET = {"maxRestarts": 5, "backoffSeconds": 0, "maxBackoffSeconds": 0}
SPEC: Mapping[str, Any] = {
    "model": {"path": "hf://example/model"},
    "data": {"train": [{"path": "/data/train.jsonl"}]},
    "algorithm": {
        "promptsPerStep": 8,
        "rolloutsPerPrompt": 4,
        "kl": {"schedule": {"type": "constant", "value": 0.001}},
    },
    "rewards": [{"type": "answer"}],
    "phases": [{"name": "main", "maxResponseTokens": 64, "until": {"steps": 100}}],
    "rollout": {"placement": "Disaggregated", "replicas": 2, "minReplicas": 1, "gpusPerReplica": 1, "engine": "vllm"},
    "trainer": {"replicas": 2, "gpusPerReplica": 1, "engine": "deepspeed"},
    "checkpoint": {"volume": {"claimName": "checkpoints"}},
    "pods": {role: {"resources": {"limits": {"memory": "64Gi"}}} for role in names.ROLES},
    "failurePolicy": {"trainer": _BUDGET, "rollout": _BUDGET},
}
"""Two trainers and two rollout pods, restarted without a wait."""


@dataclass(frozen=True, slots=True)
class SeenPod:
    """A pod at one moment: which it is, which start of its role it belongs to; not alive once it has ended or is to be deleted."""

    uid: str
    attempt: int
    alive: bool


def manifest(name: str, spec: Mapping[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """A job of `SPEC` with `spec` merged over it, field by field."""
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": "ReasoningRLJob",
        "metadata": {"name": name, **metadata},
        "spec": _merged(SPEC, spec or {}),
    }


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(under))
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else copy.deepcopy(value)
    return merged


def saved(*steps: int, unhealthy: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Checkpoints as a run lists them in its /status."""
    return [{"step": step, "time": 1_700_000_000.0 + step, "healthy": step not in unhealthy, "path": f"/c/{step}"} for step in steps]


@dataclass(slots=True)
class ClusterJob:
    """One job in a test's namespace."""

    api: Client
    kubelet: FakeKubelet
    operator: OperatorProcess
    calls: AuditTrail
    namespace: str
    name: str
    _nudges: int = field(default=0)

    # --- what a person does

    def create(self, spec: Mapping[str, Any] | None = None, **metadata: Any) -> ClusterJob:
        self.api.create(manifest(self.name, spec, **metadata), namespace=self.namespace)
        return self

    def run(self, spec: Mapping[str, Any] | None = None, *, step: int | None = None, **report: Any) -> ClusterJob:
        """Created, and all pods running. With a `step`, or more to tell, the run has told of it as well."""
        self.create(spec)
        self.wait_summary("Running")
        self.wait_condition("RolloutsReady", "True", "AllReady")
        if step is not None or report:
            self.report(5 if step is None else step, **report)
        return self

    def edit(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        return self.api.patch(JOBS, self.name, {"spec": spec}, namespace=self.namespace)

    def suspend(self, wish: bool) -> None:
        self.edit({"suspend": wish})

    def annotate(self, key: str, value: str | None) -> None:
        self.api.patch(JOBS, self.name, {"metadata": {"annotations": {key: value}}}, namespace=self.namespace)

    # --- what the run and the cluster do

    def pod(self, role: names.Role, index: int) -> str:
        return names.pod_name(self.name, role, index)

    def say(self, step: int, **values: Any) -> None:
        """trainer-0 answers with this at /status from now on."""
        self.kubelet.wait_running(self.pod("trainer", 0), deadline=WAIT_SECONDS)
        self.kubelet.set_status(self.pod("trainer", 0), run_status(step=step, **{"stageStarted": time.time(), **values}))

    def report(self, step: int, **values: Any) -> dict[str, Any]:
        """As `say`, until the job's status shows it."""
        self.say(step, **values)
        return self.wait_status(lambda status: status.get("step") == step, what=f"status.step {step}")

    # --- what can be asked

    def body(self) -> dict[str, Any]:
        return self.api.get(JOBS, self.name, namespace=self.namespace)

    def status(self) -> dict[str, Any]:
        return dict(self.body().get("status", {}))

    def wait_status(self, holds: Callable[[dict[str, Any]], object], *, what: str, deadline: float = WAIT_SECONDS) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def probe() -> bool:
            nonlocal seen
            seen = self.status()
            return bool(holds(seen))

        try:
            wait_for(probe, deadline=deadline, every=0.05)
        except DeadlinePassed:
            raise DeadlinePassed(f"{self.name}: {what} did not come within {deadline:g} s; last: {json.dumps(seen)[:3000]}") from None
        parse_job_status(seen)
        return seen

    def wait_summary(self, wanted: str, *, deadline: float = WAIT_SECONDS) -> dict[str, Any]:
        return self.wait_status(lambda status: status.get("summary") == wanted, what=f"summary {wanted}", deadline=deadline)

    def wait_condition(self, type_: str, status: str, reason: str | None = None, *, deadline: float = WAIT_SECONDS) -> dict[str, Any]:
        """The condition, once it says so; its generation is the job's."""

        def holds(seen: dict[str, Any]) -> bool:
            found = condition(seen, type_)
            return found.get("status") == status and reason in (None, found.get("reason"))

        return condition(self.wait_status(holds, what=f"{type_}={status} ({reason or 'any reason'})", deadline=deadline), type_)

    def pods(self, role: str = "") -> dict[str, SeenPod]:
        """By name; of one role if said. All of them belong to this very job."""
        labels = f"{names.LABEL_JOB}={self.name}" + (f",{names.LABEL_ROLE}={role}" if role else "")
        owner = self.body()["metadata"]["uid"]
        seen = {}
        for pod in self.api.list("pods", namespace=self.namespace, labels=labels):
            metadata = pod["metadata"]
            assert [each["uid"] for each in metadata["ownerReferences"]] == [owner]
            alive = "deletionTimestamp" not in metadata and pod.get("status", {}).get("phase") in ("Pending", "Running")
            seen[metadata["name"]] = SeenPod(metadata["uid"], int(metadata["labels"][names.LABEL_ATTEMPT]), alive)
        return seen

    def wait_pods(self, wanted: Mapping[str, int], *, role: str = "", deadline: float = WAIT_SECONDS) -> dict[str, SeenPod]:
        """Until exactly the pods of `wanted` are there, alive, each of the attempt that it names."""
        seen: dict[str, SeenPod] = {}

        def probe() -> bool:
            nonlocal seen
            seen = self.pods(role)
            return {name: pod.attempt for name, pod in seen.items()} == dict(wanted) and all(pod.alive for pod in seen.values())

        try:
            wait_for(probe, deadline=deadline, every=0.05)
        except DeadlinePassed:
            raise DeadlinePassed(f"{self.name} should have the pods {dict(wanted)} within {deadline:g} s; it has {seen}") from None
        return seen

    def wait_pods_left(self, wanted: set[str], *, deadline: float = WAIT_SECONDS) -> None:
        """Until exactly these pods are left, all of them ended: what remains of a finished job, for its logs."""

        def probe() -> bool:
            pods = self.pods()
            return set(pods) == wanted and not any(pod.alive for pod in pods.values())

        wait_for(probe, deadline=deadline, what=f"of {self.name} only the ended pods {sorted(wanted)} are left", every=0.05)

    def wanted(
        self, *, trainers: int = 2, rollouts: int = 2, attempt: int = 0, replaced: Mapping[int, int] | None = None
    ) -> dict[str, int]:
        """Pods and attempts: trainers of `attempt`, rollout pods of 0 but those in `replaced`."""
        own = {self.pod("rollout", index): (replaced or {}).get(index, 0) for index in range(rollouts)}
        return {self.pod("trainer", index): attempt for index in range(trainers)} | own

    def file(self, key: str) -> dict[str, Any]:
        """A file of the job's ConfigMap, as its pods read it."""
        data = self.api.get("configmaps", names.config_name(self.name), namespace=self.namespace)["data"]
        read: dict[str, Any] = json.loads(data[key])
        return read

    def config(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.file(names.CONFIG_JOB_FILE)["spec"]
        return spec

    def control(self) -> dict[str, Any]:
        return self.file(names.CONFIG_CONTROL_FILE)

    def events(self) -> dict[str, str]:
        """Messages by reason, in lines."""
        uid = self.body()["metadata"]["uid"]
        found: dict[str, str] = {}
        for event in self.api.list("events", namespace=self.namespace):
            if event["involvedObject"].get("uid") == uid:
                found[event["reason"]] = f"{found.get(event['reason'], '')}{event['message']}\n"
        return found

    def wait_event(self, reason: str, text: str = "") -> str:
        """The messages of this reason, once there is one with `text` in it."""

        def probe() -> str:
            told = self.events().get(reason, "")
            return told if text in told else ""

        return wait_for(probe, deadline=WAIT_SECONDS, what=f"event {reason} of {self.name} says {text!r}", every=0.1)

    def creations(self) -> list[str]:
        """Names of the pods that were created for this job, once for each time, by the API server's audit log."""
        own = tuple(f"{self.name}-{role}-" for role in names.ROLES)
        asked = self.calls.calls(user="admin", namespace=self.namespace)
        created = (call.name for call in asked if (call.verb, call.resource, call.code) == ("create", "pods", 201))
        return [name for name in created if name.startswith(own)]

    def assert_settled(self, *, made: int) -> None:
        """The operator looks at the job once more and finds nothing to do; in all the job's life `made` pods were created."""
        self._nudges += 1
        before, pods = self.operator.looks(), self.pods()
        self.annotate("example.com/nudge", str(self._nudges))
        wait_for(lambda: self.operator.looks() > before and not self.operator.busy(), deadline=WAIT_SECONDS, what="another look")
        assert self.pods() == pods, "a look at a job in order changes its pods"
        created = self.creations()
        assert len(created) == made, f"not {made} pods but {sorted(created)} were created"
        assert {name: self.kubelet.made(name) for name in created} == Counter(created)


def condition(status: Mapping[str, Any], type_: str) -> dict[str, Any]:
    return next((dict(each) for each in status.get("conditions", ()) if each["type"] == type_), {})


def attempts(status: Mapping[str, Any], role: names.Role) -> tuple[int, int, int]:
    """Starts, failures, and failures in a row, of a role."""
    found = status["attempts"][role]
    return found["started"], found["failures"], found["consecutiveFailures"]
