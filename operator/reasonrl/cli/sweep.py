"""`reasonrl sweep`: one job in many arms, each with several seeds, on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reasonrl.api.problems import Problem
    from reasonrl.api.sweep_jobs import SweepRun
    from reasonrl.run.sweep_progress import RunState


def register(app: typer.Typer) -> None:
    app.command("sweep")(sweep)


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP", help="The sweep file, YAML.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Directory of the sweep; one that exists is gone on with. [default: runs/NAME]", show_default=False
        ),
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=256, help="Runs at a time. The machine's cores are shared among them.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every job, show the table of them, and run nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing while it runs.")] = False,
) -> None:
    """Run a job in several arms and with several seeds, one run after the other.

    Every job is checked before the first starts. Finished runs are left out, and a killed one goes on from its checkpoint. A run that
    fails does not end the others. `reasonrl compare` then says what differs.
    """
    import yaml
    from rich.console import Console

    from reasonrl.api.problems import JobError
    from reasonrl.api.sweep_jobs import record_of, sweep_runs
    from reasonrl.api.sweep_spec import CHECKS_FILE, SWEEP_FILE, parse_sweep
    from reasonrl.api.sweep_warm_start import separate_tasks, tasks_with_shared_start
    from reasonrl.cli.job_file import read_mapping
    from reasonrl.cli.problems import JobInFileError, fail_with
    from reasonrl.cli.sweep_view import SweepView, show_end, show_plan
    from reasonrl.run.sweep_progress import State

    console = Console()
    try:
        spec = parse_sweep(read_mapping(file))
        base_file = file.resolve().parent / spec.job
        base = read_mapping(base_file)
        runs = sweep_runs(spec, base)
        directory = (output or Path("runs") / spec.name).resolve()
        tasks = tasks_with_shared_start(runs, directory=str(directory)) if spec.share_warm_start else separate_tasks(runs)
    except JobError as error:
        raise JobInFileError(file, error.problems) from error
    problems = [problem for run in runs[: len(runs) // len(spec.seeds)] for problem in _problems_here(run, base_file.parent)]
    if problems:
        fail_with(problems)
    kept = {SWEEP_FILE: yaml.safe_dump(record_of(spec).dumped(), sort_keys=False, allow_unicode=True)}
    if spec.checks is not None:
        kept[CHECKS_FILE] = _checks_text(spec.checks, file)
    if dry_run:
        show_plan(spec, runs, tasks, console)
        return

    from reasonrl.cli.run_errors import explained
    from reasonrl.run.sweep import SweepPlace, run_sweep

    with explained():
        place = SweepPlace(directory=directory, base_directory=base_file.parent, kept=kept)
        with SweepView(console, parallel=parallel, quiet=quiet) as view:
            states = run_sweep(tasks, place, parallel=parallel, threads=_threads(parallel), watch=view.show)
    show_end(states, console)
    if all(state.state is State.FINISHED for state in states):
        typer.echo(f"compare its arms: reasonrl compare {output or directory}")
    sys.exit(_exit_code(states))


def _problems_here(run: SweepRun, base_directory: Path) -> list[Problem]:
    """What this machine lacks or cannot do, of one arm."""
    from reasonrl.api.problems import Problem
    from reasonrl.api.support import unsupported_on_one_machine
    from reasonrl.cli.job_file import check_paths

    found = [*unsupported_on_one_machine(run.job), *check_paths(run.job, base_directory)]
    return [Problem(f"arm {run.arm}: {each.field}", each.value, each.message) for each in found]


def _checks_text(checks: str, sweep_file: Path) -> str:
    """The file of checks, as it is, once it is known to be one."""
    from reasonrl.api.problems import JobError
    from reasonrl.cli.job_file import read_mapping
    from reasonrl.cli.problems import JobInFileError
    from reasonrl.report.comparison.check_file import parse_checks

    path = sweep_file.resolve().parent / checks
    try:
        parse_checks(read_mapping(path))
    except JobError as error:
        raise JobInFileError(path, error.problems) from error
    return path.read_text(encoding="utf-8")


def _threads(parallel: int) -> int | None:
    """Threads of each run: a share of the cores, unless there is one run at a time or the user has said."""
    if parallel == 1 or "OMP_NUM_THREADS" in os.environ:
        return None
    return max(1, (os.cpu_count() or 1) // parallel)


def _exit_code(states: Sequence[RunState]) -> int:
    """Success when every run is finished; else why not: a stop by signal, something that may be mended, or something that may not."""
    from reasonrl.api.exit_codes import ExitCode
    from reasonrl.run.sweep_progress import State

    failed = [state for state in states if state.state is State.FAILED]
    if failed:
        mendable = all(state.exit_code is None or state.exit_code < 0 or state.exit_code == ExitCode.RETRYABLE for state in failed)
        return ExitCode.RETRYABLE if mendable else ExitCode.FATAL
    return ExitCode.SUCCESS if all(state.state is State.FINISHED for state in states) else ExitCode.PREEMPTED
