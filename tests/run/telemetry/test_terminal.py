from __future__ import annotations

import io
import os
import pty
import re
import threading

import pytest
from rich.console import Console

from reasonrl.run.telemetry.live_panel import panel
from reasonrl.run.telemetry.plain_lines import PlainLines
from reasonrl.run.telemetry.run_view import PhasePlan, RunView
from reasonrl.run.telemetry.surviving_stream import SurvivingStream
from reasonrl.run.telemetry.terminal import open_terminal, summary_lines

PHASES = [PhasePlan("short", 256, 100), PhasePlan("long", 512, 50)]


def _view(phases=PHASES, clock=lambda: 0.0) -> RunView:
    return RunView(job_name="quickstart", phases=phases, clock=clock)


def _drawn(view: RunView, width: int, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = SurvivingStream(io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    console.print(panel(view, width=width, unicode=not console.options.ascii_only))
    assert stream.failure is None
    return raw.getvalue().decode(encoding)


@pytest.fixture
def full_view(step, evaluation, event):
    view = _view()
    view.add(evaluation(0))
    for s in range(30):
        view.add(step(s, accuracy=s / 30))
    view.add(evaluation(30, accuracy=0.55))
    view.add(event(20, "CheckpointSaved", "step 20\x1b[2J\nand more"))
    view.enter_stage("rollout")
    return view


def test_the_panel_shows_what_the_operator_asks_for(full_view):
    drawn = _drawn(full_view, 100)
    for shown in ("quickstart", "short", "256 tokens", "30 of 100", "reward", "0.540", "accuracy", "96.7 %", "length", "p95 250"):
        assert shown in drawn
    for shown in (
        "truncated 12.5 %",
        "KL coefficient 0.0010",
        "tokens/s 400",
        "scores failed 2",
        "20.0 % → 55.0 % ± 3.0",
        "min left",
        "rollout",
    ):
        assert shown in drawn


@pytest.mark.parametrize("width", [1, 5, 20, 40, 56, 80, 200])
def test_the_panel_never_is_wider_than_the_terminal(full_view, width):
    assert all(len(line) <= width for line in _drawn(full_view, width).splitlines())


def test_a_terminal_without_unicode_gets_no_blocks(full_view):
    assert _drawn(full_view, 100, encoding="ascii").isascii()


def test_a_message_cannot_move_the_cursor(full_view):
    assert "\x1b" not in _drawn(full_view, 200)


def test_before_the_first_step_there_is_a_panel_too(warm_start):
    view = _view()
    assert "before the first step" in _drawn(view, 80)
    view.add(warm_start(10))
    assert "loss 2.0000" in _drawn(view, 80)


def test_a_phase_that_only_a_trigger_ends_has_no_bar_and_no_time_left(step):
    view = _view([PhasePlan("short", 256, None)])
    view.add(step(0))
    assert view.seconds_left() is None
    assert "until a trigger" in _drawn(view, 80)


def test_time_left_is_the_median_pace_times_the_steps_planned(step):
    """Ten steps of 2 s, one of them with 50 s of evaluation and checkpoint on top: 90 + 50 steps are left."""
    view = _view()
    for s in range(10):
        extra = {"checkpoint": 20.0, "evaluation": 30.0, "total": 52.0} if s == 4 else {"total": 2.0}
        view.add(step(s, seconds={"rollout": 1.0, "update": 0.5} | extra))
    assert view.seconds_left() == pytest.approx(140 * (2.0 + 20.0 / 10))


def test_time_left_counts_evaluations_by_what_they_cost_a_step(step, evaluation):
    view = _view()
    view.add(evaluation(0, seconds=500.0))
    for s in range(10):
        view.add(step(s))
    view.add(evaluation(10, seconds=5.0))
    assert view.seconds_left() == pytest.approx(140 * (2.0 + 5.0 / 10))


def test_time_left_in_the_last_phase_uses_the_pace_of_that_phase(step):
    view = _view()
    for s in range(10):
        view.add(step(s))
    for s in range(5):
        view.add(step(10 + s, phase="long", phase_index=1, phase_step=s, seconds={"rollout": 7.0, "total": 8.0}))
    assert view.seconds_left() == pytest.approx(45 * 8.0)


def test_plain_lines_have_no_control_codes_whatever_the_environment_says(step, evaluation, event, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    stream = io.StringIO()
    view = _view()
    with open_terminal(view, Console(file=stream)) as (terminal, _):
        for record in (evaluation(0), step(0), event(1, "PhaseEntered", "a\x1b[31mred\r\n")):
            view.add(record)
            terminal.show(record)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", stream.getvalue())
    assert lines[0].startswith("evaluation held-out after 0 steps  accuracy 20.0 % ± 3.0")
    for shown in (
        "step 1/150",
        "reward 0.250",
        "accuracy 25.0 %",
        "truncated 12.5 %",
        "KL coefficient 0.0010",
        "400 tokens/s",
        "left 5 min",
    ):
        assert shown in lines[1]
    assert lines[2].startswith("PhaseEntered (step 1): a [31mred")


def test_short_steps_get_a_line_every_few_seconds(step):
    now = [0.0]
    stream = io.StringIO()
    lines = PlainLines(_view(), SurvivingStream(stream), every_seconds=5.0, clock=lambda: now[0])
    for s in range(26):
        now[0] = 0.5 * s
        lines.show(step(s))
    assert [re.match(r"step (\d+)", line)[1] for line in stream.getvalue().splitlines()] == ["1", "11", "21"]


def test_a_real_terminal_gets_a_panel_that_is_drawn_in_place(full_view):
    reading, writing = pty.openpty()
    received: list[bytes] = []

    def read() -> None:
        while True:
            try:
                received.append(os.read(reading, 65536))
            except OSError:
                return

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(writing, "w") as file:
        with open_terminal(full_view, Console(file=file, width=80, _environ={"TERM": "xterm"})) as (terminal, stream):
            terminal.say("done")
        assert stream.failure is None
    reader.join(timeout=10)
    os.close(reading)
    text = b"".join(received).decode()
    assert "\x1b[" in text
    assert "quickstart" in text
    assert "done" in text


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "xterm"}])
def test_a_terminal_that_goes_away_is_a_failure_to_read_and_no_exception(full_view, step, environment):
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as file:
        console = Console(file=file, width=80, _environ=environment)
        with open_terminal(full_view, console) as (terminal, stream):
            os.close(reading)
            terminal.say("nobody reads this")
            terminal.show(step(31))
            terminal.say("nor this")
        assert stream.failure
        assert console.file is file


def test_a_broken_pipe_is_a_failure_to_read_and_no_exception(full_view, step):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file, open_terminal(full_view, Console(file=file)) as (terminal, stream):
        terminal.show(step(31))
        assert "Broken pipe" in (stream.failure or "")
        terminal.say("nobody reads this")


def test_a_closed_stream_is_a_failure_to_read_and_no_exception(full_view, step):
    file = io.StringIO()
    with open_terminal(full_view, Console(file=file)) as (terminal, stream):
        file.close()
        terminal.show(step(31))
        assert "closed" in (stream.failure or "")


def test_letters_that_the_terminal_cannot_write_are_replaced(full_view):
    raw = io.BytesIO()
    with open_terminal(full_view, Console(file=io.TextIOWrapper(raw, encoding="ascii", write_through=True))) as (terminal, stream):
        terminal.say("20 % → 55 %")
        assert stream.failure is None
    assert raw.getvalue() == b"20 % ? 55 %\n"


def test_the_summary_says_before_and_after(full_view):
    text = "\n".join(summary_lines(full_view))
    assert "30 steps" in text
    assert "held-out: 20.0 % ± 3.0 → 55.0 % ± 3.0 (50 questions × 4" in text
    assert "no training step was done" in summary_lines(_view())[0]
