"""What crosses the wall: a call to make, the limits that it runs under, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionReference:
    """A function in an importable module (`module`) or in a Python file (`file`): exactly one of the two."""

    name: str
    module: str | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        if (self.module is None) == (self.file is None):
            raise ValueError(f"function {self.name!r}: give either a module or a file")

    def to_wire(self) -> dict[str, str | None]:
        return {"name": self.name, "module": self.module, "file": None if self.file is None else str(self.file.resolve())}

    def __str__(self) -> str:
        return f"{self.module or self.file}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call by keyword. `optional` arguments are passed only as far as the function names them or takes `**` arguments.

    Arguments must be values that JSON can hold; others arrive as their text. `timeout_seconds` is wall-clock time, counted by the
    parent from the moment a ready worker is given the call.
    """

    function: FunctionReference
    arguments: Mapping[str, object]
    timeout_seconds: float
    optional: Mapping[str, object] = field(default_factory=dict)


class CallOutcome(StrEnum):
    """How a call ended."""

    VALUE = "value"
    ERROR = "error"
    """The function raised, or returned what JSON cannot hold."""
    TIMEOUT = "timeout"
    """The wall-clock limit ended it, and the worker with it."""
    CRASH = "crash"
    """The worker died under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """`value` is what the function returned, when `outcome` is VALUE; `detail` says what went wrong otherwise."""

    outcome: CallOutcome
    value: object = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one worker may use. Bytes of address space, of one file, and of all files together; open file descriptors.

    The whole of its files counts only where the worker can be given a file system of its own.
    """

    memory_bytes: int = 4096 * MIB
    file_bytes: int = 16 * MIB
    directory_bytes: int = 64 * MIB
    open_files: int = 64

    def to_wire(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """Which walls this machine permits, as a worker found it. `detail` says why one is missing."""

    network: bool
    """No network but its own, which has no interface."""
    processes: bool
    """A process-id space of its own: it sees no other process, and nothing that it starts outlives it."""
    files: bool
    """The file system is read-only but for a small directory of its own; mounted secrets and other processes' files are hidden."""
    detail: str = ""
