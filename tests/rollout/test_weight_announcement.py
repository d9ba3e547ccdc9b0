from __future__ import annotations

import pytest

from reasonrl.rollout.protocol import WeightLoadError
from reasonrl.rollout.weight_announcement import WeightAnnouncement


@pytest.fixture
def announcement():
    return WeightAnnouncement(expected={"embed": (4, 2), "body": (3,)}, aliases={"head": "embed"})


def test_a_push_in_parts_is_complete_with_its_last_and_may_come_again(announcement):
    for _ in range(2):
        announcement.clear()
        announcement.add(["body"], [[3]])
        with pytest.raises(WeightLoadError, match="1 of 2 weights missing: embed"):
            announcement.check_complete()
        announcement.add(["embed"], [[4, 2]])
        announcement.check_complete()


def test_a_tied_head_may_come_along_or_stand_for_the_embedding(announcement):
    announcement.add(["body", "head"], [[3], [4, 2]])
    announcement.check_complete()
    announcement.add(["embed"], [[4, 2]])
    announcement.check_complete()


@pytest.mark.parametrize(
    ("names", "shapes", "message"),
    [
        (["strange"], [[3]], "'strange' is unknown"),
        (["body"], [[3, 1]], r"'body' has shape \[3, 1\], the engine's model needs \[3\]"),
        (["body", "body"], [[3], [3]], "'body' was announced twice"),
    ],
)
def test_what_does_not_fit_the_model_is_named(names, shapes, message, announcement):
    with pytest.raises(WeightLoadError, match=message):
        announcement.add(names, shapes)
