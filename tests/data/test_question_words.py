"""What typesetting hides and what it must not hide."""

from __future__ import annotations

import pytest

from reasonrl.data.question_words import ngrams, numbers_of, plain_answer, question_words, without_numbers


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Find $\dfrac{1}{2}+x$.", "find 1/2 + x"),
        (r"$\frac12 \leq x^{2}$", r"\(\tfrac{1}{2} ≤ x^2\)"),
        ("There are 1,234,567 apples", r"there are $1{,}234{,}567$ apples"),
        (r"Let $a_{1}, \ldots, a_{n}$", "Let a_1, …, a_n"),
        (r"Compute $\left(3\cdot 4\right)$", "compute (3 × 4)"),
        ("A [polygon](https://example.org/wiki/Polygon_(shape)) has 5 sides", "A polygon has 5 sides"),
        ("How long is it? [asy] draw((0,0)--(3,4)); [/asy]", "How long is it?"),
        (r"\begin{align*} x &= 3 \end{align*}", "x = 3"),
        ("Ann’s 3 cats", "Ann's 3 cats"),
    ],
)
def test_two_spellings_of_one_question_have_the_same_words(one: str, other: str) -> None:
    assert question_words(one) == question_words(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("x^2 - 1", "x^2 + 1"), ("x_1 = 12", "x_1 = 1.2"), ("sin x", "cos x"), (r"x \le 3", r"x \ge 3"), (r"\sqrt{2}", "2"), ("1,2", "12")],
)
def test_what_makes_another_question_is_kept(one: str, other: str) -> None:
    assert question_words(one) != question_words(other)


def test_numbers_are_counted_and_blotted_out() -> None:
    words = question_words("Add 3 and 3 and 4.5 to x")
    assert numbers_of(words) == {"3": 2, "4.5": 1}
    assert without_numbers(words) == ["add", "#", "and", "#", "and", "#", "to", "x"]


def test_a_text_shorter_than_a_run_is_one_run_and_an_empty_one_has_none() -> None:
    assert ngrams(["a", "b"], 3) == {("a", "b")}
    assert ngrams([], 3) == frozenset()
    assert ngrams(["a", "b", "c", "d"], 3) == {("a", "b", "c"), ("b", "c", "d")}


def test_answers_are_the_same_text_but_for_typesetting() -> None:
    assert plain_answer("$1,000$") == plain_answer("1000")
    assert plain_answer(r"\frac{1}{2}") == plain_answer("1/2")
    assert plain_answer("085") == plain_answer("85") != plain_answer("0.85")
    assert plain_answer("000") == plain_answer("0")
    assert plain_answer("12") != plain_answer("1 2")
    assert plain_answer("∅") == "∅"
