"""One look at one job: gather what the caches hold, plan, apply, write the status, emit events, say when to look again.

Nothing is remembered between two looks that the cluster does not hold. A look may end anywhere, by an error or by the death of the process:
the next one starts from what is there. Where a plan deletes something, the status is written first: what is deleted (a failed pod) is the
evidence for what the status counts, and must not be gone before it is counted. The write is also refused if the job has changed meanwhile,
so that nothing is deleted on old news. Otherwise the status comes after, and tells of failures too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reasonrl.api import names
from reasonrl.controller.actions import Happening, Plan
from reasonrl.controller.api_client import ApiClient
from reasonrl.controller.api_errors import ApiError, Conflict, NotFound, NotLeading
from reasonrl.controller.apply import Outcome, apply_plan, describe
from reasonrl.controller.caches import Caches
from reasonrl.controller.kinds import CONFIG_MAP, JOB, SECRET
from reasonrl.controller.metrics import Metrics
from reasonrl.controller.object_record import owner_uid
from reasonrl.controller.recorder import Recorder
from reasonrl.controller.records import Children, JobKey, JobRecord, Observed, Progress
from reasonrl.controller.runtimes import Blueprint, NoBlueprint, Runtimes
from reasonrl.controller.situation import ended
from reasonrl.controller.status_writer import write_status
from reasonrl.controller.work_queue import WorkQueue

logger = logging.getLogger(__name__)
LONGEST_LOOK = 180.0
"""Seconds for one look: beyond it the worker is free again and the job comes back later."""
_SOONEST = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What a look needs. `now` is Unix time, `clock` a steady clock."""

    client: ApiClient
    caches: Caches
    queue: WorkQueue
    recorder: Recorder
    runtimes: Runtimes
    metrics: Metrics
    plan: Callable[[Observed], Plan]
    now: Callable[[], float]
    clock: Callable[[], float]


async def reconcile(engine: Engine, key: JobKey) -> None:
    """Looks at the job once. ApiError where something failed that is to be tried again."""
    held = engine.caches.jobs.get(key.namespace, key.name)
    if held is None:
        engine.caches.forget(key, None)
        return
    job = held.record
    now = engine.now()
    children = await _children(engine, job, now=now)
    blueprint = await engine.runtimes.of_job(job, settled=any(each.kind == CONFIG_MAP.kind for each in children.objects))
    known = blueprint if isinstance(blueprint, Blueprint) else None
    observed = Observed(
        job=job,
        children=children,
        progress=_progress(engine, job, now=now),
        runtime=known.spec if known is not None else None,
        runtime_version=known.version if known is not None else None,
        runtime_forbidden=isinstance(blueprint, NoBlueprint) and blueprint.forbidden,
        now=now,
    )
    plan = engine.plan(observed)
    status_first = bool(plan.deletes) or plan.delete_job
    if status_first:
        job = await _write_status(engine, job, plan.status)
    outcome = await apply_plan(engine.client, engine.caches, job, plan, now=engine.now)
    if not status_first or (plan.status is not None and (outcome.failures or outcome.strangers)):
        job = await _write_status(engine, job, _with_failures(engine, job, plan.status, outcome))
    for happening in plan.happenings:
        engine.recorder.emit(job, happening)
    if outcome.failures:
        engine.recorder.emit(job, Happening(type="Warning", reason="ApplyFailed", message=describe(outcome.failures)))
        raise outcome.failures[0].error
    if outcome.strangers:
        # Who is in the way is told to `plan` by the caches at the next look.
        raise Conflict(f"{key.namespace}/{key.name}: objects of another owner are in the way: {', '.join(sorted(outcome.strangers))}")
    if plan.delete_job:
        await engine.client.delete(JOB, namespace=key.namespace, name=key.name, uid=job.uid)
    elif outcome.gone or outcome.news:
        engine.queue.add_after(key, _SOONEST)
    elif plan.requeue_after is not None:
        engine.queue.add_after(key, max(_SOONEST, plan.requeue_after))


