from __future__ import annotations

import io
import json
import socket
import urllib.request

import pytest
from rich.console import Console

from reasonrl.api.run_files import EVENTS_FILE, METRICS_FILE
from reasonrl.run.telemetry.rollouts_file import RolloutLine
from reasonrl.run.telemetry.run_view import PhasePlan
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
