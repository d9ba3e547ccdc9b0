"""How `reasonrl eval` looks: a bar for each benchmark while it goes on, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from reasonrl.run.standalone_evaluation.answer_records import AnswerRecord
    from reasonrl.run.standalone_evaluation.evaluate import Outcome
    from reasonrl.run.standalone_evaluation.results import BenchmarkResult, Metric

_NOTHING = "–"


class EvaluationView:
    """See `evaluate.Watcher`. Use as a context manager; what it shows of progress goes away at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._tally: dict[str, tuple[int, int, int]] = {}

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False, markup=False)

    def begin(self, benchmark: str, *, answers: int, there: Sequence[AnswerRecord]) -> None:
        self._tasks[benchmark] = self._progress.add_task(benchmark, total=answers, told="")
        self._tally[benchmark] = (0, 0, 0)
        if there:
            self.note(f"{benchmark}: {len(there)} of {answers} answers are there already")
            self.answered(benchmark, there)

    def answered(self, benchmark: str, records: Sequence[AnswerRecord]) -> None:
        right, judged, tokens = self._tally[benchmark]
        right += sum(record.correct is True for record in records)
        judged += sum(record.correct is not None for record in records)
        tokens += sum(record.length or 0 for record in records)
        self._tally[benchmark] = (right, judged, tokens)
        share = f"{right / judged:.1%} right" if judged else ""
        self._progress.update(self._tasks[benchmark], advance=len(records), told=f"{share}, {tokens:,} tokens" if tokens else share)


def show_results(outcome: Outcome, console: Console) -> None:
    """What was right, with intervals of 95 % over questions, and below it what the answers were like."""
    scores = _table("benchmark", "questions", "metric", "%", "95 % interval")
    answers = _table("benchmark", "tokens", "right", "wrong", "finished", "no answer", "not judged")
    for result in outcome.results:
        _add_scores(scores, result)
        answers.add_row(
            result.benchmark,
            _tokens(result.length_mean),
            _tokens(result.correct_length_mean),
            _tokens(result.incorrect_length_mean),
            f"{result.finished_share:.1%}",
            f"{result.missing_share:.1%}",
            f"{result.unjudged:,}",
        )
    console.print(scores)
    if outcome.mean_accuracy is not None:
        console.print(f"mean accuracy of {len(outcome.results)} benchmarks: {outcome.mean_accuracy:.1%}", highlight=False)
    console.print("w: Wilson's interval, each question scores 0 or 1; b: bootstrap over questions", highlight=False, style="dim")
    console.print()
    console.print(answers)
    console.print("tokens: mean length of all, of right and of wrong answers", highlight=False, style="dim")
    by_text = sum(result.majority_by_text for result in outcome.results)
    if by_text:
        console.print(f"maj@k: the answers to {by_text} questions took too long to compare and voted by their text", highlight=False)
    console.print(f"{outcome.path}", highlight=False, markup=False, soft_wrap=True)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="left" if title in ("benchmark", "metric") else "right", no_wrap=title != "benchmark")
    return table


def _add_scores(table: Table, result: BenchmarkResult) -> None:
    asked = [result.benchmark, f"{result.questions:,} × {result.samples}"]
    # pass@1 and avg@k are the same number.
    metrics = {name: metric for name, metric in result.metrics.items() if name != "pass@1"}
    if not metrics:
        table.add_row(*asked, _NOTHING, _NOTHING, _NOTHING)
    for place, (name, metric) in enumerate(metrics.items()):
        shown = name if result.samples > 1 else "accuracy"
        table.add_row(*(asked if place == 0 else ["", ""]), shown, f"{100 * metric.value:.1f}", _interval(metric))


def _interval(metric: Metric) -> str:
    return f"{100 * metric.low:.1f} to {100 * metric.high:.1f} {metric.interval[0]}"


def _tokens(mean: float | None) -> str:
    return _NOTHING if mean is None else f"{mean:,.0f}"
