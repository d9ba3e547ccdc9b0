"""A sweep in real processes: killed and gone on with, with one arm that cannot run; and a warm start that arms share."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.api.parse import parse_job
from reasonrl.api.sweep_jobs import SweepRun
from reasonrl.api.sweep_warm_start import SweepTask, tasks_with_shared_start
from reasonrl.run.local import run_on_one_machine
from reasonrl.run.run_directory import RunDirectoryError, locked
from reasonrl.run.sweep import SweepPlace, run_sweep
from reasonrl.run.sweep_progress import RunState, State, seconds_left

REASONRL = str(Path(sys.executable).with_name("reasonrl"))
DEADLINE_SECONDS = 120.0
STEPS = 60


@dataclass(frozen=True, slots=True)
class Sweep:
    """`steps` that the run had after the first start, which SIGTERM ended, and after the second, which SIGKILL did."""

    directory: Path
    stopped: subprocess.CompletedProcess[str]
    steps: tuple[int, int]
    last: subprocess.CompletedProcess[str]


def until(condition: Callable[[], bool], what: str) -> None:
    due = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < due, f"waited {DEADLINE_SECONDS} s for {what}"
        time.sleep(0.05)


def steps_of(directory: Path) -> list[int]:
    path = directory / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line["step"] for line in map(json.loads, lines) if line["kind"] == "step"]


def is_held(directory: Path) -> bool:
    try:
        with locked(directory):
            return False
    except RunDirectoryError:
        return True


@pytest.fixture(scope="module")
def quick_job(shared_tiny_job: dict[str, Any]) -> dict[str, Any]:
    spec = shared_tiny_job["spec"]
    del spec["sft"]
    spec["phases"] = [{"name": "only", "maxResponseTokens": 8, "until": {"steps": STEPS}}]
    spec["evaluation"] = {"everySteps": 0, "benchmarks": []}
    spec["checkpoint"] = {"everySteps": 2, "keepLast": 1}
    return shared_tiny_job


@pytest.fixture(scope="module")
def killed_sweep(quick_job: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Started three times: stopped by SIGTERM in its first run, killed by SIGKILL in the same, let run to its end."""
    here = tmp_path_factory.mktemp("sweep")
    (here / "job.yaml").write_text(yaml.safe_dump(quick_job))
    (here / "worked.jsonl").write_text("{}\n")
    warm_start = {"train": [{"path": "worked.jsonl"}], "steps": 1}
    arms = [{"name": "fine"}, {"name": "broken", "set": {"spec.sft": warm_start}}]
    sweep = {"name": "tiny", "job": "job.yaml", "seeds": [1], "arms": arms, "shareWarmStart": True}
    (here / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    fine = here / "out" / "fine" / "seed-1"

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [REASONRL, "sweep", str(here / "sweep.yaml"), "--output", str(here / "out")],
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    steps: list[int] = []
    processes: list[subprocess.CompletedProcess[str]] = []
    for kill in (signal.SIGTERM, signal.SIGKILL, None):
        process = start()
        try:
            if kill is not None:
                seen = len(steps_of(fine))
                until(lambda: process.poll() is not None or len(steps_of(fine)) > seen + 2, "the next steps")  # noqa: B023
                process.send_signal(kill)
            processes.append(ended(process))
        finally:
            process.kill()
            process.wait()
        until(lambda: not is_held(fine), "the run to end with its sweep")
        steps.append(len(steps_of(fine)))
    return Sweep(directory=here / "out", stopped=processes[0], steps=(steps[0], steps[1]), last=processes[2])


def test_a_stopped_sweep_lets_its_run_save_itself(killed_sweep: Sweep) -> None:
    assert killed_sweep.stopped.returncode == 4
    assert f"fine/seed-1 stopped: stopped by a signal after step {killed_sweep.steps[0]}" in killed_sweep.stopped.stdout
    assert "the same command goes on with the others" in killed_sweep.stopped.stdout


def test_a_killed_sweep_takes_its_run_along_and_goes_on_from_its_checkpoint(killed_sweep: Sweep) -> None:
    fine = killed_sweep.directory / "fine" / "seed-1"
    assert 2 < killed_sweep.steps[0] < killed_sweep.steps[1] < STEPS
    assert steps_of(fine) == list(range(STEPS))
    assert (fine / "events.jsonl").read_text().count("Resumed") == 2
    assert "goes on at step" in killed_sweep.last.stdout


def test_a_failed_arm_does_not_end_the_others_and_is_said_at_the_end(killed_sweep: Sweep) -> None:
    out = killed_sweep.last.stdout
    assert killed_sweep.last.returncode == 1
    assert re.search(r"warm-start/\w+/seed-1 failed: error: .*worked\.jsonl", out)
    assert "broken/seed-1 failed: not started: warm-start/" in out
    assert "1 of 3 runs are finished" in out
    assert "Traceback" not in out + killed_sweep.last.stderr
    assert not (killed_sweep.directory / "broken").exists()


def test_a_finished_run_is_left_out_and_one_of_another_job_is_refused(killed_sweep: Sweep, quick_job: dict[str, Any]) -> None:
    kept = yaml.safe_load((killed_sweep.directory / "fine" / "seed-1" / "job.yaml").read_text())
    place = SweepPlace(directory=killed_sweep.directory, base_directory=killed_sweep.directory.parent, kept={})
    before = (killed_sweep.directory / "logs" / "fine-seed-1.log").stat().st_mtime_ns
    seen: list[int] = []
    done = run_sweep(
        [SweepTask(name="fine/seed-1", job=parse_job(kept))],
        place,
        parallel=1,
        threads=1,
        watch=lambda runs: seen.append(runs[0].step),
    )
    assert [run.state for run in done] == [State.FINISHED]
    assert (killed_sweep.directory / "logs" / "fine-seed-1.log").stat().st_mtime_ns == before
    assert seen[-1] == STEPS
    kept["spec"]["rollout"]["temperature"] = 0.5
    with pytest.raises(RunDirectoryError, match=r"run of another job: spec\.rollout\.temperature differs"):
        run_sweep([SweepTask(name="fine/seed-1", job=parse_job(kept))], place, parallel=1, threads=1, watch=lambda runs: None)


def metrics(directory: Path) -> list[Mapping[str, Any]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    clocked = {"time", "seconds", "tokens_per_second"}
    return [{key: value for key, value in line.items() if key not in clocked} for line in lines if line["kind"] != "warm_start"]


def test_a_run_from_a_shared_warm_start_is_the_run_with_its_own(tiny_job: dict[str, Any], tmp_path: Path) -> None:
    tiny_job["spec"]["phases"] = [{"name": "only", "maxResponseTokens": 12, "until": {"steps": 2}}]
    job = parse_job(tiny_job)
    tasks = tasks_with_shared_start([SweepRun(arm="a", seed=7, job=job), SweepRun(arm="b", seed=7, job=job)], directory=str(tmp_path))
    assert [task.name.partition("/")[0] for task in tasks] == ["warm-start", "a", "b"]
    for task in tasks[:2]:
        run_on_one_machine(task.job, directory=tmp_path / task.name, base_directory=tmp_path, console=None)
    run_on_one_machine(job, directory=tmp_path / "own", base_directory=tmp_path, console=None)
    assert len(metrics(tmp_path / "own")) > 2
    assert metrics(tmp_path / "a" / "seed-7") == metrics(tmp_path / "own")


def test_arms_share_a_warm_start_only_where_it_would_be_the_same(tiny_job: dict[str, Any]) -> None:
    def run(arm: str, seed: int, **spec: object) -> SweepRun:
        job = yaml.safe_load(yaml.safe_dump(tiny_job))
        job["spec"] |= {"seed": seed, **spec}
        return SweepRun(arm=arm, seed=seed, job=parse_job(job))

    smaller = {**tiny_job["spec"]["model"], "scratch": {**tiny_job["spec"]["model"]["scratch"], "feedForwardSize": 32}}
    runs = [run("a", 1), run("hot", 1, rollout={"temperature": 1.2}), run("small", 1, model=smaller), run("none", 1, sft=None), run("a", 2)]
    needs = {task.name: task.needs for task in tasks_with_shared_start(runs, directory="/sweep") if not task.name.startswith("warm-start")}
    assert needs["a/seed-1"] == needs["hot/seed-1"] != needs["small/seed-1"]
    assert needs["none/seed-1"] is None
    assert needs["a/seed-2"] == needs["a/seed-1"].replace("seed-1", "seed-2")


def test_the_time_left_goes_by_the_pace_of_each_arm(quick_job: dict[str, Any], tmp_path: Path) -> None:
    job = parse_job(quick_job)

    def state(name: str, **fields: Any) -> RunState:
        run = RunState(task=SweepTask(name=name, job=job), directory=tmp_path)
        for field, value in fields.items():
            setattr(run, field, value)
        return run

    fast = state("fast/seed-1", state=State.FINISHED, step=STEPS, seconds=10.0)
    slow = state("slow/seed-1", state=State.RUNNING, step=STEPS // 2, seconds=50.0)
    assert seconds_left([state("fast/seed-1")], parallel=1) is None
    # 10 s for another fast run, 50 s for the rest of this slow one, 100 s for the other.
    assert seconds_left([fast, slow, state("fast/seed-2"), state("slow/seed-2")], parallel=1) == pytest.approx(160)
    assert seconds_left([fast, slow, state("fast/seed-2"), state("slow/seed-2")], parallel=2) == pytest.approx(80)
    # A resumed run did not do its first steps here.
    resumed = state("fast/seed-1", state=State.RUNNING, step=30, first_step=20, seconds=20.0)
    assert seconds_left([resumed], parallel=1) == pytest.approx(2 * (STEPS - 30))


def test_two_sweeps_cannot_be_at_work_in_one_directory(tmp_path: Path) -> None:
    place = SweepPlace(directory=tmp_path, base_directory=tmp_path, kept={})
    with locked(tmp_path), pytest.raises(RunDirectoryError, match="another process"):
        run_sweep([], place, parallel=1, threads=1, watch=lambda runs: None)
