"""What follows when a pod of a run on one machine has ended."""

from __future__ import annotations

import pytest

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.failure_policy_spec import RestartBudget
from reasonrl.run.cluster.restart_policy import Again, Attempts, GiveUp, after_end, after_progress

BUDGET = RestartBudget.model_validate({"maxRestarts": 3, "backoffSeconds": 10, "maxBackoffSeconds": 25})
KILLED = -9


def ends(*codes: int, attempts: Attempts | None = None) -> Again | GiveUp:
    """What follows the last of these ends, each a second after the pod was allowed to start."""
    following: Again | GiveUp = Again(attempts or Attempts(), 0.0)
    for code in codes:
        assert isinstance(following, Again)
        following = after_end(following.attempts, code, BUDGET, now=following.attempts.not_before + 1.0)
    return following


@pytest.mark.parametrize("code", [KILLED, ExitCode.RETRYABLE, 77])
def test_waits_double_up_to_their_bound(code: int) -> None:
    waits = [following.seconds for count in (1, 2, 3) if isinstance(following := ends(*[code] * count), Again)]
    assert waits == [10.0, 20.0, 25.0]


def test_one_failure_more_than_the_budget_ends_the_run_as_retryable() -> None:
    last = ends(KILLED, KILLED, KILLED, KILLED)
    assert isinstance(last, GiveUp)
    assert last.exit_code is ExitCode.RETRYABLE
    assert "failed 4 times without a new checkpoint, and maxRestarts is 3" in last.reason


def test_a_new_checkpoint_gives_the_budget_back_and_starts_are_counted_on() -> None:
    worn = ends(KILLED, KILLED, KILLED)
    assert isinstance(worn, Again)
    fresh = after_progress(worn.attempts)
    assert (fresh.failures, fresh.number) == (0, 3)
    following = ends(KILLED, attempts=fresh)
    assert isinstance(following, Again)
    assert (following.attempts.number, following.seconds) == (4, 10.0)


def test_preemptions_cost_nothing_and_wait_for_nothing() -> None:
    following = ends(*[int(ExitCode.PREEMPTED)] * 10)
    assert isinstance(following, Again)
    assert (following.attempts.failures, following.seconds, following.attempts.number) == (0, 0.0, 10)


@pytest.mark.parametrize("code", [ExitCode.FATAL, ExitCode.BAD_INPUT])
def test_what_would_end_the_same_way_is_not_tried_again(code: ExitCode) -> None:
    following = ends(int(code))
    assert isinstance(following, GiveUp)
    assert following.exit_code is code
