"""A run that was killed and gone on with equals one that was never stopped: every later metric and every tensor, bit for bit on a CPU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

REASONRL = str(Path(sys.executable).with_name("reasonrl"))
KILLED_RUN = Path(__file__).with_name("killed_run.py")
PREEMPTED, BAD_INPUT = 4, 2
DEADLINE_SECONDS = 300.0
# What a clock decides, and nothing else.
NOT_COMPARED = {"time", "seconds", "tokens_per_second"}


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run(job: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REASONRL, "run", str(job), "--output", str(directory)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def killed(job: Path, directory: Path, place: str, step: int) -> None:
    done = subprocess.run(
        [sys.executable, str(KILLED_RUN), str(job), str(directory), place, str(step)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def metrics(directory: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in NOT_COMPARED} for line in lines]


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    last = sorted((directory / "checkpoints").glob("step-*"))[-1]
    return {f"{file.name}/{name}": tensor for file in sorted(last.rglob("*.safetensors")) for name, tensor in load_file(file).items()}


def assert_equal_runs(found: Path, expected: Path) -> None:
    assert metrics(found) == metrics(expected)
    mine, theirs = tensors(found), tensors(expected)
    assert mine.keys() == theirs.keys()
    assert any(name.startswith("optimizer") for name in mine)
    assert any(name.startswith("reference") for name in mine)
    for name, tensor in theirs.items():
        assert torch.equal(mine[name], tensor), name


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    from_conftest: dict[str, Any] = request.getfixturevalue("shared_tiny_job")
    path = tmp_path_factory.mktemp("resume") / "job.yaml"
    path.write_text(yaml.safe_dump(from_conftest))
    return path


@pytest.fixture(scope="module")
def uninterrupted(job: Path) -> Path:
    directory = job.parent / "uninterrupted"
    done = run(job, directory)
    assert done.returncode == 0, done.stderr
    steps = [line["step"] for line in metrics(directory) if line["kind"] == "step"]
    assert steps == list(range(8))
    return directory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "step"),
    [
        ("before-update", 0),
        ("after-update", 1),
        # Step 2 takes the tail of one epoch and the head of the next; step 4 begins the second phase.
        ("before-update", 2),
        ("after-update", 2),
        ("before-save", 4),
        ("during-save", 4),
        ("after-update", 4),
        ("during-save", 6),
        ("during-save", 8),
    ],
)
def test_a_killed_run_goes_on_bit_for_bit(job: Path, uninterrupted: Path, tmp_path: Path, place: str, step: int) -> None:
    killed(job, tmp_path / "run", place, step)
    done = run(job, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert_equal_runs(tmp_path / "run", uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_as_preempted(job: Path, uninterrupted: Path, tmp_path: Path, number: signal.Signals) -> None:
    directory = tmp_path / "run"
    with subprocess.Popen(
        [REASONRL, "run", str(job), "--output", str(directory)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in until(lambda: steps_recorded(directory) >= 3 or process.poll() is not None):
            pass
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == PREEMPTED, err
    assert f"stopped by {number.name}" in out
    last = sorted((directory / "checkpoints").glob("step-*"))[-1]
    assert int(last.name.removeprefix("step-")) == steps_recorded(directory)
    done = run(job, directory)
    assert done.returncode == 0, done.stderr
    assert_equal_runs(directory, uninterrupted)


def steps_recorded(directory: Path) -> int:
    file = directory / "metrics.jsonl"
    return file.read_text().count('"kind":"step"') if file.exists() else 0


def until(condition) -> Iterator[None]:
    """Polls until the condition holds; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the run did not come as far in time"
        yield
        threading.Event().wait(0.02)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_and_the_run_ends_the_same(job: Path, uninterrupted: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    killed(job, directory, "before-update", 7)
    damaged = directory / "checkpoints" / "step-000006" / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = run(job, directory)
    assert done.returncode == 0, done.stderr
    events = (directory / "events.jsonl").read_text()
    assert "step-000006 is passed over" in events
    assert "from step-000004" in events
    assert_equal_runs(directory, uninterrupted)


@pytest.mark.slow
def test_the_final_policy_loads_in_transformers_and_solves_what_it_solved(uninterrupted: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(uninterrupted / "final")
    tokenizer = AutoTokenizer.from_pretrained(uninterrupted / "final")
    saved = tensors(uninterrupted)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, saved[f"model.safetensors/{name}"])
    written = model.generate(**tokenizer("Q a 7 b + 1 : <think>", return_tensors="pt"), max_new_tokens=12, do_sample=False)
    assert tokenizer.decode(written[0], skip_special_tokens=True).startswith("Q a 7 b + 1 : <think>")


@pytest.mark.slow
def test_a_finished_run_is_left_alone(job: Path, uninterrupted: Path) -> None:
    before = (uninterrupted / "metrics.jsonl").read_bytes()
    done = run(job, uninterrupted)
    assert done.returncode == 0
    assert "finished before" in done.stdout
    assert (uninterrupted / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_another_job_is_refused_in_the_same_directory(job: Path, uninterrupted: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(uninterrupted, directory)
    (directory / "summary.json").unlink()
    document = yaml.safe_load(job.read_text())
    document["spec"]["algorithm"]["rolloutsPerPrompt"] = 8
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(document))
    done = run(other, directory)
    assert done.returncode == BAD_INPUT
    assert "spec.algorithm.rolloutsPerPrompt" in done.stderr
    assert "may not change" in done.stderr
