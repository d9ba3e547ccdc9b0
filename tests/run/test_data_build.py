"""A build from raw files to a training set: what each rule took, that a job reads the result, and that a stopped build goes on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.api.data_spec import DataSource
from reasonrl.api.model_spec import ScratchSpec
from reasonrl.data.build.spec import parse_build_spec
from reasonrl.data.chained_digits import WORDS
from reasonrl.data.errors import DataError
from reasonrl.data.sources import load_questions
from reasonrl.data.word_tokenizer import word_tokenizer
from reasonrl.run.data_build import BuildRequest, BuildResult, build
from reasonrl.run.errors import RunInputError
from reasonrl.run.pass_rate import PASS_RATE_FILE
from reasonrl.train.scratch_model import make_scratch_model

NUMBERS = ("nine", "thirty", "eleven", "forty", "seven", "sixty", "eight", "twenty")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with a model that knows the words of chained digits and nothing else."""
    path = tmp_path_factory.mktemp("model")
    tokenizer = word_tokenizer(WORDS, context_tokens=96)
    shape = ScratchSpec(hidden_size=32, layers=1, heads=2, key_value_heads=2, feed_forward_size=48, context_tokens=96)
    make_scratch_model(shape, tokenizer, seed=3).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def quiet(_stage: str, _rows: int) -> None:
    """No progress is shown."""


def sound(number: int) -> dict[str, Any]:
    text = f"A shop in town {number} sells {NUMBERS[number % 8]} kinds of {NUMBERS[number // 8]} lamps for {number * 37 + 5} coins."
    return {"problem": f"{text} What is the price?", "answer": str(number * 37 + 5), "level": number}


