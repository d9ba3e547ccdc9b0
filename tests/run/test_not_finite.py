"""An update without a finite number: the run stays until the operator has acted, where the failure policy asks for an action."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.failure_policy_spec import FailurePolicySpec
from reasonrl.api.parse import parse_job
from reasonrl.run.health_watch import HealthWatch
from reasonrl.run.local import LocalParts
from reasonrl.run.not_finite import tell_not_finite
from reasonrl.run.run_job import OperatorWords, RunResult, Start, run_job
from reasonrl.run.status.board import RunStatusBoard
from reasonrl.run.stop_request import StoppedWithinStepError, StopRequest
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.train.protocol import LossNotFiniteError, UpdateStats
from reasonrl.train.torch_engine import TorchTrainer


@pytest.fixture
def board(tiny_job: dict[str, Any]) -> RunStatusBoard:
    return RunStatusBoard(parse_job(tiny_job))


@pytest.fixture
def telemetry(tmp_path: Path, board: RunStatusBoard) -> Iterator[Telemetry]:
    with Telemetry(tmp_path, job_name="tiny", phases=[], board=board) as opened:
        yield opened


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    with StopRequest() as request:
        yield request


def policy(action: str) -> FailurePolicySpec:
    return FailurePolicySpec.model_validate({"onUnhealthy": {"nan": action}})


class Waiting:
    """A clock that only waiting moves; `then` is called at each wait."""

    def __init__(self, then: Any = None) -> None:
        self.seconds = 0.0
        self.then = then

    def clock(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds
        if self.then is not None:
            self.then()


def tell(telemetry: Telemetry, stop: StopRequest, waiting: Waiting, *, action: str, seconds: float) -> None:
    wanted = policy(action)
    tell_not_finite(
        "the gradient norm is nan",
        step=3,
        health=HealthWatch(wanted),
        policy=wanted,
        telemetry=telemetry,
        stop=stop,
        operator_seconds=seconds,
        clock=waiting.clock,
        pause=waiting.pause,
    )


def test_the_signal_is_in_the_status_while_the_operator_has_time(telemetry: Telemetry, board: RunStatusBoard, stop: StopRequest) -> None:
    seen = []
    waiting = Waiting(lambda: seen.append({each.signal: (each.state, each.action) for each in board.status().health}))
    tell(telemetry, stop, waiting, action="Rollback", seconds=20.0)
    assert waiting.seconds == pytest.approx(20.0)
    assert seen[0]["NotFinite"] == ("critical", "rollback")


def test_nobody_is_waited_for_where_the_policy_asks_for_nothing(telemetry: Telemetry, board: RunStatusBoard, stop: StopRequest) -> None:
    waiting = Waiting()
    tell(telemetry, stop, waiting, action="None", seconds=20.0)
    assert waiting.seconds == 0.0
    assert any(each.signal == "NotFinite" and each.state == "critical" for each in board.status().health)


def test_waiting_for_the_operator_is_no_stall(telemetry: Telemetry, board: RunStatusBoard, stop: StopRequest) -> None:
    marks = []
    tell(telemetry, stop, Waiting(lambda: marks.append(board.current_stage().mark)), action="Pause", seconds=2.0)
    assert marks == sorted(set(marks))


def test_the_operators_signal_ends_the_wait_and_forbids_a_checkpoint(telemetry: Telemetry, stop: StopRequest) -> None:
    waiting = Waiting(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedWithinStepError, match="SIGTERM"):
        tell(telemetry, stop, waiting, action="Rollback", seconds=20.0)


class PoisonedParts(LocalParts):
    """The parts of one machine; before the update of step 3 a weight of the trainer becomes NaN."""

    def trainer(self, start: Start, stack: ExitStack) -> TorchTrainer:
        trainer = super().trainer(start, stack)
        if start.checkpoint is None:
            honest, calls = trainer.update, itertools.count()

            def update(*arguments: Any, **settings: Any) -> UpdateStats:
                if next(calls) == 3:
                    with torch.no_grad():
                        next(trainer.model.parameters()).fill_(torch.nan)
                return honest(*arguments, **settings)

            trainer.update = update  # type: ignore[method-assign]
        return trainer


def run(document: dict[str, Any], directory: Path, *, answer_seconds: float = 60.0) -> RunResult:
    config = directory.parent / "job.json"
    config.write_text(json.dumps(document))
    job = parse_job(document)
    with StopRequest() as stop:
        return run_job(
            job,
            PoisonedParts(),
            directory=directory,
            base_directory=directory.parent,
            telemetry=Telemetry(directory, job_name="tiny", phases=[], board=RunStatusBoard(job)),
            stop=stop,
            operator=OperatorWords(config=config, control=None, attempt=0, answer_seconds=answer_seconds),
        )


def events(directory: Path) -> list[dict[str, Any]]:
    path = directory / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_run_that_the_operator_takes_back_saves_nothing_of_the_broken_step(tiny_job: dict[str, Any], tmp_path: Path) -> None:
    tiny_job["spec"]["failurePolicy"] = {"onUnhealthy": {"nan": "Rollback"}}
    directory = tmp_path / "run"
    over = threading.Event()

    def operator() -> None:
        """Acts as soon as it hears of it."""
        while not over.wait(0.05):
            if any(event["reason"] == "NotFinite" for event in events(directory)):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    acting = threading.Thread(target=operator)
    acting.start()
    try:
        result = run(tiny_job, directory)
    finally:
        over.set()
        acting.join()
    assert (result.exit_code, result.step) == (ExitCode.PREEMPTED, 3)
    assert sorted(each.name for each in (directory / "checkpoints").glob("step-*")) == ["step-000000", "step-000002"]
    assert run(tiny_job, directory).exit_code == ExitCode.SUCCESS


def test_without_an_operator_the_run_ends_with_the_error_at_once(tiny_job: dict[str, Any], tmp_path: Path) -> None:
    tiny_job["spec"]["failurePolicy"] = {"onUnhealthy": {"nan": "Rollback"}}
    with pytest.raises(LossNotFiniteError):
        run(tiny_job, tmp_path / "run", answer_seconds=0.0)
    assert [event["step"] for event in events(tmp_path / "run") if event["reason"] == "NotFinite"] == [3]
