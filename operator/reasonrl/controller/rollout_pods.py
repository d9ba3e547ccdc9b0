"""The rollout pods: as many as the job and its phase want, each replaced alone when it ends, and reshaped one at a time when a phase wants
another shape.

Nothing here stops the training: the trainers go on with the engines that are left. A pod that fails without progress more often than its
budget allows stays as it is, for its logs, until a new checkpoint gives the budget back; the job fails only when too few others remain.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from reasonrl.api.names import pod_name
from reasonrl.controller.actions import Delete, Happening
from reasonrl.controller.endings import Ending, ending_of, interrupted
from reasonrl.controller.failure_policy import Finish, wait_after_interruption
from reasonrl.controller.ledger import Attempts, Ledger, role_budget_field
from reasonrl.controller.records import PodRecord
from reasonrl.controller.settings import Budget
from reasonrl.controller.situation import Situation, ended

UNAVAILABLE_AT_ONCE = 1
"""Rollout pods that a change of shape may take away at a time."""
RELEASED_SECONDS = 30.0
"""Wait after a rollout pod that ended with 0: at the end of a run the trainers let them go before they end themselves."""


@dataclass(slots=True)
class RolloutChange:
    """`missing` are the indexes to create; `wakes` the times at which something will be due."""

    ledger: Ledger
    missing: list[int] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    exhausted: set[int] = field(default_factory=set)
    wakes: list[float] = field(default_factory=list)
    finish: Finish | None = None


def change_rollouts(situation: Situation, ledger: Ledger, *, wanted: int, template: str) -> RolloutChange:
    """`ledger` is what is to be recorded; pods are deleted by what is recorded already. `template` is the shape of the current phase."""
    change = RolloutChange(ledger=ledger.without_rollouts_from(wanted))
    by_index = {pod.index: pod for pod in situation.rollouts}
    for index in range(wanted):
        pod = by_index.get(index)
        if pod is None:
            _create_when_due(situation, change, index)
        elif pod.deleting:
            _note_disruption(situation, change, pod)
        elif ended(pod):
            _replace_ended(situation, change, pod)
    # The highest indexes go first, and all that are too many at once: the pool has their requests answered by the others.
    surplus = sorted((pod for pod in situation.rollouts if pod.index >= wanted and not pod.deleting), key=lambda pod: -pod.index)
    change.deletes += [delete_pod(pod) for pod in surplus]
    _reshape(change, [by_index[index] for index in range(wanted) if index in by_index], wanted=wanted, template=template)
    _judge_budgets(situation, change, wanted)
    return change


def delete_pod(pod: PodRecord) -> Delete:
    return Delete(kind="Pod", name=pod.name, uid=pod.uid)


def _create_when_due(situation: Situation, change: RolloutChange, index: int) -> None:
    attempts = change.ledger.of_rollout(index)
    if attempts.in_a_row > situation.settings.budgets["rollout"].restarts:
        change.exhausted.add(index)
    elif (wait := _wait_left(situation, attempts)) > 0:
        change.wakes.append(situation.now + wait)
    elif pod_name(situation.job.key.name, "rollout", index) not in situation.strangers:
        change.missing.append(index)


def _wait_left(situation: Situation, attempts: Attempts) -> float:
    return attempts.wait_left(situation.now, max(situation.settings.budgets["rollout"].longest_wait, RELEASED_SECONDS))


def _note_disruption(situation: Situation, change: RolloutChange, pod: PodRecord) -> None:
    """Of a pod that a drain or a preemption takes away: nobody's fault, but somebody will ask why it is gone. Without that mark it may well
    be gone by our own hand."""
    if not pod.disrupted or situation.ledger.of_rollout(pod.index).wanted > pod.attempt:
        return
    attempts = change.ledger.of_rollout(pod.index).at_least(pod.attempt)
    wait = wait_after_interruption(pod, situation.settings.budgets["rollout"], situation.now)
    change.ledger = change.ledger.with_rollout(pod.index, attempts.interrupted("Preempted", wait=wait, now=situation.now), counted=False)
    message = f"{interrupted(pod)}; only this pod is replaced, and training goes on with the others (not counted as a failure)"
    change.happenings.append(Happening(type="Normal", reason="RolloutReplaced", message=message))


def _replace_ended(situation: Situation, change: RolloutChange, pod: PodRecord) -> None:
    budget = situation.settings.budgets["rollout"]
    attempts = change.ledger.of_rollout(pod.index).at_least(pod.attempt)
    if attempts.in_a_row > budget.restarts:
        change.exhausted.add(pod.index)
        return
    if situation.ledger.of_rollout(pod.index).wanted > pod.attempt:
        change.deletes.append(delete_pod(pod))
        return
    ending = ending_of(pod, situation.settings)
    if ending.kind == "fatal" or (ending.kind == "outOfMemory" and not situation.settings.restart_out_of_memory):
        change.finish = change.finish or Finish(succeeded=False, reason=ending.reason, message=ending.message)
        return
    counted = ending.kind in ("failure", "outOfMemory")
    after = _after(attempts, ending, pod, budget, situation.now)
    change.ledger = change.ledger.with_rollout(pod.index, after, counted=counted)
    if after.in_a_row > budget.restarts:
        change.exhausted.add(pod.index)
        message = (
            f"{ending.message}; it is not replaced until the next checkpoint: {after.in_a_row} failures since the last one, "
            f"{role_budget_field('rollout')} is {budget.restarts}"
        )
        change.happenings.append(Happening(type="Warning", reason="RolloutGivenUp", message=message))
        return
    wait = max(0, round((after.not_before or situation.now) - situation.now))
    message = f"{ending.message}; only this pod is replaced, in {wait} s, and training goes on with the others"
    change.happenings.append(Happening(type="Warning" if counted else "Normal", reason="RolloutReplaced", message=message))


def _after(attempts: Attempts, ending: Ending, pod: PodRecord, budget: Budget, now: float) -> Attempts:
    if ending.kind == "success":
        return attempts.interrupted("Released", wait=RELEASED_SECONDS, now=now)
    if ending.kind == "interruption":
        return attempts.interrupted(ending.reason, wait=wait_after_interruption(pod, budget, now), now=now)
    return attempts.failed(ending.reason, budget=budget, now=now)


def _reshape(change: RolloutChange, pods: list[PodRecord], *, wanted: int, template: str) -> None:
    doomed = {delete.uid for delete in change.deletes}
    alive = [pod for pod in pods if not pod.deleting and not ended(pod) and pod.uid not in doomed]
    old = [pod for pod in alive if pod.template != template]
    if not old:
        return
    # Those that serve nobody cost nothing. Of the others as many go as leave all but the allowed number serving.
    idle = [pod for pod in old if not pod.ready]
    serving = sorted((pod for pod in old if pod.ready), key=lambda pod: -pod.index)
    away = wanted - sum(pod.ready for pod in alive)
    change.deletes += [delete_pod(pod) for pod in (*idle, *serving[: max(0, UNAVAILABLE_AT_ONCE - away)])]


def _judge_budgets(situation: Situation, change: RolloutChange, wanted: int) -> None:
    left = wanted - len(change.exhausted)
    if not change.exhausted or change.finish is not None or left >= situation.settings.fewest_rollouts:
        return
    names = ", ".join(pod_name(situation.job.key.name, "rollout", index) for index in sorted(change.exhausted)[:4])
    last = next((change.ledger.of_rollout(index).last_reason for index in sorted(change.exhausted)), "")
    message = (
        f"{len(change.exhausted)} rollout pods have spent their budget ({names}; last: {last}), {left} of {wanted} remain, and "
        f"spec.rollout.minReplicas is {situation.settings.fewest_rollouts}. See their logs; {role_budget_field('rollout')} gives more"
    )
    change.finish = Finish(succeeded=False, reason="RolloutBudgetSpent", message=message)
