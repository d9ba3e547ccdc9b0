"""What `--data` may say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reasonrl.data.errors import DataError
from reasonrl.run.errors import RunInputError
from reasonrl.run.standalone_evaluation.benchmark_table import KNOWN_BENCHMARKS
from reasonrl.run.standalone_evaluation.data_option import Fields, Questions, load_benchmarks

USUAL = Fields(question=None, answer=None)
DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def load(*options: str, fields: Fields = USUAL, limit: int | None = None) -> list[Questions]:
    return load_benchmarks(options, fields=fields, limit=limit)


def rows(path: Path, *values: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_a_file_is_called_after_itself_or_its_folder_or_as_one_says(tmp_path: Path) -> None:
    one = rows(tmp_path / "mine.jsonl", {"question": "1+1", "answer": 2})
    two = rows(tmp_path / "set-b" / "test.jsonl", {"question": "1+2", "answer": "3"})
    found = load(str(one), str(two), f"third={one}")
    assert [each.name for each in found] == ["mine", "set-b", "third"]
    assert (found[0].questions[0].text, found[0].questions[0].answer) == ("1+1", "2")


def test_columns_can_be_named_and_a_missing_one_says_which_option_sets_it(tmp_path: Path) -> None:
    file = rows(tmp_path / "mine.jsonl", {"q": "1+1", "a": {"final": "2"}})
    (found,) = load(str(file), fields=Fields(question="q", answer="a.final"))
    assert found.questions[0].answer == "2"
    with pytest.raises(DataError, match=r"line 1: there is no field 'question'.*q, a\. Set --question-field"):
        load(str(file))


def test_a_local_file_stands_in_for_a_benchmark_with_its_columns_or_the_usual_ones(tmp_path: Path) -> None:
    theirs = rows(tmp_path / "a.jsonl", {"question": "x", "final_answer": ["7"]})
    usual = rows(tmp_path / "b.jsonl", {"question": "x", "answer": "7"})
    assert [load(f"olympiadbench={file}")[0].questions[0].answer for file in (theirs, usual)] == ["7", "7"]


def test_tasks_are_made_with_their_settings() -> None:
    ours, gym = load("chainedDigits:size=5,seed=3,minTerms=2,maxTerms=2", "gym:chain_sum:size=4,seed=2")
    assert (ours.name, len(ours.questions), gym.name, len(gym.questions)) == ("chainedDigits", 5, "chain_sum", 4)
    assert load("chainedDigits:size=5,seed=4,minTerms=2,maxTerms=2")[0].digest != ours.digest


def test_a_limit_takes_the_first_questions_of_each(tmp_path: Path) -> None:
    file = rows(tmp_path / "mine.jsonl", *({"question": str(index), "answer": "1"} for index in range(9)))
    assert [len(each.questions) for each in load(str(file), "chainedDigits", limit=3)] == [3, 3]


def test_the_digest_is_of_the_questions_and_not_of_where_they_lie(tmp_path: Path) -> None:
    one, two = (rows(tmp_path / name / "mine.jsonl", {"question": "1+1", "answer": "2"}) for name in ("a", "b"))
    other = rows(tmp_path / "c" / "mine.jsonl", {"question": "1+1", "answer": "3"})
    first, second, third = (load(str(file))[0].digest for file in (one, two, other))
    assert first == second != third


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("nothing", "no such file, and no benchmark or task of this name; known are aime24"),
        ("aime24=", "no path behind the equals sign"),
        ("chainedDigits:size", "'size' is no setting"),
        ("chainedDigits:size=0", "size = 0"),
        ("chainedDigits:colour=1", "colour"),
        ("gym:no_such_task", "there is no task 'no_such_task'"),
        ("none.jsonl", "there is no such file"),
    ],
)
def test_what_cannot_be_understood_is_said(option: str, told: str) -> None:
    with pytest.raises((RunInputError, DataError), match=told):
        load(option)


def test_two_of_one_name_and_none_at_all_are_refused(tmp_path: Path) -> None:
    file = rows(tmp_path / "mine.jsonl", {"question": "1", "answer": "1"})
    with pytest.raises(RunInputError, match="two benchmarks are called mine"):
        load(str(file), str(file))
    with pytest.raises(RunInputError, match="nothing to ask"):
        load()
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(DataError, match="holds no rows"):
        load(str(empty))


def test_a_benchmark_of_the_hub_that_cannot_be_had_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, **_: object) -> list[object]:
        raise DataError(f"huggingFace {name}: the hub cannot be reached")

    monkeypatch.setattr("reasonrl.run.standalone_evaluation.data_option.read_hub_rows", unreachable)
    for name in KNOWN_BENCHMARKS:
        with pytest.raises(DataError, match=rf"hub cannot be reached\. A local copy can stand in: --data {name}=PATH"):
            load(name)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real benchmarks are not on this machine")
@pytest.mark.parametrize(
    ("name", "path", "questions"),
    [
        ("aime24", "aime24/test.jsonl", 30),
        ("math500", "math500/test.jsonl", 500),
        ("olympiadbench", "olympiadbench/test.jsonl.gz", 675),
        ("omni-math", "omni_math_num_500/test.jsonl", 500),
        ("liveaops", "liveaops_2024_num/test.jsonl", 519),
    ],
)
def test_the_real_benchmarks_are_read(name: str, path: str, questions: int) -> None:
    (found,) = load(f"{name}={DATA / path}", fields=Fields(question="problem", answer="answer"))
    assert len(found.questions) == questions
