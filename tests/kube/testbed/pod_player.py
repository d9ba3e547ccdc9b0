"""The life of pods on nodes that don't exist: each pod is bound, started, ended and removed as its script and the test's commands say.

Runs inside one event loop; `FakeKubelet` is its face for tests. One task a pod, three API calls in a whole life besides the binding:
one status for Running, one for the end, one removal after a deletion.
"""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from reasonrl.api import names
from testbed import pod_status
from testbed.kubelet_api import Expired, KubeletApi
from testbed.pod_script import Ending, Script
from testbed.pod_status import PodShape
from testbed.status_server import Serving, StatusServer

Object = dict[str, Any]
Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class Played:
    """One pod that the player knows. `orders` carries what a test or the API server wants of it: an Ending, or None for its deletion."""

    shape: PodShape
    script: Script
    node: str
    serving: Serving | None
    orders: asyncio.Queue[Ending | None] = field(default_factory=asyncio.Queue)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    gated: bool = False
    bound: bool = False
    deleting: bool = False
    lost: bool = False
    address: str = ""
    started: float = 0.0
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> Key:
        return self.shape.namespace, self.shape.name


@dataclass(slots=True)
class _Rule:
    pattern: str
    script: Script
    left: int | None


class PodPlayer:
    """Follows the pods of a namespace (or of all) and plays them."""

    def __init__(
        self, api: KubeletApi, server: StatusServer, *, namespace: str | None, labels: str, nodes: Sequence[str], bind: bool
    ) -> None:
        self.api = api
        self.server = server
        self.pods: dict[Key, Played] = {}
        self.made: Counter[Key] = Counter()
        self.changed = asyncio.Condition()
        self.errors: list[BaseException] = []
        self.synced = asyncio.Event()
        self._namespace = namespace
        self._labels = labels
        self._nodes = itertools.cycle(nodes)
        self._bind = bind
        self._rules: list[_Rule] = []
        self._held: list[str] = []

    def add_rule(self, pattern: str, script: Script, *, times: int | None) -> None:
        """The newest rule that matches decides."""
        self._rules.insert(0, _Rule(pattern, script, times))

    def hold(self, pattern: str) -> None:
        self._held.append(pattern)

    def release(self, pattern: str) -> None:
        self._held = [held for held in self._held if held != pattern]
        for pod in self.pods.values():
            self._free_if_schedulable(pod)

    async def follow(self) -> None:
        """Lists and watches for ever."""
        while True:
            try:
                await self._list_and_watch()
            except (Expired, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                await asyncio.sleep(0.05)
            except Exception as error:
                self.errors.append(error)
                raise

    async def _list_and_watch(self) -> None:
        pods, version = await self.api.list_pods(namespace=self._namespace, labels=self._labels)
        there = {pod["metadata"]["uid"] for pod in pods}
        for played in [played for played in self.pods.values() if played.shape.uid not in there]:
            await self._forget(played)
        for pod in pods:
            await self._seen(pod)
        self.synced.set()
        while True:
            async for kind, pod in self.api.watch_pods(namespace=self._namespace, labels=self._labels, since=version):
                version = pod["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    known = self.pods.get((pod["metadata"]["namespace"], pod["metadata"]["name"]))
                    if known is not None and known.shape.uid == pod["metadata"]["uid"]:
                        await self._forget(known)
                elif kind != "BOOKMARK":
                    await self._seen(pod)

    async def _seen(self, pod: Object) -> None:
        metadata = pod["metadata"]
        key = metadata["namespace"], metadata["name"]
        played = self.pods.get(key)
        if played is not None and played.shape.uid != metadata["uid"]:
            await self._forget(played)
            played = None
        if played is None:
            played = await self._meet(pod)
        played.gated = bool(pod["spec"].get("schedulingGates"))
        self._free_if_schedulable(played)
        if "deletionTimestamp" in metadata and not played.deleting:
            played.deleting = True
            played.orders.put_nowait(None)

    async def _meet(self, pod: Object) -> Played:
        shape = pod_status.shape_of(pod)
        script = self._script_of(shape)
        labels = pod["metadata"].get("labels", {})
        leads = labels.get(names.LABEL_ROLE) == "trainer" and labels.get(names.LABEL_INDEX) == "0"
        node = pod["spec"].get("nodeName", "")
        played = Played(
            shape=shape,
            script=script,
            node=node or next(self._nodes),
            serving=Serving(body=script.status) if leads else None,
            bound=bool(node),
        )
        self.pods[played.key] = played
        self.made[played.key] += 1
        phase = pod.get("status", {}).get("phase")
        if phase not in ("Succeeded", "Failed"):
            played.task = asyncio.create_task(self._guard(played, self._live(played)))
        async with self.changed:
            self.changed.notify_all()
        return played

    def _script_of(self, shape: PodShape) -> Script:
        for rule in self._rules:
            if rule.left != 0 and _matches(rule.pattern, shape):
                if rule.left is not None:
                    rule.left -= 1
                return rule.script
        return Script()

    def _free_if_schedulable(self, pod: Played) -> None:
        if not pod.gated and not any(_matches(pattern, pod.shape) for pattern in self._held):
            pod.free.set()

    async def _forget(self, pod: Played) -> None:
        if self.pods.get(pod.key) is pod:
            del self.pods[pod.key]
        pod.gone.set()
        if pod.task is not None:
            pod.task.cancel()
        await self._withdraw(pod)

    async def _withdraw(self, pod: Played) -> None:
        if pod.address:
            await self.server.withdraw(pod.address)

    async def _guard(self, pod: Played, life: Any) -> None:
        """An error of one pod's life is kept for the test to see; the other pods go on."""
        try:
            await life
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the test that owns the player must see it
            self.errors.append(error)

    async def _live(self, pod: Played) -> None:
        script = pod.script
        if script.unschedulable or not pod.free.is_set():
            message = script.unschedulable or "0/1 nodes are available: the test holds the pod"
            if not pod.gated:
                await self.api.report(pod.shape, pod_status.unschedulable(pod.shape, message=message, at=time.time()))
            await (asyncio.Event().wait() if script.unschedulable else pod.free.wait())
        if self._bind and not pod.bound and not await self.api.bind(pod.shape, pod.node):
            return
        pod.bound = True
        if script.waiting:
            patch = pod_status.waiting(pod.shape, reason=script.waiting, message=script.waiting_message, at=time.time())
            await self.api.report(pod.shape, patch)
            while await pod.orders.get() is not None:
                pass
            await self.api.remove(pod.shape)
            return
        ordered, order = await _next(pod, script.start_after or None) if script.start_after or not pod.orders.empty() else (False, None)
        if not ordered:
            if not await self._start(pod):
                return
            await self._run_on(pod)
        else:
            await self._finish(pod, order)

    async def _start(self, pod: Played) -> bool:
        pod.started = time.time()
        pod.address = await self.server.serve(pod.serving) if pod.serving is not None else self.server.address()
        patch = pod_status.running(pod.shape, address=pod.address, ready=pod.script.ready, at=pod.started)
        done = await self.api.report(pod.shape, patch)
        pod.running.set()
        return done

    async def _run_on(self, pod: Played) -> None:
        """From Running on; also where a pod goes on whose node is back."""
        script = pod.script
        left = None if script.run_for is None else max(0.0, pod.started + script.run_for - time.time())
        ordered, order = await _next(pod, left)
        if not ordered:
            order = Ending(exit_code=script.exit_code, reason=script.reason, message=script.message)
        await self._finish(pod, order)

    async def _finish(self, pod: Played, order: Ending | None) -> None:
        """Reports the end, by `order` or by a deletion, and removes the pod once it is to be deleted."""
        script = pod.script
        deleted = order is None
        if order is None:
            _, order = await _next(pod, script.terminate_after) if script.terminate_after else (False, None)
        ending = order or Ending(exit_code=script.terminate_exit_code, message=script.terminate_message)
        await self._withdraw(pod)
        started = pod.started or time.time()
        await self.api.report(pod.shape, pod_status.ended(pod.shape, ending=ending, started=started, at=time.time()))
        pod.ended.set()
        while not deleted:
            deleted = await pod.orders.get() is None
        await self.api.remove(pod.shape)

    async def lose(self, pod: Played) -> None:
        """The node is cut off: nobody acts for the pod any more, and the control plane says that it is not ready."""
        pod.lost = True
        if pod.task is not None:
            pod.task.cancel()
        if pod.serving is not None:
            pod.serving.manner = "hang"
        if pod.running.is_set():
            await self.api.report(pod.shape, pod_status.ready(pod.shape, is_ready=False, at=time.time(), reason="NodeNotReady"))

    async def recover(self, pod: Played) -> None:
        """The node is back: its containers ran on all the time, and what was asked of it meanwhile is done now."""
        pod.lost = False
        if pod.serving is not None:
            pod.serving.manner = "answer"
        if pod.running.is_set():
            await self.api.report(pod.shape, pod_status.ready(pod.shape, is_ready=True, at=time.time()))
            pod.task = asyncio.create_task(self._guard(pod, self._run_on(pod)))
        else:
            pod.task = asyncio.create_task(self._guard(pod, self._live(pod)))


async def _next(pod: Played, seconds: float | None) -> tuple[bool, Ending | None]:
    """Whether an order came within `seconds` (None: for ever), and it."""
    try:
        return True, await asyncio.wait_for(pod.orders.get(), seconds)
    except TimeoutError:
        return False, None


def _matches(pattern: str, shape: PodShape) -> bool:
    """Patterns are of names, or of namespace/name when they have a slash."""
    name = f"{shape.namespace}/{shape.name}" if "/" in pattern else shape.name
    return fnmatch.fnmatchcase(name, pattern)
