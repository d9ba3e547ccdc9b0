"""`reasonrl grade`: a file of responses, graded with the answer verifier."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from reasonrl.run.bulk_grading import GradedRow

VERDICTS = ("correct", "incorrect", "missing", "unscorable", "timeout", "error")


def register(app: typer.Typer) -> None:
    app.command("grade")(grade)


def grade(
    file: Annotated[Path, typer.Argument(help="Rows with responses: .jsonl, .jsonl.gz, .json or .parquet.", show_default=False)],
    response_field: Annotated[str, typer.Option(help="Field with the response.")] = "response",
    answer_field: Annotated[str, typer.Option(help="Field with the gold answer.")] = "answer",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write each row with its verdict to this JSONL file.", show_default=False)
    ] = None,
    tags: Annotated[bool, typer.Option("--tags", help="Take the last <answer> body first.")] = False,
    require_boxed: Annotated[bool, typer.Option("--require-boxed", help="Only an answer in \\boxed{} counts.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600.0, help="Seconds for one answer.")] = 5.0,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Worker processes.")] = os.cpu_count() or 1,
    disagreements: Annotated[bool, typer.Option("--disagreements", help="List rows whose verdict is not their `expected` label.")] = False,
) -> None:
    """Grade the responses in a file and say what became of each.

    Every answer is judged in a process that can be ended, so a hostile one costs its time limit and nothing else. Rows with a field
    `expected` (true or false) are compared with it; those that are `disputed` are counted apart.
    """
    import time

    from rich.console import Console
    from rich.progress import Progress

    from reasonrl.cli.run_errors import explained
    from reasonrl.run.bulk_grading import GradingSetting, grade_file

    console = Console()
    setting = GradingSetting(
        response_field=response_field,
        answer_field=answer_field,
        tags=tags,
        require_boxed=require_boxed,
        timeout_seconds=timeout,
        workers=workers,
    )
    started = time.monotonic()
    with explained(), Progress(console=console, transient=True) as progress:
        task = progress.add_task("grading", total=None)
        rows = grade_file(file, setting, advance=lambda done: progress.update(task, completed=done))
        if output is not None:
            _write(rows, output)
    _show(rows, console, seconds=time.monotonic() - started)
    if disagreements:
        _show_disagreements(rows, console)


def _write(rows: Sequence[GradedRow], output: Path) -> None:
    import json

    with output.open("w", encoding="utf-8") as file:
        for each in rows:
            graded = {"verdict": each.verdict, "detail": each.detail, "extracted": each.extracted}
            file.write(json.dumps({**each.row.values, **graded}, ensure_ascii=False, default=str) + "\n")


def _show(rows: Sequence[GradedRow], console: Console, *, seconds: float) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for verdict in VERDICTS:
        count = sum(each.verdict == verdict for each in rows)
        table.add_row(verdict, str(count), f"{count / max(len(rows), 1):.1%}")
    console.print(table)
    console.print(f"{len(rows)} responses in {seconds:.1f} s, {len(rows) / seconds:.0f} a second", highlight=False)
    _show_agreement("labels", [each for each in rows if each.expected is not None and not each.disputed], console)
    _show_agreement("disputed labels", [each for each in rows if each.expected is not None and each.disputed], console)


def _show_agreement(title: str, labelled: Sequence[GradedRow], console: Console) -> None:
    if not labelled:
        return
    agree = sum(each.expected == (each.verdict == "correct") for each in labelled)
    negatives = sum(each.expected is False for each in labelled)
    accepts = sum(each.verdict == "correct" and each.expected is False for each in labelled)
    refusals = len(labelled) - agree - accepts
    console.print(
        f"{title}: {agree} of {len(labelled)} agree ({agree / len(labelled):.1%}); wrongly accepted {accepts} "
        f"({accepts / len(labelled):.1%} of all, {accepts / max(negatives, 1):.1%} of the {negatives} wrong ones), "
        f"wrongly refused {refusals} ({refusals / len(labelled):.1%})",
        highlight=False,
    )


def _show_disagreements(rows: Sequence[GradedRow], console: Console) -> None:
    for each in rows:
        if each.expected is not None and (each.verdict == "correct") != each.expected:
            name = each.row.values.get("id", each.row.place)
            wanted = ("right" if each.expected else "wrong") + (" (disputed)" if each.disputed else "")
            console.print(
                f"{name}: labelled {wanted}, judged {each.verdict} ({each.detail}); read {each.extracted[:80]!r}",
                highlight=False,
                markup=False,
            )
