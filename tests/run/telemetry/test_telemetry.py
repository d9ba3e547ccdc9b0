from __future__ import annotations

import io
import json
import socket
import threading
import urllib.request

import pytest
from prometheus_client import generate_latest
from rich.console import Console

from reasonrl.api.parse import parse_job
from reasonrl.api.run_files import EVENTS_FILE, METRICS_FILE
from reasonrl.api.run_status import HealthSignal, SavedCheckpoint
from reasonrl.run.progress import Progress
from reasonrl.run.status.board import RunStatusBoard
from reasonrl.run.telemetry.prometheus_metrics import RunMetrics
from reasonrl.run.telemetry.rollouts_file import RolloutLine
from reasonrl.run.telemetry.run_view import PhasePlan, phase_plans
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.run.telemetry.telemetry_error import TelemetryError

PHASES = [PhasePlan("short", 256, 10)]


def _line(step: int, benchmark: str | None = None) -> RolloutLine:
    return RolloutLine(
        step=step,
        benchmark=benchmark,
        group_id="g",
        question_id="q",
        question="1+1?",
        answer="2",
        prompt="1+1?",
        response="2",
        finish="stop",
        length=1,
        reward=1.0,
        correct=True,
        scores=(),
        weight_version=step,
        logprob_mean=-0.1,
    )


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_that_was_killed_and_resumed_leaves_each_step_once(tmp_path, step, evaluation, event):
    def run(telemetry: Telemetry, steps: range) -> None:
        for s in steps:
            telemetry.stage("rollout")
            telemetry.rollouts(s, [_line(s)])
            telemetry.step(step(s))
            if (s + 1) % 2 == 0:
                telemetry.evaluation(evaluation(s + 1), [_line(s + 1, "held-out")])
                telemetry.event(event(s + 1, "CheckpointSaved", f"step {s + 1}"))

    with Telemetry(tmp_path, job_name="job", phases=PHASES) as telemetry:
        run(telemetry, range(5))
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"kind": "step", "st')
    with Telemetry(tmp_path, job_name="job", phases=PHASES) as telemetry:
        telemetry.resumed_at(2)
        telemetry.evaluation(evaluation(2), [_line(2, "held-out")])
        run(telemetry, range(2, 6))
    lines = _lines(tmp_path / METRICS_FILE)
    assert [line["step"] for line in lines if line["kind"] == "step"] == [0, 1, 2, 3, 4, 5]
    assert [line["step"] for line in lines if line["kind"] == "evaluation"] == [2, 4, 6]
    assert [line["step"] for line in _lines(tmp_path / EVENTS_FILE)] == [2, 4, 6]
    assert sorted(path.name for path in (tmp_path / "rollouts").iterdir()) == [
        *(f"evaluation-{s:06d}-held-out.jsonl" for s in (2, 4, 6)),
        *(f"step-{s:06d}.jsonl" for s in range(6)),
    ]


def test_the_summary_of_a_resumed_run_begins_where_the_run_began(tmp_path, step, evaluation):
    with Telemetry(tmp_path, job_name="job", phases=PHASES) as telemetry:
        telemetry.evaluation(evaluation(0, accuracy=0.1))
        telemetry.step(step(0))
    stream = io.StringIO()
    with Telemetry(tmp_path, job_name="job", phases=PHASES, console=Console(file=stream)) as telemetry:
        telemetry.resumed_at(1)
        telemetry.step(step(1))
        telemetry.evaluation(evaluation(2, accuracy=0.4))
    text = stream.getvalue()
    assert "job: 1 steps in" in text
    assert "2 steps in all" in text
    assert "held-out: 10.0 % ± 3.0 → 40.0 % ± 3.0" in text


