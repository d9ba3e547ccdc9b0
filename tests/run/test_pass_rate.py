"""The filter by pass rate: what it keeps by hand, and that a run measures once and trains on the same questions after a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.api.data_spec import PassRateFilter
from reasonrl.api.exit_codes import ExitCode
from reasonrl.cli.job_file import load_job_file
from reasonrl.data.errors import DataError
from reasonrl.rl.records import Question
from reasonrl.run.errors import RunInputError
from reasonrl.run.local import run_on_one_machine
from reasonrl.run.pass_rate import PASS_RATE_FILE, PassRate, kept_questions, read_rates, told, write_rates

RULE = PassRateFilter(type="passRate")


def questions(*names: str) -> list[Question]:
    return [Question(id=name, text=name, answer="1", source="made") for name in names]


def test_what_lies_within_the_bounds_is_kept_the_bounds_included() -> None:
    rates = [PassRate("a", 0, 8), PassRate("b", 1, 8), PassRate("c", 7, 8), PassRate("d", 8, 8), PassRate("e", 0, 0), PassRate("f", 2, 3)]
    kept = kept_questions(questions(*"abcdef"), rates, RULE)
    assert [question.id for question in kept] == ["b", "c", "f"]
    assert told(rates, RULE, kept=3) == (
        "filter passRate: 3 kept, 3 dropped (1 below 0.125, 1 above 0.875, 1 that could not be graded), by 8 answers to each"
    )


def test_keeping_nothing_is_an_error_with_the_numbers() -> None:
    with pytest.raises(DataError, match=r"keeps none of 2 questions: the policy gets 8 of 16 answers right"):
        kept_questions(questions("a", "b"), [PassRate("a", 0, 8), PassRate("b", 8, 8)], RULE)


def test_rates_of_other_questions_are_refused(tmp_path: Path) -> None:
    write_rates(tmp_path, [PassRate("a", 1, 2)])
    assert read_rates(tmp_path) == [PassRate("a", 1, 2)]
    with pytest.raises(RunInputError, match="of other questions"):
        kept_questions(questions("b"), read_rates(tmp_path), RULE)


@pytest.mark.parametrize("text", [None, "{", '{"id": "a"}'])
def test_rates_that_are_lost_or_broken_end_the_resume(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / PASS_RATE_FILE).write_text(text)
    with pytest.raises(RunInputError, match="cannot be read"):
        read_rates(tmp_path)


def test_a_run_trains_on_what_the_policy_sometimes_gets_right_and_so_does_its_resume(tiny_job: dict[str, Any], tmp_path: Path) -> None:
    spec = tiny_job["spec"]
    spec["data"]["filters"] = [{"type": "passRate", "min": 0.0, "max": 0.5, "samples": 4}]
    spec["phases"] = [{"name": "only", "maxResponseTokens": 12, "until": {"steps": 2}}]
    spec["evaluation"] = {"everySteps": 0, "benchmarks": []}
    spec["telemetry"] = {"rolloutsEverySteps": 1, "rolloutsPerStep": 16}
    path, directory = tmp_path / "job.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(tiny_job))

    def train() -> None:
        result = run_on_one_machine(load_job_file(path), directory=directory, base_directory=tmp_path, console=None)
        assert result.exit_code is ExitCode.SUCCESS

    train()
    rates = read_rates(directory)
    wanted = {rate.id for rate in rates if rate.graded and rate.right / rate.graded <= 0.5}
    assert len(rates) == 10
    assert len(wanted) >= 4

    def asked() -> set[str]:
        files = (directory / "rollouts").glob("step-*.jsonl")
        return {json.loads(line)["question_id"] for file in files for line in file.read_text().splitlines()}

    assert asked() <= wanted
    # A run that is gone on with does not measure again: one question's rate is changed, and the note tells of what is in the file.
    left_out = next(rate for rate in rates if rate.id in wanted)
    write_rates(directory, [PassRate(rate.id, 4, 4) if rate == left_out else rate for rate in rates])
    (directory / "summary.json").unlink()
    train()
    notes = [json.loads(line)["message"] for line in (directory / "events.jsonl").read_text().splitlines()]
    assert any(f"filter passRate: {len(wanted) - 1} kept" in note for note in notes)
