"""From response tokens to text, for rewards and people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def response_texts(tokenizer: Any, tokens: Sequence[torch.Tensor], stopped: Sequence[bool]) -> list[str]:
    """Decodes responses (int64 `[time]` each), all in one call, without the end token of those that `stopped` and without special tokens.

    Tags such as `<answer>` are ordinary vocabulary in the models that are trained to write them, and stay.
    """
    bodies = [response[:-1].tolist() if ended else response.tolist() for response, ended in zip(tokens, stopped, strict=True)]
    texts: list[str] = tokenizer.batch_decode(bodies, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return texts
