"""What happens to rollout engines becomes events and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from reasonrl.run.cluster.fleet_telemetry import FleetTelemetry
from reasonrl.run.telemetry.prometheus_metrics import RunMetrics
from reasonrl.run.telemetry.telemetry import Telemetry


@pytest.fixture
def metrics() -> RunMetrics:
    return RunMetrics()


@pytest.fixture
def telemetry(tmp_path: Path, metrics: RunMetrics) -> Iterator[Telemetry]:
    with Telemetry(tmp_path, job_name="tiny", phases=[], metrics=metrics) as opened:
        yield opened


def value(metrics: RunMetrics, sample: str) -> float:
    lines = generate_latest(metrics).decode().splitlines()  # type: ignore[arg-type]
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{sample} ")), 0.0)


def test_an_engine_that_joins_after_a_loss_is_a_recovery_and_the_first_ones_are_not(telemetry: Telemetry, metrics: RunMetrics) -> None:
    heard = FleetTelemetry(telemetry, step=lambda: 4)
    for reason in ("RolloutJoined", "RolloutJoined", "RolloutLost", "RolloutJoined", "RolloutLeft", "RolloutJoined"):
        heard.tell(reason, f"engine: {reason}")
    assert value(metrics, 'reasonrl_recoveries_total{component="engine"}') == 1.0
    assert value(metrics, 'reasonrl_events_total{reason="RolloutJoined"}') == 4.0


def test_events_carry_the_step_at_which_they_were_told(telemetry: Telemetry, tmp_path: Path) -> None:
    FleetTelemetry(telemetry, step=lambda: 4).tell("RolloutLost", "gone")
    assert '"step":4' in (tmp_path / "events.jsonl").read_text()


class FleetWithLosses:
    requeued_tasks = 3

    def members(self) -> list[object]:
        return []


def test_requeued_tasks_are_counted_once(telemetry: Telemetry, metrics: RunMetrics) -> None:
    heard = FleetTelemetry(telemetry, step=lambda: 0)
    heard.watch(FleetWithLosses())  # type: ignore[arg-type]
    heard.tell("RolloutLost", "one")
    heard.tell("RolloutLost", "two")
    assert value(metrics, "reasonrl_rollout_requeued_tasks_total") == 3.0
