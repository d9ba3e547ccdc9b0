"""Which answers have the form of one number, against a hand-made list and against SymPy through math-verify."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.data.numeric_form import is_number

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

NUMBERS = [
    "0", "-7", "+7", "3.14", ".5", "7.", "1,000", "12,345,678.9", "10{,}000", r"20,\!000", r"10\,000", "1.5e3", "2E-4",
    "1/2", "-3/4", r"\frac{3}{7}", r"\dfrac{1}{2}", r"-\tfrac12", r"\frac{1+\sqrt{5}}{2}", r"2\frac{1}{3}",
    r"\sqrt{2}", r"3\sqrt{2}", r"\sqrt[3]{5}", "sqrt(3)", r"\pi", r"\frac{\pi}{6}", r"3\pi/4", "2π", r"e^{2}", "2^{10}", "2**10",
    "3!", "50%", r"50\%",
    r"45^\circ", r"45^{\circ}", "45°", r"2\cdot 3^4", r"2 \times 10^{-3}", r"\left(1+\frac{1}{2}\right)^2", r"\ln 2", r"\arccos\frac{1}{8}",
    "$12$", r"\(12\)", r"\$5.50", "$5.50", "£33", "9^{9^{9^9}}",
]  # fmt: skip

NOT_NUMBERS = [
    "", " ", "-", "()", "x", "2x", "x^2+1", "n = 4", "(1,2)", "(20,100)", "[3,193]", r"\left( 3, \frac{\pi}{2} \right)", "1, 2",
    "3:1", "5-12i",
    "12 cm", r"7\text{ hours}", "east", r"\text{east}", "(D)", r"\infty", "infinity", "nan", "True", "1 2", "1 1/2", "203_7", "0.01_2",
    r"\frac{1}",
    r"\sqrt{}", "2^", "1//2", "1+", "+", r"\frac{3}{x}", "__import__('os')", "1;2", "p", "e1x",
]  # fmt: skip


@pytest.mark.parametrize("answer", NUMBERS)
def test_accepts(answer: str) -> None:
    assert is_number(answer)


@pytest.mark.parametrize("answer", NOT_NUMBERS)
def test_refuses(answer: str) -> None:
    assert not is_number(answer)


def test_length_is_bounded_so_that_brackets_cannot_exhaust_the_stack() -> None:
    assert is_number("(" * 100 + "1" + ")" * 100)
    assert not is_number("(" * 100_000 + "1" + ")" * 100_000)
    assert not is_number("1" * 100_000)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_accepts_whatever_python_writes_for_a_float(value: float) -> None:
    assert is_number(repr(value))


@settings(deadline=None)
@given(st.integers(), st.integers(1, 10**9))
def test_accepts_what_sympy_writes_in_latex(numerator: int, denominator: int) -> None:
    value = sympy.sqrt(sympy.Rational(abs(numerator) + 2, denominator)) + sympy.Rational(numerator, denominator) * sympy.pi
    assert is_number(sympy.latex(value))


@settings(deadline=None)
@given(st.text(alphabet="0123456789+-*/^(){}[],.\\ frasqtpie%x=", max_size=40))
def test_never_raises(text: str) -> None:
    assert is_number(text) in (True, False)


def test_agrees_with_sympy_on_real_answers() -> None:
    """Of the answers that we call numbers, math-verify (SymPy) must read all but a few as a number. The other direction is not asked:
    math-verify reads a number out of `3:1`, `7 hours` or `x = 2`, which are more than one number."""
    if not SHARED.is_dir():
        pytest.skip("the shared data sets are not here")
    from math_verify import parse

    answers = []
    for name in ("math_train/train.jsonl.gz", "olympiadbench/test.jsonl.gz", "deepscaler_sub/train.jsonl"):
        data = (SHARED / name).read_bytes()
        lines = (gzip.decompress(data) if name.endswith(".gz") else data).splitlines()
        answers += [json.loads(line)["answer"] for line in lines]
    ours = sorted({answer for answer in answers if is_number(answer) and not answer.lstrip("-").isdigit()})
    assert len(ours) > 500
    sample = random.Random(0).sample(ours, 200)

    def sympy_says(answer: str) -> bool:
        parsed = parse(f"${answer.strip('$')}$")
        return bool(parsed) and isinstance(parsed[0], sympy.Basic) and bool(getattr(parsed[0], "is_number", False))

    disagree = [answer for answer in sample if not sympy_says(answer)]
    assert len(disagree) <= 2, disagree
