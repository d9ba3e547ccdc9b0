"""Jobs for the tests: the quickstart, shortened, with its checkpoints on a volume; and what one asks of a job that runs."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from driver.kubectl import Kubectl, Object, wait_for

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "quickstart.yaml"
KIND = "reasoningrljobs.reasonrl.dev"
_TASK = {"minTerms": 2, "maxTerms": 3}
_RESOURCES = {"requests": {"cpu": "50m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}}
SHORT: Mapping[str, Any] = {
    "model": {"scratch": {"hiddenSize": 64, "layers": 2, "heads": 2, "keyValueHeads": 2, "feedForwardSize": 128}},
    "sft": {"steps": 60, "maxTokens": 128, "learningRate": 4.0e-3},
    "algorithm": {"promptsPerStep": 8, "rolloutsPerPrompt": 4},
    "rollout": {"placement": "Disaggregated", "replicas": 2, "minReplicas": 1},
    "evaluation": {"everySteps": 4},
    "checkpoint": {"everySteps": 2, "keepLast": 3, "keepBest": None},
    "pods": {
        role: {"resources": _RESOURCES, "terminationGracePeriodSeconds": 60, "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}
        for role in ("trainer", "rollout")
    },
    "failurePolicy": {role: {"backoffSeconds": 1, "maxBackoffSeconds": 5} for role in ("trainer", "rollout")},
}
"""What makes the quickstart minutes shorter, and its pods small enough for two cores. On a cluster its checkpoints need a volume."""


def job(name: str, *, claim: str | None, steps: Sequence[int] = (3, 5), **changes: Any) -> Object:
    """The quickstart with `SHORT` and then `changes` over it; `steps` are those of its two phases, `claim` holds its checkpoints."""
    example: Object = yaml.safe_load(EXAMPLE.read_text())
    spec = merged(merged(example["spec"], SHORT), changes)
    for phase, count, tokens in zip(spec["phases"], steps, (16, 32), strict=True):
        phase["until"], phase["maxResponseTokens"] = {"steps": count}, tokens
    tasks = [*spec["data"]["train"], *spec["sft"]["train"], *spec["evaluation"]["benchmarks"]]
    for each, size in zip(tasks, (80, 120, 16), strict=True):
        each["task"].update(size=size, options=dict(_TASK))
    spec["evaluation"]["benchmarks"][0].update(samples=1, maxResponseTokens=32)
    if claim is not None:
        spec["checkpoint"]["volume"] = {"claimName": claim}
    return {**example, "metadata": {"name": name}, "spec": spec}


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `under`, field by field; None takes a field away."""
    result = copy.deepcopy(dict(under))
    for key, value in over.items():
        below = result.get(key)
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else copy.deepcopy(value)
    return result


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was applied, by name."""

    kubectl: Kubectl
    name: str

    def status(self) -> Object:
        found = self.kubectl.find(KIND, self.name)
        return (found or {}).get("status") or {}

    def condition(self, kind: str) -> Object:
        """The condition, or one that says nothing."""
        conditions = {each["type"]: each for each in self.status().get("conditions") or ()}
        return conditions.get(kind) or {"status": "Unknown", "reason": "", "message": ""}

    def pods(self, role: str = "") -> dict[str, Object]:
        labels = f"reasonrl.dev/job={self.name}" + (f",reasonrl.dev/role={role}" if role else "")
        return {pod["metadata"]["name"]: pod for pod in self.kubectl.all("pods", labels=labels)}

    def uids(self, role: str = "") -> dict[str, str]:
        return {name: pod["metadata"]["uid"] for name, pod in self.pods(role).items()}

    def events(self) -> list[tuple[str, str]]:
        return self.kubectl.events(self.name)

    def execute(self, pod: str, *command: str) -> str:
        """The output of a command in the container of a pod."""
        return self.kubectl.run("exec", pod, "--container=main", "--", *command)

    def run_events(self) -> list[Object]:
        """What the run itself wrote down, across all its starts."""
        text = self.execute(f"{self.name}-trainer-0", "cat", "/checkpoints/events.jsonl")
        return [json.loads(line) for line in text.splitlines()]

    def wait_summary(self, *wanted: str, seconds: float) -> Object:
        """The status, once its summary is one of `wanted`. A job that ended otherwise is not waited for."""

        def there() -> Object | None:
            status = self.status()
            summary = status.get("summary")
            assert summary in wanted or summary not in ("Succeeded", "Failed"), f"{self.name} {self.told()}"
            return status if summary in wanted else None

        return wait_for(there, seconds=seconds, what=f"{self.name} {' or '.join(wanted)}", shown=self.told) or {}

    def wait_step(self, step: int, *, seconds: float) -> Object:
        def there() -> Object | None:
            status = self.status()
            assert status.get("summary") != "Failed", f"{self.name} {self.told()}"
            return status if (status.get("step") or 0) >= step else None

        return wait_for(there, seconds=seconds, what=f"{self.name} at step {step}", shown=self.told) or {}

    def told(self) -> str:
        """What a person would look at: status, pods, events, and the ends of logs."""
        status = self.status()
        lines = [f"is {status.get('summary')} at step {status.get('step')}: {status.get('message')}"]
        for name, pod in self.pods().items():
            states = [each.get("state") for each in pod["status"].get("containerStatuses") or ()]
            lines.append(f"pod {name}: {pod['status'].get('phase')} {json.dumps(states)}")
            try:
                lines += ["    " + line for line in self.kubectl.run("logs", name, "--tail=8").splitlines()]
            except Exception as error:  # noqa: BLE001  # Of a pod that has none, the state says enough.
                lines.append(f"    no log: {error}")
        lines += [f"event {reason}: {message}" for reason, message in self.events()[-12:]]
        return "\n".join(lines)


def apply(kubectl: Kubectl, manifest: Object) -> Job:
    kubectl.apply(manifest)
    return Job(kubectl, manifest["metadata"]["name"])
