"""What a run tells of its health: each change once, and what the failure policy asks for."""

from __future__ import annotations

from typing import Any

from reasonrl.api.failure_policy_spec import FailurePolicySpec
from reasonrl.api.run_files import StepMetrics
from reasonrl.rl.health import SIGNALS
from reasonrl.run.health_watch import HealthWatch

ROLLBACK = FailurePolicySpec.model_validate({"onUnhealthy": {"klExplosion": "Rollback", "nan": "Pause"}})


def metrics(step: int, **changes: Any) -> StepMetrics:
    required = {name: None for name, field in StepMetrics.model_fields.items() if field.is_required()}
    values = {
        **required,
        "step": step, "time": 0.0, "phase": "only", "phase_index": 0, "phase_step": step, "max_response_tokens": 12, "temperature": 1.0,
        "kl_coefficient": 0.0, "learning_rate": 0.0, "entropy_coefficient": 0.0, "reward_components": {}, "outcomes": {},
        "response_length_mean": 8.0, "response_length_p50": 8.0, "response_length_p95": 8.0, "response_length_max": 8,
        "lengths_by_outcome": {}, "truncated_share": 0.0, "completed_share": 1.0, "all_right_share": 0.0, "all_wrong_share": 0.0,
        "kept_responses": 1, "responses": 1, "staleness_max": 0, "reflection_share": {}, "reflection_per_1000_tokens": {},
        "prompt_tokens": 1, "response_tokens": 1, "tokens_per_second": 1.0, "seconds": {}, "reference_resets": 0,
    }  # fmt: skip
    return StepMetrics(**(values | changes))


def exploding(step: int) -> StepMetrics:
    return metrics(step, kl_k3=0.05 if step < 40 else 0.7 if step < 80 else 0.05)


def test_each_change_is_told_once() -> None:
    watch = HealthWatch(ROLLBACK)
    told = [change for step in range(120) for change in watch.observe(exploding(step))]
    assert [change.reason for change in told] == ["KLExplosion", "KLExplosion", "HealthRecovered"]
    assert "critical" not in told[0].message
    assert "asks for a roll-back to the last healthy checkpoint, which is the operator's to carry out" in told[1].message
    assert "KLExplosion is over" in told[2].message


def test_every_signal_is_reported_with_the_action_of_the_policy() -> None:
    watch = HealthWatch(ROLLBACK)
    for step in range(70):
        watch.observe(exploding(step))
    signals = {each.signal: each for each in watch.signals()}
    assert set(signals) == set(SIGNALS)
    assert (signals["KLExplosion"].state, signals["KLExplosion"].action) == ("critical", "rollback")
    assert "nats a token" in signals["KLExplosion"].message
    assert (signals["RewardCollapse"].state, signals["RewardCollapse"].message, signals["RewardCollapse"].action) == ("ok", "", "none")
    assert watch.critical


def test_a_resumed_run_knows_what_stood_and_does_not_tell_it_again() -> None:
    whole, resumed = HealthWatch(ROLLBACK), HealthWatch(ROLLBACK)
    for step in range(60):
        whole.observe(exploding(step))
    resumed.replay([exploding(step) for step in range(60)])
    assert resumed.signals() == whole.signals()
    assert resumed.observe(exploding(60)) == []


def test_an_update_without_a_finite_number_is_critical_though_it_left_no_record() -> None:
    watch = HealthWatch(ROLLBACK)
    change = watch.report_not_finite("The gradient norm is nan.", step=7)
    assert (change.reason, change.step) == ("NotFinite", 7)
    assert "a pause" in change.message
    assert [(each.signal, each.action) for each in watch.signals() if each.state == "critical"] == [("NotFinite", "pause")]
