"""Jobs that ask for GPUs which are not there: they wait whole, say why, and start when there are some.

The GPUs are an extended resource of the tests' own, which the nodes are said to have: scheduler, quota and operator treat it as any other.
What a container does with a GPU is not tried here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from driver.jobs import Job, apply, job
from driver.kubectl import Kubectl, wait_for

GPU = "e2e.reasonrl.dev/gpu"
WAIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def gpus(admin: Kubectl) -> Iterator[Callable[[int], None]]:
    """Says how many GPUs each node has."""
    nodes = [node["metadata"]["name"] for node in admin.all("nodes")]

    def give(count: int) -> None:
        for node in nodes:
            admin.patch("node", node, {"status": {"capacity": {GPU: str(count)}}}, "--subresource=status")
        wait_for(lambda: all(_allocatable(admin, node) == count for node in nodes), seconds=WAIT_SECONDS, what=f"{count} GPUs on each node")

    give(1)
    yield give
    for node in nodes:
        path = "/status/capacity/" + GPU.replace("/", "~1")
        patch = json.dumps([{"op": "remove", "path": path}])
        admin.run("patch", "node", node, "--type=json", f"--patch={patch}", "--subresource=status")


def _allocatable(admin: Kubectl, node: str) -> int:
    return int(admin.get("node", node)["status"]["allocatable"].get(GPU, "0"))


def gpu_job(name: str, *, trainers: int, gpus_each: int, **changes: Any) -> dict[str, Any]:
    """Two ranks or more take DeepSpeed; the rollout engines are in the trainers' pods, so that only the gang asks for GPUs."""
    role = {"gpuResourceName": GPU}
    return job(
        name,
        claim=None,
        rollout={"placement": "Colocated", "replicas": 1, "minReplicas": 1, "gpusPerReplica": 0},
        trainer={"engine": "deepspeed", "replicas": trainers, "gpusPerReplica": gpus_each},
        pods={"trainer": role},
        **changes,
    )


def _scheduled(made: Job) -> list[str]:
    return [name for name, pod in made.pods().items() if pod["spec"].get("nodeName")]


def test_a_gang_that_no_node_can_take_waits_and_says_why(namespace: Kubectl, gpus: Callable[[int], None], removed: list[Job]) -> None:
    made = apply(namespace, gpu_job("too-big", trainers=2, gpus_each=4))
    removed.append(made)
    wait_for(
        lambda: made.condition("TrainersReady")["reason"] == "Unschedulable",
        seconds=WAIT_SECONDS,
        what="the scheduler's word in the status",
        shown=made.told,
    )
    assert f"Insufficient {GPU}" in made.condition("TrainersReady")["message"]
    assert f"Insufficient {GPU}" in made.status()["message"]
    assert made.status()["summary"] == "Pending"
    assert _scheduled(made) == []
    assert made.status().get("step") is None
    assert any(reason == "TrainersBlocked" for reason, _ in made.events())


def test_a_gang_of_which_one_finds_no_gpu_does_not_begin(namespace: Kubectl, gpus: Callable[[int], None], removed: list[Job]) -> None:
    gpus(1)
    trainers = 1 + len(namespace.all("nodes"))
    made = apply(namespace, gpu_job("one-too-many", trainers=trainers, gpus_each=1))
    removed.append(made)
    wait_for(
        lambda: len(_scheduled(made)) == trainers - 1 and made.condition("TrainersReady")["reason"] == "Unschedulable",
        seconds=WAIT_SECONDS,
        what="all trainers but one on nodes",
        shown=made.told,
    )
    assert made.condition("TrainersReady")["status"] == "False"
    assert made.status().get("step") is None
    assert f"Insufficient {GPU}" in made.status()["message"]


def test_a_quota_is_named_and_the_job_starts_when_it_is_raised(namespace: Kubectl, gpus: Callable[[int], None], removed: list[Job]) -> None:
    gpus(2)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": {"hard": {f"requests.{GPU}": "1"}}}
    namespace.apply(quota)
    try:
        wait_for(
            lambda: namespace.get("resourcequota", "gpus").get("status", {}).get("hard"), seconds=WAIT_SECONDS, what="the quota counts"
        )
        made = apply(namespace, gpu_job("over-quota", trainers=2, gpus_each=1))
        removed.append(made)
        wait_for(
            lambda: "gpus" in made.status().get("message", "") and "quota" in made.status().get("message", ""),
            seconds=WAIT_SECONDS,
            what="the quota in the status",
            shown=made.told,
        )
        assert made.condition("TrainersReady")["status"] != "True"
        namespace.apply({**quota, "spec": {"hard": {f"requests.{GPU}": "2"}}})
        wait_for(lambda: len(_scheduled(made)) == 2, seconds=WAIT_SECONDS, what="both trainers on nodes", shown=made.told)
    finally:
        namespace.delete("resourcequota", "gpus")


def test_gpus_that_come_later_are_taken(namespace: Kubectl, gpus: Callable[[int], None], removed: list[Job]) -> None:
    gpus(1)
    made = apply(namespace, gpu_job("patient", trainers=1, gpus_each=2))
    removed.append(made)
    wait_for(lambda: made.condition("TrainersReady")["reason"] == "Unschedulable", seconds=WAIT_SECONDS, what="the wait", shown=made.told)
    gpus(2)
    wait_for(lambda: len(_scheduled(made)) == 1, seconds=WAIT_SECONDS, what="the trainer on a node", shown=made.told)
