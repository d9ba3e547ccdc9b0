"""Numerical identity against SymPy, and where it must refuse to compute."""

from __future__ import annotations

import mpmath
import pytest
import sympy

from reasonrl.rl.answers.evaluation import Evaluator, NoValueError, TooLargeError, exact
from reasonrl.rl.answers.identity import identical
from reasonrl.rl.answers.normalisation import normalise
from reasonrl.rl.answers.parsing import parse
from reasonrl.rl.answers.syntax import Node
from reasonrl.rl.answers.tokens import Notation


def read(text: str) -> Node:
    return parse(normalise(text), Notation.GROUPED)


EXPRESSIONS = [
    ("\\frac{\\sqrt{5}+1}{2}", "(sqrt(5)+1)/2"),
    ("\\sin\\frac{\\pi}{7}", "sin(pi/7)"),
    ("\\log_3 7", "log(7,3)"),
    ("e^{-2}", "exp(-2)"),
    ("\\arctan 2", "atan(2)"),
    ("2^{\\sqrt{2}}", "2**sqrt(2)"),
    ("\\sqrt[3]{-8}", "-2"),
    ("\\cos 20^\\circ", "cos(pi/9)"),
    ("\\tan^2 1", "tan(1)**2"),
    ("\\binom{7}{3}\\pi", "35*pi"),
    ("5!!", "15"),
]


@pytest.mark.parametrize(("latex", "expression"), EXPRESSIONS)
def test_values_agree_with_sympy(latex: str, expression: str) -> None:
    ours = Evaluator({}, 40).value(read(latex))
    theirs = sympy.N(sympy.sympify(expression), 40)
    assert abs(sympy.Float(mpmath.nstr(ours, 38), 40) - theirs) < sympy.Float("1e-30")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("(x+y)^3", "x^3+3x^2y+3xy^2+y^3"),
        ("\\sin 3x", "3\\sin x-4\\sin^3 x"),
        ("\\arccos(1-2a)", "2\\arcsin\\sqrt{a}"),
        ("\\frac{x^3-1}{x-1}", "x^2+x+1"),
        ("(-1)^{2n}", "1"),
        ("\\ln(x^2)", "2\\ln|x|"),
    ],
)
def test_functions_that_are_the_same_are(first: str, second: str) -> None:
    assert identical(read(first), read(second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("\\sqrt{x^2}", "x"),
        ("|x|", "x"),
        ("\\frac{x}{x}", "x"),
        ("(-1)^n", "1"),
        ("10^{-50}", "0"),
        ("10^{-50}\\sqrt{2}", "0"),
        ("\\sqrt{2}+10^{-17}", "\\sqrt{2}+10^{-16}"),
        ("\\frac{1}{0}", "\\frac{1}{0}"),
        ("\\sin(x)", "x"),
    ],
)
def test_functions_and_numbers_that_differ_do(first: str, second: str) -> None:
    assert not identical(read(first), read(second))


@pytest.mark.parametrize("text", ["9^{9^{9^{9}}}", "2^{10^{12}}", "(10^6)!!!", "\\sin(10^{40})", "e^{e^{e^{e^{e}}}}", "\\binom{10^9}{5}"])
def test_what_is_too_large_is_not_computed(text: str) -> None:
    node = read(text)
    with pytest.raises((TooLargeError, NoValueError)):
        if exact(node) is None:
            Evaluator({}, 50).value(node)
