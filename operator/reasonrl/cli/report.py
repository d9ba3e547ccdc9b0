"""`reasonrl report`: one page with the curves, tables and answers of one run, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("report")(report)


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Directories of runs, finished or still running.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: report.html in the run's directory; for several runs reasonrl-report.html here."),
    ] = None,
    smoothing: Annotated[
        int | None, typer.Option(min=1, help="Steps that the bold curves are smoothed over; 1 for none. Default: by the longest run.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page. Default: the runs' names.")] = None,
) -> None:
    """Draw a self-contained HTML page of RUN, or of several runs overlaid."""
    from reasonrl.api.run_files import REPORT_FILE
    from reasonrl.report.page import render_page, write_page
    from reasonrl.report.read import RunReadError, read_runs

    target = output or (runs[0] / REPORT_FILE if len(runs) == 1 else Path("reasonrl-report.html"))
    try:
        page = render_page(read_runs(runs), title=title, window=smoothing)
        write_page(page, target)
    except RunReadError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except OSError as error:
        typer.echo(f"error: --output {target}: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"{target}")
