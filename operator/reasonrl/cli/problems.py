"""How the command line says what is wrong with a job: a block for each problem, on stderr, with the line of the file; then exit code 2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import typer

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.problems import JobError, Problem, shown_value


class JobFileError(Exception):
    """The file holds no job at all: it is missing, or is not YAML, or holds several documents. The message names the file."""


class JobInFileError(JobError):
    """A job that cannot run as it is written, and the file that it is written in."""

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.file = file


def show_problems(problems: Iterable[Problem], *, file: Path | None) -> None:
    """One red block for each. `file` is the job file, where there is one."""
    _show_blocks("error", typer.colors.RED, problems, file)


def show_warnings(warnings: Iterable[Problem], *, file: Path | None) -> None:
    """One yellow block for each."""
    _show_blocks("warning", typer.colors.YELLOW, warnings, file)


def show_error(message: str) -> None:
    typer.secho(f"error: {message}", fg=typer.colors.RED, bold=True, err=True)


def fail_with(problems: Iterable[Problem], *, file: Path | None = None) -> NoReturn:
    """Shows the problems and ends the command with the exit code for bad input."""
    show_problems(problems, file=file)
    raise typer.Exit(ExitCode.BAD_INPUT)


def _show_blocks(kind: str, color: str, problems: Iterable[Problem], file: Path | None) -> None:
    from reasonrl.cli.job_file import line_of

    for problem in problems:
        given = "" if problem.value is None else f" = {shown_value(problem.value)}"
        typer.secho(f"{kind}: {problem.field}{given}", fg=color, bold=True, err=True)
        typer.echo(f"  {problem.message}", err=True)
        if file is not None:
            line = line_of(file, problem.field)
            typer.echo(f"  at {file}:{line}" if line else f"  at {file}", err=True)
