"""Plays rows in runs, one row after the other in the same run, each from a whole fleet; and compares the final models.

Rows share a run because a start takes longer than all else; that the model is the undisturbed one's is then said of all of them at once,
and a row that does not end well ends its run, so that the rows after it get another.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

from faults.holding import held
from faults.run_under_fault import PATIENCE_SECONDS, FaultError, RunUnderFault
from faults.strikes import Row


@dataclass(slots=True)
class Played:
    """What came of a row. `seconds` is from the fault to the end of the next step; `problems` is empty when all is as the table says."""

    fault: str
    stage: str
    outcome: str = ""
    seconds: float | None = None
    model: str = "–"
    processes_left: str = "–"
    files_left: str = "–"
    problems: list[str] = field(default_factory=list)


def undisturbed(directory: Path) -> Path:
    """The final model of a run that nothing happens to. Raises FaultError when it does not end well."""
    run = RunUnderFault(directory)
    try:
        run.start()
        code = run.finish()
        if code != 0:
            raise FaultError(f"the undisturbed run ended with code {code}: {run.last_words()}")
        return run.output / "final"
    finally:
        run.destroy()


def play(rows: Sequence[Row], directory: Path, *, expected: Path, say: Callable[[str], None]) -> list[Played]:
    """In as few runs as it takes, below `directory`."""
    waiting = [*(row for row in rows if row.same_model), *(row for row in rows if not row.same_model)]
    played: list[Played] = []
    number = 0
    while waiting:
        together = [row for row in waiting if row.same_model] or waiting[:1]
        done = _play_one_run(together, directory / f"run-{number}", expected=expected, say=say)
        played += done
        waiting = waiting[len(done) :]
        number += 1
    return played


def _play_one_run(rows: Sequence[Row], directory: Path, *, expected: Path, say: Callable[[str], None]) -> list[Played]:
    run, done = RunUnderFault(directory), list[Played]()
    try:
        run.close_gate()
        run.start()
        for row in rows:
            done.append(_play_row(row, run))
            say(_line(done[-1]))
            if done[-1].problems:
                break
        conclude(run, done, expected=expected, same_model=rows[0].same_model)
        say(f"the run of these ended; model {done[-1].model}, processes left {done[-1].processes_left}, files left {done[-1].files_left}")
        return done
    finally:
        run.destroy()


def _play_row(row: Row, run: RunUnderFault) -> Played:
    played = Played(row.fault, row.stage)
    try:
        with contextlib.ExitStack() as hold:
            hold.enter_context(held(run, row.stage))
            trainers, rollouts, events = run.starts("trainer"), run.starts("rollout"), len(run.events())
            row.strike(run)
            struck = time.monotonic()
        if row.after_hold is not None:
            row.after_hold(run)
        if row.ends is not None:
            _start_again(run, row.ends, played)
        done = run.next_step()
        run.open_gate()
        run.wait(done, "a completed step")
        played.seconds = time.monotonic() - struck
        run.close_gate()
        run.one_more_step()
    except (FaultError, subprocess.TimeoutExpired) as error:
        played.outcome = str(error)
        played.problems.append(str(error))
        return played
    if row.ends is not None:
        return played
    gangs, pods = run.starts("trainer") - trainers, run.starts("rollout") - rollouts
    lost = sum(event["reason"] == "RolloutLost" for event in run.events()[events:])
    played.outcome = _outcome(gangs, pods, lost)
    if gangs != row.trainers_restart:
        played.problems.append(f"trainers started again {gangs} times, not {int(row.trainers_restart)}")
    if pods != row.pods_replaced:
        played.problems.append(f"{pods} rollout pods were replaced, not {row.pods_replaced}")
    return played


def _start_again(run: RunUnderFault, expected: int, played: Played) -> None:
    run.open_gate()
    code = run.supervisor.wait(PATIENCE_SECONDS)
    left = run.processes_left()
    run.close_gate()
    run.start()
    played.outcome = f"{'exit code ' + str(code) if code >= 0 else 'no word'}, {len(left)} processes left; started again, it goes on"
    if code != expected:
        played.problems.append(f"it ended with code {code}, not {expected}")
    played.problems += [f"outlived the run: {process.kind} of {process.pod or 'no pod'}" for process in left]


def conclude(run: RunUnderFault, rows: Sequence[Played], *, expected: Path, same_model: bool = True) -> None:
    """Ends the run and writes into all `rows` what is true of it as a whole. `same_model`: whether the undisturbed model is promised."""
    try:
        code = run.finish()
    except subprocess.TimeoutExpired:
        for row in rows:
            row.problems.append(f"the run did not end: {run.last_words()}")
        return
    processes = [f"{process.kind} ({process.pod or 'none'})" for process in run.processes_left()]
    files = run.files_left()
    model = compare(run.output / "final", expected)
    for row in rows:
        row.model = model if same_model or model == EQUAL else f"not promised ({model})"
        row.processes_left = ", ".join(processes) or "none"
        row.files_left = ", ".join(files) or "none"
        row.problems += [f"the run ended with code {code}: {run.last_words()}"] if code else []
        row.problems += [f"the model is not the undisturbed one's: {model}"] if same_model and model != EQUAL else []
        row.problems += [f"left: {each}" for each in (*processes, *files)]


EQUAL = "bit-equal"


def compare(final: Path, expected: Path) -> str:
    if not (final / "model.safetensors").exists():
        return "no model"
    one, other = load_file(final / "model.safetensors"), load_file(expected / "model.safetensors")
    if one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items()):
        return EQUAL
    distance = max(float((tensor - other[name]).abs().max()) for name, tensor in one.items())
    return f"differs by up to {distance:.1e}"


def _outcome(gangs: int, pods: int, lost: int) -> str:
    parts = [f"all trainers started again {'once' if gangs == 1 else f'{gangs} times'}" if gangs else "trainers undisturbed"]
    if pods:
        parts.append("that pod alone replaced" if pods == 1 else f"{pods} rollout pods replaced")
    elif lost:
        parts.append("engine replaced in its pod" if lost == 1 else f"{lost} engines replaced in their pods")
    elif not gangs:
        parts.append("nothing lost")
    return "; ".join(parts)


def _line(played: Played) -> str:
    seconds = "–" if played.seconds is None else f"{played.seconds:.1f} s"
    return f"{played.fault} / {played.stage}: {played.outcome}, {seconds} {'; '.join(played.problems)}"
