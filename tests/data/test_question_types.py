"""Each kind of question is told by its instruction, and what only looks like it is kept."""

from __future__ import annotations

import pytest

from reasonrl.data.build.question_types import TYPES
from reasonrl.data.build.spec import ALL_TYPES, TextLimits
from reasonrl.data.build.text_limits import not_english, outside_limits
from reasonrl.rl.records import Question

OPTIONS = r"$\textbf{(A)}\ 1\qquad\textbf{(B)}\ 2\qquad\textbf{(C)}\ 3\qquad\textbf{(D)}\ 4$"


def kinds(text: str, answer: str = "4") -> set[str]:
    question = Question(id="q", text=text, answer=answer, source="made")
    return {kind for kind, rule in TYPES.items() if rule(question) is not None}


@pytest.mark.parametrize(
    ("text", "answer", "kind"),
    [
        ("Prove that $n^2 + n$ is even.", "4", "proof"),
        ("Let $n$ be odd. Show that $8$ divides $n^2 - 1$.", "8", "proof"),
        ("Find all n and prove that there are no others.", "4", "proof"),
        ("How many are there?\n" + OPTIONS, "4", "multipleChoice"),
        ("How many are there?\nA. 1\nB. 2\nC. 3\nD. 4", "D", "multipleChoice"),
        ("Which of the following is prime: 4, 6, 7?", "7", "multipleChoice"),
        ("Let f(x)=x+1. (a) Find f(2). (b) Find f(3).", "4", "multiPart"),
        ("(1) Determine a. (2) Determine b. It is known that a + b = 3.", "1", "multiPart"),
        ("[b]p1.[/b] What is 2+2?\n[b]p2.[/b] What is 2+3?", "4", "multiPart"),
        ("Is 91 a prime number?", "No", "yesNo"),
        ("Does there exist a triangle with sides 1, 2, 3?", "impossible", "yesNo"),
        ("Explain why the sky is blue.", "4", "openEnded"),
        ("Give an example of a function with two roots.", "4", "openEnded"),
        ("In the figure below, what is the area of ABC?", "4", "figure"),
        ("As shown in the diagram, ABC has AB = 3. Find BC.", "4", "figure"),
        ("Find x. ![Image](pictures/3.png)", "4", "figure"),
    ],
)
def test_a_question_of_the_kind_is_known(text: str, answer: str, kind: str) -> None:
    assert kind in kinds(text, answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It can be shown that the limit exists. Find it.", "4"),
        ("What is the least number of cards that you must draw to have a pair? Show your work.", "4"),
        ("The proof-reader finds 3 errors a page. How many in 20 pages?", "60"),
        ("Events have P(A) = 0.3, P(B) = 0.4 and P(C) = 0.5. Find P(A and B and C).", "0.06"),
        ("Points A, B and C lie on a line. A is left of B. Find AC.", "4"),
        ("A sequence has these properties: (i) it is increasing, (ii) its first term is 3. Find its least possible second term.", "4"),
        ("Given (1) $a+b=3$ and (2) $a-b=1$, find $ab$.", "2"),
        ("Is it a leap year if a year has 366 days? How many days does a leap year have?", "366"),
        ('How many sides has the polygon? [asy] draw((0,0)--(1,0)--(1,1)--cycle); label("(a)", (0,0)); label("(b)", (1,0)); [/asy]', "3"),
        ("In the figure below, what is the area? [asy] draw((0,0)--(1,0)--(1,1)--cycle); [/asy]", "0.5"),
        ("Nancy figured out 3 of 12 puzzles. How many are left?", "9"),
        ("Keenan needs to write an essay of 1200 words at 400 words an hour. How many hours does she need?", "3"),
        ("A figure skater turns 3 times a second. How many turns in a minute?", "180"),
    ],
)
def test_what_only_looks_like_it_is_kept(text: str, answer: str) -> None:
    assert kinds(text, answer) == set()


def test_every_kind_of_the_file_has_a_rule() -> None:
    assert set(TYPES) == set(ALL_TYPES)


@pytest.mark.parametrize(
    "text",
    [
        "已知函数 f(x) 是奇函数，求 f(0) 的值。",
        "Сколько существует простых чисел, меньших 100?",
        "Encuentra todos los valores de x tales que la suma de los dos primeros términos sea igual al producto de ellos.",
        "Trouver tous les entiers positifs dont le carré possède exactement trois diviseurs positifs distincts.",
        "Bestimme alle natürlichen Zahlen, deren Quersumme gleich dem Produkt ihrer Ziffern ist und die durch sieben teilbar sind.",
    ],
)
def test_other_languages_are_told_from_english(text: str) -> None:
    assert not_english(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        r"$$\sum_{k=1}^{\infty} \frac{1}{k^2} = ?$$",
        "Compute $1+2$.",
        r"Evaluate \(\int_0^1 x \, dx\), where α and β are positive.",
        "José has 3 piñatas and Zoë has 5. How many piñatas do they have?",
    ],
)
def test_formulas_and_names_are_english_enough(text: str) -> None:
    assert not_english(text) is None


def test_length_is_bounded_at_both_ends() -> None:
    limits = TextLimits(min_characters=5, max_characters=10)
    assert outside_limits("abcde", limits) is None
    assert outside_limits("a" * 10, limits) is None
    assert "fewer than 5" in str(outside_limits(" abcd ", limits))
    assert "more than 10" in str(outside_limits("a" * 11, limits))
