"""`reasonrl run` and `reasonrl advance`: one job on this machine, and a person's word to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from reasonrl.api.job import ReasoningRLJob
    from reasonrl.run.run_job import RunResult


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("advance")(advance)


def run(
    file: Annotated[Path, typer.Argument(help="The job file, YAML.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Directory of the run; one that exists is gone on with. [default: runs/NAME]", show_default=False
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing while it runs.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Run the job's trainer and rollout pods as processes of this machine, as on a cluster.")
    ] = False,
) -> None:
    """Run a job on this machine, or go on with one that was stopped.

    Ctrl-C and SIGTERM save a checkpoint and exit with code 4; the same command then goes on at the same step.
    """
    from rich.console import Console

    from reasonrl.api.support import cluster_only_fields, unsupported_on_one_machine, unsupported_without_operator
    from reasonrl.cli.job_file import check_paths, load_job_file
    from reasonrl.cli.problems import fail_with

    console = Console(stderr=False)
    job = load_job_file(file)
    unsupported = unsupported_without_operator(job) if cluster else unsupported_on_one_machine(job)
    problems = [*unsupported, *check_paths(job, file.resolve().parent)]
    if problems:
        fail_with(problems, file=file)
    directory = output or Path("runs") / job.metadata.name
    if cluster:
        _run_pods(job, file, directory, quiet=quiet)
    for sentence in cluster_only_fields(job):
        console.print(f"[yellow]note[/] {sentence}", highlight=False)

    from reasonrl.cli.run_errors import explained
    from reasonrl.run.local import run_on_one_machine

    with explained():
        result = run_on_one_machine(job, directory=directory, base_directory=file.resolve().parent, console=None if quiet else console)
    _end(result, directory)


def _run_pods(job: ReasoningRLJob, file: Path, directory: Path, *, quiet: bool) -> NoReturn:
    from reasonrl.cli.run_errors import explained
    from reasonrl.run.cluster.supervisor import Supervisor

    def say(sentence: str) -> None:
        if not quiet:
            typer.echo(sentence, err=True)

    with explained():
        supervisor = Supervisor(job, directory=directory, base_directory=file.resolve().parent, say=say, show_training=not quiet)
        result = supervisor.run()
    _end(result, directory)


def _end(result: RunResult, directory: Path) -> NoReturn:
    from reasonrl.api.exit_codes import ExitCode

    typer.echo(result.message)
    if result.exit_code is ExitCode.SUCCESS:
        typer.echo(f"look at it: reasonrl report {directory}")
    sys.exit(result.exit_code)


def advance(run_directory: Annotated[Path, typer.Argument(help="Directory of the run.", show_default=False)]) -> None:
    """Let a run enter the phase that waits for a person (`advance: Manual`)."""
    from reasonrl.api.exit_codes import ExitCode
    from reasonrl.api.run_files import JOB_FILE
    from reasonrl.run.control import request_advance

    if not (run_directory / JOB_FILE).exists():
        typer.echo(f"{run_directory} is not a run: it has no {JOB_FILE}", err=True)
        raise typer.Exit(ExitCode.BAD_INPUT)
    request_advance(run_directory)
    typer.echo("asked: the run enters its next phase after the step that it is in, once that phase is due")
