"""What people ask of a running job: to stop and go on, to change what may change, to enter a phase, to go back.

Each request is carried out once and touches no pod but those that it is about.
"""

from __future__ import annotations

import pytest
from testbed.client import ApiError
from testbed.cluster_job import JOBS, ClusterJob, attempts, condition, saved
from testbed.deadline import wait_for
from testbed.fake_kubelet import FakeKubelet
from testbed.pod_script import Script, run_result

from reasonrl.api import names
from reasonrl.api.exit_codes import ExitCode

SECOND = {"name": "longer", "maxResponseTokens": 128, "until": {"steps": 50}}
FIRST = {"name": "main", "maxResponseTokens": 64, "until": {"steps": 100}}


def test_a_suspended_job_frees_its_gpus_and_goes_on_at_the_same_step(job: ClusterJob, kubelet: FakeKubelet) -> None:
    saved_first = run_result(exit_code=ExitCode.PREEMPTED, reason="Preempted", step=42, checkpoint_step=42)
    kubelet.script("*", Script(terminate_exit_code=ExitCode.PREEMPTED, terminate_message=saved_first, terminate_after=0.5))
    before = job.run(step=42, checkpoints=saved(40)).status()
    config = job.config()
    job.suspend(True)
    seen = job.wait_summary("Suspended")
    held = condition(seen, "Suspended")
    assert (held["status"], held["reason"]) == ("True", "SuspendRequested")
    job.wait_pods({})
    assert (seen["trainers"]["ready"], seen["rollouts"]["ready"]) == (0, 0)
    assert (seen["step"], seen["phase"], seen["startTime"]) == (42, "main", before["startTime"])
    for kind, name in (("services", "zero"), ("configmaps", "zero-config"), ("secrets", "zero-token")):
        assert job.api.find(kind, name, namespace=job.namespace), f"{kind}/{name} stays"
    job.assert_settled(made=4)
    job.suspend(False)
    job.wait_pods(job.wanted(attempt=1))
    seen = job.report(43, checkpoints=saved(40, 42))
    assert (condition(job.wait_summary("Running"), "Suspended")["status"], seen["startTime"]) == ("False", before["startTime"])
    assert (attempts(seen, "trainer"), seen["lastCheckpointStep"]) == ((2, 0, 0), 42)
    assert job.config() == config
    assert {"Suspended", "Resumed"} <= set(job.events())
    job.assert_settled(made=8)


def test_a_job_created_suspended_has_no_pods_until_it_is_let_go(job: ClusterJob) -> None:
    job.create({"suspend": True})
    seen = job.wait_summary("Suspended")
    assert "startTime" not in seen
    assert job.pods() == {}
    job.edit({"suspend": False, "trainer": {"gradientCheckpointing": False}})
    job.wait_pods(job.wanted())
    job.wait_summary("Running")
    assert job.config()["trainer"]["gradientCheckpointing"] is False, "before the start everything may change"
    job.assert_settled(made=4)


def test_suspending_a_job_whose_pods_are_only_starting_takes_them_all_away(job: ClusterJob, kubelet: FakeKubelet) -> None:
    kubelet.hold("*-trainer-1")
    job.create()
    job.wait_condition("TrainersReady", "False", "Unschedulable")
    job.suspend(True)
    job.wait_pods({})
    job.suspend(False)
    kubelet.release("*-trainer-1")
    job.wait_pods(job.wanted(attempt=1))
    assert attempts(job.wait_summary("Running"), "trainer") == (2, 0, 0)


def test_a_live_edit_reaches_the_config_map_and_nothing_restarts(job: ClusterJob) -> None:
    before = job.run().pods()
    schedule = {"type": "constant", "value": 0.0005}
    spec_hash = job.status()["specHash"]
    job.edit({"algorithm": {"kl": {"schedule": schedule}}, "checkpoint": {"everySteps": 7}, "phases": [FIRST, SECOND]})
    wait_for(lambda: job.config()["checkpoint"]["everySteps"] == 7, deadline=20, what="the edit is in the ConfigMap")
    config = job.config()
    assert config["algorithm"]["kl"]["schedule"]["value"] == 0.0005
    assert [phase["name"] for phase in config["phases"]] == ["main", "longer"]
    job.wait_event("EditTaken")
    seen = job.wait_status(lambda status: status["totalSteps"] == 150, what="the steps of the new phase")
    assert seen["specHash"] != spec_hash
    assert seen["observedGeneration"] == job.body()["metadata"]["generation"]
    assert job.pods() == before
    job.assert_settled(made=4)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        ({"trainer": {"replicas": 4}}, "spec.trainer.replicas"),
        ({"seed": 7}, "spec.seed cannot change once the job has started"),
        ({"phases": [{**FIRST, "maxResponseTokens": 96}]}, "phases up to the current one"),
    ],
    ids=["trainers", "seed", "current phase"],
)
def test_an_edit_of_what_is_fixed_is_refused_by_the_api_server(edit: dict[str, object], text: str, job: ClusterJob) -> None:
    before = job.run().pods()
    with pytest.raises(ApiError) as refused:
        job.edit(edit)
    assert refused.value.status == 422
    assert text.split(".replicas")[0] in refused.value.message
    assert job.pods() == before


