"""What comes from a pod is read with care: a bad body is a reason, never an exception."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.api.run_status import LARGEST_BODY, RunResult, RunStatus, Unreadable, parse_run_result, parse_run_status

BODY = {
    "step": 12,
    "phase": "ctx-8k",
    "phaseIndex": 0,
    "phaseStep": 12,
    "waitingToEnter": None,
    "stage": "weightSync",
    "stageStarted": 1.7e9,
    "stageDeadlineSeconds": 900,
    "klCoefficient": 0.001,
    "reward": None,
    "responseLengthP95": 7100,
    "onPolicy": True,
    "checkpoints": [{"step": 10, "time": 1.7e9, "healthy": True, "path": "/checkpoints/10"}],
    "health": [{"signal": "RewardCollapse", "state": "warning", "message": "falls", "action": "none"}],
    "configHash": "abc",
}


def test_a_status_survives_the_wire() -> None:
    status = parse_run_status(json.dumps(BODY).encode())
    assert isinstance(status, RunStatus)
    assert (status.stage, status.response_length_p95, status.checkpoints[0].step, status.reward) == ("weightSync", 7100.0, 10, None)
    assert parse_run_status(status.to_json()) == status
    assert json.loads(status.to_json()).keys() >= BODY.keys()


def test_fields_of_a_later_release_are_passed_over() -> None:
    status = parse_run_status(json.dumps({**BODY, "mood": "good", "health": [{**BODY["health"][0], "trend": 1}]}).encode())  # type: ignore[index]
    assert isinstance(status, RunStatus)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b"not json", "Invalid JSON"),
        (b"[]", "object"),
        (b"{}", "step: Field required"),
        (json.dumps({**BODY, "step": "12"}).encode(), "step: "),
        (json.dumps({**BODY, "step": -1}).encode(), "step: "),
        (json.dumps({**BODY, "stage": "dreaming"}).encode(), "stage: "),
        (json.dumps({**BODY, "reward": float("nan")}).encode(), "reward: "),
        (json.dumps({**BODY, "phase": "x" * 300}).encode(), "phase: "),
        (json.dumps({**BODY, "more": "x" * LARGEST_BODY}).encode(), "at most 65536 are read"),
        (b"\xff\xfe", "Invalid JSON"),
    ],
)
def test_a_bad_status_gives_its_reason(body: bytes, reason: str) -> None:
    read = parse_run_status(body)
    assert isinstance(read, Unreadable)
    assert reason in read.reason
    assert len(read.reason) < 300


def test_a_result_is_read_from_the_termination_message() -> None:
    written = RunResult(exit_code=4, reason="Preempted", message="saved", step=7, checkpoint_step=7).to_json().decode()
    assert json.loads(written) == {"exitCode": 4, "reason": "Preempted", "message": "saved", "step": 7, "checkpointStep": 7}
    assert parse_run_result(written) == RunResult(exit_code=4, reason="Preempted", message="saved", step=7, checkpoint_step=7)


@pytest.mark.parametrize("message", ["", "Killed", '{"exitCode": 1}', '{"exitCode": 1, "reason": "not camel"}', "x" * 5000])
def test_a_container_that_could_not_say_why_it_died_is_unreadable(message: str) -> None:
    assert isinstance(parse_run_result(message), Unreadable)


@given(st.binary(max_size=200))
def test_no_bytes_from_a_pod_raise(body: bytes) -> None:
    assert isinstance(parse_run_status(body), RunStatus | Unreadable)
    assert isinstance(parse_run_result(body), RunResult | Unreadable)
