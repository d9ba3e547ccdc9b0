"""From logits to tokens and their log-probs.

Sampling is by inverse CDF with one uniform number a token, so a request's randomness is a vector that belongs to it alone: what it
draws does not depend on which rows share its batch. (Gumbel noise would need a number for each vocabulary entry and, on a CPU,
take longer than a small model's whole forward pass.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 64
_TWO_LEVELS_FROM = 1024


def sample_tokens(logits: Tensor, uniforms: Tensor, *, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Draws one token a row. `logits` `[rows, vocabulary]`, `uniforms` float32 `[rows]` in [0, 1).

    Returns tokens int64 `[rows]` and their log-probs float32 `[rows]` in nats: under the full softmax at `temperature`, also when
    `top_p` restricts the draw; at temperature 0 the most probable token (the first of equals) with its log-prob at temperature 1.
    """
    logits = logits.float()
    if temperature == 0.0:
        tokens = logits.argmax(dim=1)
        return tokens, logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(dim=1)
    if temperature != 1.0:
        logits = logits * (1.0 / temperature)
    probabilities = torch.softmax(logits, dim=1)
    tokens = _nucleus(probabilities, uniforms, top_p=top_p) if top_p < 1.0 else _inverse_cdf(probabilities, uniforms[:, None])
    return tokens.squeeze(1), probabilities.gather(1, tokens).log_().squeeze(1)


def _inverse_cdf(weights: Tensor, uniforms: Tensor) -> Tensor:
    """`[rows, 1]`: for each row the first entry whose cumulative weight exceeds `uniform × total`. Weights need not sum to one."""
    if weights.shape[1] < _TWO_LEVELS_FROM:
        cumulative = weights.cumsum(dim=1)
        return _first_above(cumulative, uniforms * cumulative[:, -1:])
    # A running sum over a large vocabulary is one long chain of additions; over block sums, and then inside one block, it is short.
    padding = -weights.shape[1] % _BLOCK
    if padding:
        weights = functional.pad(weights, (0, padding))
    blocks = weights.view(len(weights), -1, _BLOCK)
    cumulative = blocks.sum(dim=2).cumsum(dim=1)
    target = uniforms * cumulative[:, -1:]
    block = _first_above(cumulative, target)
    chosen = blocks.gather(1, block[:, :, None].expand(-1, 1, _BLOCK)).squeeze(1)
    inside = chosen.cumsum(dim=1)
    before = cumulative.gather(1, block) - inside[:, -1:]
    # The two sums round differently, so the target may fall a rounding error outside its block: never choose a zero weight for it.
    target = (target - before).clamp_(min=0.0).minimum(torch.nextafter(inside[:, -1:], inside.new_zeros(())))
    return block * _BLOCK + _first_above(inside, target)


def _first_above(cumulative: Tensor, target: Tensor) -> Tensor:
    return torch.searchsorted(cumulative, target, right=True).clamp_(max=cumulative.shape[1] - 1)


def _nucleus(probabilities: Tensor, uniforms: Tensor, *, top_p: float) -> Tensor:
    """Draws among the fewest tokens whose probabilities reach `top_p` together (Holtzman et al. 2020, arXiv 1904.09751)."""
    ordered, tokens = probabilities.sort(dim=1, descending=True, stable=True)
    before = ordered.cumsum(dim=1) - ordered
    kept = ordered.masked_fill(before >= top_p, 0.0)
    kept[:, 0] = ordered[:, 0]
    return tokens.gather(1, _inverse_cdf(kept, uniforms[:, None]))
