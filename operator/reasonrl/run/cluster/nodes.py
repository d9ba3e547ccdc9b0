"""Which Ray nodes a run has, and what each is for: a pod's node offers a resource named after its role, and one with its index."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ray

from reasonrl.api.names import Role
from reasonrl.run.cluster.errors import ClusterStartError

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNode:
    """A live Ray node of a pod. `address` is where the others reach it."""

    role: Role
    index: int
    node_id: str
    address: str


def role_resource(role: Role) -> str:
    return f"reasonrl_{role}"


def index_resource(role: Role, index: int) -> str:
    return f"{role_resource(role)}_{index}"


def live_nodes(role: Role) -> list[RunNode]:
    """By index. Of two nodes with one index, the older one of which Ray has not yet missed, both are given."""
    prefix = role_resource(role) + "_"
    found = []
    listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in listed:
        index = _index(node, prefix)
        if node["Alive"] and index is not None:
            found.append(RunNode(role=role, index=index, node_id=node["NodeID"], address=node["NodeManagerAddress"]))
    return sorted(found, key=lambda node: node.index)


def _index(node: dict[str, Any], prefix: str) -> int | None:
    return next((int(name[len(prefix) :]) for name in node["Resources"] if name.startswith(prefix)), None)


def wait_for_trainers(count: int, *, seconds: float) -> list[RunNode]:
    """The trainer nodes 0 to count - 1. Raises ClusterStartError, which names those that are missing."""

    def missing(nodes: list[RunNode]) -> list[int]:
        present = {node.index for node in nodes}
        return [index for index in range(count) if index not in present]

    due = time.monotonic() + seconds
    while missing(nodes := live_nodes("trainer")):
        if time.monotonic() > due:
            names = ", ".join(f"trainer-{index}" for index in missing(nodes))
            raise ClusterStartError(f"{names} did not join within {seconds:.0f} s")
        time.sleep(_LOOK_SECONDS)
    return nodes
