"""How `reasonrl compare` looks on a terminal: the arms, then the claims with their verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reasonrl.report.comparison.arms import Comparison
from reasonrl.report.comparison.tables import arm_rows, column_titles, tally, verdict_rows
from reasonrl.report.comparison.verdicts import Verdict

_STYLES = {"shown": "green", "opposite": "red", "not shown": "yellow", "too few seeds": "dim"}


def show_comparison(comparison: Comparison, verdicts: Sequence[Verdict], console: Console) -> None:
    for problem in comparison.problems:
        console.print(Text(problem, style="yellow"), soft_wrap=True)
    arms = Table(box=None, pad_edge=False)
    arms.add_column("arm", overflow="fold")
    arms.add_column("seeds", justify="right")
    for title in column_titles():
        arms.add_column(title, justify="right")
    for row in arm_rows(comparison.arms):
        arms.add_row(Text(row.title), str(row.seeds), *row.values)
    console.print(arms)
    console.print("last tenth of the steps; mean ± standard deviation over seeds", style="dim", highlight=False)
    if not verdicts:
        return
    claims = Table(box=None, pad_edge=False)
    claims.add_column("verdict", no_wrap=True)
    claims.add_column("claim", overflow="fold")
    claims.add_column("effect", justify="right", no_wrap=True)
    claims.add_column("95 % interval", justify="right", no_wrap=True)
    for verdict in verdict_rows(verdicts):
        claims.add_row(Text(verdict.word, style=_STYLES[verdict.word]), Text(verdict.claim), verdict.effect, verdict.interval)
    console.print()
    console.print(claims)
    console.print(f"{tally(verdicts)} Paired t intervals over seeds.", style="dim", highlight=False)