RAW: list[dict[str, Any]] = [
    *[sound(number) for number in range(12)],
    {"problem": "Prove that the sum of two odd numbers is even.", "answer": "2"},
    {"problem": "How many? (A) one (B) two (C) three", "answer": "3"},
    {"problem": "Solve the equation $x + y = 3$ for $x$ in terms of y.", "answer": "3 - y"},
    {"problem": "Какова сумма первых десяти натуральных чисел?", "answer": "55"},
    {"problem": "  A SHOP in town $3$ sells forty kinds of nine lamps for 116 coins. What is the price?", "answer": "116"},
    {"problem": "A ladder of 25 metres leans on a wall, its foot 7 metres away. How many metres high does it reach?", "answer": "24"},
    {"problem": "", "answer": "1"},
]
BENCHMARK = [
    {"question": "A ladder of 25 metres leans on a wall, its foot 7 metres away. How high does it reach, in metres?", "answer": "24"}
]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in RAW))
    with gzip.open(tmp_path / "benchmark.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in BENCHMARK))
    return tmp_path


def spec_of(**changes: Any) -> dict[str, Any]:
    return {
        "sources": [{"path": "raw.jsonl", "questionField": "problem", "licence": "CC0-1.0"}],
        "benchmarks": [{"name": "ladders", "path": "benchmark.jsonl.gz"}],
        **changes,
    }


def run_build(directory: Path, spec: dict[str, Any], *, output: str = "out") -> BuildResult:
    text = yaml.safe_dump(spec)
    request = BuildRequest(
        spec=parse_build_spec(spec),
        spec_text=text,
        command="reasonrl data build spec.yaml",
        base_directory=directory,
        output=directory / output,
    )
    return build(request, advance=quiet)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_row_is_kept_or_dropped_by_the_first_rule_that_fits(raw: Path) -> None:
    result = run_build(raw, spec_of())
    dropped = {row["rule"]: row for row in lines(raw / "out" / "dropped.jsonl")}
    assert list(dropped) == ["proof", "multipleChoice", "answer", "text", "duplicate", "unusable", "benchmark"]
    assert dropped["duplicate"]["like"] == "raw.jsonl#4"
    assert dropped["benchmark"]["held_out_question"] == BENCHMARK[0]["question"]
    assert "line 19" in dropped["unusable"]["id"]
    assert result.read == len(RAW) == 12 + len(dropped)
    kept = lines(raw / "out" / "train.jsonl")
    assert [row["question"] for row in kept] == [row["problem"] for row in RAW[:12]]
    assert not list(raw.glob("*.building"))


def test_a_job_reads_what_was_built_as_it_stands(raw: Path) -> None:
    for kind in ("jsonl", "parquet"):
        run_build(raw, spec_of(format=kind, heldOut=2), output=kind)
        questions = load_questions(DataSource(path=f"{kind}/train.{kind}"), base_directory=raw)
        apart = load_questions(DataSource(path=f"{kind}/held-out.{kind}"), base_directory=raw)
        assert len(questions) == 10
        assert len(apart) == 2
        assert {each.text for each in [*questions, *apart]} == {row["problem"] for row in RAW[:12]}
        assert all(str(each.fields["level"]).isdigit() for each in questions)


def test_the_card_says_where_it_comes_from_and_what_became_of_it(raw: Path) -> None:
    run_build(raw, spec_of())
    text = (raw / "out" / "card.md").read_text(encoding="utf-8")
    for expected in (
        "19 rows read",
        "7 dropped, 12 kept",
        "CC0-1.0",
        "| proof | asks for a proof | 1 | 17 |",
        "| ladders | 1 | 0 | 1 | 0 |",
    ):
        assert expected in text
    assert "reasonrl data build spec.yaml" in text
    assert "licence: CC0-1.0" in text


def test_the_same_file_gives_the_same_rows_in_an_order_of_choice(raw: Path) -> None:
    shuffled = spec_of(order={"by": "shuffled"}, heldOut=3)
    for output in ("one", "two"):
        run_build(raw, shuffled, output=output)
    for name in ("train.jsonl", "held-out.jsonl", "dropped.jsonl"):
        assert (raw / "one" / name).read_bytes() == (raw / "two" / name).read_bytes()
    run_build(raw, {**shuffled, "seed": 2}, output="three")
    assert (raw / "one" / "train.jsonl").read_bytes() != (raw / "three" / "train.jsonl").read_bytes()
    run_build(raw, spec_of(order={"by": "field", "field": "level", "descending": True}), output="sorted")
    assert [row["level"] for row in lines(raw / "sorted" / "train.jsonl")] == list(range(11, -1, -1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": [{"path": "gone.jsonl"}]}, "there is no such file"),
        ({"sources": [{"path": "raw.jsonl", "questionField": "prompt"}]}, "no field 'prompt'.*No row of raw.jsonl can be used"),
        ({"heldOut": 12}, "12 questions are to be set apart and only 12 are kept"),
        ({"text": {"minCharacters": 500}}, "the rules drop every one of 19 rows"),
        ({"order": {"by": "field", "field": "year"}}, "has no column 'year'"),
    ],
)
def test_what_cannot_be_built_says_why_and_leaves_nothing(raw: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run_build(raw, spec_of(**changes))
    assert sorted(path.name for path in raw.iterdir()) == ["benchmark.jsonl.gz", "raw.jsonl"]


def test_rows_that_are_damaged_are_dropped_and_equal_ids_told_apart(tmp_path: Path) -> None:
    rows = [
        '{"id": 1, "question": "How many legs have two \\ud800 cats together?", "answer": 8}',
        '{"id": 1, "question": "How many legs have three cats together?", "answer": 12, "more": {"a": [1]}}',
        '{"id": 1, "question": "How many legs have four cats together?", "answer": "16", "pass_rate": "x"}',
        '{"id": 2, "question": ["How many legs?"], "answer": "7"}',
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    for kind in ("jsonl", "parquet"):
        assert run_build(tmp_path, {"sources": [{"path": "rows.jsonl"}], "format": kind}, output=kind).dropped == {"unusable": 2}
        questions = load_questions(DataSource(path=f"{kind}/train.{kind}"), base_directory=tmp_path)
        assert [(each.id, each.answer) for each in questions] == [("1", "12"), ("rows.jsonl#1", "16")]
        assert questions[1].fields["origin_pass_rate"] == "x"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sorces": []}, "sorces: there is no such field; did you mean sources"),
        ({"sources": []}, "sources: "),
        ({"duplicates": {"near": 2}}, "duplicates.near"),
        ({"dropTypes": ["proofs"]}, r"dropTypes\[0\]"),
        ({"order": {"by": "passRate"}}, "order.by: passRate needs the filter"),
        ({"order": {"by": "field"}}, "order.field"),
        ({"sources": [{"path": "a.csv"}]}, r"sources\[0\].path: must end in"),
        ({"passRate": {"model": {"path": "m"}}}, "passRate.maxResponseTokens: is required"),
        ({"passRate": {"model": {"path": "m"}, "maxResponseTokens": 9, "min": 0.9, "max": 0.1}}, "passRate.min: is more than max"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_build_spec(spec_of(**changes))


def test_an_output_that_is_there_is_not_touched(raw: Path) -> None:
    (raw / "out").mkdir()
    (raw / "out" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        run_build(raw, spec_of())
    assert [path.name for path in (raw / "out").iterdir()] == ["mine.txt"]


def chains(model: str, **changes: Any) -> dict[str, Any]:
    return {
        "sources": [{"task": {"name": "chainedDigits", "size": 24, "seed": 1, "options": {"minTerms": 2, "maxTerms": 3}}}],
        "dropTypes": [],
        "text": {"language": "any", "minCharacters": 1},
        "duplicates": None,
        "passRate": {
            "model": {"path": model, "dtype": "float32"},
            "prompt": {"template": "raw", "maxTokens": 32},
            "maxResponseTokens": 6,
            "samples": 2,
            "min": 0.0,
            "max": 1.0,
            "block": 8,
            **changes,
        },
    }


def test_a_build_that_was_stopped_measures_only_what_is_left_and_ends_the_same(tmp_path: Path, model: str) -> None:
    run_build(tmp_path, chains(model), output="whole")
    seen: list[int] = []

    def stop_after_two_blocks(stage: str, rows: int) -> None:
        if stage == "measuring the pass rate":
            seen.append(rows)
            if rows == 16:
                raise KeyboardInterrupt

    def request(output: str) -> BuildRequest:
        spec = chains(model)
        return BuildRequest(
            spec=parse_build_spec(spec), spec_text=yaml.safe_dump(spec), command="c", base_directory=tmp_path, output=tmp_path / output
        )

    with pytest.raises(KeyboardInterrupt):
        build(request("stopped"), advance=stop_after_two_blocks)
    assert not (tmp_path / "stopped").exists()
    measured = tmp_path / "stopped.building" / PASS_RATE_FILE
    # As a machine that loses its power leaves it: the last line cut.
    measured.write_text(measured.read_text()[:-9])
    seen.clear()
    build(request("stopped"), advance=lambda stage, rows: seen.append(rows) if stage == "measuring the pass rate" else None)
    assert seen == [16, 24]
    assert (tmp_path / "stopped" / "train.jsonl").read_bytes() == (tmp_path / "whole" / "train.jsonl").read_bytes()
    assert all(0.0 <= row["pass_rate"] <= 1.0 for row in lines(tmp_path / "whole" / "train.jsonl"))


def test_questions_out_of_the_bounds_or_too_long_to_ask_are_dropped_with_their_reason(tmp_path: Path, model: str) -> None:
    # A model made from nothing answers nothing right; a question of three terms has eleven tokens.
    with pytest.raises(DataError, match=r"every one of 24 rows \((tooHard|longPrompt) \d+, (tooHard|longPrompt) \d+; such as"):
        run_build(tmp_path, chains(model, min=0.6, prompt={"template": "raw", "maxTokens": 9}))
    dropped = lines(tmp_path / "out.building" / "made" / "dropped.jsonl")
    assert {(row["rule"], len(row["question"].split()) > 9) for row in dropped} == {("tooHard", False), ("longPrompt", True)}


def test_a_model_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(RunInputError, match="no tokenizer can be loaded"):
        run_build(tmp_path, chains("nowhere"))
    assert not list(tmp_path.iterdir())
