"""A push that comes in parts, each announced by names and shapes before its bytes: was all of it announced, and nothing else?

Engines that receive straight from other GPUs see no whole offer that could be checked beforehand. What they are told of each part is
checked instead, and the sum of it at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reasonrl.rollout.protocol import WeightLoadError


class WeightAnnouncement:
    """`expected` are the shapes of the model's weights by name; `aliases` maps other names of tied ones to a name in it."""

    def __init__(self, *, expected: Mapping[str, Sequence[int]], aliases: Mapping[str, str]) -> None:
        self._expected = expected
        self._aliases = aliases
        self._announced: set[str] = set()

    def clear(self) -> None:
        """Before a push."""
        self._announced.clear()

    def add(self, names: Sequence[str], shapes: Sequence[Sequence[int]]) -> None:
        """One part. Raises WeightLoadError, naming the tensor, for one that is unknown, of another shape, or announced before."""
        for name, shape in zip(names, shapes, strict=True):
            needed = self._expected.get(self._aliases.get(name, name))
            if needed is None:
                raise WeightLoadError(f"{name!r} is unknown to the engine's model")
            if tuple(shape) != tuple(needed):
                raise WeightLoadError(f"{name!r} has shape {list(shape)}, the engine's model needs {list(needed)}")
            if name in self._announced:
                raise WeightLoadError(f"the weight {name!r} was announced twice")
            self._announced.add(name)

    def check_complete(self) -> None:
        """Raises WeightLoadError when something was not announced."""
        found = {self._aliases.get(name, name) for name in self._announced}
        missing = [name for name in self._expected if name not in found]
        if missing:
            raise WeightLoadError(f"the push ended with {len(missing)} of {len(self._expected)} weights missing: {', '.join(missing[:5])}")
