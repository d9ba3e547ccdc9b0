"""The operator's parts put together: watches that fill the caches, the lease, and, where it is held, workers, poller and recorder.

A process that waits for the lease watches as well: when it takes over, its caches are warm and it acts at once. Everything runs in one task
group; when one part ends, all end, and the process with them: what is left half-working would look alive.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from kubernetes.aio.client.configuration import Configuration

from reasonrl.api import names
from reasonrl.controller import kinds
from reasonrl.controller.actions import Plan
from reasonrl.controller.api_client import ApiClient
from reasonrl.controller.api_errors import ApiError, Forbidden, NotFound
from reasonrl.controller.api_login import load_login
from reasonrl.controller.caches import Caches
from reasonrl.controller.health import HealthServer, LoopPulse, Vitals
from reasonrl.controller.kinds import CLUSTER_RUNTIME, RUNTIME, Kind
from reasonrl.controller.lease import Lease, steady_clock
from reasonrl.controller.metrics import Metrics
from reasonrl.controller.operator_options import Options, health_limits
from reasonrl.controller.poller import Poller, PollTimes, Target
from reasonrl.controller.reconcile import Engine, work
from reasonrl.controller.recorder import Recorder
from reasonrl.controller.records import JobKey, Observed
from reasonrl.controller.reflector import Reflector, WatchTimes
from reasonrl.controller.runtimes import Runtimes, place_named_by
from reasonrl.controller.work_queue import WorkQueue

SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
_ENDED = frozenset({"Succeeded", "Failed", "Suspended"})
_SILENT_KINDS = (kinds.SERVICE, kinds.SECRET, kinds.NETWORK_POLICY, kinds.VOLCANO_POD_GROUP, kinds.COSCHEDULING_POD_GROUP)
"""Kinds of which the metadata is enough: a Secret's content never leaves the API server."""
logger = logging.getLogger(__name__)


