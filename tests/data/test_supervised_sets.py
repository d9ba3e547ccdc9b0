"""Supervised sets: the boundary between prompt and response, the end token, what is left out, and the order of batches."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from reasonrl.data import chained_digits
from reasonrl.data.errors import DataError
from reasonrl.data.supervised_sets import SupervisedBatches, SupervisedExample, supervised_set
from reasonrl.data.tasks import task_tokenizer
from reasonrl.data.templates import make_template, render_prompt
from reasonrl.rl.records import Question


def question(text: str) -> Question:
    return Question(id=f"id-{text}", text=text, answer="", source="made")


def test_tokens_are_prompt_response_and_end(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("short", plain_tokenizer, example="x")
    made = supervised_set([(question("1+1?"), " two </think>")], template, plain_tokenizer, max_tokens=2000)
    (example,) = made.examples
    prompt = render_prompt(question("1+1?"), template, plain_tokenizer)
    assert example.tokens[: example.prompt_length] == prompt.tokens
    assert plain_tokenizer.decode(list(example.tokens[example.prompt_length : -1])) == " two </think>"
    assert example.tokens[-1] == plain_tokenizer.eos_token_id
    assert example.response_length == len(" two </think>") + 1


@pytest.mark.parametrize(
    ("response", "kept"),
    [("<think> two", " two"), ("\n<think> two", " two"), ("two <think>", "two <think>"), ("two<eos>", "two"), ("<think>two<eos>", "two")],
)
def test_what_the_prompt_has_begun_and_the_end_token_are_not_doubled(
    response: str, kept: str, plain_tokenizer: PreTrainedTokenizerFast
) -> None:
    template = make_template("raw", plain_tokenizer, example="x <think>")
    (example,) = supervised_set([(question("q <think>"), response)], template, plain_tokenizer, max_tokens=100).examples
    assert plain_tokenizer.decode(list(example.tokens[example.prompt_length : -1])) == kept
    assert example.tokens.count(plain_tokenizer.eos_token_id) == 1


def test_without_a_prefix_the_thinking_tag_stays(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("raw", plain_tokenizer, example="x")
    (example,) = supervised_set([(question("q"), "<think> two")], template, plain_tokenizer, max_tokens=100).examples
    assert plain_tokenizer.decode(list(example.tokens[example.prompt_length : -1])) == "<think> two"


def test_long_examples_are_left_out_whole_and_counted(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("raw", plain_tokenizer, example="x")
    pairs = [(question("q"), "x" * length) for length in (3, 8, 9, 4)]
    made = supervised_set(pairs, template, plain_tokenizer, max_tokens=10)
    assert made.too_long == 1
    assert [example.response_length for example in made.examples] == [4, 9, 5]
    assert made.mean_response_tokens == 6


def test_nothing_left_is_an_error(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("raw", plain_tokenizer, example="x")
    with pytest.raises(DataError, match=r"all 1 examples are longer than 2 tokens; raise spec.sft.maxTokens"):
        supervised_set([(question("q"), "xyz")], template, plain_tokenizer, max_tokens=2)
    with pytest.raises(DataError, match="the sources are empty"):
        supervised_set([], template, plain_tokenizer, max_tokens=2)


def test_a_tokenizer_without_an_end_token_is_refused(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    plain_tokenizer.eos_token = None
    with pytest.raises(DataError, match="no end token"):
        supervised_set([(question("q"), "x")], make_template("raw", plain_tokenizer, example="x"), plain_tokenizer, max_tokens=10)


def test_a_response_of_unknown_words_names_its_row() -> None:
    tokenizer = task_tokenizer("chainedDigits", context_tokens=64)
    template = make_template("raw", tokenizer, example="Q a 7 : <think>")
    with pytest.raises(DataError, match="the response of id-Q a 7 : <think> cannot be encoded"):
        supervised_set([(question("Q a 7 : <think>"), "seven")], template, tokenizer, max_tokens=64)


def test_worked_examples_become_examples_of_the_right_length() -> None:
    tokenizer = task_tokenizer("chainedDigits", context_tokens=512)
    pairs = list(chained_digits.worked_examples(size=40, seed=1, options={}))
    made = supervised_set(pairs, make_template("raw", tokenizer, example=pairs[0][0].text), tokenizer, max_tokens=512)
    assert [len(example.tokens) for example in made.examples] == [
        len(each.text.split()) + len(response.split()) + 1 for each, response in pairs
    ]


def examples(count: int) -> list[SupervisedExample]:
    return [SupervisedExample((number, number), 1) for number in range(count)]


@settings(deadline=None)
@given(count=st.integers(1, 60), batch=st.integers(1, 20), seed=st.integers(0, 2**32), epochs=st.integers(1, 3))
def test_the_steps_of_some_epochs_meet_every_example_that_often(count: int, batch: int, seed: int, epochs: int) -> None:
    batch = min(batch, count)
    made = SupervisedBatches(examples(count), batch_size=batch, seed=seed)
    steps = -(-epochs * count // batch)
    met = [example.tokens[0] for step in range(steps) for example in made.at(step)]
    for epoch in range(epochs):
        assert sorted(met[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_batches_depend_on_the_seed_and_the_step_alone() -> None:
    made, again = SupervisedBatches(examples(50), batch_size=8, seed=1), SupervisedBatches(examples(50), batch_size=8, seed=1)
    expected = [made.at(step) for step in range(20)]
    assert [again.at(step) for step in reversed(range(20))] == expected[::-1]
    assert SupervisedBatches(examples(50), batch_size=8, seed=2).at(0) != expected[0]


def test_epochs_turn_into_steps(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("raw", plain_tokenizer, example="x")
    made = supervised_set([(question("q"), "x")] * 10, template, plain_tokenizer, max_tokens=10)
    assert made.steps(epochs=3, batch_size=8) == 4
    assert made.steps(epochs=4, batch_size=8) == 5
