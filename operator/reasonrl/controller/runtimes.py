"""The blueprints (ReasoningRLRuntime, ClusterReasoningRLRuntime) that jobs refer to by name.

Kopf's watch fills this, for the kinds that the operator may watch. A job may be met before its blueprint has been shown, so a name that is
not held is asked for once before it counts as missing. A kind without a watch (an operator for some namespaces watches nothing that is
cluster-wide) is asked for by name whenever a job needs it, and what was found is soon forgotten: nobody would tell of its edits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reasonrl.controller.api_client import ApiClient
from reasonrl.controller.api_errors import Forbidden, NotFound
from reasonrl.controller.kinds import CLUSTER_RUNTIME, RUNTIME, Kind
from reasonrl.controller.records import JobRecord

logger = logging.getLogger(__name__)
_REMEMBERED_SECONDS = 10.0
"""How long an answer counts that no watch would correct: that a blueprint is missing, or what one without a watch says."""
_KINDS = {kind.kind: kind for kind in (RUNTIME, CLUSTER_RUNTIME)}
Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """`version` is its resource version."""

    spec: Mapping[str, Any]
    version: str


@dataclass(frozen=True, slots=True)
class NoBlueprint:
    """There is none of that name, or, where it is `forbidden`, nobody let us look."""

    forbidden: bool = False


class Runtimes:
    """By kind, namespace ("" for cluster-wide ones) and name. `watched` are the kinds of which `show` and `remove` tell every change."""

    def __init__(self, client: ApiClient, *, clock: Callable[[], float], watched: frozenset[Kind] = frozenset({RUNTIME})) -> None:
        self.watched = watched
        self._client = client
        self._clock = clock
        self._held: dict[Place, Blueprint] = {}
        self._answers: dict[Place, tuple[Blueprint | NoBlueprint, float]] = {}
        self._told: set[Place] = set()

    def show(self, kind: str, body: Mapping[str, Any]) -> Place:
        """A blueprint as an event shows it; returns its place."""
        place = _place_of(kind, body)
        self._held[place] = _blueprint(body)
        self._answers.pop(place, None)
        return place

    def remove(self, kind: str, body: Mapping[str, Any]) -> Place:
        place = _place_of(kind, body)
        self._held.pop(place, None)
        return place

    async def of_job(self, job: JobRecord, *, settled: bool) -> Blueprint | NoBlueprint | None:
        """The blueprint that the job names; None where it names none. Where what the job runs is `settled`, nobody is asked for it."""
        place = place_named_by(job)
        if place is None:
            return None
        if place in self._held or settled:
            return self._held.get(place)
        answer, until = self._answers.get(place, (None, 0.0))
        if answer is None or until <= self._clock():
            answer = await self._ask(place)
            self._answers = {other: each for other, each in self._answers.items() if each[1] > self._clock()}
            if place not in self._held:
                self._answers[place] = (answer, self._clock() + _REMEMBERED_SECONDS)
        return answer

    async def _ask(self, place: Place) -> Blueprint | NoBlueprint:
        kind = _KINDS[place[0]]
        try:
            body = await self._client.get(kind, namespace=place[1] or None, name=place[2])
        except (NotFound, Forbidden) as error:
            if place not in self._told:
                self._told.add(place)
                logger.warning("a job names a blueprint that cannot be had: %s", error)
            return NoBlueprint(forbidden=isinstance(error, Forbidden))
        self._told.discard(place)
        if kind in self.watched:
            self.show(kind.kind, body)
        return _blueprint(body)


def place_named_by(job: JobRecord) -> Place | None:
    """The kind, namespace and name of the blueprint in the job's `runtimeRef`."""
    reference = job.spec.get("runtimeRef") or {}
    kind: Kind | None = _KINDS.get(str(reference.get("kind") or CLUSTER_RUNTIME.kind))
    if kind is None or not reference.get("name"):
        return None
    return kind.kind, job.key.namespace if kind.namespaced else "", str(reference["name"])


def _place_of(kind: str, body: Mapping[str, Any]) -> Place:
    metadata = body["metadata"]
    return kind, str(metadata.get("namespace") or ""), str(metadata["name"])


def _blueprint(body: Mapping[str, Any]) -> Blueprint:
    return Blueprint(dict(body.get("spec") or {}), str(body["metadata"].get("resourceVersion") or ""))
