"""What can go wrong between operator and API server, and the rules that say when it does."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DropBefore:
    """The connection breaks before the server has the request."""


@dataclass(frozen=True, slots=True)
class DropAfter:
    """The server does it, and the connection breaks before its answer arrives: the caller cannot know."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that the server did not give: 409, 410, 429 (with `retry_after` seconds), 500, 503, 504, …"""

    status: int
    reason: str = ""
    message: str = "injected by a test"
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """The request waits `seconds` before it goes on to the server."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CloseWatch:
    """The stream ends after `events` events, cleanly or in the middle of an event (`torn`)."""

    events: int = 0
    torn: bool = False


@dataclass(frozen=True, slots=True)
class ExpireWatch:
    """After `events` events the stream says 410 Gone, as when the watch fell too far behind."""

    events: int = 0


@dataclass(frozen=True, slots=True)
class DuplicateEvents:
    """Each event comes `copies` times."""

    copies: int = 2


Fault = DropBefore | DropAfter | Answer | Delay | CloseWatch | ExpireWatch | DuplicateEvents


@dataclass(slots=True)
class Rule:
    """`fault` happens to requests of `method` (any by default) whose path matches the regular expression `path`; only to watches, or
    never to them, if `watch` says so. The first `skip` that match pass; then `times` of them (None: all) are hit, each with
    `probability`, drawn from `seed` so that a run can be repeated."""

    fault: Fault
    method: str = ""
    path: str = ""
    watch: bool | None = None
    skip: int = 0
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0
    hits: int = 0
    """How often it struck."""
    _passed: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        if isinstance(self.fault, CloseWatch | ExpireWatch | DuplicateEvents):
            self.watch = True

    def strikes(self, *, method: str, path: str, watch: bool) -> bool:
        """Whether this request is hit; counts it."""
        if self.times is not None and self.hits >= self.times:
            return False
        if (self.method and method != self.method) or (self.watch is not None and watch != self.watch) or not re.search(self.path, path):
            return False
        if self._passed < self.skip:
            self._passed += 1
            return False
        if self._random.random() >= self.probability:
            return False
        self.hits += 1
        return True
