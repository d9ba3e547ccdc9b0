"""Answers of a model on this machine, from the built-in torch engine or vLLM.

vLLM is fed one question at a time and keeps its batch full; the torch engine answers a block of questions in each call. A question's seed
depends on its place alone, so an evaluation that was killed and goes on draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from reasonrl.rl.records import Prompt
from reasonrl.rollout.end_tokens import end_tokens_of
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting
from reasonrl.rollout.stepping import BlockingEngineSteps, SteppingEngine
from reasonrl.rollout.task import RolloutTask
from reasonrl.rollout.torch_engine import TorchEngine
from reasonrl.run.errors import RunInputError
from reasonrl.run.seeds import derive_seed
from reasonrl.run.standalone_evaluation.sampled import Sampled, Sampling, Wanted

EngineName = Literal["torch", "vllm"]
DEFAULT_MAX_RESPONSE_TOKENS = 32_768
"""Of the report's evaluations; less where the model's context is shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEngine:
    """`max_sequences` answers are written at once. `memory_utilization` is vLLM's share of a GPU."""

    name: EngineName
    dtype: torch.dtype
    max_sequences: int
    memory_utilization: float

    def questions_per_task(self, samples: int) -> int:
        return 1 if self.name == "vllm" else max(1, 2 * self.max_sequences // samples)


def default_dtype() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Raises RunInputError for a directory without one."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise RunInputError(f"MODEL = {str(directory)!r}: no tokenizer can be loaded from it: {_first_line(error)}") from error
    return tokenizer


def response_limit(asked: int | None, prompts: Sequence[Prompt], directory: Path) -> int:
    """The longest response, in tokens: as asked for, else the report's 32,768 or what the context leaves.

    Raises RunInputError when the longest prompt leaves no room for it.
    """
    try:
        config = AutoConfig.from_pretrained(directory).get_text_config()
    except (OSError, ValueError) as error:
        raise RunInputError(f"MODEL = {str(directory)!r}: its config.json cannot be used: {_first_line(error)}") from error
    context: int | None = getattr(config, "max_position_embeddings", None)
    longest = max(prompts, key=lambda prompt: len(prompt.tokens))
    taken = len(longest.tokens)
    if context is None:
        return asked or DEFAULT_MAX_RESPONSE_TOKENS
    if taken + (asked or 1) > context:
        raise RunInputError(
            f"--max-tokens = {asked}: with the {taken} prompt tokens of question {longest.question.id!r} that is more than the model's "
            f"context of {context} tokens; "
            + (f"use at most {context - taken}" if taken < context else "use a shorter --template, or leave that question out")
        )
    return asked or min(DEFAULT_MAX_RESPONSE_TOKENS, context - taken)


def start_engine(engine: LocalEngine, directory: Path, tokenizer: PreTrainedTokenizerBase, *, context_tokens: int) -> SteppingEngine:
    """Raises RunInputError for a model that cannot be loaded, and RolloutError for what the engine cannot do with it."""
    if engine.name == "vllm":
        from reasonrl.rollout.vllm_engine import VllmEngine

        return VllmEngine(
            directory,
            tokenizer,
            stop_token_ids=_end_tokens(directory, tokenizer),
            max_sequences=engine.max_sequences,
            context_tokens=context_tokens,
            dtype=engine.dtype,
            memory_utilization=engine.memory_utilization,
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=engine.dtype)
    except (OSError, ValueError) as error:
        raise RunInputError(f"MODEL = {str(directory)!r}: no causal language model can be loaded from it: {_first_line(error)}") from error
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    ends = end_tokens_of(model, tokenizer)
    return BlockingEngineSteps(TorchEngine(model, tokenizer, stop_token_ids=ends, max_sequences=engine.max_sequences, dtype=engine.dtype))


class LocalSource:
    """See `sampled.Source`. The engine stays its owner's."""

    def __init__(
        self, engine: SteppingEngine, prompts: Sequence[Prompt], sampling: Sampling, *, benchmark: str, questions_per_task: int
    ) -> None:
        self._engine = engine
        self._prompts = prompts
        self._sampling = sampling
        self._benchmark = benchmark
        self._size = questions_per_task

    def answers(self, wanted: list[Wanted]) -> Generator[list[Sampled], None, None]:
        """Raises RolloutError for what the engine refuses."""
        starts = iter(sorted({each.question // self._size * self._size for each in wanted}))
        following = next(starts, None)
        try:
            while following is not None or self._engine.unfinished():
                while following is not None and self._engine.unwritten() < 2 * self._engine.capacity:
                    self._engine.submit(self._task(following))
                    following = next(starts, None)
                for outcome in self._engine.step():
                    if outcome.groups is None:
                        raise RolloutError(f"{self._benchmark}: {outcome.error}")
                    yield [
                        Sampled(
                            question=outcome.number + place,
                            sample=sample,
                            text=response.text,
                            length=int(response.tokens.numel()),
                            finish=response.finish.value,
                        )
                        for place, responses in enumerate(outcome.groups)
                        for sample, response in enumerate(responses)
                    ]
        finally:
            self._engine.abandon()

    def _task(self, start: int) -> RolloutTask:
        sampling = self._sampling
        return RolloutTask(
            number=start,
            prompts=tuple(self._prompts[start : start + self._size]),
            responses_per_prompt=sampling.samples,
            setting=SamplingSetting(
                max_response_tokens=sampling.max_response_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=derive_seed(sampling.seed, f"evaluation/{self._benchmark}", start),
            ),
            call=0,
        )


def _end_tokens(directory: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    try:
        generation: object = GenerationConfig.from_pretrained(directory)
    except OSError:
        # Many models have none; the tokenizer's end token is then what counts.
        generation = None
    return end_tokens_of(SimpleNamespace(generation_config=generation), tokenizer)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
