"""What is read of a pod, in the states that kubelets report."""

from __future__ import annotations

from typing import Any

import pytest

from reasonrl.api import names
from reasonrl.controller.pod_record import parse_pod, same_pod
from reasonrl.controller.records import PodRecord

START, END = "2026-01-01T00:00:10Z", "2026-01-01T00:01:40Z"
BEGAN = 1767225600.0


def pod(status: dict[str, Any], *, labels: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    own = {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_JOB: "j",
        names.LABEL_JOB_UID: "label-uid",
        names.LABEL_ROLE: "rollout",
        names.LABEL_INDEX: "3",
        names.LABEL_ATTEMPT: "2",
        names.LABEL_TEMPLATE: "abc",
    }
    return {
        "metadata": {
            "name": "j-rollout-3",
            "namespace": "a",
            "uid": "u",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": own | (labels or {}),
            **metadata,
        },
        "spec": {"nodeName": "n1"} if "containerStatuses" in status else {},
        "status": status,
    }


def read(status: dict[str, Any], **options: Any) -> PodRecord:
    entry = parse_pod(pod(status, **options))
    assert entry is not None
    return entry.record


def main_container(state: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"name": "other", "state": {"running": {}}}, {"name": "main", "state": state, **more}]


def test_a_running_pod() -> None:
    record = read(
        {
            "phase": "Running",
            "podIP": "10.0.0.9",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": main_container({"running": {"startedAt": START}}),
        }
    )
    assert (record.role, record.index, record.attempt, record.template, record.job) == ("rollout", 3, 2, "abc", "j")
    assert (record.phase, record.ready, record.scheduled, record.node, record.address) == ("Running", True, True, "n1", "10.0.0.9")
    assert (record.created, record.started, record.ended, record.exit_code) == (BEGAN, BEGAN + 10, None, None)
    assert not record.disrupted


def test_a_pod_that_failed_keeps_code_reason_and_message() -> None:
    terminated = {"exitCode": 137, "reason": "OOMKilled", "startedAt": START, "finishedAt": END, "message": '{"exitCode": 1}'}
    record = read({"phase": "Failed", "containerStatuses": main_container({"terminated": terminated})})
    assert (record.exit_code, record.reason, record.message, record.ended) == (137, "OOMKilled", '{"exitCode": 1}', BEGAN + 100)


def test_an_evicted_pod_says_so_and_is_disrupted_only_where_the_condition_says_so() -> None:
    evicted = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    record = read(evicted)
    assert (record.reason, record.message, record.disrupted) == ("Evicted", "The node was low on resource: memory.", False)
    assert read({**evicted, "conditions": [{"type": "DisruptionTarget", "status": "True"}]}).disrupted


@pytest.mark.parametrize("reason", ["Preempting", "NodeLost", "Terminated"])
def test_a_pod_ended_by_its_node_is_disrupted(reason: str) -> None:
    assert read({"phase": "Failed", "reason": reason}).disrupted


def test_an_end_without_a_time_has_that_of_its_last_condition() -> None:
    conditions = [{"type": "Ready", "status": "False", "lastTransitionTime": END}, {"type": "PodScheduled", "lastTransitionTime": START}]
    assert read({"phase": "Failed", "reason": "Evicted", "conditions": conditions}).ended == BEGAN + 100


def test_a_pod_whose_preparation_failed_has_the_reason_of_that() -> None:
    status = {
        "phase": "Failed",
        "initContainerStatuses": [
            {"name": "fetch", "state": {"terminated": {"exitCode": 4, "reason": "Error", "message": "no such model"}}}
        ],
        "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}],
    }
    record = read(status)
    assert (record.exit_code, record.reason, record.message, record.waiting) == (4, "Error", "no such model", "")


def test_why_a_pod_cannot_start() -> None:
    pulling = read({"phase": "Pending", "containerStatuses": main_container({"waiting": {"reason": "ImagePullBackOff", "message": "no"}})})
    assert (pulling.waiting, pulling.waiting_message) == ("ImagePullBackOff", "no")
    creating = read({"phase": "Pending", "containerStatuses": main_container({"waiting": {"reason": "ContainerCreating"}})})
    assert creating.waiting == ""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    unplaced = read({"phase": "Pending", "conditions": [condition]})
    assert (unplaced.unschedulable, unplaced.scheduled) == ("0/3 nodes", False)
    gated = read({"phase": "Pending", "conditions": [{**condition, "reason": "SchedulingGated"}]})
    assert (gated.unschedulable, gated.gated, gated.scheduled) == ("", True, False)


def test_when_a_pod_got_its_node() -> None:
    condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": END}
    assert (read({"conditions": [condition]}).placed, read({"conditions": [condition]}).gated) == (BEGAN + 100, False)
    assert read({"conditions": [{**condition, "status": "False", "reason": "Unschedulable"}]}).placed is None


def test_a_pod_that_kueue_takes_back_is_disrupted() -> None:
    stopped = {"type": "TerminationTarget", "status": "True", "reason": "Preempted", "message": "a workload of higher priority"}
    assert read({"phase": "Running", "conditions": [stopped]}).disrupted


def test_a_pod_that_was_just_made_has_no_status_at_all() -> None:
    record = read({})
    assert (record.phase, record.ready, record.scheduled, record.deleting) == ("Pending", False, False, False)
    assert read({}, deletionTimestamp=END).deleting


def test_the_owner_counts_and_not_the_label() -> None:
    owners = [{"uid": "other", "controller": False}, {"uid": "owner-uid", "controller": True}]
    assert read({}, ownerReferences=owners).job_uid == "owner-uid"
    assert read({}).job_uid == "label-uid"


@pytest.mark.parametrize(
    "labels",
    [{names.LABEL_ROLE: "judge"}, {names.LABEL_INDEX: "x"}, {names.LABEL_JOB: ""}, {names.LABEL_MANAGED_BY: "helm"}],
)
def test_pods_of_nobody_are_not_taken_in(labels: dict[str, str]) -> None:
    assert parse_pod(pod({}, labels=labels)) is None


def test_an_update_that_changes_nothing_for_us_is_no_change() -> None:
    one = read({"phase": "Pending"})
    assert same_pod(one, read({"phase": "Pending", "qosClass": "Burstable"}, resourceVersion="8"))
    assert not same_pod(one, read({"phase": "Running"}, resourceVersion="8"))


def test_the_record_of_a_pod_is_small() -> None:
    """The target of 150 MB at 4,000 pods leaves a few kilobytes a pod."""
    import sys

    record = read({"phase": "Running", "containerStatuses": main_container({"running": {"startedAt": START}})})
    assert sys.getsizeof(record) + sum(sys.getsizeof(getattr(record, name)) for name in record.__slots__) < 2500
