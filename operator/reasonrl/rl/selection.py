"""Which responses of a step count, and where.

A response may count in its group's statistics (it moves the others' baseline), in the gradient, in both, or in neither. Unscored
responses count in neither. Selection rules then only ever take responses out, in the order of the spec, and every response taken out
is counted under the rule that did so. `SELECTION_RULES` is the registry: a new rule is one function that makes the rule from its
fields in the spec, and one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class SelectionRule:
    """`apply(group, kept)` is what the rule would keep of a group, given what earlier rules kept. `refills`: how often, for this rule, a
    step may sample new questions in place of those of which selection leaves nothing.

    Its answer is intersected with `kept`, so a rule cannot bring a response back. A rule that compares responses with one another
    should compare those still kept.
    """

    name: str
    apply: Callable[[GradedGroup, Kept], Kept]
    refills: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionResult:
    """`in_statistics` and `in_gradient` have one tuple for each group, one entry for each response, in order.

    `dropped` counts the responses that each rule took out of the gradient, `kept` those that were left after it, and
    `dropped_from_statistics` those that it took out of the group statistics; all have `unscored` first and then every rule in order.
    """

    in_statistics: tuple[tuple[bool, ...], ...]
    in_gradient: tuple[tuple[bool, ...], ...]
    dropped: Mapping[str, int]
    kept: Mapping[str, int]
    dropped_from_statistics: Mapping[str, int]


def select(groups: Sequence[GradedGroup], rules: Sequence[SelectionRule]) -> SelectionResult:
    """Applies the rules in order. Two rules of one name share a count."""
    everything = [_everything(group) for group in groups]
    kept = [_scored(group) for group in groups]
    dropped = {UNSCORED: _gradient_count(everything) - _gradient_count(kept)}
    left_after = {UNSCORED: _gradient_count(kept)}
    dropped_from_statistics = {UNSCORED: _statistics_count(everything) - _statistics_count(kept)}
    for rule in rules:
        left = [before.intersect(rule.apply(group, before)) for group, before in zip(groups, kept, strict=True)]
        dropped[rule.name] = dropped.get(rule.name, 0) + _gradient_count(kept) - _gradient_count(left)
        dropped_from_statistics[rule.name] = dropped_from_statistics.get(rule.name, 0) + _statistics_count(kept) - _statistics_count(left)
        left_after[rule.name] = _gradient_count(left)
        kept = left
    return SelectionResult(
        in_statistics=tuple(each.in_statistics for each in kept),
        in_gradient=tuple(each.in_gradient for each in kept),
        dropped=dropped,
        kept=left_after,
        dropped_from_statistics=dropped_from_statistics,
    )


def _everything(group: GradedGroup) -> Kept:
    every = (True,) * len(group.grades)
    return Kept(in_statistics=every, in_gradient=every)


def _scored(group: GradedGroup) -> Kept:
    scored = tuple(grade.reward is not None for grade in group.grades)
    return Kept(in_statistics=scored, in_gradient=scored)


def _statistics_count(kept: Sequence[Kept]) -> int:
    return sum(sum(group.in_statistics) for group in kept)


def _gradient_count(kept: Sequence[Kept]) -> int:
    return sum(sum(group.in_gradient) for group in kept)
