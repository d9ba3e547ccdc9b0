"""Who asked the API server for what, by its own audit log: the measure of how many calls the operator makes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.control_plane import ControlPlane


@dataclass(frozen=True, slots=True)
class Call:
    user: str
    verb: str
    resource: str
    """Plural, with `/subresource` where there is one."""
    namespace: str
    name: str
    code: int


@dataclass(frozen=True, slots=True)
class AuditTrail:
    """The audit log from a place on. A call is in it once it is answered, a watch once it begins."""

    log: Path
    start: int

    @staticmethod
    def from_now(plane: ControlPlane) -> AuditTrail:
        if plane.audit_log is None:
            raise ValueError("this control plane writes no audit log: start it with audit=True")
        return AuditTrail(plane.audit_log, plane.audit_log.stat().st_size)

    def calls(self, *, user: str = "", namespace: str = "") -> list[Call]:
        """Calls since then, oldest first; of one user and in one namespace if said."""
        return [call for call in self._read() if (not user or call.user == user) and (not namespace or call.namespace == namespace)]

    def count(self, *, user: str = "", namespace: str = "") -> Counter[str]:
        """How many calls by verb and resource: `{"create pods": 8, "patch reasoningrljobs/status": 3}`."""
        return Counter(f"{call.verb} {call.resource}" for call in self.calls(user=user, namespace=namespace))

    def _read(self) -> Iterator[Call]:
        with self.log.open("rb") as lines:
            # The API server writes its log in blocks: a trail may begin in the middle of a line, which belongs to what was before.
            lines.seek(max(0, self.start - 1))
            if self.start:
                lines.readline()
            for line in lines:
                if line.endswith(b"\n"):
                    yield from _call(json.loads(line))


def _call(event: dict[str, Any]) -> Iterator[Call]:
    target = event.get("objectRef")
    if target is None or event["stage"] not in ("ResponseComplete", "ResponseStarted"):
        return
    # A request that is not a stream has one line; a watch has one when it starts and one when it ends, of which the first counts.
    if event["verb"] == "watch" and event["stage"] == "ResponseComplete":
        return
    subresource = target.get("subresource", "")
    yield Call(
        user=event["user"].get("username", ""),
        verb=event["verb"],
        resource=target.get("resource", "") + (f"/{subresource}" if subresource else ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=int(event.get("responseStatus", {}).get("code", 0)),
    )
