"""A cluster of one job in memory: enough of an API server, a kubelet and a scheduler to carry plans out, and to break things in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from reasonrl.api import names
from reasonrl.api.status import parse_job_status
from reasonrl.controller.actions import Create, Delete, Happening, Patch, Plan
from reasonrl.controller.plan import plan
from reasonrl.controller.records import Children, JobKey, JobRecord, ObjectRecord, Observed, PodRecord, Progress

SPEC: dict[str, Any] = {
    "model": {"path": "hf://Qwen/Qwen2.5-7B"},
    "data": {"train": [{"path": "/data/questions.jsonl"}]},
    "rewards": [{"type": "answer"}],
    "phases": [
        {"name": "short", "maxResponseTokens": 512, "until": {"steps": 100}},
        {"name": "long", "maxResponseTokens": 1024, "until": {"steps": 100}, "rollout": {"replicas": 2, "gpusPerReplica": 2}},
    ],
    "rollout": {"replicas": 3, "minReplicas": 1, "gpusPerReplica": 1, "engine": "vllm"},
    "trainer": {"replicas": 2, "gpusPerReplica": 8, "engine": "deepspeed", "zeroStage": 3},
    "checkpoint": {"volume": {"claimName": "checkpoints"}},
    "pods": {"trainer": {"resources": {"limits": {"memory": "64Gi"}}}},
}


def plain(value: Any) -> Any:
    """As the API server holds it: JSON, without nulls."""

    def drop(each: Any) -> Any:
        if isinstance(each, dict):
            return {key: drop(inner) for key, inner in each.items() if inner is not None}
        return [drop(inner) for inner in each] if isinstance(each, list) else each

    return drop(json.loads(json.dumps(value)))


class World:
    """State changes only through methods. `history` has every plan that was carried out, `events` every happening."""

    def __init__(self, spec: Mapping[str, Any] | None = None) -> None:
        self.now = 1_700_000_000.0
        self.spec = plain(SPEC | dict(spec or {}))
        self.generation = 1
        self.labels: dict[str, str] = {}
        self.annotations: dict[str, str] = {}
        self.status: dict[str, Any] = {}
        self.pods: dict[str, PodRecord] = {}
        self.bodies: dict[str, Mapping[str, Any]] = {}
        self.objects: dict[tuple[str, str], ObjectRecord] = {}
        self.object_bodies: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.strangers: tuple[str, ...] = ()
        self.progress: Progress | None = None
        self.runtime: Mapping[str, Any] | None = None
        self.runtime_version: str | None = None
        self.runtime_forbidden = False
        self.job_deleted = False
        self.history: list[Plan] = []
        self.events: list[Happening] = []
        self._uids = 0

    # --- what the operator does

    def observed(self) -> Observed:
        job = JobRecord(
            key=JobKey("team", "zero"),
            uid="job-uid",
            generation=self.generation,
            resource_version="1",
            created=1_700_000_000.0,
            deleting=False,
            labels=dict(self.labels),
            annotations=dict(self.annotations),
            spec=self.spec,
            status=self.status,
        )
        children = Children(pods=tuple(self.pods.values()), objects=tuple(self.objects.values()), strangers=self.strangers)
        return Observed(
            job=job,
            children=children,
            progress=self.progress,
            runtime=self.runtime,
            now=self.now,
            runtime_version=self.runtime_version,
            runtime_forbidden=self.runtime_forbidden,
        )

    def look(self) -> Plan:
        return plan(self.observed())

    def steps_of(self, planned: Plan) -> list[Callable[[], None]]:
        """Status first where something is deleted, as the executor does it; events last."""
        write = [lambda: self._write_status(planned.status)] if planned.status is not None else []
        early = write if planned.deletes or planned.delete_job else []
        steps: list[Callable[[], None]] = [
            *early,
            *(lambda each=each: self._delete(each) for each in planned.deletes),
            *(lambda each=each: self._patch(each) for each in planned.patches),
            *(lambda each=each: self._create(each) for each in planned.creates),
            *([] if early else write),
            *(lambda each=each: self.events.append(each) for each in planned.happenings),
        ]
        if planned.delete_job:
            steps.append(self._delete_job)
        return steps

    def act(self, *, steps: int | None = None) -> Plan:
        """One look, of which all is carried out, or only the first `steps`: then the operator was killed."""
        planned = self.look()
        for step in self.steps_of(planned)[:steps]:
            step()
        self.history.append(planned)
        return planned

    def settle(self, *, looks: int = 12) -> Plan:
        """Looks until nothing changes any more at this moment; returns the last plan, which did nothing."""
        for _ in range(looks):
            planned = self.act()
            if self.idle(planned) and (planned.requeue_after is None or planned.requeue_after > 0):
                return planned
        raise AssertionError(f"not settled after {looks} looks: {planned}")

    def idle(self, planned: Plan) -> bool:
        nothing = not (planned.creates or planned.deletes or planned.patches or planned.delete_job)
        return nothing and (planned.status is None or plain(planned.status) == self.status_before_write)

    # --- what a person does

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        spec = plain(self.spec)
        change(spec)
        self.spec = spec
        self.generation += 1

    def suspend(self, wish: bool) -> None:
        self.edit(lambda spec: spec.update(suspend=wish))

    # --- what a cluster does

    def start_pods(self, *, ready: bool = True) -> None:
        """Whatever waits, runs."""
        for name, pod in self.pods.items():
            if pod.phase == "Pending" and not pod.deleting:
                self.pods[name] = replace(
                    pod, phase="Running", scheduled=True, ready=ready, started=self.now, node=f"node-{pod.index}", address="10.0.0.1"
                )

    def end(self, name: str, code: int, *, reason: str = "", message: str = "", disrupted: bool = False) -> None:
        pod = self.pods[name]
        self.pods[name] = replace(
            pod,
            phase="Succeeded" if code == 0 else "Failed",
            ready=False,
            ended=self.now,
            exit_code=code,
            reason=reason or ("Completed" if code == 0 else "Error"),
            message=message,
            disrupted=disrupted,
        )

    def vanish(self, name: str) -> None:
        del self.pods[name]
        if self.progress is not None and all(pod.uid != self.progress.pod_uid for pod in self.pods.values()):
            self.progress = None

    def change(self, name: str, **values: Any) -> None:
        self.pods[name] = replace(self.pods[name], **values)

    def evict(self, name: str) -> None:
        """Somebody else deletes the pod; it is on its way out."""
        self.change(name, deleting=True, disrupted=True)

    def collect(self) -> None:
        """The grace periods are over."""
        for name in [name for name, pod in self.pods.items() if pod.deleting]:
            self.vanish(name)

    def report(self, **values: Any) -> None:
        """trainer-0 answers /status."""
        body: dict[str, Any] = {
            "step": 3,
            "phase": "short",
            "phaseIndex": 0,
            "phaseStep": 3,
            "stage": "rollout",
            "stageStarted": self.now,
            "stageDeadlineSeconds": 600.0,
            "reward": 0.5,
        }
        self.progress = Progress(pod_uid=self.pods["zero-trainer-0"].uid, seen=self.now, body=body | values)

    def running(self) -> World:
        """A job whose pods all run and whose run has spoken."""
        self.settle()
        self.start_pods()
        self.settle()
        self.now += 300.0
        self.report(stageStarted=self.now)
        self.settle()
        return self

    def wait(self, seconds: float) -> None:
        self.now += seconds

    # --- what tests ask

    def names(self, role: str = "", *, alive: bool = False) -> list[str]:
        return sorted(name for name, pod in self.pods.items() if role in name and not (alive and (pod.deleting or pod.ended is not None)))

    def condition(self, type_: str) -> dict[str, Any]:
        return next(each for each in self.status["conditions"] if each["type"] == type_)

    def attempts(self, role: str) -> set[int]:
        return {pod.attempt for pod in self.pods.values() if pod.role == role}

    def uids(self, role: str) -> dict[str, str]:
        return {name: pod.uid for name, pod in self.pods.items() if pod.role == role}

    def event_reasons(self) -> list[str]:
        return [event.reason for event in self.events]

    def control(self) -> dict[str, Any]:
        return json.loads(self.objects["ConfigMap", "zero-config"].data["control.json"])

    def config(self) -> dict[str, Any]:
        return json.loads(self.objects["ConfigMap", "zero-config"].data["job.yaml"])["spec"]

    # --- the API server

    @property
    def status_before_write(self) -> dict[str, Any]:
        return self._status_before

    _status_before: dict[str, Any] = {}  # noqa: RUF012

    def _write_status(self, status: Mapping[str, Any] | None) -> None:
        self._status_before = self.status
        self.status = plain(status)
        parse_job_status(self.status)

    def _uid(self) -> str:
        self._uids += 1
        return f"uid-{self._uids}"

    def _create(self, create: Create) -> None:
        metadata = create.body["metadata"]
        name, labels = metadata["name"], metadata["labels"]
        assert metadata["ownerReferences"][0]["uid"] == "job-uid"
        if create.kind != "Pod":
            key = (create.kind, name)
            assert key not in self.objects, f"{key} is created twice"
            self.object_bodies[key] = create.body
            self.objects[key] = ObjectRecord(
                kind=create.kind,
                namespace="team",
                name=name,
                uid=self._uid(),
                job_uid="job-uid",
                content=labels[names.LABEL_TEMPLATE],
                deleting=False,
                data=dict(create.body.get("data") or {}),
            )
            return
        assert name not in self.pods, f"{name} is created while one of its name is there"
        self.bodies[name] = create.body
        self.pods[name] = PodRecord(
            namespace="team",
            name=name,
            uid=self._uid(),
            resource_version="1",
            job="zero",
            job_uid="job-uid",
            role=labels[names.LABEL_ROLE],
            index=int(labels[names.LABEL_INDEX]),
            attempt=int(labels[names.LABEL_ATTEMPT]),
            template=labels[names.LABEL_TEMPLATE],
            created=self.now,
            deleting=False,
            phase="Pending",
            ready=False,
            scheduled=False,
            unschedulable="",
            waiting="",
            waiting_message="",
            node="",
            address="",
            started=None,
            ended=None,
            exit_code=None,
            reason="",
            message="",
            disrupted=False,
        )

    def _delete(self, delete: Delete) -> None:
        assert delete.kind == "Pod"
        pod = self.pods.get(delete.name)
        if pod is None or pod.uid != delete.uid:
            return
        if pod.phase == "Pending" and not pod.scheduled:
            self.vanish(delete.name)
        else:
            self.change(delete.name, deleting=True)

    def _patch(self, patch: Patch) -> None:
        record = next(each for each in self.objects.values() if each.uid == patch.uid)
        labels = (patch.body.get("metadata") or {}).get("labels") or {}
        self.objects[record.kind, record.name] = replace(
            record, data={**record.data, **(patch.body.get("data") or {})}, content=labels.get(names.LABEL_TEMPLATE, record.content)
        )

    def _delete_job(self) -> None:
        self.job_deleted = True
        self.pods.clear()
        self.objects.clear()


@pytest.fixture
def make_world() -> Callable[..., World]:
    return World


@pytest.fixture
def world() -> World:
    return World()
