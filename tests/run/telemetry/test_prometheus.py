from __future__ import annotations

import math
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from reasonrl.api.run_status import HealthSignal
from reasonrl.run.telemetry.metrics_page import metrics_page
from reasonrl.run.telemetry.prometheus_endpoint import PrometheusEndpoint
from reasonrl.run.telemetry.prometheus_metrics import DEFINITIONS, RunMetrics
from reasonrl.run.telemetry.telemetry_error import TelemetryError

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def _scrape(endpoint: PrometheusEndpoint) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=10) as answer:
        return answer.read().decode()


@pytest.fixture
def metrics():
    return RunMetrics()


def test_a_scrape_over_http_gives_the_last_step(metrics, step, evaluation, event):
    endpoint = PrometheusEndpoint(metrics, address="127.0.0.1", port=0)
    try:
        metrics.record(evaluation(0, accuracy=0.2, accuracy_error=0.03))
        metrics.record(step(7, reward_mean=0.5, kl_k3=0.04))
        metrics.record(event(8))
        samples = _samples(_scrape(endpoint))
    finally:
        endpoint.close()
    assert samples["reasonrl_step", ()] == 7
    assert samples["reasonrl_reward", ()] == 0.5
    assert samples["reasonrl_kl_nats", (("estimator", "k3"),)] == 0.04
    assert samples["reasonrl_phase_info", (("index", "0"), ("max_response_tokens", "256"), ("phase", "short"))] == 1
    assert samples["reasonrl_evaluation_accuracy_ratio", (("benchmark", "held-out"),)] == 0.2
    assert samples["reasonrl_reflection_keywords_per_token", (("category", "verification"),)] == 0.002
    assert samples["reasonrl_checkpoints_total", ()] == 1
    assert samples["reasonrl_last_checkpoint_timestamp_seconds", ()] == event(8).time
    assert samples["reasonrl_events_total", (("reason", "CheckpointSaved"),)] == 1


def test_counters_and_histograms_add_up_over_steps(metrics, step):
    for s in range(3):
        metrics.record(step(s))
    samples = _samples(generate_latest(metrics).decode())
    assert samples["reasonrl_tokens_total", (("type", "response"),)] == 3 * 800
    assert samples["reasonrl_scoring_attempts_total", (("outcome", "timeout"),)] == 3
    assert samples["reasonrl_stage_seconds_sum", (("stage", "rollout"),)] == pytest.approx(3.0)
    assert samples["reasonrl_stage_seconds_count", (("stage", "rollout"),)] == 3
    assert samples["reasonrl_weight_sync_seconds_count", ()] == 3
    lengths = {"correct": [60, 80], "incorrect": [100, 140], "truncated": [256], "unscored": [40, 50, 16]}
    for outcome, values in lengths.items():
        assert samples["reasonrl_response_length_tokens_sum", (("outcome", outcome),)] == 3 * sum(values)
        for power in range(4, 18):
            inside = samples["reasonrl_response_length_tokens_bucket", (("le", f"{2.0**power}"), ("outcome", outcome))]
            assert inside == 3 * sum(value <= 2**power for value in values)


def test_what_selection_kept_and_what_was_repeated_is_told(metrics, step):
    told = {
        "selection_kept": {"unscored": 8, "overlengthMask": 5},
        "selection_dropped": {"unscored": 0, "overlengthMask": 3},
        "refills": 2,
        "replaced_questions": 3,
        "empty_questions": 1,
        "skipped_updates": 1,
        "repetitive_share": 0.25,
        "distinct_ngrams": 0.5,
    }
    metrics.record(step(0, **told))
    metrics.record(step(1, **told))
    found = _samples(generate_latest(metrics).decode())
    assert found[("reasonrl_selection_kept_responses", (("rule", "overlengthMask"),))] == 5
    assert found[("reasonrl_selection_dropped_responses_total", (("rule", "overlengthMask"),))] == 6
    totals = {"refills": 4, "replaced_questions": 6, "skipped_updates": 2}
    assert {name: found[(f"reasonrl_{name}_total", ())] for name in totals} == totals
    now = {"empty_questions": 1, "repetitive_responses_ratio": 0.25, "distinct_ngrams_ratio": 0.5}
    assert {name: found[(f"reasonrl_{name}", ())] for name in now} == now
    assert math.isnan(found[("reasonrl_repeated_ngrams_ratio", ())])


def test_what_a_step_could_not_measure_is_not_the_value_of_the_step_before(metrics, step):
    metrics.record(step(0))
    metrics.record(step(1, reward_mean=None, kl_k1=None, kl_k2=None, kl_k3=None, reward_components={"answer": 0.5}))
    samples = _samples(generate_latest(metrics).decode())
    assert math.isnan(samples["reasonrl_reward", ()])
    assert not [name for name, _ in samples if name == "reasonrl_kl_nats"]
    assert ("reasonrl_reward_component", (("component", "format"),)) not in samples


