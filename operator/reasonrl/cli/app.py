"""The `reasonrl` command. Each command lives in a module of its own, which imports what it needs when it is called: `--help` is instant."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from reasonrl.cli import compare, data, explain, grade, operator, plan, pods, report, run, sweep, validate
from reasonrl.cli import eval as evaluation

app = typer.Typer(
    name="reasonrl",
    help="Reinforcement learning for reasoning models, from one file.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reasonrl {version('reasonrl')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Reinforcement learning for reasoning models, from one file."""


for command in (validate, plan, explain, run, report, sweep, compare, evaluation, grade, data, operator, pods):
    command.register(app)


def main() -> None:
    """The entry point. Bad input ends in one clear block for each problem and exit code 2, never in a traceback."""
    from reasonrl.api.exit_codes import ExitCode
    from reasonrl.cli.problems import JobFileError, JobInFileError, show_error, show_problems

    try:
        app()
    except JobFileError as error:
        show_error(str(error))
        sys.exit(ExitCode.BAD_INPUT)
    except JobInFileError as error:
        show_problems(error.problems, file=error.file)
        sys.exit(ExitCode.BAD_INPUT)
