"""The story: a job is applied, its gang starts, phases advance, checkpoints appear, it succeeds, and its model loads. On real pods."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from driver.jobs import Job, apply, job
from driver.kubectl import Kubectl, Object, wait_for
from driver.timeline import Timeline, watched

RUN_SECONDS = 1200.0
READER = """
import json, os
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
final = Path("/checkpoints/final")
model = AutoModelForCausalLM.from_pretrained(final)
tokenizer = AutoTokenizer.from_pretrained(final)
prompt = tokenizer("Q a 3 b + 4 c : <think>", return_tensors="pt", add_special_tokens=False)
written = model.generate(**prompt, max_new_tokens=8, do_sample=False)
print(json.dumps({
    "weights": sum(each.numel() for each in model.parameters()),
    "new": int(written.shape[1] - prompt["input_ids"].shape[1]),
    "summary": json.loads(Path("/checkpoints/summary.json").read_text()),
    "checkpoints": sorted(path.name for path in Path("/checkpoints/checkpoints").iterdir()),
}))
"""


@dataclass(frozen=True, slots=True)
class Told:
    """A job that ended well, and how it got there."""

    job: Job
    status: Object
    timeline: Timeline


@pytest.fixture(scope="module")
def told(namespace: Kubectl, claim: Callable[[str], str], report: Path) -> Iterator[Told]:
    made = apply(namespace, job("quickstart", claim=claim("checkpoints"), steps=(10, 14)))
    timeline = Timeline()
    try:
        with watched(made, timeline):
            status = made.wait_summary("Succeeded", seconds=RUN_SECONDS)
        yield Told(made, status, timeline)
    finally:
        (report / "timeline.txt").write_text(timeline.text() + "\n")
        namespace.delete("reasoningrljobs.reasonrl.dev", made.name)


def test_the_gang_starts_whole_and_once(told: Told) -> None:
    names = {"quickstart-trainer-0", "quickstart-rollout-0", "quickstart-rollout-1"}
    assert set(told.timeline.uids) == names
    assert all(len(uids) == 1 for uids in told.timeline.uids.values())
    assert told.status["attempts"]["trainer"]["started"] == 1
    assert told.timeline.summaries[-2:] == ["Running", "Succeeded"]


def test_phases_advance_while_one_watches(told: Told) -> None:
    assert told.timeline.phases == ["ctx-40", "ctx-96"]
    entered = {phase["name"]: phase["enteredAtStep"] for phase in told.status["phases"]}
    assert entered == {"ctx-40": 0, "ctx-96": 10}
    assert told.timeline.steps == sorted(told.timeline.steps)
    assert told.status["step"] == 24


def test_checkpoints_appear_while_it_runs(told: Told) -> None:
    assert len(told.timeline.checkpoints) > 1
    assert told.status["lastCheckpointStep"] == 24


def test_the_end_says_that_it_is_one(told: Told) -> None:
    assert told.job.condition("Succeeded")["status"] == "True"
    running = [name for name, pod in told.job.pods().items() if pod["status"]["phase"] == "Running"]
    wait_for(lambda: not running or not _running(told.job), seconds=120, what="no pod runs after the end", shown=told.job.told)


def _running(made: Job) -> list[str]:
    return [name for name, pod in made.pods().items() if pod["status"]["phase"] == "Running"]


def test_the_model_in_the_volume_loads_with_transformers(told: Told, namespace: Kubectl, runtime_image: str) -> None:
    namespace.apply(reader(runtime_image, claim="checkpoints"))
    namespace.run("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/reader", "--timeout=240s", seconds=260)
    answer = json.loads(namespace.run("logs", "reader").splitlines()[-1])
    assert answer["weights"] > 50_000
    assert answer["new"] >= 1
    assert "step-000024" in answer["checkpoints"]


def reader(image: str, *, claim: str) -> Object:
    """A restricted pod that loads the model of a finished run."""
    container = {
        "name": "main",
        "image": image,
        "command": ["/opt/reasonrl/bin/python", "-c", READER],
        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}, {"name": "OMP_NUM_THREADS", "value": "1"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "checkpoints", "mountPath": "/checkpoints"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "checkpoints", "persistentVolumeClaim": {"claimName": claim}}, {"name": "tmp", "emptyDir": {}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"}, "spec": spec}
