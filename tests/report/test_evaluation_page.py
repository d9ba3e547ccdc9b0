"""The page of one standalone evaluation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reasonrl.report.evaluation_page import render_evaluation


def metric(value: float) -> dict[str, object]:
    return {"value": value, "low": value / 2, "high": value, "interval": "wilson", "standard_error": None, "questions": 9}


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    benchmark = {
        "benchmark": "sums",
        "questions": 9,
        "samples": 2,
        "metrics": {"avg@2": metric(0.5), "pass@1": metric(0.5), "pass@2": metric(0.75), "maj@2": metric(0.625)},
        "length_mean": 1234.4,
        "correct_length_mean": 1000.0,
        "incorrect_length_mean": None,
        "finished_share": 0.875,
        "missing_share": 0.125,
        "unjudged": 3,
        "majority_by_text": 2,
    }
    results = {"benchmarks": [benchmark], "mean_accuracy": None, "setting": {"model": {"name": "<b>tiny</b>"}}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    answers = [
        {
            "benchmark": "sums",
            "question_index": question,
            "sample": sample,
            "question": f"question number {question}",
            "answer": "4",
            "response": f"<script>alert({question})</script>",
            "extracted": "4",
            "verdict": "correct" if sample else "timeout",
            "correct": True if sample else None,
            "finish": "stop" if sample else "length",
            "length": 7,
        }
        for question in reversed(range(9))
        for sample in (1, 0)
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return tmp_path


def test_numbers_and_intervals_are_told_once(evaluation: Path) -> None:
    page = render_evaluation(evaluation)
    assert "sums 50.0 %" in page
    assert "37.5 % to 75.0 %" in page
    assert 'style="left: 37.5%; width: 37.5%"' in page
    assert "pass@1" not in re.sub(r"<details>.*</details>", "", page, flags=re.DOTALL)
    assert "1,234" in page
    assert "answers to 2 questions took too long" in page


def test_answers_are_spread_over_the_questions_in_their_order(evaluation: Path) -> None:
    page = render_evaluation(evaluation)
    assert re.findall(r"question number (\d)", page) == ["0", "2", "4", "6"]
    assert page.index("sample 0") < page.index("sample 1")
    assert 'class="answer unscored"' in page


def test_what_a_model_wrote_stays_text_and_nothing_is_fetched(evaluation: Path) -> None:
    page = render_evaluation(evaluation)
    assert "<script" not in page
    assert "<b>tiny" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=", page)
