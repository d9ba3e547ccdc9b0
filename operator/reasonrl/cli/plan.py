"""`reasonrl plan`: what a job will take, as tables or as JSON."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reasonrl.api.job import ReasoningRLJob
    from reasonrl.api.model_shape import ModelShape, UnknownShape
    from reasonrl.api.problems import Problem


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)


def plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Job file, YAML or JSON.", show_default=False)],
    output: Annotated[OutputFormat, typer.Option("--output", "-o", help="Form of the answer.")] = OutputFormat.TABLE,
    model_config: Annotated[
        Path | None,
        typer.Option("--model-config", help="config.json of the model, when spec.model.path is not on this machine.", show_default=False),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime",
            help="File of the blueprint that the job names in spec.runtimeRef: plans what the operator would make of both.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the pods, GPUs, memory, batch, phases and schedule values of a job.

    A job that cannot fit or divide is refused with the arithmetic, and exit code 2.
    """
    from dataclasses import asdict

    from reasonrl.api.problems import JobError
    from reasonrl.api.resource_plan import plan_resources
    from reasonrl.api.validation.warnings import job_warnings
    from reasonrl.cli.problems import JobInFileError, show_warnings

    job, unknown = _load(file, runtime)
    shape = model_shape_of(job, base_directory=file.resolve().parent, model_config=model_config)
    try:
        found = plan_resources(job, model_shape=shape)
    except JobError as error:
        raise JobInFileError(file, error.problems) from error
    show_warnings([*unknown, *job_warnings(job)], file=file)
    if output is OutputFormat.JSON:
        totals = [estimate.total for estimate in found.memory]
        answer = asdict(found)
        for estimate, total in zip(answer["memory"], totals, strict=True):
            estimate["total"] = total
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    from reasonrl.cli.plan_tables import show_plan

    show_plan(found)


def _load(file: Path, runtime: Path | None) -> tuple[ReasoningRLJob, list[Problem]]:
    """The job, and a warning about a blueprint that was not looked at."""
    from reasonrl.api.parse import parse_job
    from reasonrl.api.problems import JobError
    from reasonrl.cli.blueprint_file import admitted, load_blueprint, unused_blueprints
    from reasonrl.cli.job_file import read_mapping
    from reasonrl.cli.problems import JobInFileError, show_warnings

    blueprints = [] if runtime is None else [load_blueprint(runtime)]
    mapping = read_mapping(file)
    warnings = unused_blueprints(mapping, blueprints)
    try:
        return admitted(mapping, blueprints) if blueprints else parse_job(mapping), warnings
    except JobError as error:
        show_warnings(warnings, file=file)
        raise JobInFileError(file, error.problems) from error


def model_shape_of(job: ReasoningRLJob, *, base_directory: Path, model_config: Path | None) -> ModelShape | UnknownShape:
    """The model's shape, from the job itself or from a config.json on this machine. Raises JobFileError for a --model-config that cannot
    be read."""
    from reasonrl.api.model_shape import TASK_TOKENS, UnknownShape, scratch_shape
    from reasonrl.api.validation.model import HUB_PREFIX

    model = job.spec.model
    if model.scratch is not None:
        task = job.spec.data.train[0].task
        if model.tokenizer is not None or task is None:
            return UnknownShape("the vocabulary of a model made from nothing is that of spec.model.tokenizer, which plan does not load")
        return scratch_shape(model.scratch, vocabulary=TASK_TOKENS[task.name])
    if model_config is not None:
        return _read_config(model_config, must_exist=True)
    path = model.path or ""
    if path.startswith(HUB_PREFIX):
        return UnknownShape(f"{path} is not on this machine; give its config.json with --model-config, or a directory in spec.model.path")
    return _read_config(base_directory / path / "config.json", must_exist=False)


def _read_config(path: Path, *, must_exist: bool) -> ModelShape | UnknownShape:
    from reasonrl.api.model_shape import UnknownShape, shape_of_config
    from reasonrl.cli.problems import JobFileError

    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else error}"
        if must_exist:
            raise JobFileError(f"--model-config: {reason}") from error
        return UnknownShape(reason)
    return shape_of_config(config) if isinstance(config, dict) else UnknownShape(f"{path} holds no object")
