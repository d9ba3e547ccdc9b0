from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from reasonrl.rl.length_statistics import length_statistics, summarise
from reasonrl.rl.records import GradedGroup

Make = Callable[[Sequence[tuple[int, bool | None, float | None, bool]]], GradedGroup]


def test_lengths_fall_under_one_outcome_each_and_means_go_by_verdict(graded_group: Make) -> None:
    found = length_statistics(
        [
            graded_group([(10, True, 1.0, False), (20, False, 0.0, False), (40, False, 0.0, True)]),
            graded_group([(12, True, 1.0, True), (7, None, None, False), (40, None, None, True)]),
        ]
    )
    assert found.by_outcome == {"correct": [10], "incorrect": [20], "truncated": [40, 12, 40], "unscored": [7]}
    assert (found.correct.mean, found.correct.count) == (11.0, 2)
    assert (found.incorrect.mean, found.incorrect.count) == (30.0, 2)
    assert found.every.mean == pytest.approx(129 / 6)
    assert found.every.maximum == 40
    assert found.accuracy == pytest.approx(2 / 4)
    assert found.truncated_share == pytest.approx(1 / 2)
    assert found.completed_share == pytest.approx(1 / 2)
    assert found.summary("truncated").mean == pytest.approx(92 / 3)


def test_groups_are_all_right_or_all_wrong_by_the_verdicts_they_have(graded_group: Make) -> None:
    right, wrong, unscored = (3, True, 1.0, False), (3, False, 0.0, False), (3, None, None, False)
    groups = [[right, right], [right, unscored], [wrong, wrong], [right, wrong], [unscored, unscored]]
    found = length_statistics([graded_group(attempts) for attempts in groups])
    assert found.all_right_share == pytest.approx(2 / 5)
    assert found.all_wrong_share == pytest.approx(1 / 5)


def test_percentiles_interpolate() -> None:
    found = summarise([10, 20, 30, 40])
    assert found.p50 == pytest.approx(25.0)
    assert found.p95 == pytest.approx(30 + 0.85 * 10)


def test_nothing_scored_has_no_accuracy(graded_group: Make) -> None:
    found = length_statistics([graded_group([(3, None, None, False)])])
    assert found.accuracy is None
    assert found.correct.mean is None
    assert found.all_right_share == found.all_wrong_share == 0.0


def test_no_response_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one response"):
        length_statistics([])
