"""AdamW as every trainer here builds it: weight decay for matrices, none for norms and biases."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from reasonrl.train.update_rules import OptimizerRules


def adamw(parameters: Iterable[torch.nn.Parameter], rules: OptimizerRules) -> torch.optim.AdamW:
    """Two parameter groups; the learning rate is set at each step. torch's own kernel: nothing is compiled on a machine."""
    present = list(parameters)
    matrices = [parameter for parameter in present if parameter.dim() >= 2]
    others = [parameter for parameter in present if parameter.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": rules.weight_decay}, {"params": others, "weight_decay": 0.0}],
        betas=rules.betas,
        eps=rules.epsilon,
        fused=True,
    )
