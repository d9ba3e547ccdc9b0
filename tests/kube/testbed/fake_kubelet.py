"""Nodes for a control plane that has none: a scheduler, kubelets and a node controller in one, which play pods by the script of a test.

A thread with an event loop does the work (`pod_player`); the methods here are called from the test's own thread and return when the API
server has what they say.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from testbed import pod_status
from testbed.control_plane import FAKE_KUBELET, ControlPlane
from testbed.deadline import DeadlinePassed
from testbed.kubelet_api import KubeletApi
from testbed.loop_thread import LoopThread
from testbed.pod_player import Played, PodPlayer
from testbed.pod_script import Body, Ending, Script
from testbed.status_server import Manner, StatusServer

T = TypeVar("T")
NODES = tuple(f"node-{number}" for number in range(4))
COMMAND_SECONDS = 15.0


class FakeKubelet:
    """Plays the pods of `namespace`, or of all namespaces.

    A pod without a script starts at once and runs until it is told otherwise. `bind=False` saves the binding call; deletions then don't
    wait for the kubelet, as the API server removes an unbound pod at once. `scripts` hold for the pods that are there already, too.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        certificate_authority: Path,
        namespace: str | None = None,
        labels: str = "",
        nodes: Sequence[str] = NODES,
        bind: bool = True,
        in_flight: int = 32,
        scripts: Mapping[str, Script] | None = None,
    ) -> None:
        self.namespace = namespace
        self.nodes = tuple(nodes)
        self._thread = LoopThread("fake-kubelet")
        self._player = self._thread.call(self._begin(url, token, certificate_authority, labels, bind, in_flight, scripts or {}))

    async def _begin(
        self, url: str, token: str, certificate_authority: Path, labels: str, bind: bool, in_flight: int, scripts: Mapping[str, Script]
    ) -> PodPlayer:
        server = StatusServer()
        await server.start()
        api = KubeletApi(url, token=token, certificate_authority=certificate_authority, in_flight=in_flight)
        player = PodPlayer(api, server, namespace=self.namespace, labels=labels, nodes=self.nodes, bind=bind)
        for pattern, script in scripts.items():
            player.add_rule(pattern, script, times=None)
        following = asyncio.create_task(player.follow())
        synced = asyncio.create_task(player.synced.wait())
        await asyncio.wait({following, synced}, timeout=COMMAND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not synced.done():
            raise DeadlinePassed(f"the fake kubelet could not list pods within {COMMAND_SECONDS:g} s: {player.errors}")
        return player

    def stop(self) -> None:
        """Ends the nodes; raises what went wrong on them, so that a test cannot pass over it."""

        async def end() -> None:
            await self._player.server.stop()

        self._thread.call(end())
        self._thread.stop_after(self._player.api.close())
        if self._player.errors:
            raise ExceptionGroup("the fake kubelet failed", [error for error in self._player.errors if isinstance(error, Exception)])

    def __enter__(self) -> FakeKubelet:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What pods shall do from now on.

    def script(self, pattern: str, script: Script, *, times: int | None = None) -> None:
        """Pods made from now on whose name matches `pattern` (`*-trainer-0`, `job-rollout-?`, `namespace/*`) follow `script`; the
        newest rule that matches decides. With `times` only that many pods do: the first trainer-0 may fail and the next one run."""
        self._now(lambda player: player.add_rule(pattern, script, times=times))

    def hold(self, pattern: str) -> None:
        """Pods that match find no node until `release` of the same pattern."""
        self._now(lambda player: player.hold(pattern))

    def release(self, pattern: str) -> None:
        self._now(lambda player: player.release(pattern))

    def set_status(self, pod: str, body: Body | Callable[[float], Body] | None, *, namespace: str = "") -> None:
        """What this trainer-0 pod answers at /status from now on. A pod that replaces it starts with its own script's."""
        serving = self._find(pod, namespace).serving
        if serving is None:
            raise ValueError(f"{pod} is no trainer-0 pod by its labels: it serves no /status")
        self._now(lambda _: setattr(serving, "body", body))

    def serve(self, pod: str, manner: Manner, *, delay: float = 0.0, namespace: str = "") -> None:
        """How this trainer-0 pod answers from now on: `answer`, `error` (500), `hang`, `nonsense`; `delay` seconds late."""
        serving = self._find(pod, namespace).serving
        if serving is None:
            raise ValueError(f"{pod} is no trainer-0 pod by its labels: it serves no /status")
        serving.delay, serving.manner = delay, manner

    # What happens to pods now.

    def succeed(self, pod: str, message: str = "", *, namespace: str = "") -> None:
        """The container ends with 0 and `message` as its termination message."""
        self._end(pod, Ending(exit_code=0, message=message), namespace)

    def fail(self, pod: str, exit_code: int = 1, message: str = "", *, reason: str = "", namespace: str = "") -> None:
        """The container ends with `exit_code`; `reason` is the kubelet's (`OOMKilled`), by default `Error`."""
        self._end(pod, Ending(exit_code=exit_code, reason=reason, message=message), namespace)

    def set_ready(self, pod: str, ready: bool, *, namespace: str = "") -> None:
        """A readiness probe changes its mind."""
        played = self._find(pod, namespace)
        self._call(
            self._player.api.report(
                played.shape, pod_status.ready(played.shape, is_ready=ready, at=time.time(), reason="ContainersNotReady")
            )
        )

    def drain(self, pod: str, *, namespace: str = "") -> None:
        """An eviction by API, as `kubectl drain` does: DisruptionTarget, then deletion with grace; the script says how the container
        ends."""
        self._call(self._player.api.evict(self._find(pod, namespace).shape))

    def preempt(self, pod: str, *, namespace: str = "") -> None:
        """The scheduler wants the node for something more important."""
        self._call(self._disrupt_and_delete(self._find(pod, namespace), "PreemptionByScheduler", "preempted by a pod of higher priority"))

    def evict(self, pod: str, message: str = "The node was low on resource: memory.", *, namespace: str = "") -> None:
        """The kubelet evicts for want of a node's resource: the pod fails without a container's end."""
        self._call(self._evict(self._find(pod, namespace), message))

    def lose_node(self, node: str) -> list[str]:
        """Cuts a node off; its pods become unready, and deletions of them hang. Returns their names."""
        return [self._call(self._lose(played)) for played in self._on(node)]

    def evict_from_lost_node(self, node: str) -> None:
        """What the control plane does about five minutes later: marks the node's pods for deletion, which then hangs."""
        for played in self._on(node):
            self._call(self._disrupt_and_delete(played, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"))

    def remove_lost_node(self, node: str) -> None:
        """The node object is deleted: the pods are failed and removed by the control plane."""
        for played in self._on(node):
            self._call(self._collect(played))

    def restore_node(self, node: str) -> None:
        """The link is back: pods are ready again, and those deleted meanwhile end."""
        for played in self._on(node):
            self._call(self._player.recover(played))

    # What can be asked.

    def wait_running(self, *pods: str, namespace: str = "", deadline: float = COMMAND_SECONDS) -> None:
        for pod in pods:
            self._within(self._find(pod, namespace, deadline).running, deadline, f"{pod} running")

    def node_of(self, pod: str, *, namespace: str = "") -> str:
        return self._find(pod, namespace).node

    def made(self, pod: str, *, namespace: str = "") -> int:
        """How many pods of this name there have been."""
        return self._player.made[self._key(pod, namespace)]

    def asked(self, pod: str, *, namespace: str = "") -> int:
        """How often /status of this pod was asked."""
        serving = self._find(pod, namespace).serving
        return 0 if serving is None else serving.asked

    def pods(self) -> list[str]:
        """Names of the pods there are now."""
        return self._now(lambda player: sorted(name for _, name in player.pods))

    @property
    def calls(self) -> dict[str, int]:
        """API calls by kind: bind, status, remove, delete, evict."""
        return dict(self._player.api.calls)

    @property
    def errors(self) -> list[BaseException]:
        return list(self._player.errors)

    def register_nodes(self) -> None:
        """Makes Node objects, for who looks at the cluster with kubectl."""
        for node in self.nodes:
            self._call(self._player.api.register_node(node))

    def _key(self, pod: str, namespace: str) -> tuple[str, str]:
        place = namespace or self.namespace
        if place is None:
            raise ValueError(f"this fake kubelet plays all namespaces: say which {pod} is meant")
        return place, pod

    def _find(self, pod: str, namespace: str, deadline: float = COMMAND_SECONDS) -> Played:
        """The pod of this name, waited for: a test may name one that is just being made."""
        key = self._key(pod, namespace)

        async def find() -> Played:
            async with self._player.changed:
                await self._player.changed.wait_for(lambda: key in self._player.pods)
                return self._player.pods[key]

        async def within() -> Played:
            try:
                return await asyncio.wait_for(find(), deadline)
            except TimeoutError:
                there = ", ".join(name for _, name in self._player.pods) or "none"
                raise DeadlinePassed(f"no pod {pod} within {deadline:g} s; there are: {there}; errors: {self._player.errors}") from None

        return self._thread.call(within(), deadline=deadline + 5)

    def _on(self, node: str) -> list[Played]:
        if node not in self.nodes:
            raise ValueError(f"there is no node {node}; there are {', '.join(self.nodes)}")
        return self._now(lambda player: [played for played in player.pods.values() if played.node == node])

    def _end(self, pod: str, ending: Ending, namespace: str) -> None:
        played = self._find(pod, namespace)
        self._now(lambda _: played.orders.put_nowait(ending))
        self._within(played.ended, COMMAND_SECONDS, f"{pod} ended")

    async def _lose(self, played: Played) -> str:
        await self._player.lose(played)
        return played.shape.name

    async def _disrupt_and_delete(self, played: Played, reason: str, message: str) -> None:
        await self._player.api.report(played.shape, pod_status.disrupted(played.shape, reason=reason, message=message, at=time.time()))
        await self._player.api.delete(played.shape)

    async def _evict(self, played: Played, message: str) -> None:
        await self._player.lose(played)
        api = self._player.api
        await api.report(played.shape, pod_status.disrupted(played.shape, reason="TerminationByKubelet", message=message, at=time.time()))
        await api.report(played.shape, pod_status.lost(played.shape, reason="Evicted", message=message))

    async def _collect(self, played: Played) -> None:
        api = self._player.api
        message = "PodGC: node no longer exists"
        await api.report(played.shape, pod_status.disrupted(played.shape, reason="DeletionByPodGC", message=message, at=time.time()))
        await api.report(played.shape, pod_status.lost(played.shape, reason="", message=message))
        await api.remove(played.shape)

    def _within(self, event: asyncio.Event, deadline: float, what: str) -> None:
        async def wait() -> None:
            try:
                await asyncio.wait_for(event.wait(), deadline)
            except TimeoutError:
                raise DeadlinePassed(f"{what}: not within {deadline:g} s; errors: {self._player.errors}") from None

        self._thread.call(wait(), deadline=deadline + 5)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.call(work, deadline=COMMAND_SECONDS + 30)

    def _now(self, do: Callable[[PodPlayer], T]) -> T:
        async def run() -> T:
            return do(self._player)

        return self._thread.call(run())


def fake_kubelet(plane: ControlPlane, *, namespace: str | None = None, **options: Any) -> FakeKubelet:
    """Nodes for `plane`; `options` are FakeKubelet's."""
    return FakeKubelet(
        plane.url, token=plane.tokens[FAKE_KUBELET], certificate_authority=plane.certificate_authority, namespace=namespace, **options
    )
