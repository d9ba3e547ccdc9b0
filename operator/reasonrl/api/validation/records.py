"""Rules of spec.checkpoint and spec.telemetry."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.job import JobSpec
from reasonrl.api.problems import Problem
from reasonrl.api.telemetry_spec import TelemetrySpec
from reasonrl.api.validation.evaluation import REWARD_METRIC

DEFAULT_TELEMETRY = TelemetrySpec()


def record_problems(spec: JobSpec) -> Iterator[Problem]:
    best = spec.checkpoint.keep_best
    names = [benchmark.name for benchmark in spec.evaluation.benchmarks]
    if best is not None and best.metric not in (*names, REWARD_METRIC):
        yield Problem(
            "spec.checkpoint.keepBest.metric",
            best.metric,
            f"no benchmark has this name; use {' or '.join([*names, REWARD_METRIC])}",
        )
    telemetry = spec.telemetry
    if telemetry.prometheus_port is None and telemetry.prometheus_address != DEFAULT_TELEMETRY.prometheus_address:
        yield Problem(
            "spec.telemetry.prometheusAddress",
            telemetry.prometheus_address,
            "nothing listens there without prometheusPort; give it, or remove this",
        )
    if telemetry.rollouts_every_steps == 0 and telemetry.rollouts_per_step != DEFAULT_TELEMETRY.rollouts_per_step:
        yield Problem(
            "spec.telemetry.rolloutsPerStep", telemetry.rollouts_per_step, "rolloutsEverySteps: 0 writes none; raise that, or remove this"
        )
