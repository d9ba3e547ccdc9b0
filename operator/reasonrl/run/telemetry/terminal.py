"""Which view of a run a terminal gets: a panel that is drawn in place, or plain lines where nobody could see it move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol, cast

from rich.console import Console

from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics
from reasonrl.run.telemetry.live_panel import LivePanel
from reasonrl.run.telemetry.plain_lines import PlainLines
from reasonrl.run.telemetry.run_view import RunView
from reasonrl.run.telemetry.surviving_stream import SurvivingStream
from reasonrl.run.telemetry.wording import duration, number, percent


class TerminalView(Protocol):
    def show(self, record: StepMetrics | EvaluationMetrics | WarmStartMetrics | Event) -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


@contextmanager
def open_terminal(view: RunView, console: Console) -> Iterator[tuple[TerminalView, SurvivingStream]]:
    """A panel when `console` writes to a terminal that can move its cursor, else plain lines (whatever FORCE_COLOR says). While it is
    open the console writes through a `SurvivingStream`, so that a lost terminal is a `failure` to read there and no exception."""
    original = console.file
    stream = SurvivingStream(original)
    console.file = cast(IO[str], stream)
    moves = console.is_terminal and not console.is_dumb_terminal and stream.isatty()
    terminal: TerminalView = LivePanel(view, console) if moves else PlainLines(view, stream)
    try:
        yield terminal, stream
    finally:
        terminal.close()
        console.file = original


def summary_lines(view: RunView) -> list[str]:
    """What a person wants to know when the run is over or interrupted."""
    with view.lock:
        if not view.steps:
            return [f"{view.job_name}: no training step was done ({duration(view.clock() - view.started)})."]
        first, last = view.first_step or view.steps[0], view.steps[-1]
        lines = [
            f"{view.job_name}: {view.steps_done_here} steps in {duration(view.clock() - view.started)}"
            + (f", {last.step + 1} steps in all" if last.step + 1 != view.steps_done_here else "")
            + f", phase {last.phase}.",
            f"  reward {number(first.reward_mean)} → {number(last.reward_mean)}, "
            f"response length {first.response_length_mean:,.0f} → {last.response_length_mean:,.0f} tokens (first and last step)",
        ]
        for name, span in view.evaluations.items():
            accuracy = f"{percent(span.last.accuracy)} ± {100 * span.last.accuracy_error:.1f}"
            before = f"{percent(span.first.accuracy)} ± {100 * span.first.accuracy_error:.1f} → " if span.last is not span.first else ""
            lines.append(f"  {name}: {before}{accuracy} ({span.last.questions} questions × {span.last.samples}, ± one standard error)")
        return lines
