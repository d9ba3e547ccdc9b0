"""What a pod is told of itself, and the message when it is told wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasonrl.run.cluster.pod_environment import PodEnvironment
from reasonrl.run.errors import RunInputError

TOLD = {
    "REASONRL_JOB": "zero",
    "REASONRL_NAMESPACE": "team-a",
    "REASONRL_ROLE": "rollout",
    "REASONRL_INDEX": "3",
    "REASONRL_ATTEMPT": "1",
    "REASONRL_TRAINERS": "2",
    "REASONRL_GPUS": "4",
    "REASONRL_HEAD": "zero-trainer-0.zero.team-a.svc",
    "REASONRL_HOST": "zero-rollout-3.zero.team-a.svc",
    "REASONRL_ADDRESS": "10.0.0.7",
    "REASONRL_STATUS_PORT": "8471",
    "REASONRL_CHECKPOINTS": "/checkpoints",
    "REASONRL_CONTROL": "/etc/reasonrl/control.json",
}


def test_a_pod_knows_who_it_is() -> None:
    pod = PodEnvironment.from_environ(TOLD)
    assert (pod.name, pod.role, pod.index, pod.attempt, pod.gpus, pod.is_head) == ("zero-rollout-3", "rollout", 3, 1, 4, False)
    assert (pod.head, pod.address, pod.ray_port) == ("zero-trainer-0.zero.team-a.svc", "10.0.0.7", 6379)
    assert (pod.output, pod.control) == (Path("/checkpoints"), Path("/etc/reasonrl/control.json"))
    assert pod.termination_message == Path("/dev/termination-log")


def test_the_first_trainer_is_the_head() -> None:
    assert PodEnvironment.from_environ({**TOLD, "REASONRL_ROLE": "trainer", "REASONRL_INDEX": "0"}).is_head


@pytest.mark.parametrize("name", ["REASONRL_JOB", "REASONRL_ROLE", "REASONRL_INDEX", "REASONRL_TRAINERS", "REASONRL_HEAD"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(RunInputError, match=name):
        PodEnvironment.from_environ({key: value for key, value in TOLD.items() if key != name})


@pytest.mark.parametrize(("name", "value"), [("REASONRL_ROLE", "learner"), ("REASONRL_INDEX", "-1"), ("REASONRL_GPUS", "two")])
def test_what_is_wrong_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(RunInputError, match=rf"{name} = '{value}'"):
        PodEnvironment.from_environ({**TOLD, name: value})
