"""What a run answers when it is asked where it stands."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import get_args

import pytest

from reasonrl.api.run_files import Event, WarmStartMetrics
from reasonrl.api.run_status import LARGEST_BODY, HealthSignal, RunStatus, SavedCheckpoint, Stage, parse_run_status
from reasonrl.run import loop, run_job, warm_start
from reasonrl.run.progress import Progress
from reasonrl.run.run_directory import job_hash
from reasonrl.run.status.board import RunStatusBoard, status_body
from reasonrl.run.status.stages import STAGES


class Clocks:
    """A wall clock and a steady one that a test moves."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000.0, 50.0

    def pass_seconds(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def board(job, clocks: Clocks) -> RunStatusBoard:
    return RunStatusBoard(job(), wall=lambda: clocks.wall, clock=lambda: clocks.steady)


def read(board: RunStatusBoard) -> RunStatus:
    found = parse_run_status(status_body(board.status()))
    assert isinstance(found, RunStatus)
    return found


def checkpoint(step: int, *, healthy: bool = True, path: str = "") -> SavedCheckpoint:
    return SavedCheckpoint(step=step, time=float(step), healthy=healthy, path=path or f"/checkpoints/step-{step:06d}")


def test_before_the_first_step_it_loads_and_has_no_numbers(board: RunStatusBoard, job) -> None:
    status = read(board)
    assert (status.step, status.phase, status.phase_index, status.stage, status.stage_started) == (0, "short", 0, "loading", 1000.0)
    assert status.stage_deadline_seconds == job().spec.failure_policy.stall_deadline_seconds.loading
    assert (status.reward, status.kl_coefficient, status.tokens_per_second) == (None, None, None)
    assert (status.on_policy, status.config_hash) == (True, job_hash(job().dumped()))


def test_every_stage_that_the_loop_has_a_word_for_has_a_deadline() -> None:
    words = re.compile(r"""\.stage\("([^"]+)"\)""")
    said = {name for module in (loop, run_job, warm_start) for name in words.findall(Path(module.__file__).read_text())}
    assert len(said) >= 8
    assert said <= set(STAGES)
    assert set(STAGES.values()) == set(get_args(Stage))


def test_a_stage_without_a_deadline_is_refused(board: RunStatusBoard) -> None:
    with pytest.raises(ValueError, match=r"'polish' has no deadline"):
        board.enter_stage("polish")


def test_a_stage_brings_its_own_deadline(board: RunStatusBoard, clocks: Clocks, job) -> None:
    clocks.pass_seconds(5)
    board.enter_stage("weight_sync")
    status = read(board)
    assert (status.stage, status.stage_started) == ("weightSync", 1005.0)
    assert status.stage_deadline_seconds == job().spec.failure_policy.stall_deadline_seconds.weight_sync


def test_a_finished_step_gives_its_numbers(board: RunStatusBoard, step) -> None:
    board.add(step(6, phase_step=6, reward_mean=0.75))
    status = read(board)
    assert (status.step, status.phase_step, status.reward, status.accuracy) == (7, 7, 0.75, 0.25)
    assert (status.response_length_mean, status.response_length_p95, status.truncated_share) == (100.0, 250.0, 0.125)
    assert (status.kl_coefficient, status.tokens_per_second) == (0.001, 400.0)


def test_numbers_that_json_has_no_word_for_are_unknown(board: RunStatusBoard, step) -> None:
    board.add(step(0, reward_mean=math.nan, accuracy=None, tokens_per_second=math.inf))
    status = read(board)
    assert (status.reward, status.accuracy, status.tokens_per_second) == (None, None, None)


def test_between_steps_the_progress_says_where_the_run_stands(board: RunStatusBoard, step) -> None:
    board.add(step(9))
    board.at(Progress(step=10, phase_index=0, phase_step=10, awaiting_advance=True))
    assert (read(board).phase, read(board).waiting_to_enter) == ("short", "long")
    board.at(Progress(step=11, phase_index=1, phase_step=0))
    status = read(board)
    assert (status.step, status.phase, status.phase_index, status.phase_step, status.waiting_to_enter) == (11, "long", 1, 0, None)


def test_progress_within_a_stage_begins_its_deadline_anew(board: RunStatusBoard, clocks: Clocks) -> None:
    board.enter_stage("warm start")
    clocks.pass_seconds(100)
    mark = board.current_stage().mark
    board.add(WarmStartMetrics(step=1, time=0.0, loss=2.0, learning_rate=1e-3, tokens_per_second=1.0))
    assert (read(board).stage, read(board).stage_started) == ("warmStart", 1100.0)
    assert board.current_stage().mark != mark
    clocks.pass_seconds(7)
    assert board.current_stage().seconds == 7
    board.touch()
    assert board.current_stage().seconds == 0


def test_an_event_is_no_progress(board: RunStatusBoard, clocks: Clocks) -> None:
    board.enter_stage("rollout")
    clocks.pass_seconds(100)
    board.add(Event(time=0.0, step=0, reason="Stalled", message=""))
    assert board.current_stage().seconds == 100


def test_the_same_state_is_the_same_answer_however_often_it_is_asked(board: RunStatusBoard, clocks: Clocks) -> None:
    board.enter_stage("rollout")
    first = status_body(board.status())
    clocks.wall += 0.7
    clocks.pass_seconds(60)
    assert status_body(board.status()) == first


def test_a_wall_clock_that_is_set_does_not_make_a_stage_long(board: RunStatusBoard, clocks: Clocks) -> None:
    board.enter_stage("rollout")
    clocks.pass_seconds(10)
    clocks.wall += 86_400
    assert read(board).stage_started == clocks.wall - 10
    assert board.current_stage().seconds == 10


def test_a_resumed_run_shows_its_last_step_at_once(board: RunStatusBoard, step) -> None:
    board.restore([step(0), step(1, reward_mean=0.9)])
    assert (read(board).step, read(board).reward) == (2, 0.9)


@pytest.mark.parametrize(("algorithm", "staleness", "expected"), [({}, 0, True), ({"updatesPerStep": 2}, 0, False), ({}, 1, False)])
def test_on_policy_is_what_was_declared_and_what_was_measured(job, step, algorithm, staleness: int, expected: bool) -> None:
    board = RunStatusBoard(job(algorithm={"promptsPerStep": 8, "rolloutsPerPrompt": 4, **algorithm}))
    board.add(step(0, staleness_max=staleness))
    assert read(board).on_policy is expected


def test_a_live_edit_changes_deadlines_and_the_hash(board: RunStatusBoard, job) -> None:
    board.enter_stage("grade")
    board.configured(job(failurePolicy={"stallDeadlineSeconds": {"grade": 77}}), config_hash="abc")
    assert (read(board).stage_deadline_seconds, read(board).config_hash) == (77, "abc")
    assert board.current_stage().deadline_seconds == 77


def test_health_and_checkpoints_are_passed_on(board: RunStatusBoard) -> None:
    signal = HealthSignal(signal="RewardCollapse", state="critical", message="down", action="rollback")
    board.health([signal])
    board.keeps([checkpoint(10), checkpoint(20, healthy=False)])
    status = read(board)
    assert status.health == (signal,)
    assert [(each.step, each.healthy) for each in status.checkpoints] == [(10, True), (20, False)]


def test_an_answer_is_never_longer_than_the_operator_reads(board: RunStatusBoard) -> None:
    far = "/" + "checkpoints/" * 80
    board.keeps([checkpoint(step, healthy=step == 3, path=far) for step in range(400)])
    assert len(board.status().checkpoints) == 256
    board.health([HealthSignal(signal=f"Signal{number}", state="warning", message="é" * 1000) for number in range(7)])
    body = status_body(board.status())
    status = parse_run_status(body)
    assert isinstance(status, RunStatus)
    assert len(body) < LARGEST_BODY
    # The only healthy one is older than the newest 256, and is shown all the same: a roll-back goes back to it.
    assert (status.checkpoints[0].step, status.checkpoints[-1].step) == (3, 399)


def test_the_newest_healthy_checkpoint_outlasts_newer_ones_where_room_is_short(board: RunStatusBoard) -> None:
    far = "/" + "checkpoints/" * 80
    board.keeps([checkpoint(step, healthy=step <= 5, path=far) for step in range(200)])
    status = parse_run_status(status_body(board.status()))
    assert isinstance(status, RunStatus)
    assert [each.step for each in status.checkpoints if each.healthy] == [5]
    assert status.checkpoints[-1].step == 199
