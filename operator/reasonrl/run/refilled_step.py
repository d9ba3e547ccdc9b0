"""A step's questions, with those that can teach nothing replaced by new ones: dynamic sampling (DAPO, arXiv 2503.14476, section 3.2).

A question whose answers are all right, or all wrong, has no advantage; a batch with many of them is smaller than it says. So new questions
are sampled in their place, as often as the spec allows, each time as many as are lacking. The number of questions of a step stays what it
is, so that its updates are of one size; those that are still lacking stay in it, masked by selection, and are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reasonrl.rl.records import GradedGroup, Group
from reasonrl.rl.selection import SelectionRule, select
from reasonrl.run.rollout_source import Refill, SampledStep


@dataclass(frozen=True, slots=True, kw_only=True)
class RefilledStep:
    """`batch` is what the step learns from, as many groups as were sampled first; `replaced` are the groups that others took the place of;
    `cursor` is the data cursor after the last refill."""

    batch: Sequence[GradedGroup]
    replaced: Sequence[GradedGroup]
    cursor: int
    refills: int


def refilled(
    sampled: SampledStep,
    rules: Sequence[SelectionRule],
    *,
    step: int,
    grade: Callable[[Sequence[Group]], list[GradedGroup]],
    sample: Callable[[Refill], SampledStep],
) -> RefilledStep:
    """Samples at most as often as the rules allow: `SelectionRule.refills`, the largest of them."""
    batch, cursor = grade(sampled.groups), sampled.cursor
    replaced: list[GradedGroup] = []
    refills = 0
    while refills < max((rule.refills for rule in rules), default=0) and (lacking := _lacking(batch, rules)):
        refills += 1
        more = sample(Refill(step=step, number=refills, cursor=cursor, prompts=len(lacking)))
        cursor = more.cursor
        for place, group in zip(lacking, grade(more.groups), strict=True):
            replaced.append(batch[place])
            batch[place] = group
    return RefilledStep(batch=batch, replaced=replaced, cursor=cursor, refills=refills)


def _lacking(batch: Sequence[GradedGroup], rules: Sequence[SelectionRule]) -> list[int]:
    """Places of the groups of which selection leaves nothing in the gradient."""
    return [place for place, kept in enumerate(select(batch, rules).in_gradient) if not any(kept)]
