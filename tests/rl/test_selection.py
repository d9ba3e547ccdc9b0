from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reasonrl.rl.records import GradedGroup
from reasonrl.rl.selection import Kept, SelectionRule, select
from reasonrl.rl.selection_rules import SELECTION_RULES

Make = Callable[[Sequence[tuple[int, bool | None, float | None, bool]]], GradedGroup]

RIGHT, WRONG, CUT, UNSCORED, CUT_UNSCORED = (
    (5, True, 1.0, False),
    (6, False, 0.0, False),
    (9, False, 0.0, True),
    (4, None, None, False),
    (9, None, None, True),
)


def overlength(when: str) -> SelectionRule:
    return SELECTION_RULES["overlengthMask"](when=when)


def test_without_rules_only_unscored_responses_leave(graded_group: Make) -> None:
    result = select([graded_group([RIGHT, UNSCORED, CUT]), graded_group([CUT_UNSCORED])], [])
    assert result.in_statistics == result.in_gradient == ((True, False, True), (False,))
    assert result.dropped == result.dropped_from_statistics == {"unscored": 2}


def test_overlength_mask_before_statistics_takes_truncated_responses_out_of_both(graded_group: Make) -> None:
    result = select([graded_group([RIGHT, CUT, WRONG, CUT_UNSCORED])], [overlength("beforeGroupStatistics")])
    assert result.in_statistics == result.in_gradient == ((True, False, True, False),)
    assert result.dropped == result.dropped_from_statistics == {"unscored": 1, "overlengthMask": 1}


def test_overlength_mask_after_statistics_leaves_their_reward_in_the_baseline(graded_group: Make) -> None:
    result = select([graded_group([RIGHT, CUT, WRONG, CUT_UNSCORED])], [overlength("afterGroupStatistics")])
    assert result.in_statistics == ((True, True, True, False),)
    assert result.in_gradient == ((True, False, True, False),)
    assert result.dropped == {"unscored": 1, "overlengthMask": 1}
    assert result.dropped_from_statistics == {"unscored": 1, "overlengthMask": 0}


def test_a_later_rule_sees_what_is_left_and_counts_only_what_it_takes(graded_group: Make) -> None:
    seen: list[Kept] = []

    def first_left(group: GradedGroup, kept: Kept) -> Kept:
        seen.append(kept)
        first = kept.in_gradient.index(True)
        chosen = tuple(index == first for index in range(len(kept.in_gradient)))
        return Kept(in_statistics=kept.in_statistics, in_gradient=chosen)

    result = select([graded_group([CUT, RIGHT, WRONG])], [overlength("beforeGroupStatistics"), SelectionRule("first", first_left)])
    assert seen == [Kept(in_statistics=(False, True, True), in_gradient=(False, True, True))]
    assert result.in_gradient == ((False, True, False),)
    assert result.dropped == {"unscored": 0, "overlengthMask": 1, "first": 1}


def test_a_rule_cannot_bring_a_response_back(graded_group: Make) -> None:
    keep_all = SelectionRule("all", lambda group, kept: Kept(in_statistics=(True,) * 3, in_gradient=(True,) * 3))
    result = select([graded_group([RIGHT, UNSCORED, CUT])], [overlength("beforeGroupStatistics"), keep_all])
    assert result.in_gradient == ((True, False, False),)
    assert result.dropped["all"] == 0


def test_two_rules_of_one_name_share_a_count(graded_group: Make) -> None:
    result = select([graded_group([CUT, RIGHT])], [overlength("afterGroupStatistics"), overlength("beforeGroupStatistics")])
    assert result.dropped == {"unscored": 0, "overlengthMask": 1}
    assert result.dropped_from_statistics == {"unscored": 0, "overlengthMask": 1}


def test_unknown_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="when is 'never'"):
        overlength("never")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.lists(st.lists(st.sampled_from([RIGHT, WRONG, CUT, UNSCORED, CUT_UNSCORED]), min_size=1, max_size=5), max_size=4),
    moments=st.lists(st.sampled_from(["beforeGroupStatistics", "afterGroupStatistics"]), max_size=3),
)
def test_every_response_is_kept_or_counted_as_dropped(
    graded_group: Make, groups: list[list[tuple[int, bool | None, float | None, bool]]], moments: list[str]
) -> None:
    result = select([graded_group(attempts) for attempts in groups], [overlength(when) for when in moments])
    responses = sum(len(attempts) for attempts in groups)
    assert sum(sum(each) for each in result.in_gradient) + sum(result.dropped.values()) == responses
    assert sum(sum(each) for each in result.in_statistics) + sum(result.dropped_from_statistics.values()) == responses
