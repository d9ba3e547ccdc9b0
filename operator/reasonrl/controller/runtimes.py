"""The blueprints (ReasoningRLRuntime, ClusterReasoningRLRuntime) that jobs refer to by name.

Kopf's watch fills this. A job may be met before its blueprint has been shown, so a name that is not held is asked for once before it counts
as missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from reasonrl.controller.api_client import ApiClient
from reasonrl.controller.api_errors import Forbidden, NotFound
from reasonrl.controller.kinds import CLUSTER_RUNTIME, RUNTIME, Kind
from reasonrl.controller.records import JobRecord

logger = logging.getLogger(__name__)
_MISSING_SECONDS = 10.0
_KINDS = {kind.kind: kind for kind in (RUNTIME, CLUSTER_RUNTIME)}


class Runtimes:
    """Specs by kind, namespace ("" for cluster-wide ones) and name."""

    def __init__(self, client: ApiClient, *, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._specs: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self._missing: dict[tuple[str, str, str], float] = {}

    def show(self, kind: str, body: Mapping[str, Any]) -> tuple[str, str, str]:
        """A blueprint as an event shows it; returns its place."""
        metadata = body["metadata"]
        place = (kind, str(metadata.get("namespace") or ""), str(metadata["name"]))
        self._specs[place] = dict(body.get("spec") or {})
        self._missing.pop(place, None)
        return place

    def remove(self, kind: str, body: Mapping[str, Any]) -> tuple[str, str, str]:
        metadata = body["metadata"]
        place = (kind, str(metadata.get("namespace") or ""), str(metadata["name"]))
        self._specs.pop(place, None)
        return place

    async def of_job(self, job: JobRecord) -> Mapping[str, Any] | None:
        """The spec of the blueprint that the job names; None where it names none, or one that does not exist."""
        place = place_named_by(job)
        if place is None:
            return None
        spec = self._specs.get(place)
        # What a job runs was settled when it began: a blueprint that has gone since is not asked for again.
        if spec is not None or (job.status.get("runtime") is not None) or self._missing.get(place, 0.0) > self._clock():
            return spec
        try:
            body = await self._client.get(_KINDS[place[0]], namespace=place[1] or None, name=place[2])
        except (NotFound, Forbidden) as error:
            # An operator for some namespaces need not be allowed to read what is cluster-wide.
            logger.info("%s/%s: its blueprint: %s", job.key.namespace, job.key.name, error)
            self._missing = {other: until for other, until in self._missing.items() if until > self._clock()}
            self._missing[place] = self._clock() + _MISSING_SECONDS
            return None
        return self._specs[self.show(place[0], body)]


def place_named_by(job: JobRecord) -> tuple[str, str, str] | None:
    """The kind, namespace and name of the blueprint in the job's `runtimeRef`."""
    reference = job.spec.get("runtimeRef") or {}
    kind: Kind | None = _KINDS.get(str(reference.get("kind") or CLUSTER_RUNTIME.kind))
    if kind is None or not reference.get("name"):
        return None
    return kind.kind, job.key.namespace if kind.namespaced else "", str(reference["name"])
