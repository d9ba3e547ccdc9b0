"""`reasonrl run --cluster` as a person uses it: it says what goes wrong once, follows a change of replicas, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ray")

SECONDS = 600.0
"""A run takes half a minute on two idle cores; on a machine that others keep busy it was seen to take six and a half minutes."""


@pytest.fixture
def job(tiny_job: dict[str, Any]) -> dict[str, Any]:
    del tiny_job["spec"]["evaluation"]
    tiny_job["spec"]["rollout"] = {"engine": "torch", "replicas": 1}
    return tiny_job


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], subprocess.Popen[str]]]:
    """`start(job, *options)`: the command, with tmp_path/run as its output. It is killed when the test leaves it running."""
    started: list[subprocess.Popen[str]] = []

    def run(document: dict[str, Any], *options: str) -> subprocess.Popen[str]:
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
        command = [
            sys.executable,
            "-m",
            "reasonrl.cli",
            "run",
            "--cluster",
            str(tmp_path / "job.yaml"),
            "--output",
            str(tmp_path / "run"),
            *options,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": "/tmp"}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def events(directory: Path) -> list[str]:
    path = directory / "run" / "events.jsonl"
    return [json.loads(line)["reason"] for line in path.read_text().splitlines()] if path.exists() else []


def until(holds: Callable[[], object], what: str) -> None:
    due = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < due, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.1)


def left_of(directory: Path) -> list[str]:
    """Command lines of processes that were told of this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(directory / "run").encode() in told:
                found.append(told[-200:].decode(errors="replace"))
    return found


@pytest.mark.slow
def test_a_job_with_bad_data_is_not_started_again(
    job: dict[str, Any], start: Callable[[dict[str, Any]], subprocess.Popen[str]], tmp_path: Path
) -> None:
    job["spec"]["data"]["train"][0]["task"] |= {"size": 400, "options": {"minTerms": 2, "maxTerms": 2, "largestDigit": 2}}
    said, _ = (process := start(job)).communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert "size 400 is too much" in said
    assert "starts again" not in said
    until(lambda: not left_of(tmp_path), "no process of the run is left")


@pytest.mark.slow
def test_a_quiet_run_says_how_it_ended_and_nothing_else(
    job: dict[str, Any], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    job["spec"]["phases"] = [{"name": "only", "maxResponseTokens": 12, "until": {"steps": 1}}]
    said, _ = (process := start(job, "--quiet")).communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    last_word = json.loads((tmp_path / "run" / ".cluster" / "trainer-0.termination").read_text())["message"]
    assert said.splitlines() == [last_word, f"look at it: reasonrl report {tmp_path / 'run'}"]
    assert "only" in (tmp_path / "run" / ".cluster" / "logs" / "trainer-0-0.log").read_text()


@pytest.mark.slow
def test_rollout_pods_join_and_leave_while_it_runs_and_a_signal_ends_it_whole(
    job: dict[str, Any], start: Callable[[dict[str, Any]], subprocess.Popen[str]], tmp_path: Path
) -> None:
    # More steps than anyone waits for.
    job["spec"]["phases"] = [{"name": "only", "maxResponseTokens": 12, "until": {"steps": 100_000}}]
    job["spec"]["checkpoint"] = {"everySteps": 100_000}
    process = start(job)
    replicas = tmp_path / "run" / ".cluster" / "replicas"
    until(lambda: events(tmp_path).count("RolloutJoined") == 1, "one engine is in the run")
    replicas.write_text("2")
    until(lambda: events(tmp_path).count("RolloutJoined") == 2, "a second engine has joined, with the current weights")
    replicas.write_text("1")
    until(lambda: "RolloutLost" in events(tmp_path) or "RolloutLeft" in events(tmp_path), "the second engine has left")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 4, said
    assert "All trainers start again" not in said
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(step["staleness_max"] == 0 for step in steps if step["kind"] == "step")
    done = max(step["step"] for step in steps if step["kind"] == "step") + 1
    assert (tmp_path / "run" / "checkpoints" / f"step-{done:06d}").is_dir()
    until(lambda: not left_of(tmp_path), "no process of the run is left")
