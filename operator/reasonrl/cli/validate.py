"""`reasonrl validate`: everything that is wrong with job files, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reasonrl.api.exit_codes import ExitCode


def register(app: typer.Typer) -> None:
    app.command("validate")(validate)


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Job files, YAML or JSON.", show_default=False)],
    skip_paths: Annotated[
        bool, typer.Option("--skip-paths", help="Do not look for the local files that a job names: they are on the cluster.")
    ] = False,
) -> None:
    """Check job files: every field, how fields fit together, and that the local files exist which they name.

    Relative paths are relative to the job file. Models and data sets of the hub are not looked up. Exits with 2 when any file is wrong.
    """
    wrong = [file for file in files if not _is_valid(file, skip_paths=skip_paths)]
    if wrong:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _is_valid(file: Path, *, skip_paths: bool) -> bool:
    from reasonrl.api.problems import JobError
    from reasonrl.api.validation.warnings import job_warnings
    from reasonrl.cli.job_file import check_paths, load_job_file
    from reasonrl.cli.problems import JobFileError, show_error, show_problems, show_warnings

    try:
        job = load_job_file(file)
    except JobFileError as error:
        show_error(str(error))
        return False
    except JobError as error:
        show_problems(error.problems, file=file)
        return False
    problems = [] if skip_paths else check_paths(job, file.resolve().parent)
    show_problems(problems, file=file)
    show_warnings(job_warnings(job), file=file)
    if not problems:
        phases = ", ".join(f"{phase.name} ({phase.max_response_tokens} tokens)" for phase in job.spec.phases)
        typer.echo(f"{file}: {job.metadata.name} is valid; phases {phases}")
    return not problems