def test_before_the_first_step_gauges_say_nothing(metrics):
    samples = _samples(generate_latest(metrics).decode())
    assert math.isnan(samples["reasonrl_truncated_ratio", ()])
    assert samples["reasonrl_response_length_tokens_count", (("outcome", "truncated"),)] == 0


def test_the_fleet_is_counted_by_state_and_a_state_without_engines_is_zero(metrics):
    metrics.rollout_engines({"live": 3, "joining": 1})
    metrics.rollout_engines({"live": 2, "lost": 1})
    metrics.requeued_tasks(5)
    metrics.requeued_tasks(2)
    metrics.recovered("engine")
    metrics.weights_sent(1_000_000)
    samples = _samples(generate_latest(metrics).decode())
    assert {dict(labels)["state"]: value for (name, labels), value in samples.items() if name == "reasonrl_rollout_engines"} == {
        "joining": 0,
        "live": 2,
        "lost": 1,
    }
    assert samples["reasonrl_rollout_requeued_tasks_total", ()] == 7
    assert samples["reasonrl_recoveries_total", (("component", "engine"),)] == 1
    assert samples["reasonrl_weight_sync_bytes", ()] == 1_000_000


def test_the_age_of_each_response_is_counted(metrics):
    metrics.response_ages([0, 0, 1, 3])
    samples = _samples(generate_latest(metrics).decode())
    assert samples["reasonrl_response_staleness_steps_count", ()] == 4
    assert samples["reasonrl_response_staleness_steps_sum", ()] == 4
    assert samples["reasonrl_response_staleness_steps_bucket", (("le", "1.0"),)] == 3


def test_health_is_a_number_that_an_alert_can_compare(metrics):
    metrics.health([HealthSignal(signal="KLExplosion", state="critical"), HealthSignal(signal="NotFinite", state="ok")])
    samples = _samples(generate_latest(metrics).decode())
    assert samples["reasonrl_health_severity", (("signal", "KLExplosion"),)] == 2
    assert samples["reasonrl_health_severity", (("signal", "NotFinite"),)] == 0


def test_only_the_phase_of_the_last_step_is_current(metrics, step):
    metrics.record(step(0))
    metrics.record(step(1, phase="long", phase_index=1, phase_step=0, max_response_tokens=512))
    phases = [dict(labels) for name, labels in _samples(generate_latest(metrics).decode()) if name == "reasonrl_phase_info"]
    assert phases == [{"phase": "long", "index": "1", "max_response_tokens": "512"}]


def test_reference_resets_are_counted_from_the_running_total(metrics, step):
    for s, resets in enumerate([0, 1, 1, 2]):
        metrics.record(step(s, reference_resets=resets))
    assert _samples(generate_latest(metrics).decode())["reasonrl_reference_resets_total", ()] == 2


def test_every_series_is_declared_and_none_carries_the_job(metrics, step, evaluation, warm_start, event):
    for record in (step(0), evaluation(0), warm_start(0), event(0)):
        metrics.record(record)
    families = {family.name: family for family in text_string_to_metric_families(generate_latest(metrics).decode())}
    assert set(families) == {definition.name for definition in DEFINITIONS}
    for definition in DEFINITIONS:
        family = families[definition.name]
        assert (family.type, family.documentation) == (definition.type, definition.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(definition.labels)


def test_a_taken_port_names_the_field_of_the_spec(metrics):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(TelemetryError, match=rf"spec\.telemetry\.prometheusPort: port {port} of 127\.0\.0\.1 is taken"):
            PrometheusEndpoint(metrics, address="127.0.0.1", port=port)


def test_an_address_of_another_machine_names_the_field_of_the_spec(metrics):
    with pytest.raises(TelemetryError, match=r"spec\.telemetry\.prometheusAddress: cannot listen at '192\.0\.2\.1'"):
        PrometheusEndpoint(metrics, address="192.0.2.1", port=0)


def test_the_port_is_free_again_after_close(metrics):
    endpoint = PrometheusEndpoint(metrics, address="127.0.0.1", port=0)
    port = endpoint.port
    endpoint.close()
    PrometheusEndpoint(metrics, address="127.0.0.1", port=port).close()


def test_the_metrics_page_is_what_the_code_declares():
    assert PAGE.read_text(encoding="utf-8") == metrics_page(), "run: python -m reasonrl.run.telemetry.metrics_page > docs/metrics.md"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not installed")
def test_promtool_finds_nothing_to_say_about_names(metrics, step, evaluation, warm_start, event):
    for record in (step(0), evaluation(0), warm_start(0), event(0)):
        metrics.record(record)
    checked = subprocess.run(["promtool", "check", "metrics"], input=generate_latest(metrics), capture_output=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