def test_the_endpoint_serves_what_the_loop_records_and_the_past_evaluation(tmp_path, step, evaluation):
    with Telemetry(tmp_path, job_name="job", phases=PHASES) as telemetry:
        telemetry.evaluation(evaluation(0, accuracy=0.125))
    with Telemetry(tmp_path, job_name="job", phases=PHASES, prometheus_port=0) as telemetry:
        telemetry.resumed_at(0)
        telemetry.step(step(0))
        with urllib.request.urlopen(f"http://127.0.0.1:{telemetry.endpoint.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    assert "reasonrl_step 0.0" in text
    assert 'reasonrl_evaluation_accuracy_ratio{benchmark="held-out"} 0.125' in text


def test_a_taken_port_leaves_nothing_open(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        stream = io.StringIO()
        with (
            pytest.raises(TelemetryError, match=r"spec\.telemetry\.prometheusPort"),
            Telemetry(tmp_path, job_name="job", phases=PHASES, prometheus_port=other.getsockname()[1], console=Console(file=stream)),
        ):
            pytest.fail("entered")
    assert stream.getvalue() == ""


def test_a_lost_terminal_becomes_an_event_and_the_run_goes_on(tmp_path, step):
    stream = io.StringIO()
    with Telemetry(tmp_path, job_name="job", phases=PHASES, console=Console(file=stream)) as telemetry:
        stream.close()
        telemetry.step(step(0))
        telemetry.step(step(1))
    assert [line["step"] for line in _lines(tmp_path / METRICS_FILE)] == [0, 1]
    (event,) = _lines(tmp_path / EVENTS_FILE)
    assert event["reason"] == "TerminalLost"
    assert "closed" in event["message"]


def test_a_run_that_fails_still_says_how_far_it_came(tmp_path, step):
    stream = io.StringIO()
    with pytest.raises(RuntimeError), Telemetry(tmp_path, job_name="job", phases=PHASES, console=Console(file=stream)) as telemetry:
        telemetry.step(step(0))
        raise RuntimeError("out of memory")
    assert "job: 1 steps in" in stream.getvalue()


@pytest.fixture
def job():
    return parse_job(
        {
            "apiVersion": "reasonrl.dev/v1alpha1",
            "kind": "ReasoningRLJob",
            "metadata": {"name": "job"},
            "spec": {
                "model": {"path": "hf://Qwen/Qwen2.5-1.5B"},
                "data": {"train": [{"path": "/data/questions.jsonl"}]},
                "rewards": [{"type": "answer"}],
                "phases": [{"name": "short", "maxResponseTokens": 256, "until": {"steps": 10}}],
            },
        }
    )


def test_the_status_of_a_run_follows_what_telemetry_is_told(tmp_path, job, step, evaluation):
    board, metrics = RunStatusBoard(job), RunMetrics()
    with Telemetry(tmp_path, job_name="job", phases=phase_plans(job), board=board, metrics=metrics) as telemetry:
        telemetry.stage("rollout")
        assert board.status().stage == "rollout"
        telemetry.step(step(0))
        telemetry.step(step(1))
        telemetry.at(Progress(step=2, phase_step=2))
        telemetry.keeps([SavedCheckpoint(step=2, time=1.0, healthy=True, path="/checkpoints/step-000002")])
        telemetry.health([HealthSignal(signal="RewardCollapse", state="warning")])
        telemetry.rollout_engines({"live": 2})
        mark = board.current_stage().mark
        telemetry.touch()
        telemetry.evaluation(evaluation(2))
        assert board.current_stage().mark == mark + 2
        telemetry.job_changed(job, config_hash="edited")
    status = board.status()
    assert (status.step, status.phase_step, status.config_hash) == (2, 2, "edited")
    assert [each.step for each in status.checkpoints] == [2]
    assert [each.signal for each in status.health] == ["RewardCollapse"]
    page = generate_latest(metrics).decode()
    assert 'reasonrl_rollout_engines{state="live"} 2.0' in page
    assert 'reasonrl_health_severity{signal="RewardCollapse"} 1.0' in page
    with Telemetry(tmp_path, job_name="job", phases=phase_plans(job), board=(resumed := RunStatusBoard(job))) as telemetry:
        telemetry.resumed_at(1)
    assert resumed.status().step == 1


def test_a_run_that_nobody_watches_tells_the_same(tmp_path, job):
    with Telemetry(tmp_path, job_name="job", phases=phase_plans(job)) as telemetry:
        telemetry.stage("rollout")
        telemetry.touch()
        telemetry.at(Progress())
        telemetry.keeps([])
        telemetry.health([])
        telemetry.rollout_engines({})
        telemetry.requeued_tasks(1)
        telemetry.weights_sent(1)
        telemetry.response_ages([0])
        telemetry.recovered("engine")
        telemetry.job_changed(job, config_hash="x")


def test_threads_that_tell_at_once_lose_nothing_and_tear_no_line(tmp_path, step, event):
    with Telemetry(tmp_path, job_name="job", phases=PHASES, metrics=RunMetrics()) as telemetry:

        def tell(number: int) -> None:
            for count in range(50):
                telemetry.event(event(count, f"Reason{number}", "x" * 2000))
                # A step again takes the place of the first: the file is rewritten under the others' hands.
                telemetry.step(step(number))

        threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(_lines(tmp_path / EVENTS_FILE)) == 200
    assert sorted(line["step"] for line in _lines(tmp_path / METRICS_FILE)) == [0, 1, 2, 3]
