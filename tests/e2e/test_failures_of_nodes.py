"""What befalls the cluster under a job that runs: a drained node, a node that is cut off, a kubelet and an API server that start again.

A drain is anybody's; the rest takes a hand on the machines, which only the local cluster gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from driver.jobs import Job, apply, job
from driver.kubectl import Kubectl, wait_for
from local_cluster.control_plane import APISERVER, control_machine, start_apiserver, wait_ready
from local_cluster.layout import Layout, Node, layout
from local_cluster.node import node_machine, start_kubelet
from local_cluster.processes import tell

WAIT_SECONDS = 600.0


@pytest.fixture(scope="module")
def machines(admin: Kubectl) -> Layout:
    """The machines of the local cluster."""
    if admin.kubeconfig != str(layout().kubeconfig):
        pytest.skip("KUBECONFIG is not that of the local cluster, whose machines this test takes hold of")
    return layout()


@pytest.fixture(scope="module")
def steady(namespace: Kubectl, claim: Callable[[str], str]) -> Iterator[Job]:
    """A run longer than the tests of this file, with one rollout pod."""
    rollout = {"replicas": 1, "minReplicas": 1}
    manifest = job(
        "steady", claim=claim("steady"), steps=(20, 20_000), rollout=rollout, checkpoint={"everySteps": 5}, evaluation={"everySteps": 500}
    )
    made = apply(namespace, manifest)
    try:
        yield made
    finally:
        namespace.delete("reasoningrljobs.reasonrl.dev", made.name)
        namespace.run("delete", "pods", f"--selector=reasonrl.dev/job={made.name}", "--grace-period=1", "--ignore-not-found")


@dataclass(frozen=True, slots=True)
class Standing:
    """A run at one moment: who its pods are, and how often its trainers were started and failed."""

    uids: dict[str, str]
    started: int
    failures: int


def standing(made: Job) -> Standing:
    attempts = made.status()["attempts"]["trainer"]
    return Standing(uids=made.uids(), started=attempts["started"], failures=attempts.get("failures") or 0)


@pytest.fixture
def running(steady: Job) -> Job:
    """The run, once it trains and has a checkpoint."""
    wait_for(
        lambda: (
            steady.status().get("summary") == "Running"
            and steady.status()["rollouts"].get("ready") == 1
            and (steady.status().get("lastCheckpointStep") or 0) > 0
        ),
        seconds=WAIT_SECONDS,
        what="the run trains and has a checkpoint",
        shown=steady.told,
    )
    return steady


def goes_on(made: Job) -> None:
    made.wait_step((made.status().get("step") or 0) + 3, seconds=WAIT_SECONDS)


def test_an_api_server_that_starts_again_does_not_disturb_a_run(running: Job, machines: Layout) -> None:
    before, control = standing(running), control_machine(machines)
    control.stop_daemon(APISERVER, grace=5.0)
    start_apiserver(control)
    wait_ready(control)
    goes_on(running)
    assert standing(running) == before


def test_a_kubelet_that_starts_again_does_not_disturb_a_run(running: Job, machines: Layout) -> None:
    before, number = standing(running), _node_of(running, f"{running.name}-trainer-0")
    machine = node_machine(machines, Node(number))
    machine.stop_daemon("kubelet")
    start_kubelet(machine, Node(number), share=2)
    running.kubectl.run("wait", "--for=condition=Ready", f"node/node-{number}", "--timeout=120s", seconds=130)
    goes_on(running)
    assert standing(running) == before


def test_a_drained_node_costs_a_restart_that_is_not_counted(running: Job, admin: Kubectl) -> None:
    before = standing(running)
    node = running.pods()[f"{running.name}-trainer-0"]["spec"]["nodeName"]
    admin.run("cordon", node)
    try:
        selector = f"--pod-selector=reasonrl.dev/job={running.name}"
        admin.run("drain", node, selector, "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=200s", seconds=220)
        wait_for(
            lambda: running.status()["attempts"]["trainer"]["started"] > before.started and running.status()["summary"] == "Running",
            seconds=WAIT_SECONDS,
            what="trainers on another node",
            shown=running.told,
        )
        assert running.pods()[f"{running.name}-trainer-0"]["spec"]["nodeName"] != node
        assert standing(running).failures == before.failures
        goes_on(running)
    finally:
        admin.run("uncordon", node)


def test_a_rollout_pod_on_a_node_that_is_cut_off_does_not_stop_the_trainers(running: Job, machines: Layout, admin: Kubectl) -> None:
    """Both pods of the run may be on one node; then the run stands still with it, and goes on when the node is back."""
    trainer, rollout = (_node_of(running, f"{running.name}-{role}-0") for role in ("trainer", "rollout"))
    machine = node_machine(machines, Node(rollout))
    tell(["ip", "link", "set", machine.link, "down"])
    try:
        admin.run("wait", "--for=condition=Ready=Unknown", f"node/node-{rollout}", "--timeout=180s", seconds=200)
        assert running.condition("Succeeded")["status"] != "False"
        if trainer != rollout:
            assert running.pods("trainer")[f"{running.name}-trainer-0"]["status"]["phase"] == "Running"
    finally:
        tell(["ip", "link", "set", machine.link, "up"])
    admin.run("wait", "--for=condition=Ready", f"node/node-{rollout}", "--timeout=120s", seconds=130)
    goes_on(running)


def _node_of(made: Job, pod: str) -> int:
    return int(str(made.pods()[pod]["spec"]["nodeName"]).removeprefix("node-"))
