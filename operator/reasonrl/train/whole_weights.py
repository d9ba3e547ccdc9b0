"""The weights of a model whether or not DeepSpeed has divided them among ranks (ZeRO-3).

Both functions are collective for a divided model: every rank goes through all parameters, in the same order. For any other model they are
plain reads and writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_GATHERED_NUMBERS = 50_000_000
"""Numbers brought together at a time: enough to use the network well, and little beside a layer of a large model."""


def is_divided(model: nn.Module) -> bool:
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


def shape_of(parameter: Any) -> torch.Size:
    """The shape of the whole parameter, wherever its pieces are."""
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape


def numbers_of(model: nn.Module) -> int:
    return sum(shape_of(parameter).numel() for parameter in model.parameters())


def whole_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters by name, tied ones once, each a tensor that stays valid until the next update: a view, or a copy where the model is
    divided, so that a caller who keeps none needs room for a few parameters only."""
    if not is_divided(model):
        yield from ((name, parameter.detach()) for name, parameter in model.named_parameters())
        return
    from deepspeed import zero

    for bunch in _bunches(model):
        with zero.GatheredParameters([parameter for _, parameter in bunch]):
            copies = [(name, parameter.detach().clone()) for name, parameter in bunch]
        yield from copies


@torch.no_grad()
def set_weight(parameter: nn.Parameter, whole: Tensor) -> None:
    """Sets a parameter from a tensor that is the same on every rank, in the parameter's own dtype."""
    if not hasattr(parameter, "ds_id"):
        parameter.copy_(whole)
        return
    from deepspeed import zero

    with zero.GatheredParameters([parameter], modifier_rank=0):
        parameter.data.copy_(whole)


def _bunches(model: nn.Module) -> Iterator[list[tuple[str, nn.Parameter]]]:
    bunch: list[tuple[str, nn.Parameter]] = []
    numbers = 0
    for name, parameter in model.named_parameters():
        size = shape_of(parameter).numel()
        if bunch and numbers + size > _GATHERED_NUMBERS:
            yield bunch
            bunch, numbers = [], 0
        bunch.append((name, parameter))
        numbers += size
    if bunch:
        yield bunch
