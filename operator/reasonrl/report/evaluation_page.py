"""One HTML file for one standalone evaluation: its numbers with their intervals, and a few answers.

As a run's report it needs nothing else and fetches nothing. It is drawn from the files that an evaluation leaves, so it can be drawn of
any of them, at any time; the answers are chosen by their place, never by their grade.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reasonrl.report.page import shortened
from reasonrl.report.wording import count, percent

EVALUATION_PAGE = "evaluation.html"
_RESULTS, _ANSWERS = "results.json", "answers.jsonl"
_QUESTIONS_SHOWN = 4
_SAMPLES_SHOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """`left` and `width` place the interval on a scale from 0 to 100."""

    benchmark: str
    asked: str
    name: str
    value: str
    interval: str
    method: str
    left: float
    width: float
    point: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersRow:
    benchmark: str
    length: str
    correct_length: str
    incorrect_length: str
    finished: str
    missing: str
    unjudged: int
    by_text: int


def render_evaluation(directory: Path) -> str:
    """The page of a finished evaluation. Raises OSError and ValueError when its files are not there or not whole."""
    results: dict[str, Any] = json.loads((directory / _RESULTS).read_text(encoding="utf-8"))
    benchmarks: list[dict[str, Any]] = results["benchmarks"]
    setting: dict[str, Any] = results["setting"]
    environment = Environment(
        loader=PackageLoader("reasonrl.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shortened"] = shortened
    return environment.get_template("evaluation.html.jinja").render(
        title=f"Evaluation of {setting['model']['name']}",
        headline=_headline(benchmarks, results["mean_accuracy"]),
        metrics=[row for benchmark in benchmarks for row in _metric_rows(benchmark)],
        answers=[_answers_row(benchmark) for benchmark in benchmarks],
        shown=_shown_answers(directory / _ANSWERS, benchmarks),
        setting=json.dumps(setting, indent=1, ensure_ascii=False),
        style=files("reasonrl.report").joinpath("templates", "page.css").read_text(encoding="utf-8"),
    )


def _headline(benchmarks: Sequence[Mapping[str, Any]], mean: float | None) -> str:
    told = []
    for benchmark in benchmarks:
        metric = benchmark["metrics"].get(f"avg@{benchmark['samples']}")
        told.append(f"{benchmark['benchmark']} {percent(None if metric is None else metric['value'])}")
    return ", ".join(told) + ("" if mean is None else f"; mean {percent(mean)}")


def _metric_rows(benchmark: Mapping[str, Any]) -> list[MetricRow]:
    rows: list[MetricRow] = []
    # pass@1 and avg@k are the same number.
    for name, metric in benchmark["metrics"].items():
        if name == "pass@1":
            continue
        first = not rows
        rows.append(
            MetricRow(
                benchmark=str(benchmark["benchmark"]) if first else "",
                asked=f"{benchmark['questions']:,} × {benchmark['samples']}" if first else "",
                name=name if benchmark["samples"] > 1 else "accuracy",
                value=percent(metric["value"]),
                interval=f"{percent(metric['low'])} to {percent(metric['high'])}",
                method=str(metric["interval"]),
                left=round(100 * metric["low"], 2),
                width=round(100 * (metric["high"] - metric["low"]), 2),
                point=round(100 * metric["value"], 2),
            )
        )
    return rows


def _answers_row(benchmark: Mapping[str, Any]) -> AnswersRow:
    return AnswersRow(
        benchmark=str(benchmark["benchmark"]),
        length=count(benchmark["length_mean"]),
        correct_length=count(benchmark["correct_length_mean"]),
        incorrect_length=count(benchmark["incorrect_length_mean"]),
        finished=percent(benchmark["finished_share"]),
        missing=percent(benchmark["missing_share"]),
        unjudged=int(benchmark["unjudged"]),
        by_text=int(benchmark["majority_by_text"]),
    )


def _shown_answers(path: Path, benchmarks: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Of each benchmark a few questions, evenly spread, with their first answers. The file is read line by line: it may be large."""
    wanted = {str(each["benchmark"]): _spread(int(each["questions"])) for each in benchmarks}
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            answer = json.loads(line)
            key = (answer["benchmark"], answer["question_index"])
            if answer["sample"] < _SAMPLES_SHOWN and key[1] in wanted.get(key[0], ()):
                answer["style"] = {True: "right", False: "wrong", None: "unscored"}[answer["correct"]]
                found.setdefault(key, []).append(answer)
    order = list(wanted)
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    return [sorted(found[key], key=lambda answer: int(answer["sample"])) for key in keys]


def _spread(questions: int) -> set[int]:
    return {index * questions // _QUESTIONS_SHOWN for index in range(min(questions, _QUESTIONS_SHOWN))}
