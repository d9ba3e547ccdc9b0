"""How pods end: what trainers beside the first make of a head that has gone, and the last word of every pod."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reasonrl.api.exit_codes import ExitCode
from reasonrl.run.cluster.errors import RankLostError
from reasonrl.run.cluster.pod_end import end_pod
from reasonrl.run.cluster.pod_environment import PodEnvironment
from reasonrl.run.cluster.pod_trainer import follower_outcome
from reasonrl.run.status.pod_outcome import Outcome


@pytest.mark.parametrize(
    ("ended", "asked", "code"),
    [
        (True, False, ExitCode.SUCCESS),
        (True, True, ExitCode.SUCCESS),
        (False, True, ExitCode.PREEMPTED),
        (False, False, ExitCode.RETRYABLE),
    ],
)
def test_a_trainer_without_its_head_ends_by_what_it_knows(ended: bool, asked: bool, code: ExitCode) -> None:
    assert follower_outcome(ended=ended, asked=asked).exit_code is code


@pytest.fixture
def pod(tmp_path: Path) -> PodEnvironment:
    told = {
        "REASONRL_JOB": "zero",
        "REASONRL_ROLE": "trainer",
        "REASONRL_INDEX": "0",
        "REASONRL_TRAINERS": "1",
        "REASONRL_HEAD": "127.0.0.1",
    }
    return replace(PodEnvironment.from_environ(told), output=tmp_path, termination_message=tmp_path / "message")


def last_word(pod: PodEnvironment) -> dict[str, object]:
    found: dict[str, object] = json.loads(pod.termination_message.read_text())
    return found


def test_a_known_error_is_the_last_word_with_its_code(pod: PodEnvironment) -> None:
    def work() -> Outcome:
        raise RankLostError("rank 1 died during update")

    assert end_pod(pod, work) == ExitCode.RETRYABLE
    assert last_word(pod) | {"step": None} == {
        "exitCode": 3,
        "reason": "RankLost",
        "message": "rank 1 died during update",
        "step": None,
        "checkpointStep": None,
    }


def test_an_unknown_error_is_worth_another_try_and_says_its_type(pod: PodEnvironment) -> None:
    def work() -> Outcome:
        raise ZeroDivisionError("division by zero")

    assert end_pod(pod, work) == ExitCode.RETRYABLE
    assert "ZeroDivisionError" in str(last_word(pod)["message"])


def test_a_good_end_names_the_newest_checkpoint(pod: PodEnvironment) -> None:
    (pod.output / "checkpoints" / "step-000020").mkdir(parents=True)
    outcome = Outcome(exit_code=ExitCode.SUCCESS, reason="Completed", message="finished")
    assert end_pod(pod, lambda: outcome) == ExitCode.SUCCESS
    assert (last_word(pod)["reason"], last_word(pod)["checkpointStep"]) == ("Completed", 20)
