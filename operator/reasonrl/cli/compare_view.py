"""How `reasonrl compare` looks on a terminal: the arms, then the claims with their verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reasonrl.report.comparison.arms import Comparison
from reasonrl.report.comparison.tables import COLUMNS, arm_rows, column_titles, tally, verdict_rows
from reasonrl.report.comparison.verdicts import Verdict

_WIDE, _COLUMNS_WHERE_NARROW = 120, 3
_STYLES = {"shown": "green", "opposite": "red", "not shown": "yellow", "too few seeds": "dim"}


def show_comparison(comparison: Comparison, verdicts: Sequence[Verdict], console: Console) -> None:
    for problem in comparison.problems:
        console.print(Text(problem, style="yellow"), soft_wrap=True)
    shown = len(COLUMNS) if console.width >= _WIDE else _COLUMNS_WHERE_NARROW
    arms = Table(box=None, pad_edge=False)
    arms.add_column("arm", no_wrap=True)
    arms.add_column("seeds", justify="right")
    for title in column_titles()[:shown]:
        arms.add_column(title, justify="right")
    for row in arm_rows(comparison.arms):
        arms.add_row(Text(row.name), str(row.seeds), *(Text(value, no_wrap=True) for value in row.values[:shown]))
    console.print(arms)
    more = "" if shown == len(COLUMNS) else "; more columns on the page"
    console.print(f"last tenth of the steps; mean ± standard deviation over seeds{more}", style="dim", highlight=False)
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
