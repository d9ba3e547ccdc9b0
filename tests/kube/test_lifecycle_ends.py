"""How a job begins from its blueprint and how it ends: by success, by the clock, by deletion, and what is left of it then."""

from __future__ import annotations

import subprocess
from typing import Any

from testbed.binaries import binaries
from testbed.client import Client
from testbed.cluster_job import JOBS, ClusterJob, attempts, condition
from testbed.control_plane import ControlPlane
from testbed.deadline import wait_for
from testbed.fake_kubelet import FakeKubelet
from testbed.pod_script import run_result

from reasonrl.api import names

CHILD_KINDS = ("pods", "services", "configmaps", "secrets", "networkpolicies")
DONE = run_result(exit_code=0, reason="Completed", message="all 100 steps done", step=100, checkpoint_step=100)


def children(job: ClusterJob) -> dict[str, list[str]]:
    """Names of what belongs to the job, by kind, without kinds that have none."""
    labels = f"{names.LABEL_JOB}={job.name}"
    found = {
        kind: sorted(each["metadata"]["name"] for each in job.api.list(kind, namespace=job.namespace, labels=labels))
        for kind in CHILD_KINDS
    }
    return {kind: listed for kind, listed in found.items() if listed}


def blueprint(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": f"{names.GROUP}/{names.VERSION}", "kind": kind, "metadata": {"name": name}, "spec": spec}


def test_success_ends_the_pods_that_still_run_and_keeps_those_that_have_ended(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run(step=99)
    for index in range(2):
        kubelet.succeed(job.pod("trainer", index), DONE)
    seen = job.wait_summary("Succeeded")
    outcome = condition(seen, "Succeeded")
    assert (outcome["status"], outcome["reason"], outcome["message"]) == ("True", "Completed", "all 100 steps done")
    assert (seen["lastCheckpointStep"], seen["message"], "completionTime" in seen) == (100, "all 100 steps done", True)
    job.wait_pods_left({job.pod("trainer", 0), job.pod("trainer", 1)})
    assert "all 100 steps done" in job.wait_event("Succeeded")
    job.assert_settled(made=4)


def test_a_finished_job_is_deleted_when_its_time_to_live_is_over(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run({"ttlSecondsAfterFinished": 3600})
    kubelet.succeed(job.pod("trainer", 0), DONE)
    job.wait_summary("Succeeded")
    job.wait_pods_left({job.pod("trainer", 0)})
    job.assert_settled(made=4)
    job.edit({"ttlSecondsAfterFinished": 1})
    job.api.wait_gone(JOBS, "zero", namespace=job.namespace, deadline=20)


def test_a_failed_job_is_kept_without_a_time_to_live_and_deleted_with_one(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.create({"ttlSecondsAfterFinished": 2})
    job.wait_summary("Running")
    kubelet.fail(job.pod("trainer", 0), 2, run_result(exit_code=2, reason="DataUnreadable", message="no such file"))
    job.wait_summary("Failed")
    job.api.wait_gone(JOBS, "zero", namespace=job.namespace, deadline=20)


def test_the_active_deadline_fails_the_job_and_leaves_no_pod(job: ClusterJob) -> None:
    job.create({"activeDeadlineSeconds": 3600})
    job.wait_summary("Running")
    job.edit({"activeDeadlineSeconds": 3})
    seen = job.wait_summary("Failed")
    outcome = condition(seen, "Succeeded")
    assert outcome["reason"] == "DeadlineExceeded"
    assert "spec.activeDeadlineSeconds" in outcome["message"]
    job.wait_pods({})
    assert attempts(seen, "trainer") == (1, 0, 0)
    assert "DeadlineExceeded" in job.wait_event("Failed")
    job.assert_settled(made=4)


def test_a_suspended_job_does_not_run_into_its_deadline(job: ClusterJob) -> None:
    job.create({"activeDeadlineSeconds": 3600})
    job.wait_summary("Running")
    job.suspend(True)
    job.wait_summary("Suspended")
    job.edit({"activeDeadlineSeconds": 1})
    wait_for(lambda: job.config()["activeDeadlineSeconds"] == 1, deadline=20, what="the edit is taken")
    job.assert_settled(made=4)
    assert job.status()["summary"] == "Suspended"


def test_a_job_keeps_the_blueprint_that_it_began_with(job: ClusterJob, api: Client, kubelet: FakeKubelet) -> None:
    spec = {"image": "team/runtime:1", "trainer": {"replicas": 3, "gpusPerReplica": 1}, "ttlSecondsAfterFinished": 600}
    job.create(
        {"runtimeRef": {"kind": "ReasoningRLRuntime", "name": "h100"}, "algorithm": {"promptsPerStep": 12}, "trainer": {"replicas": 3}}
    )
    missing = job.wait_condition("Admitted", "False", "RuntimeNotFound")
    assert "'h100', which does not exist" in missing["message"]
    assert (job.status()["summary"], job.pods()) == ("Pending", {})
    api.create(blueprint("ReasoningRLRuntime", "h100", spec), namespace=job.namespace)
    before = job.wait_pods(job.wanted(trainers=3))
    seen = job.wait_summary("Running")
    version = api.get("reasoningrlruntimes", "h100", namespace=job.namespace)["metadata"]["resourceVersion"]
    assert seen["runtime"] == {"kind": "ReasoningRLRuntime", "name": "h100", "resourceVersion": version}
    assert (job.config()["image"], job.config()["ttlSecondsAfterFinished"]) == ("team/runtime:1", 600)
    config = job.file(names.CONFIG_JOB_FILE)
    api.patch(
        "reasoningrlruntimes", "h100", {"spec": {"image": "team/runtime:2", "trainer": {"gpusPerReplica": 8}}}, namespace=job.namespace
    )
    job.assert_settled(made=5)
    assert (job.pods(), job.file(names.CONFIG_JOB_FILE)) == (before, config)
    kubelet.fail(job.pod("trainer", 0), 3)
    job.wait_pods(job.wanted(trainers=3, attempt=1))
    api.delete("reasoningrlruntimes", "h100", namespace=job.namespace)
    kubelet.fail(job.pod("rollout", 0), 3)
    job.wait_pods(job.wanted(trainers=3, attempt=1, replaced={0: 1}))
    job.edit({"checkpoint": {"everySteps": 9}})
    wait_for(lambda: job.config()["checkpoint"]["everySteps"] == 9, deadline=20, what="the edit is taken")
    for name in job.pods():
        pod = api.get("pods", name, namespace=job.namespace)
        assert pod["spec"]["containers"][0]["image"] == "team/runtime:1", "what is made later is made by the old blueprint as well"
    assert job.file(names.CONFIG_JOB_FILE)["spec"] == {**config["spec"], "checkpoint": {**config["spec"]["checkpoint"], "everySteps": 9}}
    assert job.status()["runtime"]["resourceVersion"] == version, "it tells what was resolved, not what the blueprint became"


def test_a_job_that_makes_no_sense_with_its_blueprint_fails_with_the_reason(job: ClusterJob, api: Client) -> None:
    api.create(blueprint("ReasoningRLRuntime", "odd", {"trainer": {"engine": "torch", "replicas": 2}}), namespace=job.namespace)
    spec = {"runtimeRef": {"kind": "ReasoningRLRuntime", "name": "odd"}, "trainer": {"replicas": None, "engine": None}}
    job.create(spec)
    refused = job.wait_condition("Admitted", "False", "InvalidSpec")
    assert "spec.trainer" in refused["message"]
    seen = job.wait_summary("Failed")
    assert condition(seen, "Succeeded")["reason"] == "InvalidSpec"
    assert "spec.trainer" in job.wait_event("InvalidSpec")
    assert job.pods() == {}


def test_deleting_a_job_deletes_all_that_belongs_to_it_and_nothing_else(
    garbage_collector: ControlPlane, new_job: Any, kubelet: FakeKubelet
) -> None:
    doomed, other = new_job("doomed").run(), new_job("other").run()
    kept = children(other)
    assert set(children(doomed)) == set(CHILD_KINDS) == set(kept)
    doomed.api.delete(JOBS, "doomed", namespace=doomed.namespace)
    wait_for(lambda: not children(doomed), deadline=30, what="the garbage collector has taken all of it", every=0.1)
    assert children(other) == kept
    again = new_job("doomed").run()
    assert set(children(again)) == set(CHILD_KINDS), "its name is free for another"
    assert [kubelet.made(name) for name in again.pods()] == [2, 2, 2, 2]
    other.assert_settled(made=4)


def test_kubectl_shows_how_it_goes(job: ClusterJob, control_plane: ControlPlane) -> None:
    job.run(step=42)
    program = binaries("kubectl")["kubectl"]

    def kubectl(*words: str) -> str:
        command = [
            str(program),
            f"--kubeconfig={control_plane.kubeconfig(namespace=job.namespace)}",
            f"--cache-dir={control_plane.directory}",
        ]
        return subprocess.run([*command, *words], capture_output=True, text=True, check=True, timeout=30).stdout

    header, row = kubectl("get", "rrlj").splitlines()
    shown = dict(zip(header.split(), row.split(), strict=True))
    assert (shown["NAME"], shown["STATUS"], shown["STEP"], shown["PHASE"]) == ("zero", "Running", "42", "main")
    described = kubectl("describe", "rrlj", "zero")
    for text in ("TrainersReady", "all 2 trainers are ready", "phase main is training", "reasonrl-operator"):
        assert text in described
    explained = kubectl("explain", "rrlj.spec.algorithm.kl")
    assert "FIELDS" in explained
    assert "placement" in explained
