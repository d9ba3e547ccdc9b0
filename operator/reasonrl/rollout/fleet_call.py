"""One call of `sample` while it runs: the tasks that wait, the answers that are there, and whether an answer can be right at all."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from reasonrl.rl.records import Response
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.fleet_member import Member
from reasonrl.rollout.task import RolloutTask, TaskOutcome

ATTEMPTS = 3
"""Engines that may fail while they hold a task, before the task counts as the cause."""

Groups = list[tuple[Response, ...]]


@dataclass(eq=False, slots=True)
class Call:
    """`reply` gets the groups in order, or the error that ended the call."""

    number: int
    tasks: int
    waiting: deque[RolloutTask]
    reply: queue.SimpleQueue[Groups | Exception]
    done: dict[int, Groups] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return len(self.done) == self.tasks

    @property
    def groups(self) -> Groups:
        return [group for number in range(self.tasks) for group in self.done[number]]

    def give_back(self, tasks: Iterable[RolloutTask]) -> None:
        """Puts tasks in front of the queue, lowest number first."""
        self.waiting.extendleft(sorted(tasks, key=lambda task: task.number, reverse=True))


def start_call(tasks: Sequence[RolloutTask], *, number: int, reply: queue.SimpleQueue[Groups | Exception]) -> Call:
    return Call(number=number, tasks=len(tasks), waiting=deque(tasks), reply=reply)


def tried_again(task: RolloutTask, *, reason: str) -> RolloutTask:
    """The task after one more engine failed with it. Raises RolloutError after the last attempt."""
    if task.attempt + 1 >= ATTEMPTS:
        raise RolloutError(f"a rollout task failed on {ATTEMPTS} engines; the last: {reason}")
    return replace(task, attempt=task.attempt + 1)


def deal(call: Call | None, ready: Sequence[Member], *, live: int) -> dict[str, list[RolloutTask]]:
    """Takes tasks off the call's queue, one by one for whoever is least full; returns them by member name.

    A member is full with its engine's capacity in unwritten responses and one task more. Nobody holds more than an even share, among
    `live` members, of what is left of the call: those that are busy for a moment, or join now, find something to do.
    """
    dealt: dict[str, list[RolloutTask]] = {member.name: [] for member in ready}
    if call is None:
        return dealt
    share = -(-(call.tasks - len(call.done)) // max(1, live))
    held = {member.name: member.unwritten for member in ready}
    counts = {member.name: len(member.hand) for member in ready}
    while call.waiting:
        size = call.waiting[0].responses
        hungry = [each for each in ready if held[each.name] < each.session.capacity + size and counts[each.name] < share]
        if not hungry:
            break
        name = min(hungry, key=lambda each: held[each.name] / each.session.capacity).name
        dealt[name].append(call.waiting.popleft())
        held[name] += size
        counts[name] += 1
    return dealt


def fault_in(groups: Groups, task: RolloutTask, *, weight_version: int) -> str | None:
    """What shows that these cannot be the task's responses, or None."""
    if len(groups) != len(task.prompts):
        return f"it answered {len(groups)} groups for {len(task.prompts)} prompts"
    for group in groups:
        if len(group) != task.responses_per_prompt:
            return f"it answered {len(group)} responses where {task.responses_per_prompt} were asked for"
        for response in group:
            if response.weight_version != weight_version:
                return f"it sampled with weights of version {response.weight_version} where {weight_version} were loaded"
            if (
                response.tokens.shape != response.sampler_logprobs.shape
                or not 1 <= len(response.tokens) <= task.setting.max_response_tokens
            ):
                return (
                    f"it answered {len(response.tokens)} tokens with {len(response.sampler_logprobs)} log-probs where 1 to "
                    f"{task.setting.max_response_tokens} tokens were asked for"
                )
    return None


def refusal(outcome: TaskOutcome) -> RolloutError:
    return RolloutError(outcome.error or "a rollout engine refused the request and did not say why")
