from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from reasonrl.api.run_files import EVENTS_FILE, METRICS_FILE, METRICS_LINE
from reasonrl.run.telemetry.metrics_file import EventsFile, MetricsFile
from reasonrl.run.telemetry.telemetry_error import TelemetryError


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_written_reads_back_as_the_same_records(tmp_path, step, evaluation, warm_start):
    records = [warm_start(0), warm_start(10), evaluation(0), step(0), step(1), evaluation(2)]
    file = MetricsFile(tmp_path)
    for record in records:
        file.append(record)
    file.close()
    assert [METRICS_LINE.validate_json(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()] == records


def test_a_line_is_on_disk_before_the_next_is_written(tmp_path, step):
    file = MetricsFile(tmp_path)
    file.append(step(0))
    assert _lines(tmp_path / METRICS_FILE)[0]["step"] == 0
    file.close()


def test_resuming_takes_back_the_steps_that_are_done_again(tmp_path, step, evaluation, warm_start):
    file = MetricsFile(tmp_path)
    for record in [warm_start(30), evaluation(0), *(step(s) for s in range(4)), evaluation(4), step(4), step(5), evaluation(6), step(6)]:
        file.append(record)
    kept = file.resumed_at(4)
    assert [(record.kind, record.step) for record in kept] == [
        ("warm_start", 30),
        ("evaluation", 0),
        ("step", 0),
        ("step", 1),
        ("step", 2),
        ("step", 3),
        ("evaluation", 4),
    ]
    for record in [evaluation(4, accuracy=0.5), step(4), step(5), evaluation(6), step(6)]:
        file.append(record)
    file.close()
    lines = _lines(tmp_path / METRICS_FILE)
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(7))
    assert [(line["step"], line["accuracy"]) for line in lines if line["kind"] == "evaluation"] == [(0, 0.2), (4, 0.5), (6, 0.2)]


def test_resuming_from_the_beginning_leaves_no_step(tmp_path, step, warm_start):
    file = MetricsFile(tmp_path)
    for record in [warm_start(1, loss=3.0), step(0), step(1)]:
        file.append(record)
    file.resumed_at(0)
    for record in [warm_start(1, loss=2.5), step(0)]:
        file.append(record)
    file.close()
    lines = _lines(tmp_path / METRICS_FILE)
    assert [(line["kind"], line["step"]) for line in lines] == [("warm_start", 1), ("step", 0)]
    assert lines[0]["loss"] == 2.5


def test_each_step_is_there_once_even_when_the_loop_repeats_one(tmp_path, step):
    file = MetricsFile(tmp_path)
    for s in (0, 1, 1, 2):
        file.append(step(s, reward_mean=s / 10))
    file.append(step(1, reward_mean=0.9))
    file.close()
    lines = _lines(tmp_path / METRICS_FILE)
    assert sorted(line["step"] for line in lines) == [0, 1, 2]
    assert next(line["reward_mean"] for line in lines if line["step"] == 1) == 0.9


def test_a_torn_last_line_is_cut_before_the_next_one(tmp_path, step):
    file = MetricsFile(tmp_path)
    file.append(step(0))
    file.close()
    path = tmp_path / METRICS_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + step(1).model_dump_json().encode()[:-20])
    file = MetricsFile(tmp_path)
    file.append(step(1))
    file.close()
    assert [line["step"] for line in _lines(path)] == [0, 1]


def test_a_file_that_is_one_torn_line_longer_than_a_block_is_emptied(tmp_path):
    (tmp_path / METRICS_FILE).write_bytes(b'{"kind": "step", "x": "' + b"a" * 200_000)
    file = MetricsFile(tmp_path)
    file.close()
    assert (tmp_path / METRICS_FILE).read_bytes() == b""


def test_lines_of_another_release_stay_when_a_run_resumes(tmp_path, step):
    path = tmp_path / METRICS_FILE
    path.write_text('{"kind": "step", "step": 0, "new_field": 1}\n{"kind": "tool", "step": 7}\n')
    file = MetricsFile(tmp_path)
    assert file.resumed_at(1) == []
    file.append(step(1))
    file.close()
    assert [line["kind"] for line in _lines(path)] == ["step", "tool", "step"]


def test_a_killed_writer_leaves_only_whole_lines(tmp_path):
    """The writer is killed while it writes; every line but a torn last one must parse and no step be missing or twice."""
    program = textwrap.dedent(
        """
        import pathlib, sys
        from reasonrl.api.run_files import WarmStartMetrics
        from reasonrl.run.telemetry.metrics_file import MetricsFile
        file = MetricsFile(pathlib.Path(sys.argv[1]))
        for step in range(10**9):
            file.append(WarmStartMetrics(step=step, time=0.0, loss=1.0, learning_rate=0.1, tokens_per_second=1.0))
            if step == 200:
                print("going", flush=True)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "going\n"
        os.kill(writer.pid, signal.SIGKILL)
    *whole, torn = (tmp_path / METRICS_FILE).read_bytes().split(b"\n")
    assert [METRICS_LINE.validate_json(line).step for line in whole] == list(range(len(whole)))
    file = MetricsFile(tmp_path)
    file.close()
    assert (tmp_path / METRICS_FILE).read_bytes().endswith(b"\n")
    assert len(torn) < len(whole[-1])


def test_events_before_the_checkpoint_stay_and_are_not_told_twice(tmp_path, event):
    file = EventsFile(tmp_path)
    for record in [event(0, "PhaseEntered", "short"), event(2), event(2, "PhaseEntered", "long"), event(3, "RewardErrors", "9 of 9")]:
        file.append(record)
    file.resumed_at(2)
    for record in [event(2, "Resumed", "from step 2"), event(2, "PhaseEntered", "long"), event(3, "RewardErrors", "9 of 9"), event(4)]:
        file.append(record)
    file.close()
    assert [(line["step"], line["reason"]) for line in _lines(tmp_path / EVENTS_FILE)] == [
        (0, "PhaseEntered"),
        (2, "CheckpointSaved"),
        (2, "PhaseEntered"),
        (2, "Resumed"),
        (3, "RewardErrors"),
        (4, "CheckpointSaved"),
    ]


def test_the_same_event_twice_in_one_life_is_two_events(tmp_path, event):
    file = EventsFile(tmp_path)
    file.append(event(1, "SampleDropped"))
    file.append(event(1, "SampleDropped"))
    file.close()
    assert len(_lines(tmp_path / EVENTS_FILE)) == 2


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "run").write_text("a file where the run directory should be")
    with pytest.raises(TelemetryError, match=r"cannot write .*run"):
        MetricsFile(tmp_path / "run")
