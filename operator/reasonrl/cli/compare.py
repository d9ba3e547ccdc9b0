"""`reasonrl compare`: arms over their seeds, in a table, in the report's own figure, and claim by claim."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reasonrl.report.comparison.arms import Comparison
    from reasonrl.report.comparison.check_file import Check
    from reasonrl.report.comparison.verdicts import Verdict


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Directories of finished runs, or the directory of a sweep.", show_default=False)
    ],
    checks: Annotated[
        Path | None, typer.Option(help="File of claims to check. Default: those that the sweep names, if any.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Page to write. [default: comparison.html in the sweep, or reasonrl-comparison.html here]", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Also write the figure as .svg, .png or .pdf; takes matplotlib.", show_default=False)
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables as Markdown.", show_default=False)] = None,
    smoothing: Annotated[
        int | None, typer.Option(min=1, help="Steps that training curves are smoothed over; 1 for none. Default: by the longest run.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 unless every claim is shown.")] = False,
) -> None:
    """Compare finished runs: arms, which differ in more than the seed, over the seeds that each was run with."""
    from rich.console import Console

    from reasonrl.cli.compare_view import show_comparison
    from reasonrl.report.comparison.arms import read_comparison
    from reasonrl.report.comparison.markdown import markdown_of
    from reasonrl.report.comparison.page import render_comparison
    from reasonrl.report.comparison.picture import PictureError, draw_picture
    from reasonrl.report.comparison.verdicts import judge
    from reasonrl.report.page import write_page
    from reasonrl.report.read import RunReadError
    from reasonrl.report.smoothing import default_window

    sweep = _sweep_of(runs)
    try:
        comparison = read_comparison(runs)
        claims = _claims(checks, sweep)
        verdicts = judge(claims, comparison)
        window = smoothing if smoothing is not None else default_window(_longest(comparison))
        target = html or (sweep / "comparison.html" if sweep is not None else Path("reasonrl-comparison.html"))
        write_page(render_comparison(comparison, verdicts, window=window), target)
        if picture is not None:
            draw_picture(comparison, picture, window=window)
        if markdown is not None:
            markdown.write_text(markdown_of(comparison, verdicts), encoding="utf-8")
    except (RunReadError, PictureError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}")
    show_comparison(comparison, verdicts, Console())
    for written in (target, picture, markdown):
        if written is not None:
            typer.echo(f"{written}")
    if strict and not _all_shown(verdicts):
        raise typer.Exit(1)


def _sweep_of(paths: Sequence[Path]) -> Path | None:
    from reasonrl.api.sweep_spec import SWEEP_FILE

    return paths[0] if len(paths) == 1 and (paths[0] / SWEEP_FILE).exists() else None


def _claims(given: Path | None, sweep: Path | None) -> Sequence[Check]:
    """Of the file that was named, else of the sweep's own, else none."""
    from reasonrl.api.problems import JobError
    from reasonrl.api.sweep_spec import CHECKS_FILE
    from reasonrl.cli.job_file import read_mapping
    from reasonrl.cli.problems import JobInFileError
    from reasonrl.report.comparison.check_file import parse_checks

    own = sweep / CHECKS_FILE if sweep is not None else None
    file = given or (own if own is not None and own.exists() else None)
    if file is None:
        return ()
    try:
        return parse_checks(read_mapping(file))
    except JobError as error:
        raise JobInFileError(file, error.problems) from error


def _longest(comparison: Comparison) -> int:
    return max(len(run.steps) for arm in comparison.arms for run in arm.runs.values())


def _all_shown(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.word == "shown" for verdict in verdicts)


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)
