"""The view of a run on a terminal: one panel that a `rich` thread draws anew each second.

The loop only changes the view's records, which costs it microseconds; drawing happens once a second whatever the pace of the run.
What does not fit a narrow terminal is left out or cut, never an error.
"""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics
from reasonrl.run.telemetry.run_view import RunView
from reasonrl.run.telemetry.wording import duration, number, percent, printable, sparkline

_DRAWS_PER_SECOND = 1.0
_BARS_FROM_WIDTH = 56
_MANY_TRUNCATED = 0.1


class LivePanel:
    """Draws until `close`. The console's stream must be a `SurvivingStream`, which outlives the terminal."""

    def __init__(self, view: RunView, console: Console) -> None:
        self._console = console
        self._live = Live(
            console=console,
            get_renderable=lambda: panel(view, width=console.width, unicode=not console.options.ascii_only),
            refresh_per_second=_DRAWS_PER_SECOND,
        )
        self._live.start()

    def show(self, record: StepMetrics | EvaluationMetrics | WarmStartMetrics | Event) -> None:
        """The next drawing shows it: the records are the view's."""

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()


def panel(view: RunView, *, width: int, unicode: bool = True) -> Panel:
    """The whole picture of `view` for a terminal of `width` columns."""
    with view.lock:
        rows: list[RenderableType] = _progress(view, width)
        bars = max(0, min(48, width - 40)) if unicode and width >= _BARS_FROM_WIDTH else 0
        if view.steps:
            rows += [_curves(view, bars), *_numbers(view.steps[-1], width - 4)]
        elif view.warm_start:
            rows.append(_warm_start(view, bars))
        if view.evaluations:
            rows += _evaluations(view)
        rows += [
            Text(printable(f"{event.reason} (step {event.step}): {event.message}"), style="dim", no_wrap=True) for event in view.events
        ]
        now = view.clock()
        title = Text.assemble(("ReasonRL ", "bold"), printable(view.job_name))
        doing = Text(f"{view.stage} {duration(now - view.stage_started)} · running {duration(now - view.started)}")
        return Panel(Group(*rows), title=title, title_align="left", subtitle=doing, subtitle_align="left")


def _progress(view: RunView, width: int) -> list[RenderableType]:
    if not view.steps:
        doing = "warm start" if view.warm_start else "before the first step"
        return [Text(doing + (f", then phase {view.phases[0].name}" if view.phases else ""), no_wrap=True)]
    step = view.steps[-1]
    plan = view.phases[step.phase_index] if step.phase_index < len(view.phases) else None
    planned = plan.planned_steps if plan else None
    place = f" phase {step.phase_index + 1} of {len(view.phases)}, limit {step.max_response_tokens:,} tokens"
    name = Text.assemble((step.phase, "bold"), place, no_wrap=True, overflow="ellipsis")
    if planned is None:
        return [name, Text(f"step {step.step + 1}, until a trigger ends the phase", no_wrap=True)]
    done, left = step.phase_step + 1, view.seconds_left()
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(no_wrap=True)
    cells: list[RenderableType] = [
        Text(f"step {step.step + 1} · {done} of {planned} in this phase" + (f" · {duration(left)} left" if left is not None else ""))
    ]
    if width >= _BARS_FROM_WIDTH:
        grid.add_column(ratio=1)
        cells.append(ProgressBar(total=planned, completed=min(done, planned)))
    grid.add_row(*cells)
    return [name, grid]


def _curves(view: RunView, bars: int) -> RenderableType:
    steps, last = list(view.steps), view.steps[-1]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_row("reward", Text(number(last.reward_mean), "bold"), sparkline([step.reward_mean for step in steps], bars))
    grid.add_row("accuracy", Text(percent(last.accuracy), "bold"), sparkline([step.accuracy for step in steps], bars))
    length = Text.assemble((f"{last.response_length_mean:,.0f}", "bold"), f" p95 {last.response_length_p95:,.0f}")
    grid.add_row("length", length, sparkline([step.response_length_mean for step in steps], bars))
    return grid


def _numbers(step: StepMetrics, width: int) -> list[RenderableType]:
    shown = [
        ("truncated", percent(step.truncated_share), "yellow" if step.truncated_share > _MANY_TRUNCATED else "default"),
        ("KL coefficient", number(step.kl_coefficient, 4), "default"),
        ("KL k3", number(step.kl_k3), "default"),
        ("entropy", number(step.entropy), "default"),
        ("tokens/s", f"{step.tokens_per_second:,.0f}", "default"),
    ]
    failed = sum(count for outcome, count in step.outcomes.items() if outcome != "value")
    if failed:
        shown.append(("scores failed", f"{failed:,}", "red"))
    lines = [Text(no_wrap=True)]
    for name, value, style in shown:
        pair = Text.assemble((f"{name} ", "dim"), (value, style))
        if lines[-1].cell_len and lines[-1].cell_len + 3 + pair.cell_len > width:
            lines.append(Text(no_wrap=True))
        lines[-1].append("   " if lines[-1].cell_len else "").append_text(pair)
    return list(lines)


def _warm_start(view: RunView, bars: int) -> RenderableType:
    last = view.warm_start[-1]
    curve = sparkline([point.loss for point in view.warm_start], bars)
    return Text.assemble(
        f"step {last.step}  loss ", (f"{last.loss:.4f}", "bold"), f"  {last.tokens_per_second:,.0f} tokens/s  ", (curve, "cyan")
    )


def _evaluations(view: RunView) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for name, (first, last) in view.evaluations.items():
        before = f"{percent(first.accuracy)} → " if last is not first else ""
        accuracy = Text.assemble(f"{name}  {before}", (percent(last.accuracy), "bold"), f" ± {100 * last.accuracy_error:.1f}")
        lines.append(Text.assemble(accuracy, (f"  after {last.step} steps", "dim"), no_wrap=True, overflow="ellipsis"))
    return lines
