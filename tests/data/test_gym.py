"""reasoning-gym: tasks by name, deterministic, with clear errors; and the list of tasks that our answer reward can judge is right."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from reasonrl.api.data_spec import DataSource
from reasonrl.data.errors import DataError
from reasonrl.data.gym import SUITED, read_gym_rows
from reasonrl.data.sources import load_questions

reasoning_gym = pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")


def source(name: str, **settings: object) -> DataSource:
    return DataSource.model_validate({"reasoningGym": {"name": name, **settings}})


@pytest.mark.parametrize("name", ["chain_sum", "gcd", "products", "count_bits"])
def test_questions_are_those_of_the_package_and_its_scorer_accepts_the_answers(name: str, tmp_path: Path) -> None:
    questions = load_questions(source(name, size=8, seed=5), base_directory=tmp_path)
    dataset = reasoning_gym.create_dataset(name, size=8, seed=5)
    assert [(each.text, each.answer) for each in questions] == [(row["question"], row["answer"]) for row in dataset]
    assert all(dataset.score_answer(each.answer, entry=dataset[number]) == 1.0 for number, each in enumerate(questions))
    assert all("metadata" in each.fields for each in questions)


def test_seed_and_size_and_limit(tmp_path: Path) -> None:
    first = load_questions(source("chain_sum", size=5, seed=1), base_directory=tmp_path)
    again = load_questions(source("chain_sum", size=5, seed=1), base_directory=tmp_path)
    other = load_questions(source("chain_sum", size=5, seed=2), base_directory=tmp_path)
    assert [each.text for each in first] == [each.text for each in again] != [each.text for each in other]
    limited = DataSource.model_validate({"reasoningGym": {"name": "chain_sum", "size": 5, "seed": 1}, "limit": 3})
    assert [each.text for each in load_questions(limited, base_directory=tmp_path)] == [each.text for each in first[:3]]


def test_options_reach_the_task(tmp_path: Path) -> None:
    questions = load_questions(
        source("chain_sum", size=20, options={"min_terms": 7, "max_terms": 7, "min_digits": 1, "max_digits": 1}), base_directory=tmp_path
    )
    assert all(sum(each.text.count(f" {sign} ") for sign in "+-") == 6 for each in questions)


def test_an_unknown_task_suggests_near_names() -> None:
    with pytest.raises(DataError, match=r"there is no task 'chain_sums'; did you mean chain_sum"):
        read_gym_rows("chain_sums", size=1, seed=1, options={})


def test_unknown_options_list_those_there_are() -> None:
    with pytest.raises(DataError, match=r"gcd: unknown options depth; this task has .*max_value"):
        read_gym_rows("gcd", size=1, seed=1, options={"depth": 3})


def test_options_that_the_task_refuses_are_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match=r"chain_sum: its options do not fit"):
        read_gym_rows("chain_sum", size=1, seed=1, options={"min_terms": 9, "max_terms": 2})


def test_a_task_without_answers_is_refused() -> None:
    with pytest.raises(DataError, match=r"rush_hour: its questions carry no answer"):
        list(read_gym_rows("rush_hour", size=1, seed=1, options={}))


def test_a_task_with_several_right_answers_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_gym_rows("countdown", size=1, seed=1, options={})
    assert "countdown" in caplog.text
    assert "reward of type function" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        read_gym_rows("gcd", size=1, seed=1, options={})
    assert caplog.text == ""


@pytest.mark.parametrize("name", sorted(SUITED))
def test_suited_tasks_have_one_word_answers(name: str) -> None:
    rows = list(read_gym_rows(name, size=10, seed=11, options={}))
    assert all(len(str(row.values["answer"]).split()) == 1 for row in rows)
