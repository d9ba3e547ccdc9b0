"""RMSNorm over the last dimension, forward and backward, in as few passes over the activations as torch's operations allow.

`x̂ = x / sqrt(mean(x²) + ε)`, `y = w · x̂` (arXiv 1910.07467, eq. 4). With `g = w · ∂L/∂y`:
`∂L/∂x = (g − x̂ · mean(g · x̂)) / sqrt(mean(x²) + ε)`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def norm_into(normed: Tensor, scale: Tensor, values: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Fills `normed` with x̂ and `scale` `[…, 1]` with 1 / sqrt(mean(x²) + ε), for backward, and returns y.

    `values` and `normed` are `[…, size]` and may be one tensor; `weight` broadcasts against them.
    """
    torch.linalg.vector_norm(values, dim=-1, keepdim=True, out=scale)
    scale.square_().div_(values.shape[-1]).add_(epsilon).rsqrt_()
    torch.mul(values, scale, out=normed)
    return normed * weight


def norm_backward(gradient: Tensor, normed: Tensor, scale: Tensor, weight: Tensor, *, weight_gradient: Tensor) -> None:
    """Turns `gradient` from ∂L/∂y into ∂L/∂x in place and adds ∂L/∂w to `weight_gradient`, which has the shape of `weight`: that of
    `gradient` without its first dimension."""
    products = gradient * normed
    weight_gradient.add_(products.sum(0))
    along = torch.mv(products, weight)[:, None] if products.dim() == 2 else products.mul_(weight).sum(-1, keepdim=True)
    along.mul_(scale).div_(-normed.shape[-1])
    gradient.mul_(weight).mul_(scale).addcmul_(normed, along)
