"""What somebody takes from a running job by hand, or puts in its way: it comes back, nothing is counted, and the job says so."""

from __future__ import annotations

from typing import Any

import pytest
from testbed.client import Client
from testbed.cluster_job import ClusterJob, attempts
from testbed.fake_kubelet import FakeKubelet
from testbed.pod_script import Script

from reasonrl.api import names

SLOW_TO_GO = Script(terminate_after=1.0)


def test_a_pod_that_somebody_deletes_comes_back_and_is_no_failure(job: ClusterJob, kubelet: FakeKubelet) -> None:
    before = job.run().pods()
    job.api.delete("pods", job.pod("rollout", 0), namespace=job.namespace)
    job.api.wait_gone("pods", job.pod("rollout", 0), namespace=job.namespace, uid=before[job.pod("rollout", 0)].uid)
    after = job.wait_pods(job.wanted())
    assert {name for name in after if after[name] != before[name]} == {job.pod("rollout", 0)}
    assert "zero-rollout-0" in job.wait_event("PodDeleted", "not counted as a failure")
    job.api.delete("pods", job.pod("rollout", 1), namespace=job.namespace, grace=0)
    assert "zero-rollout-1" in job.wait_event("PodDeleted", "zero-rollout-1")
    job.wait_pods(job.wanted())
    job.api.delete("pods", job.pod("trainer", 0), namespace=job.namespace, grace=0)
    job.wait_pods(job.wanted(attempt=1))
    seen = job.wait_summary("Running")
    assert "(not counted as a failure)" in job.wait_event("TrainersRestarted")
    assert (attempts(seen, "trainer")[1:], attempts(seen, "rollout")[1:]) == ((0, 0), (0, 0))
    assert len(job.events()["PodDeleted"].splitlines()) == 2, "once for each"
    job.assert_settled(made=8)


def token(job: ClusterJob) -> str:
    return str(job.api.get("secrets", names.token_name(job.name), namespace=job.namespace)["data"]["token"])


def test_a_deleted_token_secret_comes_back_with_new_pods_alone(job: ClusterJob, kubelet: FakeKubelet) -> None:
    kubelet.script("*-trainer-*", SLOW_TO_GO)
    before, old = job.run().pods(), token(job)
    job.api.delete("secrets", names.token_name(job.name), namespace=job.namespace)
    job.wait_condition("TrainersReady", "False", "Restarting")
    after = job.wait_pods(job.wanted(attempt=1))
    assert {pod.uid for pod in after.values()}.isdisjoint({pod.uid for pod in before.values()}), "no pod goes on with the old token"
    secret = job.api.get("secrets", names.token_name(job.name), namespace=job.namespace)
    assert token(job) != old
    for name in after:
        made = job.api.get("pods", name, namespace=job.namespace)["metadata"]["creationTimestamp"]
        assert made >= secret["metadata"]["creationTimestamp"]
    seen = job.wait_summary("Running")
    assert (attempts(seen, "trainer"), attempts(seen, "rollout")[1:]) == ((2, 0, 0), (0, 0))
    assert seen["attempts"]["trainer"]["lastReason"] == "TokenLost"
    assert "Secret zero-token was deleted" in job.wait_event("TrainersRestarted")
    assert "PodDeleted" not in job.events()
    job.assert_settled(made=8)


def test_a_token_secret_deleted_while_no_operator_runs_is_noticed_on_return(job: ClusterJob) -> None:
    before, old = job.run().pods(), token(job)
    job.operator.kill()
    job.api.delete("secrets", names.token_name(job.name), namespace=job.namespace)
    job.operator.start()
    after = job.wait_pods(job.wanted(attempt=1))
    assert {pod.uid for pod in after.values()}.isdisjoint({pod.uid for pod in before.values()})
    assert token(job) != old
    assert attempts(job.wait_summary("Running"), "trainer") == (2, 0, 0)


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("services", names.service_name("zero")),
        ("configmaps", names.config_name("zero")),
        ("networkpolicies", names.network_policy_name("zero")),
    ],
    ids=["Service", "ConfigMap", "NetworkPolicy"],
)
def test_a_deleted_child_comes_back_and_nothing_restarts(resource: str, name: str, job: ClusterJob) -> None:
    before, config = job.run(step=5).pods(), job.config()
    old = job.api.get(resource, name, namespace=job.namespace)
    job.api.delete(resource, name, namespace=job.namespace)
    new = job.api.wait_for(
        resource, name, lambda found: found["metadata"]["uid"] != old["metadata"]["uid"], namespace=job.namespace, deadline=30
    )
    assert new["metadata"]["ownerReferences"] == old["metadata"]["ownerReferences"]
    assert new.get("spec", {}).get("podSelector") == old.get("spec", {}).get("podSelector")
    assert (job.pods(), job.config()) == (before, config)
    assert job.report(6)["summary"] == "Running"
    job.assert_settled(made=4)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "Pod", "metadata": {"name": "zero-trainer-1"}, "spec": {"containers": [{"name": "main", "image": "example.com/other"}]}},
        {"kind": "Secret", "metadata": {"name": "zero-token"}, "stringData": {"token": "of somebody else"}},
        {"kind": "ConfigMap", "metadata": {"name": "zero-config"}, "data": {"job.yaml": "of somebody else"}},
    ],
    ids=lambda body: body["kind"],
)
def test_a_name_that_somebody_else_has_is_waited_for(body: dict[str, Any], job: ClusterJob, api: Client) -> None:
    name, resource = body["metadata"]["name"], f"{body['kind'].lower()}s"
    other = api.create({"apiVersion": "v1", **body}, namespace=job.namespace)
    job.create()
    taken = job.wait_condition("TrainersReady", "False", "NameTaken")
    assert name in taken["message"]
    assert job.status()["summary"] == "Pending"
    if resource != "pods":
        assert job.pods() == {}, "no pod meets what is not its own"
    found = api.get(resource, name, namespace=job.namespace)["metadata"]
    assert (found["uid"], "deletionTimestamp" in found) == (other["metadata"]["uid"], False), "what is not ours is not touched"
    api.delete(resource, name, namespace=job.namespace, grace=0)
    seen = job.wait_summary("Running", deadline=120)
    assert attempts(seen, "trainer")[1:] == (0, 0)
    job.wait_pods(job.wanted())


def test_a_token_that_somebody_puts_back_under_another_label_is_left_alone(job: ClusterJob, api: Client) -> None:
    """As by a restore from a backup: nothing is restarted for it, again and again least of all."""
    job.run(step=5)
    name = names.token_name(job.name)
    held = api.get("secrets", name, namespace=job.namespace)
    job.operator.kill()
    api.delete("secrets", name, namespace=job.namespace)
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": held["data"]}, namespace=job.namespace)
    before = job.pods()
    job.operator.start()
    job.report(6)
    assert job.pods() == before
    assert attempts(job.status(), "trainer") == (1, 0, 0)
