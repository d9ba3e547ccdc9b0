"""Carrying out plans and writing status: what is sent, in which order, and what happens when it is refused."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from reasonrl.api import names
from reasonrl.controller.actions import Create, Delete, Plan
from reasonrl.controller.api_errors import Conflict, NotLeading
from reasonrl.controller.apply import AT_ONCE, apply_plan, with_token
from reasonrl.controller.caches import Caches
from reasonrl.controller.children import GENERATED_TOKEN
from reasonrl.controller.metrics import Metrics
from reasonrl.controller.reconcile import Engine, reconcile, work
from reasonrl.controller.recorder import Recorder
from reasonrl.controller.records import JobKey, JobRecord, Observed, Progress
from reasonrl.controller.runtimes import Runtimes
from reasonrl.controller.status_writer import write_status
from reasonrl.controller.work_queue import WorkQueue

KEY = JobKey("a", "j")
JOBS = "/apis/reasonrl.dev/v1alpha1/namespaces/a/reasoningrljobs"
PODS = "/api/v1/namespaces/a/pods"


def job_body(version: int = 5, status: dict[str, Any] | None = None, name: str = "j") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "a", "uid": f"uid-{name}", "resourceVersion": str(version), "generation": 1}
    return {"metadata": metadata, "spec": {}, "status": status or {}}


def child(kind: str, name: str, *, uid: str = "", version: int = 1, owner: str = "uid-j") -> dict[str, Any]:
    labels = {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_JOB: "j",
        names.LABEL_JOB_UID: owner,
        names.LABEL_ROLE: "trainer",
        names.LABEL_INDEX: "0",
    }
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "a", "uid": uid or f"uid-{name}", "resourceVersion": str(version), "labels": labels},
    }


def create(kind: str, name: str) -> Create:
    return Create(kind=kind, body=child(kind, name))


class World:
    """The parts around one job `j`, on a scripted server."""

    def __init__(self, server: Any, plan: Callable[[Observed], Plan]) -> None:
        self.server = server
        self.client = server.client()
        self.caches = Caches()
        self.caches.jobs.put(job_body())
        self.queue = WorkQueue(clock=lambda: 0.0, random=lambda: 0.0)
        self.recorder = Recorder(self.client, now=lambda: 1.8e9, clock=lambda: 0.0, instance="test")
        self.metrics = Metrics()
        self.observed: list[Observed] = []

        def planned(observed: Observed) -> Plan:
            self.observed.append(observed)
            return plan(observed)

        self.engine = Engine(
            client=self.client,
            caches=self.caches,
            queue=self.queue,
            recorder=self.recorder,
            runtimes=Runtimes(self.client, clock=lambda: 0.0),
            metrics=self.metrics,
            plan=planned,
            now=lambda: 1.8e9,
            clock=lambda: 0.0,
        )

    @property
    def job(self) -> JobRecord:
        entry = self.caches.jobs.get("a", "j")
        assert entry is not None
        return entry.record

    def wrote(self) -> list[str]:
        return [f"{one.method} {one.path.rsplit('/', 1)[-1]}" for one in self.server.asked if one.method != "GET"]


def in_world(scripted: Any, story: Callable[[World], Awaitable[None]], plan: Callable[[Observed], Plan] = lambda observed: Plan()) -> None:
    async def main() -> None:
        async with scripted() as server:
            world = World(server, plan)
            try:
                async with asyncio.timeout(20):
                    await story(world)
            finally:
                await world.client.close()

    asyncio.run(main())


def echo(uid: bool = True) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(await request.json(), status=201)

    return answer


async def apply(world: World, plan: Plan) -> Any:
    return await apply_plan(world.client, world.caches, world.job, plan, now=lambda: 0.0)


def test_deletes_come_first_then_what_pods_need_then_pods(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.caches.pods.put(child("Pod", "old"))
        world.server.on("POST", ".*", echo())
        world.server.on("DELETE", ".*", world.server.say({"kind": "Status", "status": "Success"}))
        plan = Plan(
            creates=(create("Pod", "p1"), create("ConfigMap", "j-config"), create("Pod", "p2"), create("Service", "j")),
            deletes=(Delete(kind="Pod", name="old", uid="uid-old"),),
        )
        outcome = await apply(world, plan)
        assert (outcome.created, outcome.deleted, outcome.failures) == (4, 1, [])
        wrote = world.wrote()
        assert wrote[0] == "DELETE old"
        assert set(wrote[1:3]) == {"POST configmaps", "POST services"}
        assert wrote[3:] == ["POST pods", "POST pods"]

    in_world(scripted, story)


def test_the_next_look_sees_what_was_just_made_and_deleted(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.caches.pods.put(child("Pod", "now"))
        world.caches.pods.put(child("Pod", "later"))
        world.server.on("POST", ".*", echo())
        world.server.on("DELETE", f"{PODS}/now", world.server.say({"kind": "Status"}))
        ending = child("Pod", "later", version=9)
        ending["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
        world.server.on("DELETE", f"{PODS}/later", world.server.say(ending))
        deletes = (Delete(kind="Pod", name="now", uid="uid-now"), Delete(kind="Pod", name="later", uid="uid-later"))
        await apply(world, Plan(creates=(create("Pod", "p1"),), deletes=deletes))
        pods = {pod.name: pod.deleting for pod in world.caches.children(world.job, now=0.0).pods}
        assert pods == {"p1": False, "later": True}
        preconditions = [one.body["preconditions"]["uid"] for one in world.server.asked if one.method == "DELETE"]
        assert sorted(preconditions) == ["uid-later", "uid-now"]

    in_world(scripted, story)


def test_a_pod_that_is_there_already_is_adopted_if_it_is_the_jobs(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.server.on("POST", PODS, world.server.refuse(409, "AlreadyExists"))
        world.server.on("GET", f"{PODS}/p1", world.server.say(child("Pod", "p1", uid="real")))
        outcome = await apply(world, Plan(creates=(create("Pod", "p1"),)))
        assert (outcome.adopted, outcome.created, outcome.strangers) == (1, 0, [])
        assert [pod.uid for pod in world.caches.children(world.job, now=0.0).pods] == ["real"]

    in_world(scripted, story)


def test_a_pod_of_somebody_else_is_left_alone_and_told_to_the_plan(scripted: Any) -> None:
    async def story(world: World) -> None:
        theirs = {"metadata": {"name": "p1", "namespace": "a", "uid": "x", "resourceVersion": "1"}}
        world.server.on("POST", PODS, world.server.refuse(409, "AlreadyExists"))
        world.server.on("GET", f"{PODS}/p1", world.server.say(theirs))
        with pytest.raises(Conflict, match="p1"):
            await reconcile(world.engine, KEY)
        await reconcile(replace(world.engine, plan=lambda observed: world.observed.append(observed) or Plan()), KEY)
        assert world.observed[-1].children.strangers == ("p1",)
        assert world.wrote() == ["POST pods"]

    in_world(scripted, story, lambda observed: Plan(creates=(create("Pod", "p1"),)))


def test_a_delete_of_what_is_gone_or_replaced_is_done(scripted: Any) -> None:
    async def story(world: World) -> None:
        for name in ("x", "y"):
            world.caches.pods.put(child("Pod", name))
        world.server.on("DELETE", f"{PODS}/x", world.server.refuse(404, "NotFound"))
        world.server.on("DELETE", f"{PODS}/y", world.server.refuse(409, "Conflict"))
        deletes = tuple(Delete(kind="Pod", name=name, uid=f"uid-{name}") for name in ("x", "y"))
        outcome = await apply(world, Plan(deletes=deletes))
        assert outcome.failures == []
        assert len(world.caches.pods) == 0

    in_world(scripted, story)


def test_pods_are_created_many_at_a_time_within_the_bound(scripted: Any) -> None:
    async def story(world: World) -> None:
        now, most = 0, 0

        async def slow(request: web.Request) -> web.StreamResponse:
            nonlocal now, most
            now, most = now + 1, max(most, now + 1)
            await asyncio.sleep(0.01)
            now -= 1
            return web.json_response(await request.json(), status=201)

        world.server.on("POST", PODS, slow)
        world.client._slots = asyncio.Semaphore(500)
        outcome = await apply(world, Plan(creates=tuple(create("Pod", f"p{number}") for number in range(200))))
        assert outcome.created == 200
        assert 1 < most <= AT_ONCE

    in_world(scripted, story)


def test_a_refusal_by_policy_is_reported_and_not_repeated_for_each_pod(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.server.on("POST", PODS, world.server.refuse(403, "Forbidden"))
        outcome = await apply(world, Plan(creates=tuple(create("Pod", f"p{number}") for number in range(500))))
        assert outcome.failures[0].error.code == 403
        assert world.server.count("POST") <= AT_ONCE

    in_world(scripted, story)


def test_pods_wait_for_what_they_need(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.server.on("POST", ".*configmaps", world.server.refuse(422, "Invalid"))
        world.server.on("POST", PODS, echo())
        await apply(world, Plan(creates=(create("Pod", "p"), create("ConfigMap", "j-config"))))
        assert world.wrote() == ["POST configmaps"]

    in_world(scripted, story)


def test_what_the_api_server_refuses_reaches_status_and_events(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.server.on("POST", PODS, world.server.refuse(403, "Forbidden"))
        world.server.on("PATCH", f"{JOBS}/j/status", world.server.say(job_body(6)))
        with pytest.raises(Exception, match="403"):
            await reconcile(world.engine, KEY)
        patch = next(one for one in world.server.asked if one.method == "PATCH")
        assert "create Pod p1" in patch.body["status"]["message"]
        assert [pending.happening.reason for pending in world.recorder._pending.values()] == ["ApplyFailed"]

    in_world(scripted, story, lambda observed: Plan(creates=(create("Pod", "p1"),), status={"summary": "Starting"}))


def test_pods_that_could_not_be_created_are_not_counted_as_there(scripted: Any) -> None:
    """Also where the status was written first, because something was to be deleted."""
    shown = {"trainers": {"desired": 1, "created": 1, "ready": 0}}
    plan = Plan(creates=(create("Pod", "p1"),), deletes=(Delete(kind="Pod", name="old", uid="uid-old"),), status=shown)

    async def story(world: World) -> None:
        world.server.on("POST", PODS, world.server.refuse(403, "Forbidden"))
        world.server.on("DELETE", f"{PODS}/old", world.server.say({"kind": "Status"}))
        world.server.on("PATCH", f"{JOBS}/j/status", world.server.say(job_body(6, shown)), world.server.say(job_body(7)))
        with pytest.raises(Exception, match="403"):
            await reconcile(world.engine, KEY)
        first, second = [one.body["status"] for one in world.server.asked if one.method == "PATCH"]
        assert first["trainers"]["created"] == 1
        assert second["trainers"] == {"created": 0}
        assert "create Pod p1" in second["message"]

    in_world(scripted, story, lambda observed: plan)


def test_status_is_written_once_with_the_version_it_was_worked_out_from(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.server.on("PATCH", f"{JOBS}/j/status", world.server.say(job_body(6, {"summary": "Running"})))
        await reconcile(world.engine, KEY)
        await reconcile(world.engine, KEY)
        assert [one.body for one in world.server.asked] == [
            {"metadata": {"uid": "uid-j", "resourceVersion": "5"}, "status": {"summary": "Running"}}
        ]

    in_world(scripted, story, lambda observed: Plan(status={"summary": "Running"}))


def test_nothing_is_deleted_on_old_news_and_before_it_is_counted(scripted: Any) -> None:
    def plan(observed: Observed) -> Plan:
        return Plan(deletes=(Delete(kind="Pod", name="p", uid="uid-p"),), status={"failures": 1})

    async def story(world: World) -> None:
        world.caches.pods.put(child("Pod", "p"))
        world.server.on("PATCH", f"{JOBS}/j/status", world.server.refuse(409, "Conflict"), world.server.say(job_body(6, {"failures": 1})))
        world.server.on("DELETE", f"{PODS}/p", world.server.say({"kind": "Status"}))
        with pytest.raises(Conflict):
            await reconcile(world.engine, KEY)
        assert world.server.count("DELETE") == 0
        await reconcile(world.engine, KEY)
        assert world.wrote() == ["PATCH status", "PATCH status", "DELETE p"]

    in_world(scripted, story, plan)


def test_a_name_that_a_deletion_frees_at_once_is_looked_at_again(scripted: Any) -> None:
    async def story(world: World) -> None:
        queue = WorkQueue(clock=time.monotonic, random=lambda: 0.0)
        world.caches.pods.put(child("Pod", "p"))
        world.server.on("DELETE", f"{PODS}/p", world.server.say({"kind": "Status"}))
        await reconcile(replace(world.engine, queue=queue), KEY)
        assert world.caches.pods.remove(child("Pod", "p")) == set(), "the watch has nothing new to tell, so nobody else will ask for a look"
        turn = await asyncio.wait_for(queue.get(), 15)
        assert turn.key == KEY

    in_world(scripted, story, lambda observed: Plan(deletes=(Delete(kind="Pod", name="p", uid="uid-p"),), requeue_after=3600.0))


@pytest.mark.parametrize("gates", [[{"name": "kueue.x-k8s.io/admission"}], []], ids=["held back", "as asked for"])
def test_a_pod_that_a_webhook_held_back_is_looked_at_again(gates: list[dict[str, str]], scripted: Any) -> None:
    """The watch shows what the answer showed already, which is no news to anybody: the status would not say that the pod waits."""

    async def held(request: web.Request) -> web.StreamResponse:
        return web.json_response({**await request.json(), "spec": {"schedulingGates": gates}}, status=201)

    async def story(world: World) -> None:
        world.server.on("POST", PODS, held)
        await reconcile(world.engine, KEY)
        assert world.queue.numbers().delayed == len(gates)

    in_world(scripted, story, lambda observed: Plan(creates=(create("Pod", "p1"),)))


@pytest.mark.parametrize("there", [True, False])
def test_that_the_token_is_gone_is_not_believed_of_a_watch_alone(there: bool, scripted: Any) -> None:
    async def story(world: World) -> None:
        world.caches.pods.put(child("Pod", "p1"))
        held = child("Secret", "j-token") | {"data": {"token": "c2VjcmV0"}}
        answer = world.server.say(held) if there else world.server.refuse(404, "NotFound")
        world.server.on("GET", "/api/v1/namespaces/a/secrets/j-token", answer)
        await reconcile(world.engine, world.job.key)
        await reconcile(world.engine, world.job.key)
        names_seen = [[each.name for each in seen.children.objects] for seen in world.observed]
        assert names_seen == ([["j-token"]] * 2 if there else [[], []])
        assert world.server.count("GET") == (1 if there else 2), "asked only while it is missing"
        assert "c2VjcmV0" not in repr(world.observed)

    in_world(scripted, story)


def test_an_answer_is_as_old_as_it_is_whatever_is_done_to_the_clock(scripted: Any) -> None:
    async def story(world: World) -> None:
        # It came 100 s ago by the clock that is never set; the other one has jumped by a day since.
        world.caches.progress["uid-j"] = Progress(pod_uid="u", seen=1.8e9 - 86_400.0, body={}, at=-100.0)
        await reconcile(world.engine, world.job.key)
        (seen,) = world.observed
        assert seen.progress is not None
        assert seen.progress.seen == seen.now - 100.0

    in_world(scripted, story)


def test_a_job_that_went_meanwhile_is_forgotten(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.server.on("PATCH", f"{JOBS}/j/status", world.server.refuse(404, "NotFound"))
        with pytest.raises(Exception, match="404"):
            await reconcile(world.engine, KEY)
        await reconcile(world.engine, KEY)
        assert len(world.observed) == 1

    in_world(scripted, story, lambda observed: Plan(status={"summary": "Running"}))


def test_a_job_whose_time_is_over_is_deleted_by_its_uid(scripted: Any) -> None:
    async def story(world: World) -> None:
        world.server.on("DELETE", f"{JOBS}/j", world.server.say({"kind": "Status"}))
        await reconcile(world.engine, KEY)
        assert world.server.asked[0].body["preconditions"] == {"uid": "uid-j"}

    in_world(scripted, story, lambda observed: Plan(delete_job=True))


def test_one_jobs_failure_never_stops_the_others(scripted: Any, until: Any) -> None:
    looked: list[str] = []

    def plan(observed: Observed) -> Plan:
        looked.append(observed.job.key.name)
        if observed.job.key.name == "j":
            raise ValueError("a bug")
        return Plan()

    async def story(world: World) -> None:
        for number in range(5):
            world.caches.jobs.put(job_body(name=f"j{number}"))
        worker = asyncio.create_task(work(world.engine))
        for entry in world.caches.jobs:
            world.queue.add(entry.job)
        await until(lambda: len(looked) == 6)
        await until(lambda: world.queue.numbers().working == 0)
        assert not worker.done()
        assert world.queue.numbers().retries == 1
        worker.cancel()
        await asyncio.wait([worker])

    in_world(scripted, story, plan)


def test_a_worker_that_may_not_write_ends(scripted: Any) -> None:
    async def story(world: World) -> None:
        def fence() -> None:
            raise NotLeading("lost")

        engine = replace(world.engine, client=world.server.client(fence=fence))
        world.queue.add(KEY)
        with pytest.raises(NotLeading):
            await work(engine)
        await engine.client.close()

    in_world(scripted, story, lambda observed: Plan(creates=(create("Pod", "p1"), create("Pod", "p2"))))


def test_status_that_is_as_wanted_is_not_written(scripted: Any) -> None:
    async def story(world: World) -> None:
        job = replace(world.job, status={"step": 1, "conditions": [{"type": "A", "status": "True"}], "kl": 1})
        wanted = {"step": 1, "conditions": ({"type": "A", "status": "True"},), "kl": 1.0, "message": None}
        assert await write_status(world.client, job, wanted) is None
        assert world.server.asked == []

    in_world(scripted, story)


def test_order_of_many_jobs_does_not_matter_to_what_is_known_of_each() -> None:
    caches = Caches()
    bodies = [child("Pod", f"p{number}") for number in range(20)] + [child("Pod", "foreign", owner="other")]
    random.Random(1).shuffle(bodies)
    for body in bodies:
        caches.pods.put(body)
    caches.jobs.put(job_body())
    entry = caches.jobs.get("a", "j")
    assert entry is not None
    children = caches.children(entry.record, now=0.0)
    assert [pod.name for pod in children.pods] == sorted(f"p{number}" for number in range(20))
    assert children.strangers == ("foreign",)


def test_each_token_is_drawn_anew_where_the_plan_marks_it() -> None:
    body = {"kind": "Secret", "stringData": {"token": GENERATED_TOKEN, "plain": "x"}}
    first, second = with_token(body)["stringData"], with_token(body)["stringData"]
    assert first["plain"] == "x"
    assert len(first["token"]) >= 32
    assert first["token"] != second["token"]
    assert body["stringData"]["token"] == GENERATED_TOKEN


def test_other_objects_are_sent_as_they_were_planned() -> None:
    body = child("ConfigMap", "c")
    assert with_token(body) is body
