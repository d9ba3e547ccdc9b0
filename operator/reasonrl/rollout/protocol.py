"""What the loop asks of a rollout engine: sample groups, and take new weights.

Two engines speak it: `torch_engine` (built in, any transformers causal LM) and `vllm_engine`. The fleet that spreads requests over
several engines speaks it too, so the loop never knows how many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from reasonrl.rl.records import Prompt, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSetting:
    """How to sample. Temperature 0 means greedy. `top_p` below 1 is for evaluation only: the sampler log-probs are then those of
    the full distribution at this temperature."""

    max_response_tokens: int
    temperature: float
    seed: int
    top_p: float = 1.0


class RolloutEngine(Protocol):
    """Samples with the weights last loaded."""

    @property
    def weight_version(self) -> int: ...

    def sample(self, prompts: Sequence[Prompt], *, responses_per_prompt: int, setting: SamplingSetting) -> list[tuple[Response, ...]]:
        """Returns one tuple of `responses_per_prompt` responses for each prompt, in order. The same weights, prompts and setting
        give the same responses."""
        ...

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], *, version: int) -> None:
        """Takes a full set of weights by their Hugging Face parameter names. Raises `WeightLoadError` when a name is missing,
        unknown or of another shape; the engine then keeps its old weights and version."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class CanSleep(Protocol):
    """An engine that gives memory back while the trainer beside it works."""

    def sleep(self) -> None:
        """Gives it back. Nothing can be sampled until `wake` and `load`."""
        ...

    def wake(self) -> None:
        """Takes it again. `load` follows before the next `sample`."""
        ...


class WeightLoadError(Exception):
    """The weights offered do not fit the engine's model."""
