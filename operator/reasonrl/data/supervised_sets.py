"""Sets for supervised training: prompts with responses to imitate, as tokens, in an order from the seed.

Prompts go through the same templates as in reinforcement learning, so that the warm start teaches the very distribution that is sampled
from later. A response that the template has already begun (`<think>`) is not begun twice; the end token closes each.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from reasonrl.data.errors import DataError
from reasonrl.data.order import PositionOrder
from reasonrl.data.rows import PROGRESS_EVERY_ROWS, Progress, silent
from reasonrl.data.templates import Template, render_prompt
from reasonrl.rl.records import Question


@dataclass(frozen=True, slots=True)
class SupervisedExample:
    """`tokens` are prompt and response, end token included; the first `prompt_length` are the prompt and take no part in the loss."""

    tokens: tuple[int, ...]
    prompt_length: int

    @property
    def response_length(self) -> int:
        return len(self.tokens) - self.prompt_length


@dataclass(frozen=True, slots=True)
class SupervisedSet:
    """`too_long` counts examples that were left out because they exceed the token limit (they are never cut: a response without its end
    teaches not to end)."""

    examples: tuple[SupervisedExample, ...]
    too_long: int

    @property
    def mean_response_tokens(self) -> float:
        return statistics.fmean(example.response_length for example in self.examples)

    def steps(self, *, epochs: int, batch_size: int) -> int:
        """Steps of `batch_size` examples that meet each example `epochs` times, the last step filled up from the next epoch."""
        return math.ceil(epochs * len(self.examples) / batch_size)


def supervised_set(
    pairs: Iterable[tuple[Question, str]],
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int,
    progress: Progress = silent,
) -> SupervisedSet:
    """Tokenises question and response apart, as sampling does, so the boundary between them is where the prompt ends.

    Raises DataError when nothing is left, or when the tokenizer has no end token or cannot encode a response.
    """
    if tokenizer.eos_token_id is None:
        raise DataError("spec.sft: the tokenizer has no end token, so the model could not learn when to end")
    examples: list[SupervisedExample] = []
    too_long = 0
    for number, (question, response) in enumerate(pairs, start=1):
        if number % PROGRESS_EVERY_ROWS == 0:
            progress("tokenising supervised examples", number)
        prompt = render_prompt(question, template, tokenizer)
        tokens = (*prompt.tokens, *_response_tokens(question, response, template, tokenizer), tokenizer.eos_token_id)
        if len(tokens) > max_tokens:
            too_long += 1
        else:
            examples.append(SupervisedExample(tokens, len(prompt.tokens)))
    if not examples:
        reason = (
            f"all {too_long} examples are longer than {max_tokens} tokens; raise spec.sft.maxTokens"
            if too_long
            else "the sources are empty"
        )
        raise DataError(f"spec.sft: nothing to train on: {reason}")
    return SupervisedSet(tuple(examples), too_long)


def _response_tokens(question: Question, response: str, template: Template, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    begun = template.response_prefix
    if begun and response.lstrip().startswith(begun):
        response = response.lstrip().removeprefix(begun)
    if tokenizer.eos_token:
        response = response.removesuffix(tokenizer.eos_token)
    try:
        tokens: list[int] = tokenizer(response, add_special_tokens=False)["input_ids"]
    except Exception as error:
        # tokenizers raises bare Exception when a word has no token.
        raise DataError(f"spec.sft: the response of {question.id} cannot be encoded by the model's tokenizer: {error}") from error
    return tokens


class SupervisedBatches:
    """The examples of each step: shuffled anew each epoch from the seed, a function of the step alone."""

    def __init__(self, examples: Sequence[SupervisedExample], *, batch_size: int, seed: int) -> None:
        self._examples = examples
        self._batch_size = batch_size
        self._order = PositionOrder(len(examples), shuffle_seed=seed)

    def at(self, step: int) -> list[SupervisedExample]:
        return [self._examples[index] for index in self._order.indices(step * self._batch_size, self._batch_size)]
