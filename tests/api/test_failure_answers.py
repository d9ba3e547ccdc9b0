"""What a failure policy says of each stage and each health signal."""

from __future__ import annotations

from typing import get_args

import pytest

from reasonrl.api.failure_answers import health_action, stage_deadline
from reasonrl.api.failure_policy_spec import FailurePolicySpec, OnUnhealthySpec, StallDeadlines
from reasonrl.api.run_status import Stage
from reasonrl.rl.health import SIGNALS

BY_ALIAS = {field.alias: name for name, field in StallDeadlines.model_fields.items()}


@pytest.mark.parametrize("stage", get_args(Stage))
def test_every_stage_has_a_deadline_of_its_own(stage: Stage) -> None:
    policy = FailurePolicySpec.model_validate({"stallDeadlineSeconds": {stage: 77}})
    assert stage_deadline(policy, stage) == 77
    assert all(stage_deadline(policy, other) != 77 for other in get_args(Stage) if other != stage)
    assert set(BY_ALIAS) == set(get_args(Stage))


@pytest.mark.parametrize(
    ("field", "signal"),
    [
        ("nan", "NotFinite"),
        ("klExplosion", "KLExplosion"),
        ("repetition", "Repetition"),
        ("rewardCollapse", "RewardCollapse"),
        ("entropyCollapse", "EntropyCollapse"),
        ("lengthHacking", "LengthHacking"),
    ],
)
def test_every_declared_action_belongs_to_one_signal_of_the_run(field: str, signal: str) -> None:
    policy = FailurePolicySpec.model_validate({"onUnhealthy": {field: "Rollback"}})
    assert signal in SIGNALS
    assert [each for each in SIGNALS if health_action(policy, each) == "rollback"] == [signal]
    assert health_action(FailurePolicySpec.model_validate({"onUnhealthy": {field: "Pause"}}), signal) == "pause"


def test_nothing_is_done_by_default_nor_about_a_signal_without_a_field() -> None:
    assert {health_action(FailurePolicySpec(), signal) for signal in (*SIGNALS, "SomethingNew")} == {"none"}
    assert len(OnUnhealthySpec.model_fields) == 6
