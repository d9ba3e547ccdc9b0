"""The operator reads an end as the run means it: what follows each error that a run is known to end with, by its last message."""

from __future__ import annotations

from typing import Any

import pytest

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.run_status import RunResult
from reasonrl.run.checkpoint_store import CheckpointDiskFullError
from reasonrl.run.cluster.restart_policy import Attempts, GiveUp, after_end
from reasonrl.run.status import outcome as outcomes
from reasonrl.run.status.outcome import known_outcome, outcome_of

KINDS = [kind for kind, _, _ in outcomes._TABLE]


def raised(kind: type[Exception]) -> Exception:
    """Some of them take more than words to make."""
    error = kind.__new__(kind)
    Exception.__init__(error, "what happened, and what to do")
    return error


def end_with(world: Any, outcome: Any, pod: str = "zero-trainer-0") -> None:
    result = RunResult(exit_code=int(outcome.exit_code), reason=outcome.reason, message=outcome.message)
    world.end(pod, int(outcome.exit_code), message=result.model_dump_json(by_alias=True, exclude_none=True))
    world.settle()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_a_run_calls_final_ends_the_job_and_what_may_pass_restarts_it(kind: type[Exception], world: Any) -> None:
    outcome = known_outcome(raised(kind))
    assert outcome is not None
    world.running()
    end_with(world, outcome)
    failures = world.status["attempts"]["trainer"]["failures"]
    if outcome.exit_code in (ExitCode.FATAL, ExitCode.BAD_INPUT):
        assert (world.status["summary"], world.condition("Succeeded")["reason"], failures) == ("Failed", outcome.reason, 0)
        assert outcome.message in world.status["message"]
    else:
        preempted = outcome.exit_code == ExitCode.PREEMPTED
        assert (world.status["summary"], failures) == ("Restarting", 0 if preempted else 1)
        assert world.status["attempts"]["trainer"]["lastReason"] == outcome.reason


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_on_one_machine_the_same_end_has_the_same_consequence(kind: type[Exception], world: Any) -> None:
    outcome = known_outcome(raised(kind))
    assert outcome is not None
    world.running()
    end_with(world, outcome)
    budget = world.config()["failurePolicy"]["trainer"]
    local = after_end(Attempts(), int(outcome.exit_code), _budget(budget), now=0.0)
    assert isinstance(local, GiveUp) == (world.status["summary"] == "Failed")
    if not isinstance(local, GiveUp):
        assert local.attempts.failures == world.status["attempts"]["trainer"]["consecutiveFailures"]


def _budget(written: dict[str, Any]) -> Any:
    from reasonrl.api.failure_policy_spec import RestartBudget

    return RestartBudget.model_validate(written)


def test_a_full_disk_is_tried_again_within_the_budget_and_says_what_to_do(world: Any) -> None:
    outcome = outcome_of(CheckpointDiskFullError("the volume mounted at /checkpoints is full: 0 of 50 GiB are free; make it larger"))
    assert outcome.exit_code == ExitCode.RETRYABLE
    world.spec["failurePolicy"] = {"trainer": {"maxRestarts": 1}}
    world.running()
    for attempt in (1, 2):
        end_with(world, outcome)
        if attempt == 1:
            assert world.status["summary"] == "Restarting"
            assert "make it larger" in world.condition("TrainersReady")["message"]
            world.collect()
            world.wait(60)
            world.settle()
            world.start_pods()
            world.settle()
    assert world.condition("Succeeded")["reason"] == "TrainerBudgetSpent"
    assert "make it larger" in world.status["message"]


def test_an_error_that_nobody_knows_may_pass(world: Any) -> None:
    world.running()
    end_with(world, outcome_of(ZeroDivisionError("division by zero")))
    assert (world.status["summary"], world.status["attempts"]["trainer"]["lastReason"]) == ("Restarting", "Crashed")


def test_memory_is_told_by_the_run_as_by_the_kernel(world: Any) -> None:
    world.running()
    end_with(world, outcome_of(MemoryError()))
    assert (world.status["summary"], world.condition("Succeeded")["reason"]) == ("Failed", "OutOfMemory")
