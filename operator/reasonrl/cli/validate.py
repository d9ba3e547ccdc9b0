"""`reasonrl validate`: everything that is wrong with job files, before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasonrl.api.exit_codes import ExitCode

if TYPE_CHECKING:
    from reasonrl.api.job import ReasoningRLJob
    from reasonrl.cli.blueprint_file import Blueprint


def register(app: typer.Typer) -> None:
    app.command("validate")(validate)


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Job files, YAML or JSON.", show_default=False)],
    skip_paths: Annotated[
        bool, typer.Option("--skip-paths", help="Do not look for the local files that a job names: they are elsewhere.")
    ] = False,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Check as the operator does when it admits a job: paths are those of the pods, and absolute."),
    ] = False,
    runtime: Annotated[
        list[Path] | None,
        typer.Option("--runtime", help="File of a blueprint that jobs name in spec.runtimeRef; may be given again. Implies --cluster."),
    ] = None,
) -> None:
    """Check job files: every field, how fields fit together, and that the local files exist which they name.

    Relative paths are relative to the job file. Models and data sets of the hub are not looked up. Exits with 2 when any file is wrong.
    """
    from reasonrl.api.parse import parse_job
    from reasonrl.cli.blueprint_file import admitted, load_blueprint

    blueprints = [load_blueprint(each) for each in runtime or ()]
    if cluster or blueprints:
        check = _Check(parse=lambda mapping: admitted(mapping, blueprints), blueprints=blueprints, looks_for_paths=False)
    else:
        check = _Check(parse=parse_job, blueprints=(), looks_for_paths=not skip_paths)
    wrong = [file for file in files if not check.passes(file)]
    if wrong:
        raise typer.Exit(ExitCode.BAD_INPUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """How every file of one call is looked at."""

    parse: Callable[[Mapping[str, object]], ReasoningRLJob]
    blueprints: Sequence[Blueprint]
    looks_for_paths: bool

    def passes(self, file: Path) -> bool:
        """Says what is wrong with the file, or that nothing is."""
        from reasonrl.api.problems import JobError
        from reasonrl.api.validation.warnings import job_warnings
        from reasonrl.cli.blueprint_file import unused_blueprints
        from reasonrl.cli.job_file import check_paths, read_mapping
        from reasonrl.cli.problems import JobFileError, show_error, show_problems, show_warnings

        try:
            mapping = read_mapping(file)
        except JobFileError as error:
            show_error(str(error))
            return False
        warnings = unused_blueprints(mapping, self.blueprints)
        try:
            job = self.parse(mapping)
        except JobError as error:
            show_problems(error.problems, file=file)
            show_warnings(warnings, file=file)
            return False
        problems = check_paths(job, file.resolve().parent) if self.looks_for_paths else []
        show_problems(problems, file=file)
        show_warnings([*warnings, *job_warnings(job)], file=file)
        if not problems:
            phases = ", ".join(f"{phase.name} ({phase.max_response_tokens} tokens)" for phase in job.spec.phases)
            typer.echo(f"{file}: {job.metadata.name} is valid; phases {phases}")
        return not problems
