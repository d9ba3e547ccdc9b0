"""`reasonrl grade` as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REASONRL = str(Path(sys.executable).with_name("reasonrl"))


def grade(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([REASONRL, "grade", *arguments], capture_output=True, text=True, timeout=120, check=False)


def rows(path: Path, *values: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_responses_are_graded_counted_and_compared_with_their_labels(tmp_path: Path) -> None:
    file = rows(
        tmp_path / "rows.jsonl",
        {"id": "a", "response": "so \\boxed{\\frac12}", "answer": "0.5", "expected": True},
        {"id": "b", "response": "so \\boxed{3}", "answer": "4", "expected": True},
        {"id": "c", "response": "I do not know", "answer": "4", "expected": False},
    )
    output = tmp_path / "graded.jsonl"
    done = grade(str(file), "--require-boxed", "--output", str(output), "--disagreements")
    assert done.returncode == 0, done.stderr
    assert "labels: 2 of 3 agree" in done.stdout
    assert "b: labelled right, judged incorrect" in done.stdout
    graded = [json.loads(line) for line in output.read_text().splitlines()]
    assert [each["verdict"] for each in graded] == ["correct", "incorrect", "missing"]
    assert graded[0]["id"] == "a"


def test_a_field_that_is_not_there_is_named_with_its_row(tmp_path: Path) -> None:
    file = rows(tmp_path / "rows.jsonl", {"response": "x", "answer": "1"}, {"text": "x", "answer": "1"})
    done = grade(str(file))
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert "response" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    done = grade(str(tmp_path / "none.jsonl"))
    assert done.returncode == 2
    assert "none.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_whose_label_is_disputed_are_counted_apart(tmp_path: Path) -> None:
    file = rows(
        tmp_path / "rows.jsonl",
        {"response": "\\boxed{1}", "answer": "1", "expected": True},
        {"response": "\\boxed{2}", "answer": "1", "expected": True, "disputed": True},
    )
    done = grade(str(file))
    assert "labels: 1 of 1 agree" in done.stdout.replace("\n", " ")
    assert "disputed labels: 0 of 1 agree" in done.stdout.replace("\n", " ")
