"""`reasonrl data` as its users see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.data.build.spec import parse_build_spec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"

ROWS = [
    {"question": "A tank holds 240 litres and loses 15 litres an hour. After how many hours is it empty?", "answer": "16"},
    {"question": "Show that every tank is empty after a while, whatever it loses.", "answer": "1"},
    {"question": "Ten friends share 130 cherries and 70 plums. How many pieces of fruit does each of them get?", "answer": "20"},
]


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump({"sources": [{"path": "rows.jsonl"}], **changes}))
        return path

    return write


def test_build_tells_what_was_dropped_and_where_the_files_are(
    reasonrl: Callable[..., Any], spec_file: Callable[..., Path], tmp_path: Path
) -> None:
    answer = reasonrl("data", "build", spec_file(), "--output", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert "3 rows read" in answer.out
    assert "proof                          1 dropped" in answer.out
    assert "train.jsonl: 2 rows" in answer.out
    assert (tmp_path / "out" / "card.md").is_file()


def test_bad_input_ends_with_code_two_and_a_message(reasonrl: Callable[..., Any], spec_file: Callable[..., Path], tmp_path: Path) -> None:
    for answer, message in (
        (reasonrl("data", "build", tmp_path / "none.yaml", "-o", tmp_path / "out"), "there is no such file"),
        (reasonrl("data", "build", spec_file(droptypes=[]), "-o", tmp_path / "out"), "did you mean dropTypes"),
        (reasonrl("data", "build", spec_file(), "-o", tmp_path), "is there already"),
        (reasonrl("data", "check", tmp_path / "none.jsonl", "--against", tmp_path / "rows.jsonl"), "there is no such file"),
    ):
        assert answer.code == 2
        assert message in answer.err
        assert "Traceback" not in answer.err


def test_check_names_each_pair_and_writes_them(reasonrl: Callable[..., Any], spec_file: Callable[..., Path], tmp_path: Path) -> None:
    spec_file()
    (tmp_path / "bench.jsonl").write_text(json.dumps({"q": "  " + ROWS[0]["question"].replace("240", "$240$"), "answer": "16", "id": "b1"}))
    answer = reasonrl(
        *("data", "check", tmp_path / "rows.jsonl", "--against", tmp_path / "bench.jsonl", "--benchmark-question-field", "q"),
        *("--output", tmp_path / "pairs.jsonl"),
    )
    assert answer.code == 0, answer.err
    assert "equal (1.00)  b1" in answer.out
    assert "1 questions of" in answer.out
    (pair,) = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert pair["like"] == "b1"


def test_the_examples_are_valid() -> None:
    files = sorted(EXAMPLES.glob("*.yaml"))
    assert files
    for path in files:
        parse_build_spec(yaml.safe_load(path.read_text()))
