"""The tables of a comparison as Markdown, for documentation that a command can make again."""

from __future__ import annotations

from collections.abc import Sequence

from reasonrl.report.comparison.arms import Comparison
from reasonrl.report.comparison.tables import arm_rows, column_titles, tally, verdict_rows
from reasonrl.report.comparison.verdicts import Verdict


def markdown_of(comparison: Comparison, verdicts: Sequence[Verdict]) -> str:
    lines = _table(
        ["arm", "seeds", "steps", "responses a step", "updates a step", *column_titles()],
        [[row.title, str(row.seeds), row.steps, row.responses, row.updates, *row.values] for row in arm_rows(comparison.arms)],
    )
    lines += ["", "Means over the last tenth of the steps, ± standard deviation over seeds.", ""]
    if verdicts:
        lines += _table(
            ["claim", "verdict", "effect", "95 % interval", "by seed"],
            [[_claim(row.claim, row.source), row.word, row.effect, row.interval, row.by_seed] for row in verdict_rows(verdicts)],
        )
        lines += ["", f"{tally(verdicts)} Intervals are paired t intervals over seeds.", ""]
    lines += [f"- {problem}" for problem in comparison.problems]
    return "\n".join(lines).rstrip() + "\n"


def _claim(claim: str, source: str) -> str:
    return f"{claim} ({source})" if source else claim


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(titles), _row(["---"] * len(titles)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;').replace(chr(10), ' ') for cell in cells)} |"
