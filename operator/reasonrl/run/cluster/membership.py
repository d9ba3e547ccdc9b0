"""Who is in the fleet: an engine for every rollout node that Ray knows, from when it appears until it is gone.

A watcher looks at the list of nodes, starts an engine on each newcomer (aside, since that takes its time), and hands it to the fleet when
it is ready. When an engine dies and its node lives, another is started there. Where engines die again and again, the pod is asked to be
made anew; until it is, and where it cannot be (engines in trainers' pods), tries go on, far apart.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from reasonrl.rollout.engine_session import EngineLostError
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.fleet import RolloutFleet
from reasonrl.rollout.fleet_member import Presence
from reasonrl.rollout.stepping import SteppingEngine
from reasonrl.run.cluster.node_complaint import leave_complaint
from reasonrl.run.cluster.ray_session import RaySession, launch_engine

logger = logging.getLogger(__name__)

_STARTS = 5
"""Engines in a row that may fail on a node, without a task done, before its pod is asked to be made anew."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_CLOSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class EngineNode:
    """A live Ray node that is to hold an engine. `name` is its pod's role and index, and the engine's name in the fleet."""

    name: str
    node_id: str


@dataclass(eq=False, slots=True)
class _Place:
    """What is going on at a node. `failures` counts engines in a row that died or did not start; `again` is when to try the next."""

    node: EngineNode
    starting: RaySession | None = None
    joined: bool = False
    failures: int = 0
    again: float = 0.0
    gone: bool = False


def engine_nodes(nodes: Iterable[dict[str, Any]], *, resource: str) -> list[EngineNode]:
    """Of `ray.nodes()`, those alive that offer `resource`. A pod also offers that name with its index (`reasonrl_rollout_3`), which
    names the engine `rollout-3`; a node that does not goes by its id."""
    found = []
    for node in nodes:
        offered = node["Resources"]
        if node["Alive"] and resource in offered:
            indexes = [name.removeprefix(f"{resource}_") for name in offered if name.startswith(f"{resource}_")]
            role = resource.removeprefix("reasonrl_")
            found.append(EngineNode(name=f"{role}-{indexes[0] if indexes else node['NodeID'][:8]}", node_id=node["NodeID"]))
    return found


class Membership:
    """Keeps `fleet` in step with the nodes that offer `resource`, until closed.

    Nodes are looked at every `period_seconds`. An engine gets `start_seconds` to start and may be silent for `answer_seconds`; its actor
    takes `gpus` and `cpus` of its node. When the very first engines say that the job itself is wrong (RolloutError), the fleet fails
    with that; any other engine that does not start is an event (reason RolloutNotStarted) and is tried again after a pause.
    """

    def __init__(
        self,
        fleet: RolloutFleet,
        make_engine: Callable[[], SteppingEngine],
        *,
        resource: str,
        start_seconds: float,
        answer_seconds: float = 30.0,
        gpus: float = 0.0,
        cpus: float = 0.0,
        period_seconds: float = 1.0,
    ) -> None:
        self._fleet = fleet
        self._make_engine = make_engine
        self._resource = resource
        self._start_seconds = start_seconds
        self._answer_seconds = answer_seconds
        self._gpus = gpus
        self._cpus = cpus
        self._period_seconds = period_seconds
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rollout membership", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Looks no more, and gives up engines that are still starting. Those in the fleet are the fleet's to close."""
        self._closing.set()
        with self._lock:
            starting = [place.starting for place in self._places.values() if place.starting is not None]
        for session in starting:
            session.kill()
        self._thread.join(timeout=_CLOSE_SECONDS)

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                self._look(engine_nodes(_nodes(), resource=self._resource))
            except Exception:
                # The run goes on with the engines it has; whether Ray itself is gone is found out by those who use it.
                logger.exception("the rollout nodes could not be listed")
            self._closing.wait(self._period_seconds)

    def _look(self, nodes: list[EngineNode]) -> None:
        present = {node.node_id for node in nodes}
        for node_id in [node_id for node_id in self._places if node_id not in present]:
            self._forget(self._places.pop(node_id))
        for node in nodes:
            place = self._places.setdefault(node.node_id, _Place(node))
            if place.joined:
                self._notice_loss(place)
            if not place.joined and place.starting is None and time.monotonic() >= place.again:
                self._launch(place)

    def _forget(self, place: _Place) -> None:
        with self._lock:
            place.gone = True
            starting = place.starting
        if starting is not None:
            starting.kill()
        # Its successor may have the name by now.
        if place.joined and all(other.node.name != place.node.name or not other.joined for other in self._places.values()):
            self._fleet.leave(place.node.name, reason="its node is gone")

    def _notice_loss(self, place: _Place) -> None:
        state = next((member for member in self._fleet.members() if member.name == place.node.name), None)
        if state is None or state.presence is Presence.LOST:
            place.joined = False
            self._failed(place, (state and state.fault) or "it is not in the fleet")
        elif state.tasks_done:
            place.failures = 0

    def _launch(self, place: _Place) -> None:
        session = launch_engine(
            self._make_engine, node_id=place.node.node_id, answer_seconds=self._answer_seconds, cpus=self._cpus, gpus=self._gpus
        )
        with self._lock:
            place.starting = session
        threading.Thread(target=self._start, args=(place, session), name=f"start of {place.node.name}", daemon=True).start()

    def _start(self, place: _Place, session: RaySession) -> None:
        try:
            session.wait_until_ready(self._start_seconds)
        except Exception as error:  # noqa: BLE001 - whatever the making of an engine raises is told
            self._not_started(place, error)
            return
        try:
            self._fleet.join(place.node.name, session)
        except RolloutError as error:
            logger.info("%s came too late: %s", place.node.name, error)
            session.kill()
        with self._lock:
            place.starting, place.joined = None, True
            gone = place.gone
        if gone:
            self._fleet.leave(place.node.name, reason="its node is gone")

    def _not_started(self, place: _Place, error: Exception) -> None:
        with self._lock:
            place.starting = None
            unwanted = place.gone or self._closing.is_set()
        if unwanted:
            return
        name = place.node.name
        self._failed(place, str(error) if isinstance(error, EngineLostError | RolloutError) else f"{type(error).__name__}: {error}")
        outlook = "its pod is asked to be made anew" if place.failures == _STARTS else "it is tried again"
        with contextlib.suppress(RolloutError):  # The fleet may be closed by now, and nobody listens.
            self._fleet.tell("RolloutNotStarted", f"no engine on {name}: {error}; {outlook}")
            if isinstance(error, RolloutError) and not self._fleet.members():
                self._fleet.fail(error)

    def _failed(self, place: _Place, reason: str) -> None:
        place.failures += 1
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (place.failures - 1))
        place.again = time.monotonic() + pause
        logger.info("%s: failure %d on this node: %s", place.node.name, place.failures, reason)
        if place.failures == _STARTS:
            arguments = (place.node, f"{_STARTS} engines in a row ended here without a task done, the last: {reason}")
            threading.Thread(target=_complain, args=arguments, name=f"complaint to {place.node.name}", daemon=True).start()


def _complain(node: EngineNode, reason: str) -> None:
    try:
        leave_complaint(node.node_id, reason)
    except RayError as error:
        # A node that cannot even do this is soon found dead, and its pod with it.
        logger.warning("%s cannot be asked to be made anew: %s", node.name, error)


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes
