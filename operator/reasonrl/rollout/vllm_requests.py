"""The requests of many tasks, in flight in vLLM at once: one for each response.

vLLM takes requests at any time and gives each back when it is written. This keeps account of which response of which task each one is, so
that a task comes out when its last response does, whoever else is still being written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting
from reasonrl.rollout.task import RolloutTask

_SPARE_STEPS = 64


@dataclass(eq=False, slots=True)
class _InHand:
    """A task, what vLLM has written for it so far (responses of a prompt side by side), and how much is missing."""

    task: RolloutTask
    written: list[Any]
    missing: int


class VllmRequests:
    """`engine` is vLLM's `LLMEngine`; `stop_token_ids` end a response."""

    def __init__(self, vllm: Any, engine: Any, *, stop_token_ids: Collection[int]) -> None:
        self._vllm = vllm
        self._engine = engine
        self._stop_token_ids = sorted(set(stop_token_ids))
        self._places: dict[str, tuple[_InHand, int]] = {}
        self._tasks = 0
        self._submitted = 0
        self._idle_steps = 0
        self._longest = 0

    @property
    def tasks(self) -> int:
        """Tasks in hand."""
        return self._tasks

    @property
    def responses(self) -> int:
        """Responses of the tasks in hand that are still being written, or wait for it."""
        return len(self._places)

    def submit(self, task: RolloutTask) -> None:
        """Hands vLLM the requests of `task`, each with a seed of its own: what it draws does not depend on its batch."""
        held = _InHand(task, [None] * task.responses, task.responses)
        for prompt, question in enumerate(task.prompts):
            for number in range(task.responses_per_prompt):
                name = f"{self._submitted}"
                self._submitted += 1
                parameters = self._parameters(task.setting, seed=_request_seed(task.setting.seed, prompt, number))
                self._engine.add_request(name, {"prompt_token_ids": list(question.tokens)}, parameters)
                self._places[name] = (held, prompt * task.responses_per_prompt + number)
        self._tasks += 1
        self._idle_steps = 0
        self._longest = max(self._longest, *(len(prompt.tokens) + task.setting.max_response_tokens for prompt in task.prompts))

    def step(self) -> list[tuple[RolloutTask, list[Any]]]:
        """Decodes once. Returns the tasks that are complete with vLLM's completions, in the order of prompts and numbers.

        Raises RolloutError when nothing has been finished in more steps than the longest request in hand can take.
        """
        complete = []
        self._idle_steps += 1
        for output in self._engine.step():
            if not output.finished or output.request_id not in self._places:
                continue
            self._idle_steps = 0
            held, place = self._places.pop(output.request_id)
            held.written[place] = output.outputs[0]
            held.missing -= 1
            if not held.missing:
                complete.append((held.task, held.written))
        self._tasks -= len(complete)
        if not self._tasks:
            self._longest = 0
        # The oldest request is never put back, and every step takes it a token or a piece of its prompt further.
        elif self._idle_steps > _SPARE_STEPS + 2 * self._longest:
            raise RolloutError("vLLM made no progress; its cache may be too small for one request: raise spec.rollout.keyValueCache")
        return complete

    def abandon(self) -> None:
        """Aborts every request in hand. vLLM gives no output for them, and their part of the cache is free at once."""
        self._engine.abort_request(list(self._places))
        self._places.clear()
        self._tasks = self._idle_steps = self._longest = 0

    def _parameters(self, setting: SamplingSetting, *, seed: int) -> Any:
        return self._vllm.SamplingParams(
            temperature=setting.temperature,
            top_p=setting.top_p,
            seed=seed,
            max_tokens=setting.max_response_tokens,
            stop_token_ids=self._stop_token_ids,
            ignore_eos=True,
            logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )


def _request_seed(seed: int, prompt: int, number: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{prompt}:{number}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")
