"""The demo's task: right answers, right traces, held-out sets that share nothing, and a tokenizer that anyone can load."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from reasonrl.api.data_spec import DataSource
from reasonrl.api.sft_spec import SftSource
from reasonrl.data import chained_digits
from reasonrl.data.chained_digits import SEED_CLASSES, ChainShape, chains, guess, questions, seed_class, worked, worked_examples
from reasonrl.data.errors import DataError
from reasonrl.data.overlap import shared_questions
from reasonrl.data.sources import load_pairs, load_questions
from reasonrl.data.tasks import task_named, task_tokenizer

PROMPT = re.compile(r"Q( [a-z]( [+-])? [1-9])+ : <think>")


def evaluated(prompt: str) -> int:
    """The value of a chain by Python's own arithmetic, from nothing but the text."""
    return int(eval("".join(word for word in prompt.split() if word in "+-" or word.isdigit())))


def test_questions_have_the_form_and_the_answer_that_the_text_says() -> None:
    made = questions(size=300, seed=1, options={})
    for question in made:
        assert PROMPT.fullmatch(question.text)
        assert question.answer == str(evaluated(question.text))
        labels = [word for word in question.text.split() if word.isalpha() and word.islower()]
        assert labels == [chr(ord("a") + place) for place in range(len(labels))]
        assert question.fields == {"terms": len(labels)}
        assert 4 <= len(labels) <= 14


@pytest.mark.parametrize("largest", [2, 5, 9])
def test_digits_and_the_running_value_stay_within_their_bounds(largest: int) -> None:
    seen = set()
    for chain in chains(size=300, seed=3, shape=ChainShape(min_terms=20, max_terms=26, largest_digit=largest)):
        seen.update(chain.digits)
        value = 0
        for sign, digit in zip(chain.signs, chain.digits, strict=True):
            value += sign * digit
            assert 0 <= value <= 99
    assert seen == set(range(1, largest + 1))


def test_the_same_arguments_give_the_same_questions_and_other_seeds_others() -> None:
    assert questions(size=50, seed=4, options={}) == questions(size=50, seed=4, options={})
    assert questions(size=20, seed=4, options={}) == questions(size=50, seed=4, options={})[:20]
    assert questions(size=50, seed=4, options={}) != questions(size=50, seed=12, options={})


def test_lengths_are_spread_evenly() -> None:
    counts = Counter(question.fields["terms"] for question in questions(size=2200, seed=1, options={"minTerms": 5, "maxTerms": 14}))
    assert set(counts) == set(range(5, 15))
    assert min(counts.values()) > 150


def test_no_question_comes_twice() -> None:
    made = questions(size=1500, seed=1, options={"minTerms": 4, "maxTerms": 4})
    assert len({question.text for question in made}) == 1500


def test_seeds_of_different_classes_share_no_question_even_when_there_are_few() -> None:
    """Chains of three terms: about 2,900 in all, so sets drawn without care would share many."""
    sets = [questions(size=200, seed=seed, options={"minTerms": 3, "maxTerms": 3}) for seed in range(SEED_CLASSES)]
    for first, second in combinations(sets, 2):
        assert shared_questions(first, second) == []


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**62))
def test_a_seed_draws_from_its_class_only(seed: int) -> None:
    made = list(chains(size=20, seed=seed, shape=ChainShape()))
    assert {seed_class(chain) for chain in made} == {seed % SEED_CLASSES}


