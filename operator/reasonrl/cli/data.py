"""`reasonrl data`: training sets, built from raw ones by rules, and compared with benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

_SHOWN = 20


def register(app: typer.Typer) -> None:
    data = typer.Typer(help="Build a training set, or compare one with benchmarks.", no_args_is_help=True, rich_markup_mode=None)
    data.command("build")(build)
    data.command("check")(check)
    app.add_typer(data, name="data")


def build(
    file: Annotated[Path, typer.Argument(help="What to build: a YAML file with sources and rules.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write; must not exist.", show_default=False)],
) -> None:
    """Build a training set from raw ones: type filters, numeric answers, repeats, benchmarks, pass rate, split and order.

    Writes train, held-out, dropped.jsonl (each dropped row with its rule and reason) and card.md. Relative paths of FILE start from its
    directory. A build that was stopped goes on with the pass rates that it had.
    """
    from reasonrl.cli.job_file import read_mapping
    from reasonrl.cli.problems import JobFileError
    from reasonrl.cli.run_errors import explained
    from reasonrl.data.build.spec import parse_build_spec

    try:
        mapping = read_mapping(file)
    except JobFileError as error:
        wanted = " (this file is no job: it begins with sources)" if "a job" in str(error) else ""
        raise JobFileError(f"{error}{wanted}") from error
    with explained(), _progress() as advance:
        spec = parse_build_spec(mapping)
        from reasonrl.run.data_build import BuildRequest
        from reasonrl.run.data_build import build as run_build

        request = BuildRequest(
            spec=spec,
            spec_text=file.read_text(encoding="utf-8"),
            command=f"reasonrl data build {file} --output {output}",
            base_directory=file.parent,
            output=output,
        )
        result = run_build(request, advance=advance)
    typer.echo(f"{result.read:,} rows read")
    for rule, count in result.dropped.most_common():
        typer.echo(f"  {rule:<22} {count:>9,} dropped")
    for name, rows in result.files:
        typer.echo(f"{output / name}: {rows:,} rows")
    typer.echo(f"{output / 'card.md'}: where it comes from, and what was dropped and why")


def check(
    file: Annotated[Path, typer.Argument(help="Questions: .jsonl, .jsonl.gz, .json or .parquet.", show_default=False)],
    against: Annotated[list[Path], typer.Option("--against", help="File of a benchmark; may be given several times.", show_default=False)],
    question_field: Annotated[str, typer.Option(help="Column with the question in FILE.")] = "question",
    answer_field: Annotated[str, typer.Option(help="Column with the answer in FILE.")] = "answer",
    benchmark_question_field: Annotated[
        str | None, typer.Option(help="The same in the benchmarks; else as in FILE.", show_default=False)
    ] = None,
    benchmark_answer_field: Annotated[
        str | None, typer.Option(help="The same in the benchmarks; else as in FILE.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write every pair to this JSONL file.", show_default=False)] = None,
) -> None:
    """Find the questions of FILE that are a benchmark's, with or without other numbers. Exit code 0, whatever is found."""
    from reasonrl.api.data_spec import DataSource
    from reasonrl.cli.run_errors import explained
    from reasonrl.data.build.overlap_check import overlaps_between, write_pairs
    from reasonrl.data.build.spec import BenchmarkSource, Overlaps

    here = Path()
    source = DataSource(path=str(file), question_field=question_field, answer_field=answer_field)
    benchmarks = [
        BenchmarkSource(
            path=str(each),
            question_field=benchmark_question_field or question_field,
            answer_field=benchmark_answer_field or answer_field,
        )
        for each in against
    ]
    with explained(), _progress() as advance:
        pairs = list(overlaps_between(source, benchmarks, Overlaps(), base_directory=here, advance=advance))
        if output is not None:
            write_pairs(output, pairs)
    for question, overlap in pairs[:_SHOWN]:
        typer.echo(f"{question.id}  {overlap.likeness} ({overlap.share:.2f})  {overlap.held_out.id} of {overlap.benchmark}")
    if len(pairs) > _SHOWN:
        typer.echo(f"… and {len(pairs) - _SHOWN} more; --output FILE writes all of them")
    typer.echo(f"{len({question.id for question, _ in pairs})} questions of {file} are like {len(pairs)} of the benchmarks'")


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """A line on standard error that says which stage is at work and how far it is, on a terminal alone."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("reading benchmarks", total=None)
        yield lambda stage, done: shown.update(task, description=stage, completed=done)
