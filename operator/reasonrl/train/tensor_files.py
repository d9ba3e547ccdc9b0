"""Named tensors on disk, in one safetensors file or in numbered parts.

A trainer in one process writes `optimizer.safetensors`; of several ranks each writes `optimizer-00001-of-00004.safetensors`. Every tensor
is whole in one of the parts, so whoever reads need not know how many wrote, and reads one tensor at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from reasonrl.train.protocol import TrainerError


@dataclass(frozen=True, slots=True)
class TensorFiles:
    """Tensors by name, read when asked for. `source` is what to call them in a message."""

    source: Path
    places: Mapping[str, Path]

    def read(self, name: str) -> torch.Tensor:
        with safe_open(self.places[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
            return tensor

    def shape(self, name: str) -> list[int]:
        with safe_open(self.places[name], framework="pt") as file:
            return [int(size) for size in file.get_slice(name).get_shape()]

    def check_parameters(self, shapes: Mapping[str, Iterable[int]]) -> None:
        """Raises TrainerError when a parameter is missing or has another shape. More tensors than parameters are no mistake."""
        for name, expected in shapes.items():
            wanted = list(expected)
            if name not in self.places or self.shape(name) != wanted:
                found = self.shape(name) if name in self.places else "nothing"
                raise TrainerError(f"{self.source}: parameter {name} should be {wanted}, found {found}: another model's checkpoint?")


def part_file(directory: Path, kind: str, *, part: int, parts: int) -> Path:
    """The file of one part, counted from 0."""
    return directory / f"{kind}-{part:05d}-of-{parts:05d}.safetensors"


def write_part(directory: Path, kind: str, tensors: dict[str, torch.Tensor], *, part: int, parts: int) -> None:
    """Raises OSError or SafetensorError when it cannot be written. A part may be empty."""
    save_file(tensors, part_file(directory, kind, part=part, parts=parts))


def open_tensors(directory: Path, kind: str) -> TensorFiles | None:
    """The tensors of that kind in one file or in parts; None when there are none. Raises TrainerError when a part is missing."""
    whole = directory / f"{kind}.safetensors"
    if whole.exists():
        return open_files(directory, [whole])
    parts = sorted(directory.glob(f"{kind}-*-of-*.safetensors"))
    if not parts:
        return None
    named = re.fullmatch(rf"{re.escape(kind)}-\d+-of-(\d+)", parts[0].stem)
    count = int(named[1]) if named else 0
    expected = [part_file(directory, kind, part=part, parts=count) for part in range(count)]
    if parts != expected:
        lost = [path.name for path in expected if path not in parts] or [path.name for path in parts if path not in expected]
        raise TrainerError(f"{directory}: the parts of {kind} do not belong together, see {', '.join(lost)}: was a part lost or added?")
    return open_files(directory, parts)


def open_files(source: Path, files: Iterable[Path]) -> TensorFiles:
    """The tensors in these files. Raises TrainerError for a file that is no safetensors file."""
    places: dict[str, Path] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                places.update(dict.fromkeys(file.keys(), path))
        except SafetensorError as error:
            raise TrainerError(f"{path} cannot be read: {error}. Was the checkpoint cut short?") from error
    return TensorFiles(source, places)