class EngineRoom:
    """One operator process, without the process."""

    def __init__(self, options: Options, login: Configuration, lease_login: Configuration, plan: Callable[[Observed], Plan]) -> None:
        async def log_in_again() -> Configuration:
            return await load_login(options.kubeconfig, options.context)

        self._options = options
        self.metrics = Metrics()
        count = self.metrics.count_call
        # The lease has connections of its own: renewals must not wait behind a thousand pods.
        self._lease_client = ApiClient(lease_login, random=random.random, in_flight=2, count=count, log_in_again=log_in_again)
        self.lease = Lease(
            self._lease_client,
            namespace=options.lease_namespace,
            name=options.lease_name,
            identity=options.identity,
            clock=steady_clock,
            now=time.time,
            times=options.lease,
        )
        self._client = ApiClient(
            login, random=random.random, in_flight=options.in_flight, count=count, fence=self.lease.check, log_in_again=log_in_again
        )
        self.caches = Caches()
        self.queue = WorkQueue(clock=time.monotonic, random=random.random)
        self.runtimes = Runtimes(self._client, clock=time.monotonic)
        self._recorder = Recorder(self._client, now=time.time, clock=time.monotonic, instance=options.identity)
        self._engine = Engine(
            client=self._client,
            caches=self.caches,
            queue=self.queue,
            recorder=self._recorder,
            runtimes=self.runtimes,
            metrics=self.metrics,
            plan=plan,
            now=time.time,
            clock=time.monotonic,
        )
        self._pulse = LoopPulse(time.monotonic, self._feel)
        self._reflectors = list(self._make_reflectors())
        self._health = HealthServer(vitals=self.vitals, registry=self.metrics.registry, limits=health_limits(options))
        self.metrics.follow(queue=self.queue.numbers, jobs=lambda: (entry.record for entry in self.caches.jobs))
        self._leading = False

    async def run(self) -> None:
        """Watches, waits for the lease, and acts until something ends it."""
        port = await self._health.start(self._options.health_host, self._options.health_port)
        logger.info("health and metrics on port %d", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pulse.run(), name="pulse")
                for reflector in self._reflectors:
                    group.create_task(reflector.run(), name=f"watch {reflector.kind.plural}")
                for reflector in self._reflectors:
                    await reflector.synced.wait()
                logger.info("caches are filled: %d jobs, %d pods", len(self.caches.jobs), len(self.caches.pods))
                await self.lease.acquire()
                group.create_task(self.lease.keep(), name="lease")
                self._leading = True
                self.metrics.leading.set(1)
                for entry in self.caches.jobs:
                    self.queue.add(entry.job)
                group.create_task(self._recorder.run(), name="recorder")
                group.create_task(self._poller().run(), name="poller")
                for number in range(self._options.workers):
                    group.create_task(work(self._engine), name=f"worker {number}")
        finally:
            self._leading = False
            self.metrics.leading.set(0)

    async def close(self) -> None:
        """After `run` has ended: writes the last events, gives the lease back, closes the connections."""
        if self.lease.held:
            await self._recorder.flush(1.0)
            await self.lease.release()
        await self._health.stop()
        await self._client.close()
        await self._lease_client.close()

    async def blueprints_to_watch(self) -> list[Kind]:
        """The kinds of blueprint that the operator may watch. One that it may not watch, or that the cluster lacks, is no reason not to
        begin: what a job names of it is asked for by name."""
        namespaces = self._options.namespaces
        watched = [kind for kind in ((RUNTIME,) if namespaces else (RUNTIME, CLUSTER_RUNTIME)) if await self._may_list(kind)]
        self.runtimes.watched = frozenset(watched)
        return watched

    async def _may_list(self, kind: Kind) -> bool:
        try:
            for namespace in self._options.namespaces or (None,):
                async for _ in self._client.list_pages(kind, namespace=namespace, page=1, metadata_only=True):
                    break
        except (Forbidden, NotFound) as error:
            logger.warning("blueprints of kind %s are asked for by name, as they cannot be watched: %s", kind.kind, error)
            return False
        except ApiError as error:
            logger.info("%s", error)
        return True

    def runtime_changed(self, place: tuple[str, str, str]) -> None:
        """A blueprint came, changed or went: the jobs that name it are looked at."""
        if self._leading:
            for entry in self.caches.jobs:
                if place_named_by(entry.record) == place:
                    self.queue.add(entry.job)

    def vitals(self) -> Vitals:
        now = time.monotonic()
        watches: dict[str, float] = {}
        for reflector in self._reflectors:
            watches[reflector.kind.plural] = max(watches.get(reflector.kind.plural, 0.0), now - reflector.last_heard)
        return Vitals(
            loop=now - self._pulse.last,
            watches=watches,
            queue=self.queue.numbers(),
            lease=self.lease.age,
            unsynced=tuple(sorted({reflector.kind.plural for reflector in self._reflectors if not reflector.synced.is_set()})),
        )

    def _feel(self, late: float) -> None:
        self.metrics.loop_lag.set(late)
        self.metrics.events_dropped.set(self._recorder.dropped)

    def _job_changed(self, job: JobKey) -> None:
        if self._leading:
            self.queue.add(job)

    def _child_changed(self, job: JobKey) -> None:
        # The pods of a job change together: one look a moment later serves for all.
        if self._leading:
            self.queue.add_after(job, self._options.settle)

    def _make_reflectors(self) -> Iterator[Reflector[Any]]:
        times = WatchTimes(silence=self._options.silence)
        common: dict[str, Any] = {"clock": time.monotonic, "random": random.random, "times": times}
        for namespace in self._options.namespaces or (None,):
            place = {**common, "namespace": namespace}
            yield Reflector(self._client, kinds.JOB, self.caches.jobs, selector="", changed=self._job_changed, **place)
            for kind in kinds.CHILD_KINDS:
                yield Reflector(
                    self._client,
                    kind,
                    self.caches.store_of(kind),
                    selector=SELECTOR,
                    changed=self._child_changed,
                    metadata_only=kind in _SILENT_KINDS,
                    optional=kind in kinds.OPTIONAL_KINDS,
                    **place,
                )

    def _poller(self) -> Poller:
        return Poller(
            targets=self._running,
            progress=self.caches.progress,
            news=self._job_changed,
            now=time.time,
            clock=time.monotonic,
            random=random.random,
            count=lambda result: self.metrics.polls.labels(result).inc(),
            times=PollTimes(interval=self._options.poll),
        )

    def _running(self) -> Iterator[Target]:
        for entry in self.caches.jobs:
            job = entry.record
            if job.deleting or job.status.get("summary") in _ENDED:
                continue
            held = self.caches.pods.get(job.key.namespace, names.pod_name(job.key.name, "trainer", 0))
            if held is None or held.job_uid != job.uid:
                continue
            pod = held.record
            if pod.phase == "Running" and pod.address and not pod.deleting and pod.ended is None:
                yield Target(job=job.key, job_uid=job.uid, pod_uid=pod.uid, address=pod.address)
