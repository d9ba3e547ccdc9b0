"""When a pod of a run on one machine has ended: what follows. It is the operator's failure table, as far as one machine has it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.failure_policy_spec import RestartBudget

_FINAL = (ExitCode.FATAL, ExitCode.BAD_INPUT)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Starts of the trainers, or of one rollout pod. `failures` in a row without a new checkpoint between them; `not_before` is a
    monotonic time."""

    number: int = 0
    failures: int = 0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Again:
    """Start again, at `attempts.not_before`."""

    attempts: Attempts
    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """`exit_code` is what the whole run then ends with."""

    exit_code: ExitCode
    reason: str


def after_end(attempts: Attempts, code: int, budget: RestartBudget, *, now: float) -> Again | GiveUp:
    """`code` is the exit code of the pod, negative for a signal. Preemptions are nobody's fault and cost no budget."""
    if code in _FINAL:
        return GiveUp(ExitCode(code), f"it ended with code {code}, and would do so again")
    if code in (ExitCode.PREEMPTED, ExitCode.SUCCESS):
        return Again(replace(attempts, number=attempts.number + 1, not_before=now), 0.0)
    failures = attempts.failures + 1
    if failures > budget.max_restarts:
        return GiveUp(ExitCode.RETRYABLE, f"it failed {failures} times without a new checkpoint, and maxRestarts is {budget.max_restarts}")
    wait = min(budget.max_backoff_seconds, budget.backoff_seconds * 2 ** (failures - 1))
    return Again(Attempts(attempts.number + 1, failures, now + wait), float(wait))


def after_progress(attempts: Attempts) -> Attempts:
    """A new checkpoint gives the budget back."""
    return replace(attempts, failures=0)
