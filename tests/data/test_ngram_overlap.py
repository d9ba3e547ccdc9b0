"""Copies of a benchmark's questions are found as they come: set anew, turned, framed. Questions on the same subject are not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from reasonrl.api.data_spec import DataSource
from reasonrl.data.ngram_overlap import BenchmarkIndex, Likeness
from reasonrl.data.sources import load_questions
from reasonrl.rl.records import Question

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BENCHMARKS = {
    "gsm8k": "gsm8k/test.jsonl.gz",
    "math500": "math500/test.jsonl",
    "olympiadbench": "olympiadbench/test.jsonl.gz",
    "olymmath": "olymmath_en/easy.jsonl",
    "liveaops": "liveaops_2024_num/test.jsonl",
}

HELD_OUT = (
    (
        "h-poly",
        r"Let $p$, $q$, $r$ be the roots of $x^3 - 17x^2 + 231x - 845 = 0$. Compute $\frac{1}{p} + \frac{1}{q} + \frac{1}{r}$.",
        "231/845",
    ),
    (
        "h-walk",
        "A gardener walks 1260 metres along the canal in 18 minutes. At the same speed, how many minutes does she need for 2100 metres?",
        "30",
    ),
    ("h-short", "What is 17 · 23?", "391"),
    ("h-digit", "What is the last digit of $18^6$?", "4"),
    ("h-picture", "What is the area of the shaded region? [asy] draw((0,0)--(4,3)); [/asy]", "6"),
    (
        "h-coprime",
        "The probability can be written as m/n where m and n are relatively prime positive integers. Find m + n if a die is rolled twice.",
        "7",
    ),
)


def question(text: str, answer: str = "0", *, identifier: str = "t") -> Question:
    return Question(id=identifier, text=text, answer=answer, source="made")


@pytest.fixture(scope="module")
def index() -> BenchmarkIndex:
    return BenchmarkIndex([("made", [question(text, answer, identifier=name) for name, text, answer in HELD_OUT])])


@pytest.mark.parametrize(
    ("text", "answer", "like", "likeness"),
    [
        (r"Let \(p\), \(q\), \(r\) be the roots of \(x^{3}-17x^{2}+231x-845=0\). Compute 1/p + 1/q + 1/r", "?", "h-poly", Likeness.EQUAL),
        (
            r"Let $p,q,r$ be the roots of $x^3-17x^2+231x-845=0$. If $\frac1p+\frac1q+\frac1r=\frac{m}{n}$ in lowest terms, find $m+n$.",
            "1076",
            "h-poly",
            Likeness.SAME,
        ),
        (
            "Here is a problem for the keen student; think it over slowly and carefully. A gardener walks 1260 metres along the canal in "
            "18 minutes. At the same speed, how many minutes does she need for 2100 metres? Give the answer in a box.",
            "30",
            "h-walk",
            Likeness.SAME,
        ),
        (
            "A gardener walks 900 metres along the canal in 12 minutes. At the same speed, how many minutes does she need for 1500 metres?",
            "20",
            "h-walk",
            Likeness.OTHER_NUMBERS,
        ),
        ("what is 17 * 23", "391", "h-short", Likeness.EQUAL),
        ("Answer with a number. What is the last digit of 18^6? Think first.", "4", "h-digit", Likeness.SAME),
    ],
)
def test_a_copy_is_found_however_it_is_dressed(index: BenchmarkIndex, text: str, answer: str, like: str, likeness: Likeness) -> None:
    assert [(each.held_out.id, each.likeness) for each in index.overlaps(question(text, answer))] == [(like, likeness)]


@pytest.mark.parametrize(
    "text",
    [
        r"Let $a$, $b$ be the roots of $x^2 - 5x + 3 = 0$. Compute $\frac{1}{a} + \frac{1}{b}$.",
        "What is 19 · 29?",
        "What is the area of the shaded region? [asy] fill((0,0)--(9,9)--(9,0)--cycle); [/asy] Its sides have 12 and 35 units.",
        "A coin is tossed 9 times. The probability of 5 heads can be written as m/n where m and n are relatively prime positive integers. "
        "Find m + n.",
        "A train travels from Ulm at 1260 metres a minute. When does it meet the train that left Bonn 18 minutes later?",
        "",
        "∑ ∏",
    ],
)
def test_another_question_is_none_of_the_benchmark(index: BenchmarkIndex, text: str) -> None:
    assert index.overlaps(question(text, "30")) == []


def test_the_wording_with_other_numbers_can_be_allowed(index: BenchmarkIndex) -> None:
    walk = question(
        "A gardener walks 900 metres along the canal in 12 minutes. At the same speed, how many minutes does she need for 1500 metres?"
    )
    assert index.overlaps(walk, other_numbers=None) == []


def test_what_is_found_does_not_hang_on_the_order_of_the_rows() -> None:
    rows = [question(text, answer, identifier=f"t{place}") for place, (_, text, answer) in enumerate(HELD_OUT * 3)]
    found = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        index = BenchmarkIndex([("made", [question(text, answer, identifier=name) for name, text, answer in HELD_OUT])])
        for row in rows:
            index.count(row)
        found.append(sorted((row.id, each.held_out.id, each.share) for row in rows for each in index.overlaps(row)))
    assert found[0] == found[1] == found[2]
    assert {name for name, *_ in found[0]} == {row.id for row in rows}


def load(path: str) -> list[Question]:
    if not (SHARED / path).is_file():
        pytest.skip("the shared data sets are not here")
    return load_questions(DataSource(path=path, question_field="problem"), base_directory=SHARED)


@pytest.fixture(scope="module")
def real_benchmarks() -> BenchmarkIndex:
    return BenchmarkIndex([(name, load(path)) for name, path in BENCHMARKS.items()])


def test_the_near_copies_that_the_real_sets_are_known_to_hold_are_found(real_benchmarks: BenchmarkIndex) -> None:
    training = {each.id: each for each in load("gsm8k/train.jsonl.gz")}
    for known in ("gsm8k-train-1314", "gsm8k-train-5162"):
        assert "gsm8k-test-602" in {each.held_out.id for each in real_benchmarks.overlaps(training[known])}


def test_copies_of_real_questions_are_found_and_few_real_training_questions_are_taken_for_copies(real_benchmarks: BenchmarkIndex) -> None:
    copies = load("math500/test.jsonl")[::25] + load("olympiadbench/test.jsonl.gz")[::50]
    for each in copies:
        dressed = question("Solve this: " + each.text.replace("$", " ").replace("\\dfrac", "\\frac") + " Explain.", each.answer)
        found = real_benchmarks.overlaps(dressed)
        assert each.id in {overlap.held_out.id for overlap in found}, each.text
    training = load("aime_1983_2023/train.jsonl.gz") + load("deepscaler_sub/train.jsonl")
    taken = [each.id for each in training if real_benchmarks.overlaps(each)]
    assert len(taken) <= 0.01 * len(training), taken
