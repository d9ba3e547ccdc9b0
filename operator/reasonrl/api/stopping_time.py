"""How long a trainer that is told to stop may take: what it is doing is finished, and then a checkpoint is written.

Kubernetes kills a container when its grace period is over, so that must be long enough for a checkpoint of the model. Its size follows from
the number of parameters; where nobody has read the model's config.json, its name mostly says it.
"""

from __future__ import annotations

import re

from reasonrl.api.memory import checkpoint_parts
from reasonrl.api.model_spec import DType

SHORTEST = 300
"""Seconds: enough for small models, and for what is being done when the signal comes."""
LONGEST = 7200
WRITTEN_A_SECOND = 500_000_000
"""Bytes that a checkpoint volume is assumed to take a second, all pods together: an assumption, not a measurement."""
BEFORE = 60
"""Seconds assumed for what is finished before the checkpoint is begun."""
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BbMm])(?![A-Za-z0-9])")
_UNITS = {"b": 1_000_000_000, "m": 1_000_000}


def parameters_by_name(path: str) -> int | None:
    """What the last part of a model's path says about its size, such as 32B or 135M; None where it says nothing. Of several numbers, as
    models with experts have them, the largest counts."""
    found = _SIZE.findall(path.rstrip("/").rsplit("/", 1)[-1])
    return max((round(float(number) * _UNITS[unit.lower()]) for number, unit in found), default=None)


def stopping_seconds(checkpoint: int) -> int:
    """With a checkpoint of so many bytes."""
    return BEFORE + -(-checkpoint // WRITTEN_A_SECOND)


def grace_seconds(parameters: int | None, dtype: DType, *, reference: bool) -> int:
    """The grace period of trainers where the job gives none."""
    if parameters is None:
        return SHORTEST
    size = parameters * sum(each for each, _ in checkpoint_parts(dtype, reference=reference))
    return min(LONGEST, max(SHORTEST, stopping_seconds(size)))
