"""Jobs in a queue of Kueue: what Kueue is told by the pods, and what becomes of a job while Kueue holds, admits and takes back its pods.

Kueue itself is not here. A policy on the API server does to new pods what its webhook does (a gate, a finalizer, a label), and the tests
do what its controller does, by its source: it admits a group when all of it is there, and lets ended pods go when all of them have ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testbed.client import ApiError, Client
from testbed.cluster_job import ClusterJob, attempts
from testbed.deadline import wait_for
from testbed.fake_kubelet import FakeKubelet

from reasonrl.api import names

KUEUE = "kueue.x-k8s.io"
GATE, FINALIZER = f"{KUEUE}/admission", f"{KUEUE}/managed"
QUEUE, GROUP, SIZE = f"{KUEUE}/queue-name", f"{KUEUE}/pod-group-name", f"{KUEUE}/pod-group-total-count"
QUEUED = {"scheduling": {"gang": "Kueue", "queue": "research"}}


@pytest.fixture
def kueue_holds(api: Client, namespace: str) -> Iterator[None]:
    """New pods of a queue are held back from here on, as by Kueue's webhook."""
    version = "admissionregistration.k8s.io/v1"
    name = f"hold-{namespace}"
    mutation = (
        f"Object{{metadata: Object.metadata{{labels: {{'{FINALIZER}': 'true'}}, finalizers: ['{FINALIZER}']}}, "
        f"spec: Object.spec{{schedulingGates: [Object.spec.schedulingGates{{name: '{GATE}'}}]}}}}"
    )
    policy = {
        "apiVersion": version,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            },
            "matchConditions": [{"name": "queued", "expression": f"'{QUEUE}' in object.metadata.?labels.orValue({{}})"}],
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": mutation}}],
        },
    }
    binding = {"apiVersion": version, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": {"policyName": name}}
    api.create(policy)
    api.create(binding)
    container = {"name": "main", "image": "example.com/probe"}
    probe = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "labels": {QUEUE: "q"}}, "spec": {"containers": [container]}}

    def held() -> bool:
        return "schedulingGates" in api.create(probe, namespace=namespace, query={"dryRun": "All"})["spec"]

    wait_for(held, deadline=30, what="the policy takes effect", every=0.2)
    yield
    api.delete("mutatingadmissionpolicybindings", name)
    api.delete("mutatingadmissionpolicies", name)
    for pod in api.list("pods", namespace=namespace):
        let_go(api, pod)


def let_go(api: Client, pod: dict[str, Any]) -> None:
    """Takes Kueue's finalizer off."""
    try:
        api.patch("pods", pod["metadata"]["name"], {"metadata": {"finalizers": None}}, namespace=pod["metadata"]["namespace"])
    except ApiError as error:
        if error.status != 404:
            raise


