"""Carries out a plan's deletes, creates and patches, many at a time, and puts the answers into the caches.

Every step may be repeated: an object is created under a name known before, so that AlreadyExists is a question (whose is it?) and not a
failure; a delete names the UID, so that it never meets a later object of the same name. Deletes come first, then what pods need, then pods.
A step that fails does not keep the others from being tried; all failures are reported together.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reasonrl.controller import kinds
from reasonrl.controller.actions import Create, Delete, Patch, Plan
from reasonrl.controller.api_client import ApiClient
from reasonrl.controller.api_errors import AlreadyExists, ApiError, Conflict, NotFound, NotLeading
from reasonrl.controller.caches import Caches
from reasonrl.controller.children import GENERATED_TOKEN
from reasonrl.controller.kinds import kind_of
from reasonrl.controller.object_record import owner_uid
from reasonrl.controller.records import JobRecord

AT_ONCE = 50
"""Calls in flight for one job. The client bounds those of all jobs together."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A step that was not carried out."""

    what: str
    error: ApiError


@dataclass(slots=True)
class Outcome:
    created: int = 0
    adopted: int = 0
    deleted: int = 0
    gone: int = 0
    """Deletions that took effect at once: the watch will tell nothing new of them, so whoever waits for the name must look again."""
    news: int = 0
    """Objects that were answered with what the plan could not know (a pod that somebody's webhook holds back, an object that was there
    already): they are in the caches, so the watch will tell nothing new of them either."""
    patched: int = 0
    strangers: list[str] = field(default_factory=list)
    """Names that an object of another owner holds."""
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    client: ApiClient
    caches: Caches
    job: JobRecord
    now: Callable[[], float]
    outcome: Outcome


async def apply_plan(client: ApiClient, caches: Caches, job: JobRecord, plan: Plan, *, now: Callable[[], float]) -> Outcome:
    """Does what the plan asks for except its status, and says how far it came. NotLeading ends it at once."""
    work = _Work(client=client, caches=caches, job=job, now=now, outcome=Outcome())
    pods = [create for create in plan.creates if create.kind == kinds.POD.kind]
    others = [create for create in plan.creates if create.kind != kinds.POD.kind]
    await _each(work, plan.deletes, _delete, lambda step: f"delete {step.kind} {step.name}")
    await _each(work, plan.patches, _patch, lambda step: f"patch {step.kind} {step.name}")
    # A pod whose ConfigMap is not there yet starts a minute later: the kubelet retries its mounts slowly.
    await _each(work, others, _create, lambda step: f"create {step.kind} {step.body['metadata']['name']}")
    # Nor may it start with what somebody else keeps under that name.
    if not work.outcome.strangers and not any(failure.what.startswith("create") for failure in work.outcome.failures):
        await _each(work, pods, _create, lambda step: f"create {step.kind} {step.body['metadata']['name']}")
    return work.outcome


async def _each(work: _Work, steps: Iterable[T], do: Callable[[_Work, T], Awaitable[None]], name: Callable[[T], str]) -> None:
    waiting = list(reversed(list(steps)))
    refused: NotLeading | None = None

    async def worker() -> None:
        nonlocal refused
        while waiting:
            step = waiting.pop()
            try:
                await do(work, step)
            except NotLeading as error:
                refused = error
                waiting.clear()
            except ApiError as error:
                work.outcome.failures.append(Failure(what=name(step), error=error))
                # What is refused for one (a quota, a policy) is refused for its like: asking a thousand times more helps nobody.
                if error.code in (403, 422, 429):
                    waiting.clear()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(waiting))):
            group.create_task(worker())
    if refused is not None:
        raise refused


async def _create(work: _Work, step: Create) -> None:
    kind = kind_of(str(step.body["apiVersion"]), step.kind)
    namespace, name = work.job.key.namespace, str(step.body["metadata"]["name"])
    try:
        made = await work.client.create(kind, with_token(step.body), namespace=namespace)
        work.outcome.created += 1
    except AlreadyExists:
        made = await work.client.get(kind, namespace=namespace, name=name)
        if owner_uid(made["metadata"]) != work.job.uid:
            work.outcome.strangers.append(name)
            work.caches.refuse(work.job.key, name, now=work.now())
            return
        work.outcome.adopted += 1
        work.outcome.news += 1
    if kind is kinds.POD and (made.get("spec") or {}).get("schedulingGates"):
        work.outcome.news += 1
    work.caches.store_of(kind).put_own(made)


def with_token(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object to send. A plan is a function of what is observed, so it cannot hold a secret: it marks the place, and the token is drawn
    here, at the last moment, and kept nowhere but in the cluster."""
    text = body.get("stringData")
    if not isinstance(text, Mapping) or GENERATED_TOKEN not in text.values():
        return body
    drawn = {key: secrets.token_urlsafe(32) if value == GENERATED_TOKEN else value for key, value in text.items()}
    return {**body, "stringData": drawn}


async def _delete(work: _Work, step: Delete) -> None:
    key = work.job.key
    kind = work.caches.kind_holding(key, step.kind, step.uid)
    store = work.caches.store_of(kind)
    try:
        answer = await work.client.delete(kind, namespace=key.namespace, name=step.name, uid=step.uid, grace_seconds=step.grace_seconds)
    except (NotFound, Conflict):
        # It is gone, and what has its name now, if anything, is another.
        store.remove_own(namespace=key.namespace, name=step.name, uid=step.uid)
        work.outcome.gone += 1
        return
    work.outcome.deleted += 1
    if _still_there(answer):
        store.put_own(answer)
    else:
        store.remove_own(namespace=key.namespace, name=step.name, uid=step.uid)
        work.outcome.gone += 1


def _still_there(answer: Mapping[str, Any]) -> bool:
    """A delete is answered with the object where it ends later: after its grace period, or when its finalizers are gone."""
    metadata = answer.get("metadata") or {}
    if answer.get("kind") == "Status" or "deletionTimestamp" not in metadata:
        return False
    return bool(metadata.get("deletionGracePeriodSeconds") or metadata.get("finalizers"))


async def _patch(work: _Work, step: Patch) -> None:
    key = work.job.key
    kind = kinds.JOB if step.kind == kinds.JOB.kind else work.caches.kind_holding(key, step.kind, step.uid)
    metadata = {**(step.body.get("metadata") or {}), "uid": step.uid}
    answer = await work.client.patch(kind, {**step.body, "metadata": metadata}, namespace=key.namespace, name=step.name)
    work.outcome.patched += 1
    if kind is kinds.JOB:
        work.caches.jobs.put_own(answer)
    else:
        work.caches.store_of(kind).put_own(answer)


def describe(failures: Iterable[Failure]) -> str:
    """One line for people: what failed first, and how much more."""
    listed = list(failures)
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    return f"{listed[0].what}: {listed[0].error}{more}" if listed else ""
