"""A canary for engines that pack weights into forms of their own: do they now say what the offered weights say?

A push into such an engine can end well and leave part of it old (a head tied to the embedding), stale (a prefix cache) or garbage. So
the log-probs that the engine reports for a few tokens it writes are compared with the library's plain forward pass over the very
tensors that were offered. They are used where they lie: the skeleton holds no weights of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM


class WeightCanary:
    """The model in `directory` without its weights, and a prompt of a few tokens."""

    def __init__(self, directory: Path | str, *, prompt_tokens: int = 12) -> None:
        config: Any = AutoConfig.from_pretrained(directory)
        with init_empty_weights(include_buffers=False):
            self._skeleton: nn.Module = AutoModelForCausalLM.from_config(config).eval()
        self._skeleton.tie_weights()
        parameters = dict(self._skeleton.named_parameters())
        names = {id(parameter): name for name, parameter in parameters.items()}
        every = self._skeleton.named_parameters(remove_duplicate=False)
        self.expected: dict[str, tuple[int, ...]] = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        self.aliases: dict[str, str] = {name: names[id(parameter)] for name, parameter in every if name not in parameters}
        random = torch.Generator().manual_seed(0)
        self.prompt: tuple[int, ...] = tuple(torch.randint(config.vocab_size, (prompt_tokens,), generator=random).tolist())

    @torch.no_grad()
    def gap(self, weights: Mapping[str, Tensor], *, tokens: Sequence[int], logprobs: Sequence[float]) -> float:
        """Largest difference in nats between `logprobs`, which an engine reported at temperature 1 for `tokens` that it wrote after the
        canary's prompt, and those under `weights`. Infinite when any is not a number."""
        device = next(iter(weights.values())).device
        row = torch.tensor([*self.prompt, *tokens], device=device)
        skeleton = self._skeleton
        for buffer in skeleton.buffers():
            buffer.data = buffer.data.to(device)
        arguments = {"input_ids": row[None], "use_cache": False}
        logits = torch.func.functional_call(skeleton, dict(weights), (), arguments, tie_weights=True).logits
        scores = torch.log_softmax(logits[0, len(self.prompt) - 1 : -1].float(), dim=1)
        expected = scores.gather(1, row[len(self.prompt) :, None]).squeeze(1).cpu()
        return float((expected - torch.tensor(logprobs)).abs().nan_to_num(nan=torch.inf).max())
