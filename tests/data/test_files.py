"""Reading files: each format gives the same rows, and each way to be broken gives a message that names place and remedy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from reasonrl.api.data_spec import DataSource
from reasonrl.api.sft_spec import SftSource
from reasonrl.data.errors import DataError
from reasonrl.data.files import read_rows
from reasonrl.data.sources import load_all_questions, load_pairs, load_questions

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

ROWS = [
    {"id": "a", "question": "1 + 1?", "answer": "2", "level": 1},
    {"id": "b", "question": "½ of 3?", "answer": 1.5, "level": 2},
    {"id": "c", "question": "7 · 6?", "answer": 42, "level": 3},
]


def write(path: Path) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    if path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".jsonl":
        path.write_text(lines, encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(ROWS), encoding="utf-8")
    else:
        import datasets

        # One column has one type there, so the answers are texts.
        columns = datasets.Dataset.from_list([{**row, "answer": str(row["answer"])} for row in ROWS])
        if path.suffix == ".parquet":
            columns.to_parquet(str(path))
        else:
            columns.save_to_disk(str(path))


def source(path: str, **settings: object) -> DataSource:
    return DataSource.model_validate({"path": path, **settings})


@pytest.mark.parametrize("name", ["set.jsonl", "set.jsonl.gz", "set.json", "set.parquet", "saved"])
def test_every_format_gives_the_same_questions(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    questions = load_questions(source(name), base_directory=tmp_path)
    assert [(each.id, each.text, each.answer) for each in questions] == [
        ("a", "1 + 1?", "2"),
        ("b", "½ of 3?", "1.5"),
        ("c", "7 · 6?", "42"),
    ]
    assert [each.fields["level"] for each in questions] == [1, 2, 3]
    assert {each.source for each in questions} == {name}


@pytest.mark.parametrize("name", ["set.jsonl", "set.jsonl.gz", "set.json", "set.parquet", "saved"])
def test_limit_takes_the_first_rows(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert [each.id for each in load_questions(source(name, limit=2), base_directory=tmp_path)] == ["a", "b"]


def test_limit_reads_no_further_than_it_must(tmp_path: Path) -> None:
    write(tmp_path / "set.jsonl")
    with (tmp_path / "set.jsonl").open("a") as file:
        file.write("this is broken\n")
    assert len(load_questions(source("set.jsonl", limit=3), base_directory=tmp_path)) == 3


def test_rows_without_an_id_are_named_by_source_and_line(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text('{"question": "q", "answer": "1"}\n\n{"question": "r", "answer": "2"}\n')
    assert [each.id for each in load_questions(source("set.jsonl"), base_directory=tmp_path)] == ["set.jsonl#1", "set.jsonl#3"]


def test_absolute_paths_ignore_the_base_directory(tmp_path: Path) -> None:
    write(tmp_path / "set.jsonl")
    assert len(load_questions(source(str(tmp_path / "set.jsonl")), base_directory=Path("/nowhere"))) == 3


def test_fields_are_found_by_their_names_in_the_spec_nested_ones_too(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "nested?"}], "reward_model": {"ground_truth": " 5 "}, "a.b": "dotted"}
    (tmp_path / "set.jsonl").write_text(json.dumps(row))
    (question,) = load_questions(
        source("set.jsonl", questionField="prompt.0.content", answerField="reward_model.ground_truth"), base_directory=tmp_path
    )
    assert (question.text, question.answer) == ("nested?", "5")
    (question,) = load_questions(source("set.jsonl", questionField="a.b", answerField="a.b"), base_directory=tmp_path)
    assert question.text == "dotted"


def test_sources_follow_one_another(tmp_path: Path) -> None:
    write(tmp_path / "set.jsonl")
    questions = load_all_questions([source("set.jsonl", limit=1), source("set.jsonl", limit=2)], base_directory=tmp_path)
    assert [each.id for each in questions] == ["a", "a", "b"]


def test_pairs_need_a_response_and_no_answer(tmp_path: Path) -> None:
    (tmp_path / "sft.jsonl").write_text('{"q": "1+1?", "solution": "It is 2."}\n')
    made = SftSource.model_validate({"path": "sft.jsonl", "questionField": "q", "responseField": "solution"})
    ((question, response),) = load_pairs(made, base_directory=tmp_path)
    assert (question.text, response) == ("1+1?", "It is 2.")
    wrong = SftSource.model_validate({"path": "sft.jsonl", "questionField": "q"})
    with pytest.raises(
        DataError, match=r"sft.jsonl, line 1: there is no field 'response'; the fields there are q, solution. Set responseField"
    ):
        list(load_pairs(wrong, base_directory=tmp_path))


BROKEN = {
    "missing_question": (
        '{"problem": "q", "answer": "1"}',
        r"line 1: there is no field 'question'; the fields there are problem, answer. Set questionField",
    ),
    "missing_answer": ('{"question": "q"}', r"line 1: there is no field 'answer'; the fields there are question. Set answerField"),
    "empty_answer": ('{"question": "q", "answer": "1"}\n{"question": "q", "answer": "  "}', r"line 2: the field 'answer' is empty"),
    "null_answer": ('{"question": "q", "answer": null}', r"line 1: the field 'answer' is empty"),
    "list_answer": (
        '{"question": "q", "answer": ["1"]}',
        r"line 1: the field 'answer' is a list, but answerField needs a text or a number",
    ),
    "boolean_answer": ('{"question": "q", "answer": true}', r"line 1: the field 'answer' is a bool"),
    "not_json": ('{"question": "q", "answer": "1"}\n{"question": ', r"line 2: not valid JSON"),
    "not_an_object": ('["q", "1"]', r"line 1: a row must be a JSON object with named fields, this is an array"),
    "no_rows": ("\n\n", r"bad\.jsonl: holds no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rows_are_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    text, message = BROKEN[name]
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(DataError, match=rf"bad\.jsonl.*{message.removeprefix('bad')}" if name != "no_rows" else message):
        load_questions(source("bad.jsonl"), base_directory=tmp_path)


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes('{"question": "é", "answer": "1"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.jsonl, line 1: not UTF-8"):
        load_questions(source("latin.jsonl"), base_directory=tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda data: b"plain text\n", lambda data: data[:-12], lambda data: data[:20] + b"\xff" * 30 + data[50:]]
)
def test_damaged_gzip_is_named(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    rows = b"".join(json.dumps({"question": f"q{number}", "answer": str(number)}).encode() + b"\n" for number in range(500))
    (tmp_path / "set.jsonl.gz").write_bytes(damage(gzip.compress(rows)))
    with pytest.raises(DataError, match=r"set.jsonl.gz: not a whole gzip file"):
        load_questions(source("set.jsonl.gz"), base_directory=tmp_path)


def test_a_json_file_that_is_no_array_points_to_jsonl(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text('{"question": "q", "answer": "1"}')
    with pytest.raises(DataError, match=r"set.json: a .json file must hold one array of objects, this holds an object"):
        load_questions(source("set.json"), base_directory=tmp_path)


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.parquet").write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(DataError, match=r"set.parquet: cannot be read as Parquet"):
        load_questions(source("set.parquet"), base_directory=tmp_path)


def test_a_directory_of_splits_asks_for_one_of_them(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_list([{"question": "q", "answer": "1"}])
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(
        DataError, match=r"saved: this directory holds the splits train, test; name one of them in the path, such as saved/train"
    ):
        load_questions(source("saved"), base_directory=tmp_path)
    assert len(load_questions(source("saved/test"), base_directory=tmp_path)) == 1


def test_any_other_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: not a directory written by datasets.save_to_disk"):
        load_questions(source("empty"), base_directory=tmp_path)


def test_a_missing_file_is_named_with_the_place_that_was_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"gone.jsonl: there is no such file or directory \({tmp_path}/gone.jsonl\)"):
        load_questions(source("gone.jsonl"), base_directory=tmp_path)


def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("q,a\n")
    with pytest.raises(DataError, match=r"set.csv: unknown kind of file; its name must end in .jsonl, .jsonl.gz, .json, .parquet"):
        load_questions(source("set.csv"), base_directory=tmp_path)


def test_rows_are_streamed(tmp_path: Path) -> None:
    """The first rows come out before the broken one is read."""
    (tmp_path / "set.jsonl").write_text('{"a": 1}\n{"a": 2}\nbroken\n')
    rows = read_rows(tmp_path / "set.jsonl", source="set.jsonl")
    assert [next(rows).values, next(rows).values] == [{"a": 1}, {"a": 2}]
    with pytest.raises(DataError, match="line 3"):
        next(rows)


def test_progress_is_told_for_long_files(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_text('{"question": "q", "answer": "1"}\n' * 25_000)
    told: list[tuple[str, int]] = []
    load_questions(source("set.jsonl"), base_directory=tmp_path, progress=lambda what, rows: told.append((what, rows)))
    assert told == [("set.jsonl", 10_000), ("set.jsonl", 20_000)]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("gsm8k/test.jsonl.gz", 1319),
        ("math500/test.jsonl", 500),
        ("orz_57k_head/train.jsonl.gz", 1755),
        ("bigmath_sub/train.jsonl.gz", 2000),
    ],
)
def test_real_sets_are_read_whole(name: str, rows: int) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared data sets are not here")
    questions = load_questions(source(name, questionField="problem"), base_directory=SHARED)
    assert len(questions) == rows
    assert len({each.id for each in questions}) == rows
    assert all(each.text.strip() and each.answer for each in questions)