class Queue:
    """What Kueue's controller does with the pods of one job."""

    def __init__(self, job: ClusterJob) -> None:
        self.job = job

    def pods(self, role: str) -> list[dict[str, Any]]:
        labels = f"{names.LABEL_JOB}={self.job.name},{names.LABEL_ROLE}={role}"
        return self.job.api.list("pods", namespace=self.job.namespace, labels=labels)

    def wait_group(self, name: str) -> list[dict[str, Any]]:
        """Until the group of that name is complete and wholly gated."""

        def complete() -> list[dict[str, Any]]:
            group = [pod for pod in self.pods("trainer") if pod["metadata"]["labels"].get(GROUP) == name]
            sizes = {pod["metadata"]["annotations"].get(SIZE) for pod in group}
            return group if sizes == {str(len(group))} and all("schedulingGates" in pod["spec"] for pod in group) else []

        return wait_for(complete, deadline=30, what=f"group {name} is complete", every=0.1)

    def admit(self, role: str) -> None:
        for pod in self.pods(role):
            if "schedulingGates" in pod["spec"]:
                self.job.api.patch("pods", pod["metadata"]["name"], {"spec": {"schedulingGates": None}}, namespace=self.job.namespace)

    def preempt(self) -> None:
        """Marks all trainers and deletes them, for a workload of higher priority."""
        stopped = {"type": "TerminationTarget", "status": "True", "reason": "Preempted", "message": "Preempted to accommodate another"}
        for pod in self.pods("trainer"):
            name = pod["metadata"]["name"]
            conditions = [*pod["status"].get("conditions", []), stopped]
            self.job.api.patch("pods", name, {"status": {"conditions": conditions}}, namespace=self.job.namespace, subresource="status")
            self.job.api.delete("pods", name, namespace=self.job.namespace)

    def finish_group(self) -> None:
        """Gives the names free, once every pod of the group has ended, as for a group that is not retriable."""

        def over() -> list[dict[str, Any]]:
            group = self.pods("trainer")
            ended = [
                pod
                for pod in group
                if pod["status"]["phase"] in ("Succeeded", "Failed")
                or ("deletionTimestamp" in pod["metadata"] and not pod["spec"].get("nodeName"))
            ]
            return group if group and len(ended) == len(group) else []

        for pod in wait_for(over, deadline=30, what="all of the group have ended", every=0.1):
            assert pod["metadata"]["annotations"][f"{KUEUE}/retriable-in-group"] == "false", "or Kueue would wait for a replacement"
            let_go(self.job.api, pod)


@pytest.fixture
def queue(kueue_holds: None, job: ClusterJob) -> Queue:
    return Queue(job)


def test_a_queued_job_waits_runs_when_it_is_admitted_and_comes_back_after_a_preemption(
    job: ClusterJob, queue: Queue, kubelet: FakeKubelet
) -> None:
    job.create(QUEUED)
    first = queue.wait_group("zero-gang-0")
    assert {pod["metadata"]["labels"][QUEUE] for pod in (*first, *queue.pods("rollout"))} == {"research"}
    waiting = job.wait_condition("TrainersReady", "False", "Queued")
    assert "queue research until Kueue admits them" in waiting["message"]
    assert (job.status()["summary"], job.status()["message"]) == ("Pending", waiting["message"])
    assert "research" in job.wait_event("Queued")
    queue.admit("rollout")
    queue.admit("trainer")
    job.wait_summary("Running")
    rollouts = job.pods("rollout")
    queue.preempt()
    queue.finish_group()
    queue.wait_group("zero-gang-1")
    seen = job.wait_summary("Pending")
    assert attempts(seen, "trainer") == (2, 0, 0), "a preemption is nobody's failure"
    assert job.pods("rollout") == rollouts
    queue.admit("trainer")
    job.wait_summary("Running")
    job.assert_settled(made=6)


def test_a_job_suspended_in_the_queue_leaves_it_and_enters_it_again(job: ClusterJob, queue: Queue) -> None:
    job.create(QUEUED)
    queue.wait_group("zero-gang-0")
    job.wait_condition("TrainersReady", "False", "Queued")
    job.suspend(True)
    job.wait_summary("Suspended")
    queue.finish_group()
    for pod in queue.pods("rollout"):
        let_go(job.api, pod)
    job.wait_pods({})
    job.suspend(False)
    queue.wait_group("zero-gang-1")
    queue.admit("trainer")
    queue.admit("rollout")
    seen = job.wait_summary("Running")
    assert attempts(seen, "trainer")[1:] == (0, 0)


def test_a_failed_gang_gives_its_group_up_before_the_next_is_made(job: ClusterJob, queue: Queue, kubelet: FakeKubelet) -> None:
    job.create(QUEUED)
    queue.wait_group("zero-gang-0")
    queue.admit("trainer")
    queue.admit("rollout")
    job.wait_summary("Running")
    kubelet.fail(job.pod("trainer", 1), 3)
    queue.finish_group()
    queue.wait_group("zero-gang-1")
    seen = job.wait_summary("Pending")
    assert attempts(seen, "trainer") == (2, 1, 1)
    queue.admit("trainer")
    job.wait_summary("Running")
