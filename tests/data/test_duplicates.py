"""Repeats are found, exactly those that a comparison of all pairs finds; other questions are not repeats."""

from __future__ import annotations

import random

from reasonrl.data.build.duplicates import KnownQuestions
from reasonrl.data.question_words import ngrams, question_words
from reasonrl.rl.records import Question

LONG = (
    "In a village of 48 houses every house has 3 doors and each door has 2 locks. How many locks are there in the whole village together?"
)


def question(identifier: str, text: str, answer: str = "1") -> Question:
    return Question(id=identifier, text=text, answer=answer, source="made")


def test_a_repeat_names_the_first_and_says_whether_the_answers_agree() -> None:
    known = KnownQuestions(near=0.8)
    assert known.repeat_of(question("a", r"What is $\frac{1}{2}+1$?", "3/2")) is None
    same = known.repeat_of(question("b", "what is 1/2 + 1", r"\frac32"))
    other = known.repeat_of(question("c", "What is 1/2 + 1?", "2"))
    assert same is not None
    assert other is not None
    assert (same.first, same.similarity, same.same_answer) == ("a", 1.0, True)
    assert (other.first, other.similarity, other.same_answer) == ("a", 1.0, False)


def test_a_near_repeat_has_the_same_numbers_and_the_same_answer() -> None:
    near = LONG.replace("together", "altogether")

    def repeated(text: str, answer: str, *, near: float | None = 0.8) -> bool:
        known = KnownQuestions(near=near)
        known.repeat_of(question("a", LONG, "288"))
        return known.repeat_of(question("b", text, answer)) is not None

    assert repeated(near, "288")
    assert not repeated(near, "144")
    assert not repeated(near.replace("48", "49"), "288")
    assert not repeated(near, "288", near=None)


def test_a_picture_tells_two_questions_apart_under_a_short_sentence_or_beside_another_answer() -> None:
    one, other = "[asy] draw((0,0)--(3,4)); [/asy]", "[asy] fill(circle((0,0),5)); [/asy]"
    known = KnownQuestions(near=0.8)
    assert known.repeat_of(question("a", f"What is the area of the shaded region? {one}")) is None
    assert known.repeat_of(question("b", f"What is the area of the shaded region? {other}")) is None
    assert known.repeat_of(question("c", f"{LONG} {one}")) is None
    assert known.repeat_of(question("d", f"{LONG} {other}")) is not None
    assert known.repeat_of(question("e", f"{LONG} {other}", "2")) is None
    assert known.repeat_of(question("f", f"{LONG} {other}", "2")) is not None
    changed = known.repeat_of(question("g", f"{LONG} {one}", "2"))
    assert changed is not None
    assert not changed.same_answer


def test_questions_without_any_word_are_compared_by_their_signs() -> None:
    known = KnownQuestions(near=0.8)
    assert known.repeat_of(question("a", "∑∏")) is None
    assert known.repeat_of(question("b", "∏∑")) is None
    assert known.repeat_of(question("c", "∑∏")) is not None


def test_near_repeats_are_those_of_a_comparison_of_all_pairs() -> None:
    rng = random.Random(5)
    words = [f"w{letter}" for letter in "abcdefghijklmnop"]
    texts = []
    for _ in range(30):
        text = [rng.choice(words) for _ in range(30)]
        for _ in range(6):
            copy = list(text)
            for _ in range(rng.randrange(4)):
                copy[rng.randrange(len(copy))] = rng.choice(words)
            texts.append(" ".join(copy))
    rng.shuffle(texts)
    known, kept = KnownQuestions(near=0.7), list[frozenset[tuple[str, ...]]]()
    for place, text in enumerate(texts):
        runs = ngrams(question_words(text), 3)
        wanted = any(len(runs & other) / len(runs | other) >= 0.7 for other in kept)
        assert (known.repeat_of(question(str(place), text)) is not None) == wanted
        if not wanted:
            kept.append(runs)
    assert 30 <= len(kept) < len(texts)
