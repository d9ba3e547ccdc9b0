"""Which tokens end a response, where nobody says so."""

from __future__ import annotations

from typing import Any

from reasonrl.rollout.errors import RolloutError


def end_tokens_of(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The end tokens of the model's generation settings, or else the tokenizer's. Raises RolloutError when there are none."""
    named = getattr(model.generation_config, "eos_token_id", None)
    if named is None:
        named = tokenizer.eos_token_id
    if named is None:
        raise RolloutError("neither the model's generation settings nor the tokenizer name an end token; pass stop_token_ids")
    return (named,) if isinstance(named, int) else tuple(named)
