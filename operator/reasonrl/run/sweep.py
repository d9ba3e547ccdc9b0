"""Many runs, one after the other or a few at a time: each in a process of its own, none able to end the others.

A sweep keeps no state but its runs' own directories. Started again it leaves out what is finished, goes on with what was killed, and
refuses to mix runs of another sweep into this one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.live_edits import changed_fields
from reasonrl.api.sweep_spec import LOGS_DIRECTORY
from reasonrl.api.sweep_warm_start import SweepTask
from reasonrl.run.run_directory import RunDirectoryError, kept_job, locked
from reasonrl.run.stop_request import StopRequest
from reasonrl.run.sweep_progress import RunState, State, is_finished
from reasonrl.run.sweep_worker import WorkOrder, start_worker

LOOK_SECONDS = 0.5
GRACE_SECONDS = 300.0
"""How long runs may take to save a checkpoint when the sweep is asked to stop."""
_MESSAGE_LETTERS = 600

Watch = Callable[[Sequence[RunState]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlace:
    """Where a sweep happens: its own directory, the one that paths in its job are relative to, and the texts that it keeps beside its
    runs, by file name."""

    directory: Path
    base_directory: Path
    kept: Mapping[str, str]


def run_sweep(tasks: Sequence[SweepTask], place: SweepPlace, *, parallel: int, threads: int | None, watch: Watch) -> list[RunState]:
    """Runs what is not finished, at most `parallel` at a time, each with `threads` threads (None: as the environment has it). Returns how
    each ended. SIGTERM and SIGINT are passed on, and end the sweep once its runs have saved themselves.

    Raises RunDirectoryError, before anything is started, when another sweep is at work there or a directory holds a run of another job.
    """
    with locked(place.directory), StopRequest() as stop:
        runs = [RunState(task=task, directory=place.directory / task.name) for task in tasks]
        _refuse_other_jobs(runs)
        for name, text in place.kept.items():
            _write(place.directory / name, text)
        for run in runs:
            run.look()
            if is_finished(run.directory):
                run.state = State.FINISHED
        children: dict[str, BaseProcess] = {}
        try:
            while not _over(runs) and not stop.requested:
                _end_of_children(runs, children, place)
                for run in _ready(runs)[: max(0, parallel - len(children))]:
                    children[run.task.name] = _started(run, place, threads=threads)
                _look(runs, watch)
                if children:
                    time.sleep(LOOK_SECONDS)
            if stop.requested:
                _stop(runs, children, place, watch)
        finally:
            # Only after an error of our own, or a second signal, is anything left.
            for child in children.values():
                child.kill()
                child.join()
        _look(runs, watch)
        return runs


def _refuse_other_jobs(runs: Sequence[RunState]) -> None:
    for run in runs:
        kept = kept_job(run.directory)
        if kept is None:
            continue
        wanted = run.task.job.dumped()
        changed = [path for path in changed_fields(kept.dumped(), wanted) if not path.startswith("metadata")]
        if changed:
            raise RunDirectoryError(
                f"{run.directory} holds a run of another job: {', '.join(changed[:5])} {'differs' if len(changed) == 1 else 'differ'}. "
                "Choose another --output, put the sweep's file back, or remove that directory"
            )


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def _over(runs: Sequence[RunState]) -> bool:
    return not any(run.state in (State.WAITING, State.RUNNING) for run in runs)


def _ready(runs: Sequence[RunState]) -> list[RunState]:
    """Waiting runs that may start. One whose warm start failed fails with it."""
    by_name = {run.task.name: run for run in runs}
    ready = []
    for run in runs:
        if run.state is not State.WAITING:
            continue
        needed = by_name.get(run.task.needs) if run.task.needs is not None else None
        if needed is not None and needed.state in (State.FAILED, State.STOPPED):
            run.state, run.message = needed.state, f"not started: {needed.task.name}, which it begins with, was not finished"
        elif needed is None or needed.state is State.FINISHED:
            ready.append(run)
    return ready


def _started(run: RunState, place: SweepPlace, *, threads: int | None) -> BaseProcess:
    log = _log(run, place)
    log.parent.mkdir(parents=True, exist_ok=True)
    run.begin()
    return start_worker(
        WorkOrder(
            job=run.task.job.dumped(),
            directory=run.directory,
            base_directory=place.base_directory,
            log=log,
            threads=threads,
        )
    )


def _end_of_children(runs: Sequence[RunState], children: dict[str, BaseProcess], place: SweepPlace) -> None:
    for run in runs:
        child = children.get(run.task.name)
        if child is None or child.exitcode is None:
            continue
        del children[run.task.name]
        run.look()
        run.exit_code = child.exitcode
        if child.exitcode == ExitCode.SUCCESS and is_finished(run.directory):
            run.state = State.FINISHED
        elif child.exitcode == ExitCode.PREEMPTED:
            run.state, run.message = State.STOPPED, f"stopped by a signal after step {run.step}"
        else:
            run.state, run.message = State.FAILED, _why(child.exitcode, _log(run, place))


def _why(code: int, log: Path) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}; started again, it goes on from its last checkpoint"
    # The last line is the message of a known error, or of the traceback of another.
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1][:_MESSAGE_LETTERS] if lines else 'said nothing'} (exit code {code}; {log})"


def _stop(runs: Sequence[RunState], children: dict[str, BaseProcess], place: SweepPlace, watch: Watch) -> None:
    for child in children.values():
        child.terminate()
    due = time.monotonic() + GRACE_SECONDS
    while children and time.monotonic() < due:
        _end_of_children(runs, children, place)
        _look(runs, watch)
        time.sleep(LOOK_SECONDS)


def _look(runs: Sequence[RunState], watch: Watch) -> None:
    for run in runs:
        if run.state is State.RUNNING:
            run.look()
    watch(runs)


def _log(run: RunState, place: SweepPlace) -> Path:
    return place.directory / LOGS_DIRECTORY / f"{run.task.name.replace('/', '-')}.log"