def test_rollout_pods_come_and_go_through_the_scale_subresource(job: ClusterJob) -> None:
    before = job.run().pods()
    scale = job.api.get(JOBS, "zero", namespace=job.namespace, subresource="scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (2, 2)
    selected = job.api.list("pods", namespace=job.namespace, labels=scale["status"]["selector"])
    assert {pod["metadata"]["name"] for pod in selected} == set(job.wanted(trainers=0))
    scale["spec"]["replicas"] = 4
    job.api.request("PUT", _scale_path(job), scale)
    after = job.wait_pods(job.wanted(rollouts=4))
    assert {name: after[name] for name in before} == before, "two more, and nothing else"
    job.wait_status(lambda status: status["rollouts"]["ready"] == 4, what="4 rollout pods ready")
    assert job.config()["rollout"]["replicas"] == 4
    job.api.patch(JOBS, "zero", {"spec": {"replicas": 1}}, namespace=job.namespace, subresource="scale")
    left = job.wait_pods(job.wanted(rollouts=1))
    assert left == {name: before[name] for name in left}, "the highest went"
    seen = job.wait_status(lambda status: status["rollouts"]["desired"] == 1, what="1 rollout pod wanted")
    assert (attempts(seen, "rollout")[1], seen["summary"]) == (0, "Running")
    job.assert_settled(made=6)


def test_a_manual_phase_waits_for_a_person(job: ClusterJob) -> None:
    before = job.run({"phases": [FIRST, {**SECOND, "advance": "Manual"}]}).pods()
    job.report(101, waitingToEnter="longer")
    waiting = job.wait_condition("Progressing", "True", "WaitingForPerson")
    command = "kubectl annotate rrlj zero reasonrl.dev/advance-to=longer"
    assert command in waiting["message"]
    assert command in job.wait_event("AwaitingAdvance")
    assert (job.status()["waitingToEnter"], job.control()["advanceTo"]) == ("longer", None)
    job.annotate(names.ANNOTATION_ADVANCE, "longer")
    wait_for(lambda: job.control()["advanceTo"] == "longer", deadline=20, what="the run can read it")
    seen = job.report(103, phase="longer", phaseIndex=1, phaseStep=2)
    assert "waitingToEnter" not in seen
    assert [(phase["name"], phase["enteredAtStep"]) for phase in seen["phases"]] == [("main", 0), ("longer", 101)]
    assert "longer, at step 101" in job.wait_event("PhaseEntered", "longer")
    assert job.pods() == before
    job.assert_settled(made=4)


def test_a_rollback_by_annotation_starts_the_gang_again_from_that_checkpoint(job: ClusterJob, kubelet: FakeKubelet) -> None:
    rollouts = job.run(step=33, checkpoints=saved(10, 20, 30)).pods("rollout")
    job.annotate(names.ANNOTATION_ROLLBACK, "15")
    assert "'15' is not the step of a kept checkpoint; kept are 10, 20, 30" in job.wait_event("RollbackRefused")
    job.annotate(names.ANNOTATION_ROLLBACK, "10")
    job.wait_pods(job.wanted(attempt=1))
    assert (job.control()["rollbackTo"], job.control()["rollbackAttempt"]) == (10, 1)
    seen = job.wait_summary("Running")
    assert attempts(seen, "trainer") == (2, 0, 0), "a wish is no failure"
    assert "checkpoint of step 10" in job.wait_event("TrainersRestarted")
    job.report(11, checkpoints=saved(10))
    kubelet.fail(job.pod("trainer", 1), 3)
    job.wait_pods(job.wanted(attempt=2))
    job.wait_summary("Running")
    assert job.control()["rollbackTo"] is None, "the next restart does not go back again"
    assert job.pods("rollout") == rollouts
    job.assert_settled(made=8)


def test_a_phase_with_other_rollout_pods_reshapes_them_one_at_a_time(job: ClusterJob, kubelet: FakeKubelet) -> None:
    wider = {**SECOND, "rollout": {"replicas": 4, "gpusPerReplica": 2}}
    before = job.run({"rollout": {"replicas": 3}, "phases": [FIRST, wider]}).pods()
    kubelet.hold("*-rollout-[012]")
    job.say(101, phase="longer", phaseIndex=1, phaseStep=1)
    wait_for(lambda: kubelet.made("zero-rollout-3") == 1, deadline=20, what="one more")
    job.wait_status(lambda status: status["rollouts"]["desired"] == 4, what="4 wanted")
    wait_for(lambda: "zero-rollout-2" in job.pods() and kubelet.made("zero-rollout-2") == 2, deadline=20, what="the first of the others")
    job.assert_settled(made=7)
    now = job.pods()
    assert [name for name in before if now[name] != before[name]] == ["zero-rollout-2"], "as long as it does not serve, the others do"
    kubelet.release("*-rollout-[012]")
    wait_for(lambda: all(kubelet.made(f"zero-rollout-{index}") == 2 for index in range(3)), deadline=20, what="all reshaped")
    after = job.wait_pods(job.wanted(rollouts=4))
    assert {name: after[name] for name in job.wanted(rollouts=0)} == {name: before[name] for name in job.wanted(rollouts=0)}
    for index in range(4):
        pod = job.api.get("pods", f"zero-rollout-{index}", namespace=job.namespace)
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    job.wait_status(lambda status: status["rollouts"]["ready"] == 4, what="4 ready")
    assert attempts(job.status(), "rollout")[1] == 0
    job.assert_settled(made=9)


def _scale_path(job: ClusterJob) -> str:
    return f"/apis/{names.GROUP}/{names.VERSION}/namespaces/{job.namespace}/{JOBS}/{job.name}/scale"
