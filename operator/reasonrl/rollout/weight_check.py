"""Is a set of weights complete, known and of the right shapes? Asked before an engine touches anything.

An engine that copies as it reads is left half old and half new by the first bad tensor, and samples from neither policy. So every
engine first holds the whole offer (references, not copies) against what its model needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from reasonrl.rollout.protocol import WeightLoadError

_SHOWN = 5


def checked_weights(
    weights: Iterable[tuple[str, torch.Tensor]],
    *,
    expected: Mapping[str, Sequence[int]],
    aliases: Mapping[str, str],
) -> dict[str, torch.Tensor]:
    """Returns the weights by the names in `expected`, every one present and of its shape.

    `aliases` maps the other names of a tied weight (`lm_head.weight`) to the one in `expected`: an alias may be left out, may
    stand for it, or may come with it if both are the same numbers. Raises WeightLoadError for a missing, unknown, doubled,
    misshapen or non-floating tensor, and for tied names with different values.
    """
    offered: dict[str, torch.Tensor] = {}
    for name, tensor in weights:
        if name in offered:
            raise WeightLoadError(f"the weight {name!r} was offered twice")
        offered[name] = tensor
    unknown = [name for name in offered if name not in expected and name not in aliases]
    if unknown:
        raise WeightLoadError(f"{len(unknown)} weights are unknown to the engine's model: {_some(unknown)}")
    found = {name: tensor for name, tensor in offered.items() if name in expected}
    for alias, name in aliases.items():
        if alias not in offered:
            continue
        tied = found.setdefault(name, offered[alias])
        if not _same(tied, offered[alias]):
            raise WeightLoadError(
                f"{alias!r} and {name!r} are one tied weight in the engine's model, but were offered with different values"
            )
    missing = [name for name in expected if name not in found]
    if missing:
        raise WeightLoadError(f"{len(missing)} of {len(expected)} weights are missing: {_some(missing)}")
    for name, tensor in found.items():
        if tuple(tensor.shape) != tuple(expected[name]):
            raise WeightLoadError(f"{name!r} has shape {list(tensor.shape)}, the engine's model needs {list(expected[name])}")
        if not tensor.is_floating_point():
            raise WeightLoadError(f"{name!r} is {tensor.dtype}, a floating-point tensor is needed")
    return found


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    if first.data_ptr() == second.data_ptr() and first.shape == second.shape and first.stride() == second.stride():
        return True
    return first.shape == second.shape and torch.equal(first, second)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
