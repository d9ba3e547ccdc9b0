"""What `plan` wants done: plain data, so that a plan can be compared, printed and tested without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """`body` is the whole object, name, labels and owner reference included."""

    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """`uid` is a precondition: an object of the same name that came later stays. `grace_seconds` None is the object's own."""

    kind: str
    name: str
    uid: str
    grace_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A JSON merge patch."""

    kind: str
    name: str
    uid: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A Kubernetes event to emit, after the status that it belongs to is written."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`status` is the whole status as it should be (the executor writes it only when it differs), None to leave it. Deletions are carried
    out before creations. `requeue_after` seconds from now the job is looked at again even if nothing happens; None is never.
    `delete_job` says that the job's time to live is over."""

    creates: tuple[Create, ...] = ()
    deletes: tuple[Delete, ...] = ()
    patches: tuple[Patch, ...] = ()
    status: Mapping[str, Any] | None = None
    happenings: tuple[Happening, ...] = ()
    requeue_after: float | None = None
    delete_job: bool = False
