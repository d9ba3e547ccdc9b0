"""Which responses of a step count, and where.

A response may count in its group's statistics (it moves the others' baseline), in the gradient, in both, or in neither. Unscored
responses count in neither. Selection rules then only ever take responses out, in the order of the spec, and every response taken out
is counted under the first rule that did so. `SELECTION_RULES` is the registry: a new rule is one function that makes the rule from
its fields in the spec, and one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reasonrl.rl.records import GradedGroup

UNSCORED = "unscored"
"""The name under which responses without a reward are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The responses of one group that are left, in order: in the group statistics, and in the gradient."""

    in_statistics: tuple[bool, ...]
    in_gradient: tuple[bool, ...]

    def intersect(self, other: Kept) -> Kept:
        return Kept(
            in_statistics=tuple(a and b for a, b in zip(self.in_statistics, other.in_statistics, strict=True)),
            in_gradient=tuple(a and b for a, b in zip(self.in_gradient, other.in_gradient, strict=True)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Responses that one rule took out."""

    from_statistics: int
    from_gradient: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """`kept` has one entry for each group, in order; `dropped` one for each rule that was applied, in order, `unscored` first."""

    kept: tuple[Kept, ...]
    dropped: Mapping[str, Dropped]

    @property
    def learning_responses(self) -> int:
        return sum(sum(group.in_gradient) for group in self.kept)


SelectionRule = Callable[[GradedGroup, Kept], Kept]
"""`(group, what earlier rules kept) -> what this rule would keep`. Whatever it returns is intersected with what earlier rules kept, so a
rule cannot bring a response back. A rule that compares responses should compare those still kept."""

RuleMaker = Callable[..., SelectionRule]
"""Takes the rule's fields in the spec, by their Python names, as keyword arguments."""


def overlength_mask(*, when: Literal["beforeGroupStatistics", "afterGroupStatistics"]) -> SelectionRule:
    """Truncated responses take no part in the gradient (STILL-3 section 4.2, "overlength response masking").

    `beforeGroupStatistics`: nor in the group's mean and std, as if they had not been sampled. `afterGroupStatistics`: their reward
    still moves the group's baseline.
    """
    if when not in ("beforeGroupStatistics", "afterGroupStatistics"):
        raise ValueError(f"overlengthMask.when is {when!r}: use beforeGroupStatistics or afterGroupStatistics")

    def rule(group: GradedGroup, kept: Kept) -> Kept:
        finished = tuple(not response.truncated for response in group.group.responses)
        return Kept(in_statistics=finished if when == "beforeGroupStatistics" else kept.in_statistics, in_gradient=finished)

    return rule


SELECTION_RULES: Mapping[str, RuleMaker] = {"overlengthMask": overlength_mask}


def select(groups: Sequence[GradedGroup], rules: Sequence[tuple[str, SelectionRule]]) -> Selection:
    """Applies named rules in order. A name that occurs twice is counted once for both."""
    everything = tuple(_all_of(group) for group in groups)
    kept = tuple(_scored(group) for group in groups)
    dropped = {UNSCORED: _difference(everything, kept)}
    for name, rule in rules:
        left = tuple(before.intersect(rule(group, before)) for group, before in zip(groups, kept, strict=True))
        taken = _difference(kept, left)
        earlier = dropped.get(name, Dropped(from_statistics=0, from_gradient=0))
        dropped[name] = Dropped(
            from_statistics=earlier.from_statistics + taken.from_statistics, from_gradient=earlier.from_gradient + taken.from_gradient
        )
        kept = left
    return Selection(kept=kept, dropped=dropped)


def _all_of(group: GradedGroup) -> Kept:
    every = (True,) * len(group.grades)
    return Kept(in_statistics=every, in_gradient=every)


def _scored(group: GradedGroup) -> Kept:
    scored = tuple(grade.reward is not None for grade in group.grades)
    return Kept(in_statistics=scored, in_gradient=scored)


def _difference(before: Sequence[Kept], after: Sequence[Kept]) -> Dropped:
    return Dropped(
        from_statistics=sum(sum(group.in_statistics) for group in before) - sum(sum(group.in_statistics) for group in after),
        from_gradient=sum(sum(group.in_gradient) for group in before) - sum(sum(group.in_gradient) for group in after),
    )
