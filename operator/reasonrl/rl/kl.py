"""Estimators of the KL divergence from the reference, and the one object that says how it is applied.

KL is applied once: `KLTerm.placement` says whether it is a term of the loss or a penalty in the reward. All estimators work on
`d = log π − log π_ref` of tokens that the policy sampled (Schulman, "Approximating KL Divergence", 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Estimator = Callable[[Tensor], Tensor]
"""`d [..] -> estimate [..]`, differentiable, in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KLTerm:
    """How KL enters the objective; the coefficient comes from the schedule.

    `clamp` bounds the log ratio `d` itself, to `[−clamp, clamp]` nats, before any estimator sees it: k3 of one token is then at most
    `exp(clamp) − 1 − clamp`, and a token beyond the bound has no KL gradient.
    """

    estimator: Literal["k1", "k2", "k3", "k3+"]
    placement: Literal["loss", "reward"]
    clamp: float = 10.0


class KLEstimates(NamedTuple):
    """Each `[..]`, in nats, of the same shape as the log-probs."""

    k1: Tensor
    k2: Tensor
    k3: Tensor


def k1(d: Tensor) -> Tensor:
    """`d`: unbiased, high variance, may be negative. As a loss its gradient has zero expectation: use it in the reward."""
    return d


def k2(d: Tensor) -> Tensor:
    """`½d²`: biased, not negative. As a loss its on-policy gradient is that of the reverse KL."""
    return 0.5 * d.square()


def k3(d: Tensor) -> Tensor:
    """`exp(−d) − 1 + d`: unbiased, not negative. Its gradient as a loss is not that of the reverse KL."""
    return torch.expm1(-d) + d


def k3_plus(d: Tensor) -> Tensor:
    """Value of k3, gradient of k2: `k2 + sg(k3 − k2)`."""
    quadratic = k2(d)
    return quadratic + (k3(d) - quadratic).detach()


ESTIMATORS: Mapping[str, Estimator] = {"k1": k1, "k2": k2, "k3": k3, "k3+": k3_plus}


def kl_estimate(logprobs: Tensor, reference: Tensor, term: KLTerm) -> Tensor:
    """Estimate `[..]` (nats) for each token by the term's estimator, differentiable in `logprobs`; `reference` has the same shape.

    Placed in the loss, the caller adds `coefficient × this` to the token loss. Placed in the reward, it subtracts `coefficient ×
    this` (detached) from the token's reward.
    """
    return ESTIMATORS[term.estimator](_log_ratio(logprobs, reference, term.clamp))


@torch.no_grad()
def estimates(logprobs: Tensor, reference: Tensor, *, clamp: float) -> KLEstimates:
    """k1, k2 and k3 `[..]` without gradient, for the log. The log ratio is clamped as in `KLTerm`."""
    d = _log_ratio(logprobs, reference, clamp)
    return KLEstimates(k1=k1(d), k2=k2(d), k3=k3(d))


def _log_ratio(logprobs: Tensor, reference: Tensor, clamp: float) -> Tensor:
    return (logprobs - reference).clamp(-clamp, clamp)