def _progress(engine: Engine, job: JobRecord, *, now: float) -> Progress | None:
    """The run's last answer, as old as it really is, whatever has been done to the clock since."""
    progress = engine.caches.progress.get(job.uid)
    if progress is None or progress.at is None:
        return progress
    return replace(progress, seen=now - (engine.clock() - progress.at))


async def _children(engine: Engine, job: JobRecord, *, now: float) -> Children:
    """What the caches hold, but for one thing: pods without the Secret of their token are all made anew, so that it is gone is not believed
    of a watch that may lag behind the one of pods."""
    children = engine.caches.children(job, now=now)
    name = names.token_name(job.key.name)
    if not children.pods or any(each.kind == SECRET.kind and each.name == name for each in children.objects):
        return children
    try:
        held = await engine.client.get(SECRET, namespace=job.key.namespace, name=name)
    except NotFound:
        return children
    if owner_uid(held["metadata"]) == job.uid:
        engine.caches.store_of(SECRET).put_own(held)
    else:
        engine.caches.refuse(job.key, name, now=now)
    return engine.caches.children(job, now=now)


async def _write_status(engine: Engine, job: JobRecord, wanted: Mapping[str, Any] | None) -> JobRecord:
    """The job as it is known after the write."""
    if wanted is None:
        return job
    try:
        answer = await write_status(engine.client, job, wanted)
    except NotFound:
        # The job went, and the watch has not said so yet.
        engine.caches.jobs.remove_own(namespace=job.key.namespace, name=job.key.name, uid=job.uid)
        raise
    if answer is None:
        return job
    engine.metrics.count_transition(job, wanted, engine.now())
    engine.caches.jobs.put_own(answer)
    held = engine.caches.jobs.get(job.key.namespace, job.key.name)
    return held.record if held is not None and held.uid == job.uid else job


def _with_failures(engine: Engine, job: JobRecord, status: Mapping[str, Any] | None, outcome: Outcome) -> Mapping[str, Any] | None:
    """The status with what went wrong, and without pods that were to be created and are not there."""
    if status is None or not (outcome.failures or outcome.strangers):
        return status
    pods = [pod for pod in engine.caches.children(job, now=engine.now()).pods if not pod.deleting and not ended(pod)]
    counts = {
        f"{role}s": {**status[f"{role}s"], "created": sum(pod.role == role for pod in pods)} for role in names.ROLES if f"{role}s" in status
    }
    told = {"message": describe(outcome.failures)[:1024]} if outcome.failures else {}
    return {**status, **counts, **told}


async def work(engine: Engine) -> None:
    """One worker: takes jobs from the queue for ever. What goes wrong with one job is that job's alone; only NotLeading ends it."""
    while True:
        turn = await engine.queue.get()
        engine.metrics.queue_seconds.observe(turn.waited)
        started = engine.clock()
        result = "ok"
        try:
            async with asyncio.timeout(LONGEST_LOOK):
                await reconcile(engine, turn.key)
            engine.queue.forget(turn.key)
        except NotLeading:
            raise
        except (Conflict, NotFound) as error:
            result = "stale"
            logger.info("%s/%s: %s", turn.key.namespace, turn.key.name, error)
            engine.queue.add_failed(turn.key)
        except (ApiError, TimeoutError) as error:
            result = "error"
            wait = engine.queue.add_failed(turn.key)
            logger.warning("%s/%s: again in %.1f s: %s", turn.key.namespace, turn.key.name, wait, error or "took too long")
        except Exception as error:
            result = "bug"
            logger.exception("%s/%s: a look at it failed", turn.key.namespace, turn.key.name)
            engine.queue.add_failed(turn.key)
            held = engine.caches.jobs.get(turn.key.namespace, turn.key.name)
            if held is not None:
                message = f"the operator could not work out what to do: {type(error).__name__}; its log has more"
                engine.recorder.emit(held.record, Happening(type="Warning", reason="ReconcileFailed", message=message))
        finally:
            engine.queue.done(turn.key)
            engine.metrics.reconcile_seconds.labels(result).observe(engine.clock() - started)
