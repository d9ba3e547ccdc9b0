"""Can these prompts be sampled with this setting? Both engines ask before they start, and answer in the words of the spec."""

from __future__ import annotations

from collections.abc import Sequence

from reasonrl.rl.records import Prompt
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting


def check_request(prompts: Sequence[Prompt], *, responses_per_prompt: int, setting: SamplingSetting, context_tokens: int | None) -> None:
    """Raises RolloutError for a setting out of range, an empty prompt, or one that with its response exceeds `context_tokens`."""
    if responses_per_prompt < 1:
        raise RolloutError(f"spec.algorithm.rolloutsPerPrompt must be at least 1, got {responses_per_prompt}")
    if setting.max_response_tokens < 1:
        raise RolloutError(f"spec.phases[].maxResponseTokens must be at least 1, got {setting.max_response_tokens}")
    if setting.temperature < 0.0:
        raise RolloutError(f"the temperature must not be negative, got {setting.temperature}")
    if not 0.0 < setting.top_p <= 1.0:
        raise RolloutError(f"topP must be above 0 and at most 1, got {setting.top_p}")
    for prompt in prompts:
        if not prompt.tokens:
            raise RolloutError(f"the prompt of question {prompt.question.id!r} has no tokens; look at spec.prompt and the question's text")
    longest = max(prompts, key=lambda prompt: len(prompt.tokens))
    needed = len(longest.tokens) + setting.max_response_tokens
    if context_tokens is not None and needed > context_tokens:
        raise RolloutError(
            f"question {longest.question.id!r} has {len(longest.tokens)} prompt tokens and maxResponseTokens is "
            f"{setting.max_response_tokens}: {needed} tokens, and the model's context is {context_tokens}; lower "
            "spec.prompt.maxTokens or spec.phases[].maxResponseTokens, or raise the model's context"
        )
