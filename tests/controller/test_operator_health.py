"""What the operator says about itself."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.controller.health import HealthServer, Limits, LoopPulse, Vitals, ailments
from reasonrl.controller.metrics import Metrics
from reasonrl.controller.object_record import parse_job
from reasonrl.controller.operator_options import Options, check_options, health_limits, lease_times
from reasonrl.controller.work_queue import QueueNumbers

IDLE: dict[str, Any] = {"ready": 0, "delayed": 0, "working": 0, "oldest": 0.0, "longest_work": 0.0, "adds": 0, "retries": 0}


def vitals(**changes: Any) -> Vitals:
    queue = QueueNumbers(**{**IDLE, **changes.pop("queue", {})})
    return Vitals(**{"loop": 0.0, "watches": {"pods": 1.0}, "queue": queue, "lease": 1.0, **changes})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"loop": 60.0}, "event loop"),
        ({"watches": {"pods": 1000.0, "jobs": 1.0}}, "watch of pods"),
        ({"queue": {"oldest": 1000.0}}, "waited for a worker"),
        ({"queue": {"longest_work": 1000.0}}, "busy with one job"),
        ({"lease": 100.0}, "lease"),
    ],
)
def test_each_part_that_is_stuck_is_named(changes: dict[str, Any], word: str) -> None:
    assert ailments(vitals(), Limits()) == []
    (found,) = ailments(vitals(**changes), Limits())
    assert word in found


def test_a_process_that_waits_for_the_lease_is_alive() -> None:
    assert ailments(vitals(lease=None), Limits()) == []


@given(st.floats(3.0, 300.0), st.floats(1.0, 600.0))
def test_a_holder_that_renews_in_time_is_alive_however_the_options_are_set(lease_seconds: float, silence: float) -> None:
    lease = lease_times(lease_seconds)
    options = Options(lease=lease, silence=silence)
    check_options(options)
    limits = health_limits(options)
    # The oldest that a lease gets that is not lost, and a watch that was silent, was found to be, and waited the longest back-off.
    assert ailments(vitals(lease=lease.renew, watches={"pods": silence + 31.0}), limits) == []
    assert ailments(vitals(lease=3 * lease.duration + 60.0), limits) != []


def status_of_job(metrics: Metrics, before: dict[str, Any], after: dict[str, Any]) -> None:
    metadata = {"name": "j", "namespace": "a", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    job = parse_job({"metadata": metadata, "status": before}).record
    metrics.count_transition(job, after, job.created + 42.0)


def test_pages_say_alive_ready_and_metrics() -> None:
    async def main() -> None:
        now = vitals(unsynced=("pods",))
        metrics = Metrics()
        metrics.follow(queue=lambda: QueueNumbers(**{**IDLE, "ready": 7}), jobs=lambda: [])
        metrics.count_call("create", "Pod", "201", 0.01)
        server = HealthServer(vitals=lambda: now, registry=metrics.registry)
        port = await server.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

                async def get(path: str) -> tuple[int, str]:
                    async with session.get(path) as response:
                        return response.status, await response.text()

                assert await get("/readyz") == (503, "not listed yet: pods")
                assert await get("/healthz") == (200, "ok")
                now = vitals(queue={"oldest": 9999.0})
                assert (await get("/healthz"))[0] == 503
                assert await get("/readyz") == (200, "ok")
                text = (await get("/metrics"))[1]
                assert "reasonrl_operator_queue_depth 7.0" in text
                assert 'reasonrl_operator_api_calls_total{code="201",kind="Pod",verb="create"} 1.0' in text
        finally:
            await server.stop()

    asyncio.run(main())


def test_restarts_and_the_way_to_running_are_counted_from_what_status_says() -> None:
    metrics = Metrics()
    once = {"trainer": {"started": 1, "failures": 0}}
    again = {"trainer": {"started": 2, "failures": 1, "lastReason": "OOMKilled"}}
    status_of_job(metrics, {}, {"summary": "Starting", "attempts": once})
    status_of_job(metrics, {"summary": "Starting", "attempts": once}, {"summary": "Running", "attempts": once})
    status_of_job(metrics, {"summary": "Running", "attempts": once}, {"summary": "Restarting", "attempts": again})
    status_of_job(metrics, {"summary": "Restarting", "attempts": again}, {"summary": "Running", "attempts": again})
    value = metrics.registry.get_sample_value
    assert value("reasonrl_operator_restarts_total", {"role": "trainer", "reason": "OOMKilled"}) == 1
    assert value("reasonrl_operator_created_to_running_seconds_count") == 1
    assert value("reasonrl_operator_created_to_running_seconds_sum") == 42


def test_reasons_that_jobs_make_up_do_not_fill_the_metrics() -> None:
    metrics = Metrics()
    for number in range(200):
        attempts = {"rollout": {"failures": number + 1, "lastReason": f"Reason{number}"}}
        status_of_job(metrics, {"attempts": {"rollout": {"failures": number}}}, {"attempts": attempts})
    status_of_job(metrics, {}, {"attempts": {"rollout": {"failures": 1, "lastReason": "with\nline"}}})
    series = [sample for family in metrics.registry.collect() for sample in family.samples if sample.name.endswith("restarts_total")]
    assert len(series) <= 33
    assert sum(sample.value for sample in series) == 201


def test_a_loop_that_is_held_up_is_measured() -> None:
    late: list[float] = []
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 5.0
        return now

    async def main() -> None:
        pulse = asyncio.create_task(LoopPulse(clock, late.append, period=0.001).run())
        async with asyncio.timeout(10):
            while not late:
                await asyncio.sleep(0.001)
        pulse.cancel()

    asyncio.run(main())
    assert late[0] == pytest.approx(5.0 - 0.001)