def test_asking_for_more_than_there_are_is_an_error() -> None:
    with pytest.raises(DataError, match=r"size 1000 is too much, seed 1 has little more than \d\d different chains of 2 to 2 terms"):
        questions(size=1000, seed=1, options={"minTerms": 2, "maxTerms": 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": 3}, "unknown options terms; it has minTerms, maxTerms, largestDigit"),
        ({"minTerms": 1}, "2 ≤ minTerms"),
        ({"minTerms": 9, "maxTerms": 5}, "minTerms 9 and maxTerms 5"),
        ({"maxTerms": 27}, "≤ 26"),
        ({"maxTerms": "8"}, "maxTerms must be a whole number, got '8'"),
        ({"maxTerms": True}, "must be a whole number"),
        ({"largestDigit": 1}, "largestDigit 1 must be between 2 and 9"),
        ({"largestDigit": 10}, "largestDigit 10 must be between 2 and 9"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        questions(size=1, seed=1, options=options)


def test_a_worked_trace_looks_as_documented() -> None:
    chain = chained_digits.Chain(digits=(7, 9, 5, 4), signs=(1, 1, -1, -1))
    assert chain.text == "Q a 7 b + 9 c - 5 d - 4 : <think>"
    assert worked(chain, chunks=[1, 1, 1]) == "b 7 + 9 = 16 ; c 16 - 5 = 11 ; d 11 - 4 = 7 ; </think> <answer> 7 </answer>"
    assert worked(chain, chunks=[1, 2]) == "b 7 + 9 = 16 ; c 16 - 5 - 4 = 7 ; </think> <answer> 7 </answer>"
    assert guess(chain) == "= 7 </think> <answer> 7 </answer>"


def test_every_line_of_every_trace_is_true_and_the_lines_cover_the_chain() -> None:
    for question, response in worked_examples(size=300, seed=2, options={}):
        thinking, _, closing = response.partition("</think>")
        assert closing.split() == ["<answer>", question.answer, "</answer>"]
        assert thinking.strip(), "the format reward asks for some thinking"
        lines = [line.split() for line in thinking.split(";") if line.strip()]
        if lines[0][0] == "=":
            assert thinking.split() == ["=", question.answer]
            continue
        value, terms = question.text.split()[2], []
        for label, before, *rest in lines:
            equals = rest.index("=")
            assert before == value
            value = rest[equals + 1]
            assert eval("".join([before, *rest[:equals]])) == int(value)
            terms.append((label, rest[:equals]))
        assert value == question.answer
        assert [word for _, part in terms for word in part] == _signed_digits(question.text)
        assert all(len(part) in (2, 4) for _, part in terms)


def _signed_digits(prompt: str) -> list[str]:
    return [word for word in prompt.split()[3:-2] if not word.isalpha()]


def test_traces_mix_guesses_and_chunks_in_the_documented_shares() -> None:
    responses = [response for _, response in worked_examples(size=2000, seed=2, options={})]
    guesses = sum(response.startswith("=") for response in responses)
    assert abs(guesses / 2000 - chained_digits.GUESS_SHARE) < 4 * (0.45 * 0.55 / 2000) ** 0.5
    lines = [
        line.split() for response in responses if not response.startswith("=") for line in response.split("</think>")[0].split(";")[:-1]
    ]
    double = sum(len(line) == 8 for line in lines) / len(lines)
    # One line in three takes two terms, a little less because the last line often has but one left.
    assert 0.25 < double < 1 / 3 + 0.02


def test_examples_are_worked_on_the_very_questions() -> None:
    assert [question for question, _ in worked_examples(size=30, seed=5, options={})] == questions(size=30, seed=5, options={})


def test_the_tokenizer_has_one_token_for_each_word_and_gives_the_text_back() -> None:
    tokenizer = task_tokenizer("chainedDigits", context_tokens=512)
    assert len(tokenizer) == len(set(chained_digits.WORDS)) + 2 == 138
    for question, response in worked_examples(size=50, seed=1, options={}):
        text = f"{question.text} {response}"
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == len(text.split())
        assert tokenizer.decode([*ids, tokenizer.eos_token_id, tokenizer.pad_token_id], skip_special_tokens=True) == text


def test_the_tokenizer_is_loaded_again_by_auto_tokenizer(tmp_path: Path) -> None:
    tokenizer = task_tokenizer("chainedDigits", context_tokens=256)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = questions(size=1, seed=1, options={})[0].text
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (loaded.eos_token_id, loaded.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert loaded.model_max_length == 256


def test_the_longest_worked_answer_fits_into_96_tokens() -> None:
    """Fourteen terms one by one: thirteen lines of seven tokens, four to close, one to end. The demo's second phase gives just that."""
    tokenizer = task_tokenizer("chainedDigits", context_tokens=512)
    chain = next(iter(chains(size=1, seed=1, shape=ChainShape(min_terms=14, max_terms=14))))
    assert len(tokenizer(worked(chain, chunks=[1] * 13))["input_ids"]) + 1 == 96


def test_the_spec_reaches_the_task(tmp_path: Path) -> None:
    task = {"name": "chainedDigits", "size": 30, "seed": 2, "options": {"minTerms": 4, "maxTerms": 6}}
    made = load_questions(DataSource.model_validate({"task": task, "limit": 10}), base_directory=tmp_path)
    assert made == questions(size=10, seed=2, options={"minTerms": 4, "maxTerms": 6})
    pairs = list(load_pairs(SftSource.model_validate({"task": task}), base_directory=tmp_path))
    assert pairs == list(worked_examples(size=30, seed=2, options={"minTerms": 4, "maxTerms": 6}))


def test_an_unknown_task_names_those_there_are() -> None:
    with pytest.raises(DataError, match="unknown task 'sudoku'; there is chainedDigits"):
        task_named("sudoku")
