"""How `reasonrl sweep` looks: arms × seeds while it goes on, and what became of each run at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from reasonrl.api.sweep_jobs import SweepRun, arms_of
from reasonrl.api.sweep_spec import WARM_START_DIRECTORY, SweepSpec
from reasonrl.api.sweep_warm_start import SweepTask
from reasonrl.run.sweep_progress import RunState, State, planned_steps, seconds_left
from reasonrl.run.telemetry.wording import duration, percent, printable

_STYLES = {State.FINISHED: "green", State.FAILED: "bold red", State.STOPPED: "yellow", State.RUNNING: "cyan", State.WAITING: "dim"}


class SweepView:
    """A table that is drawn anew as runs go on; where there is no terminal, a line for each run that begins or ends."""

    def __init__(self, console: Console, *, parallel: int, quiet: bool) -> None:
        self._console, self._parallel, self._quiet = console, parallel, quiet
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal and not quiet else None
        self._told: dict[str, State] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, runs: Sequence[RunState]) -> None:
        if self._live is not None:
            self._live.update(progress_table(runs, parallel=self._parallel), refresh=True)
        elif not self._quiet:
            self._tell_changes(runs)

    def _tell_changes(self, runs: Sequence[RunState]) -> None:
        left = seconds_left(runs, parallel=self._parallel)
        for run in runs:
            if run.state is State.WAITING or self._told.get(run.task.name) is run.state:
                continue
            self._told[run.task.name] = run.state
            done = sum(each.state is State.FINISHED for each in runs)
            tail = f"; {done} of {len(runs)} finished" + (f", about {duration(left)} left" if left else "")
            before = run.state is State.FINISHED and run.started is None
            what = (
                "was finished before"
                if before
                else {State.RUNNING: "started" if run.step == 0 else f"goes on at step {run.step}"}.get(run.state, run.state.value)
            )
            reason = f": {printable(run.message)}" if run.message else ""
            self._console.print(f"{run.task.name} {what}{reason}{tail}", markup=False, highlight=False, soft_wrap=True)


def progress_table(runs: Sequence[RunState], *, parallel: int) -> RenderableType:
    """One row an arm, one column a seed."""
    shown = {run.task.name: run for run in runs if not _is_warm_start(run)}
    arms = list(dict.fromkeys(name.rpartition("/")[0] for name in shown))
    seeds = list(dict.fromkeys(name.rpartition("/")[2] for name in shown))
    table = Table(box=None, pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for seed in seeds:
        table.add_column(seed.replace("-", " "), no_wrap=True)
    for arm in arms:
        table.add_row(arm, *(_cell(shown.get(f"{arm}/{seed}")) for seed in seeds))
    left = seconds_left(runs, parallel=parallel)
    done = sum(run.state is State.FINISHED for run in shown.values())
    warm = [run for run in runs if _is_warm_start(run)]
    told = f"{done} of {len(shown)} runs finished" + (f", about {duration(left)} left" if left is not None else "")
    if warm:
        told += f"; {sum(run.state is State.FINISHED for run in warm)} of {len(warm)} shared warm starts"
        told += " (one is going on)" if any(run.state is State.RUNNING for run in warm) else ""
    return Group(table, Text(told, style="dim"))


def show_plan(sweep: SweepSpec, runs: Sequence[SweepRun], tasks: Sequence[SweepTask], console: Console) -> None:
    """The jobs of a sweep that is not run."""
    table = Table(box=None, pad_edge=False)
    for title in ("arm", "changes"):
        table.add_column(title, overflow="fold")
    for title in ("steps", "responses/step", "updates/step"):
        table.add_column(title, justify="right", no_wrap=True)
    first = {run.arm: run.job for run in reversed(runs)}
    for arm in arms_of(sweep):
        job = first[arm.name]
        algorithm, steps = job.spec.algorithm, planned_steps(job)
        table.add_row(
            Text(arm.name),
            Text("\n".join(f"{path.removeprefix('spec.')} = {json.dumps(value)}" for path, value in arm.set.items()) or "nothing"),
            "until a trigger" if steps is None else f"{steps:,}",
            f"{algorithm.prompts_per_step * algorithm.rollouts_per_prompt:,}",
            f"{algorithm.updates_per_step * algorithm.epochs}",
        )
    console.print(table)
    warm = sum(task.name.startswith(f"{WARM_START_DIRECTORY}/") for task in tasks)
    console.print(
        f"{len(first)} arms × {len(sweep.seeds)} seeds ({', '.join(map(str, sweep.seeds))}) = {len(runs)} runs"
        + (f", and {warm} warm starts that they share" if warm else "")
        + ". Every job is valid; nothing was run.",
        highlight=False,
    )


def show_end(runs: Sequence[RunState], console: Console) -> None:
    """How many are finished, and why the others are not."""
    for run in _of(runs, State.FAILED, State.STOPPED, State.WAITING):
        reason = run.message or ("not started" if run.state is State.WAITING else "")
        console.print(Text.assemble((f"{run.task.name} {run.state.value}", _STYLES[run.state]), f": {printable(reason)}"), soft_wrap=True)
    finished = len(list(_of(runs, State.FINISHED)))
    tail = "" if finished == len(runs) else "; the same command goes on with the others"
    console.print(f"{finished} of {len(runs)} runs are finished{tail}", highlight=False)


def _of(runs: Sequence[RunState], *states: State) -> Iterable[RunState]:
    return (run for run in runs if run.state in states)


def _is_warm_start(run: RunState) -> bool:
    return run.task.name.startswith(f"{WARM_START_DIRECTORY}/")


def _cell(run: RunState | None) -> Text:
    if run is None:
        return Text("")
    accuracy = "" if run.accuracy is None else f" {percent(run.accuracy)}"
    match run.state:
        case State.FINISHED:
            text = f"finished{accuracy}"
        case State.RUNNING:
            place = "warm start" if run.warming_up else f"{run.step}" + (f"/{run.planned}" if run.planned else "")
            text = f"{place}{accuracy}"
        case _:
            text = run.state.value + (f" at {run.step}" if run.step else "")
    return Text(text, style=_STYLES[run.state])
