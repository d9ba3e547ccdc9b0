"""What the grammar reads, and what it leaves to words."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.rl.answers.cursor import ParseError
from reasonrl.rl.answers.equivalence import Judgement, equivalent
from reasonrl.rl.answers.evaluation import exact
from reasonrl.rl.answers.normalisation import normalise
from reasonrl.rl.answers.parsing import parse
from reasonrl.rl.answers.syntax import Bracket, Chain, Choice, Listing, Matrix, Node, Quantity, SetOf, SetWhere
from reasonrl.rl.answers.tokens import Notation, ScanError


def read(text: str, notation: Notation = Notation.GROUPED) -> Node:
    return parse(normalise(text), notation)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234,567.5", Fraction("1234567.5")),
        ("2\\frac{3}{4}", Fraction(11, 4)),
        ("-2\\frac{1}{2}", Fraction(-5, 2)),
        ("0.1\\overline{6}", Fraction(1, 6)),
        ("\\frac12\\cdot\\frac34", Fraction(3, 8)),
        ("2^{-3}", Fraction(1, 8)),
        ("1/2/3", Fraction(1, 6)),
        ("1-2-3", Fraction(-4)),
        ("2^3^2", Fraction(512)),
        ("3!", Fraction(6)),
        ("|2-5|", Fraction(3)),
        ("\\sqrt{\\frac{9}{4}}", Fraction(3, 2)),
        ("\\sqrt[3]{27}", Fraction(3)),
        ("12\\%", Fraction(3, 25)),
        ("\\lfloor -2.5 \\rfloor", Fraction(-3)),
        ("\\binom{5}{2}", Fraction(10)),
        ("C_{5}^{2}", Fraction(10)),
        ("twenty-five", Fraction(25)),
    ],
)
def test_numbers_are_read_exactly(text: str, value: Fraction) -> None:
    assert exact(read(text)) == value


def test_a_comma_between_digits_has_several_readings() -> None:
    assert exact(read("1,234")) == 1234
    assert isinstance(read("1,234", Notation.LISTED), Listing)
    assert exact(read("1,25", Notation.DECIMAL_COMMA)) == Fraction("1.25")
    assert isinstance(read("(1,234)"), Bracket)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("(1, 2]", Bracket),
        ("\\{1, 2\\}", SetOf),
        ("\\{x \\mid x > 1\\}", SetWhere),
        ("x = 5", Chain),
        ("1 < x \\le 2", Chain),
        ("1, 2 \\text{ and } 3", Listing),
        ("5 \\text{ cm}", Quantity),
        ("(B) 12", Choice),
        ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", Matrix),
    ],
)
def test_shapes_are_told_apart(text: str, kind: type) -> None:
    assert isinstance(read(text), kind)


@pytest.mark.parametrize(
    "text",
    [
        "the function is odd",
        "not 5",
        "at least 5",
        "1 2",
        "5 or so people and more",
        "20 workers for tables, 40 for legs",
        "x^2 if x > 0, else 0",
        "f(x) = cx \\text{ where } |c| \\le 1",
        "\\frac{1}{",
        "((1)",
        "[1",
        "1 = ",
        "\\begin{pmatrix} 1 & 2 \\\\ 3 \\end{pmatrix}",
    ],
)
def test_what_might_say_more_than_a_value_is_not_mathematics(text: str) -> None:
    with pytest.raises((ParseError, ScanError)):
        read(text)


FRAGMENTS = st.sampled_from(
    [
        *("\\frac", "\\sqrt", "\\boxed", "\\text{ or }", "\\left", "\\right", "\\begin{pmatrix}", "\\end{pmatrix}", "\\cup", "\\infty"),
        *("\\pm", "\\%", "^\\circ", "\\mid", "\\{", "\\}", "\\\\", "\\sin", "\\log", "\\pi", "\\in", "\\mathbb{Z}", "\\sum", "\\ldots"),
        *("{", "}", "(", ")", "[", "]", "|", "^", "_", "!", "+", "-", "*", "/", "=", "<", ">", ",", ";", ":", ".", "$", "&", "'", " "),
        *("0", "1", "2", "9", "10", "1.5", "x", "y", "n", "e", "i", "and", "or", "not", "is", "cm", "\x00", "é", "²", "∪", "\n"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(FRAGMENTS, max_size=14).map("".join), st.lists(FRAGMENTS, max_size=14).map("".join))
def test_no_text_raises(prediction: str, gold: str) -> None:
    assert isinstance(equivalent(prediction, gold).judgement, Judgement)
