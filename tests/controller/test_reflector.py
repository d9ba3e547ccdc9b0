"""The watch caches where watches break, repeat themselves, fall silent or fall behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.api import names
from reasonrl.controller.kinds import SECRET, VOLCANO_POD_GROUP
from reasonrl.controller.object_record import parse_object, same_object
from reasonrl.controller.records import JobKey, ObjectRecord
from reasonrl.controller.reflector import Reflector, WatchTimes
from reasonrl.controller.store import Store
from reasonrl.controller.work_queue import BackOff

PATH = "/api/v1/secrets"


def secret(name: str, revision: int, *, uid: str = "", content: str = "c", job: str = "j") -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "a",
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(revision),
            "labels": {
                names.LABEL_MANAGED_BY: names.MANAGED_BY,
                names.LABEL_JOB: job,
                names.LABEL_JOB_UID: "job-uid",
                names.LABEL_TEMPLATE: content,
            },
        },
        "data": {"token": "c2VjcmV0"},
    }


def listing(revision: int, *items: Any) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(revision)}, "items": list(items)}


def event(kind: str, body: Any) -> dict[str, Any]:
    return {"type": kind, "object": body}


def bookmark(revision: int) -> dict[str, Any]:
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(revision)}})


def new_store() -> Store[ObjectRecord]:
    return Store(parse_object("Secret"), same_object)


def held(store: Store[ObjectRecord]) -> dict[str, str]:
    return {entry.name: entry.record.content for entry in store}


class Following:
    """A reflector on a scripted server, and what it told."""

    def __init__(self, server: Any, **options: Any) -> None:
        self.server = server
        self.client = server.client()
        self.store = new_store()
        self.told: list[JobKey] = []
        times = WatchTimes(silence=options.pop("silence", 5.0), absent=0.01, back_off=BackOff(first=0.001, cap=0.01))
        self.reflector = Reflector(
            self.client,
            options.pop("kind", SECRET),
            self.store,
            namespace=None,
            selector="l=1",
            changed=self.told.append,
            clock=asyncio.get_running_loop().time,
            random=lambda: 0.5,
            times=times,
            **options,
        )
        self.task = asyncio.create_task(self.reflector.run())

    async def end(self) -> None:
        assert not self.task.done(), self.task
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.client.close()

    def watches(self) -> list[str]:
        return [one.query["resourceVersion"] for one in self.server.asked if "watch" in one.query]

    def lists(self) -> int:
        return sum("watch" not in one.query for one in self.server.asked)


def follow(scripted: Any, script: Callable[[Any], None], story: Callable[[Following], Any], **options: Any) -> None:
    async def main() -> None:
        async with scripted() as server:
            script(server)
            following = Following(server, **options)
            try:
                await story(following)
            finally:
                await following.end()

    asyncio.run(main())


def test_a_watch_that_breaks_goes_on_where_it_was(scripted: Any, until: Any) -> None:
    def script(server: Any) -> None:
        server.on("GET", PATH, server.say(listing(10, secret("x", 9))), watch=False)
        server.on(
            "GET",
            PATH,
            server.stream(event("ADDED", secret("y", 11)), then="cut"),
            server.stream(bookmark(15), '{"type": "ADD', then="end"),
            server.stream(event("MODIFIED", secret("x", 16, content="new")), event("DELETED", secret("y", 17)), then="hang"),
            watch=True,
        )

    async def story(following: Following) -> None:
        await until(lambda: held(following.store) == {"x": "new"})
        assert following.watches() == ["10", "11", "15"]
        assert following.lists() == 1

    follow(scripted, script, story)


@pytest.mark.parametrize("how", ["event", "answer"])
def test_after_410_a_deletion_that_nobody_saw_is_noticed_and_told(scripted: Any, until: Any, how: str) -> None:
    def script(server: Any) -> None:
        server.on(
            "GET", PATH, server.say(listing(10, secret("x", 8), secret("y", 9))), server.say(listing(50, secret("x", 8))), watch=False
        )
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
        expired = server.stream(event("ERROR", gone)) if how == "event" else server.refuse(410, "Expired")
        server.on("GET", PATH, expired, server.stream(bookmark(51), then="hang"), watch=True)

    async def story(following: Following) -> None:
        await until(lambda: held(following.store) == {"x": "c"})
        assert following.lists() == 2
        await until(lambda: following.watches() == ["10", "50"])
        # Twice for what the first list showed, once for the deletion; the second list's x was known.
        assert len(following.told) == 3

    follow(scripted, script, story)


def test_a_watch_without_a_word_is_made_again(scripted: Any, until: Any) -> None:
    def script(server: Any) -> None:
        server.on("GET", PATH, server.say(listing(10)), watch=False)
        server.on(
            "GET", PATH, server.stream(bookmark(12), then="hang"), server.stream(event("ADDED", secret("x", 13)), then="hang"), watch=True
        )

    async def story(following: Following) -> None:
        await until(lambda: held(following.store) == {"x": "c"})
        assert following.watches()[:2] == ["10", "12"]

    follow(scripted, script, story, silence=0.1)


def test_repeated_and_late_events_change_nothing(scripted: Any, until: Any) -> None:
    def script(server: Any) -> None:
        server.on("GET", PATH, server.say(listing(10)), watch=False)
        added, changed = event("ADDED", secret("x", 11)), event("MODIFIED", secret("x", 12, content="new"))
        gone = [event("ADDED", secret("y", 13)), event("DELETED", secret("y", 14))]
        server.on("GET", PATH, server.stream(added, added, changed, added, changed, *gone, *gone, bookmark(20), then="hang"), watch=True)

    async def story(following: Following) -> None:
        await until(lambda: following.reflector._since == "20")
        assert held(following.store) == {"x": "new"}
        assert len(following.told) == 4, "x came, x changed, y came, y went"

    follow(scripted, script, story)


def test_a_server_that_ends_each_watch_at_once_is_not_asked_in_a_tight_loop(scripted: Any, until: Any) -> None:
    def script(server: Any) -> None:
        server.on("GET", PATH, server.say(listing(10)), watch=False)
        server.on("GET", PATH, server.stream(), watch=True)

    async def story(following: Following) -> None:
        await until(lambda: following.reflector._failures >= 4)
        assert len(following.watches()) <= following.reflector._failures + 1

    follow(scripted, script, story)


def test_errors_while_listing_are_outlasted(scripted: Any, until: Any) -> None:
    def script(server: Any) -> None:
        bad = server.refuse(403, "Forbidden")
        server.on("GET", PATH, bad, bad, server.refuse(410, "Expired"), server.say(listing(10, secret("x", 9))), watch=False)
        server.on("GET", PATH, server.stream(then="hang"), watch=True)

    async def story(following: Following) -> None:
        await asyncio.wait_for(following.reflector.synced.wait(), 10)
        assert held(following.store) == {"x": "c"}

    follow(scripted, script, story)


def test_a_kind_that_the_cluster_lacks_counts_as_empty_until_it_comes(scripted: Any, until: Any) -> None:
    def script(server: Any) -> None:
        path = "/apis/scheduling.volcano.sh/v1beta1/podgroups"
        none = server.refuse(404, "NotFound")
        server.on("GET", path, none, none, server.say(listing(10, secret("x", 9))), watch=False)
        server.on("GET", path, server.stream(then="hang"), watch=True)

    async def story(following: Following) -> None:
        await asyncio.wait_for(following.reflector.synced.wait(), 10)
        assert held(following.store) == {}
        await until(lambda: held(following.store) == {"x": "c"})

    follow(scripted, script, story, kind=VOLCANO_POD_GROUP, optional=True)


@pytest.mark.parametrize(("code", "reason"), [(403, "Forbidden"), (404, "NotFound")])
def test_an_optional_kind_that_cannot_be_had_is_told_once_and_tried_again(
    code: int, reason: str, scripted: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="reasonrl.controller.reflector")

    def script(server: Any) -> None:
        path = "/apis/scheduling.volcano.sh/v1beta1/podgroups"
        server.on("GET", path, *[server.refuse(code, reason)] * 4, server.say(listing(10, secret("x", 9))), watch=False)
        server.on("GET", path, server.stream(then="hang"), watch=True)

    async def story(following: Following) -> None:
        await asyncio.wait_for(following.reflector.synced.wait(), 10)
        assert held(following.store) == {}
        await until(lambda: held(following.store) == {"x": "c"})
        assert following.lists() == 5
        assert sum("done without" in record.message for record in caplog.records) == 1

    follow(scripted, script, story, kind=VOLCANO_POD_GROUP, optional=True)


def test_a_right_to_an_optional_kind_that_is_taken_away_and_given_back_loses_nothing(scripted: Any, until: Any) -> None:
    def script(server: Any) -> None:
        path = "/apis/scheduling.volcano.sh/v1beta1/podgroups"
        refused = [server.refuse(403, "Forbidden")] * 20
        before, after = listing(10, secret("x", 9), secret("y", 9)), listing(20, secret("x", 9))
        server.on("GET", path, server.say(before), *refused, server.say(after), watch=False)
        server.on("GET", path, server.refuse(403, "Forbidden"), server.stream(then="hang"), watch=True)

    async def story(following: Following) -> None:
        await until(lambda: 2 <= following.lists() < 20)
        assert held(following.store) == {"x": "c", "y": "c"}, "that we may not look does not mean that there is nothing"
        await until(lambda: held(following.store) == {"x": "c"})

    follow(scripted, script, story, kind=VOLCANO_POD_GROUP, optional=True)


def test_a_kind_that_is_needed_is_waited_for(scripted: Any, until: Any) -> None:
    def script(server: Any) -> None:
        server.on("GET", PATH, *[server.refuse(403, "Forbidden")] * 20, server.say(listing(10, secret("x", 9))), watch=False)
        server.on("GET", PATH, server.stream(then="hang"), watch=True)

    async def story(following: Following) -> None:
        await until(lambda: following.lists() >= 3)
        assert following.lists() > 20 or not following.reflector.synced.is_set()
        await asyncio.wait_for(following.reflector.synced.wait(), 10)
        assert held(following.store) == {"x": "c"}

    follow(scripted, script, story)


def test_an_object_that_cannot_be_read_does_not_blind_the_watch(scripted: Any, until: Any) -> None:
    def script(server: Any) -> None:
        odd = secret("odd", 11)
        odd["metadata"]["labels"] = "not a mapping"
        server.on("GET", PATH, server.say(listing(10)), watch=False)
        server.on("GET", PATH, server.stream(event("ADDED", odd), event("ADDED", secret("x", 12)), then="hang"), watch=True)

    async def story(following: Following) -> None:
        await until(lambda: held(following.store) == {"x": "c"})

    follow(scripted, script, story)


def test_a_write_of_ours_is_held_until_the_watch_has_caught_up() -> None:
    store = new_store()
    store.put(secret("x", 10, content="old"))
    store.put_own(secret("x", 20, content="ours"))
    store.put_own(secret("new", 21))
    assert store.put(secret("x", 15, content="late")) == set()
    assert store.keep_only({"uid-x"}, 18, namespace=None) == set()
    assert held(store) == {"x": "ours", "new": "c"}
    assert store.keep_only({"uid-x"}, 25, namespace=None) == {JobKey("a", "j")}
    assert held(store) == {"x": "ours"}


def test_what_we_deleted_does_not_come_back_with_late_news() -> None:
    store = new_store()
    store.put(secret("x", 10))
    store.remove_own(namespace="a", name="x", uid="uid-x")
    assert store.put(secret("x", 11)) == set()
    assert held(store) == {}
    store.put(secret("x", 12, uid="another"))
    assert held(store) == {"x": "c"}
    assert store.remove(secret("x", 13, uid="uid-x")) == set()
    assert held(store) == {"x": "c"}


def test_secrets_are_held_without_their_content() -> None:
    store = new_store()
    store.put(secret("x", 10))
    entry = store.get("a", "x")
    assert entry is not None
    assert entry.record.data == {}


def test_a_list_of_one_namespace_says_nothing_about_another() -> None:
    store = new_store()
    store.put(secret("x", 10))
    assert store.keep_only(set(), 20, namespace="b") == set()
    assert held(store) == {"x": "c"}


HISTORY = st.lists(st.tuples(st.sampled_from(["p", "q"]), st.sampled_from(["put", "delete"]), st.integers(0, 2)), max_size=12)


@settings(max_examples=300, deadline=None)
@given(history=HISTORY, data=st.data())
def test_any_delivery_with_repeats_and_relists_ends_at_the_truth(history: list[tuple[str, str, int]], data: st.DataObject) -> None:
    """A server's history, delivered in order but with any repeats, lost stretches followed by a list, and own writes seen early."""
    store = new_store()
    truth: dict[str, dict[str, Any]] = {}
    past: list[tuple[str, dict[str, Any]]] = []
    lost = False
    births = 0
    for revision, (name, act, content) in enumerate(history, start=10):
        if act == "put":
            births += name not in truth
            uid = truth[name]["metadata"]["uid"] if name in truth else f"uid-{births}"
            body = truth[name] = secret(name, revision, uid=uid, content=str(content))
        elif name in truth:
            body = secret(name, revision, uid=truth.pop(name)["metadata"]["uid"])
        else:
            continue
        past.append((act, body))
        how = data.draw(st.sampled_from(["event", "lost", "own first", "repeat"]))
        if how == "own first":
            if act == "put":
                store.put_own(body)
            else:
                store.remove_own(namespace="a", name=name, uid=body["metadata"]["uid"])
        lost = lost or how == "lost"
        if how != "lost" and not lost:
            (store.put if act == "put" else store.remove)(body)
        if how == "repeat" and not lost:
            old_act, old = data.draw(st.sampled_from(past))
            (store.put if old_act == "put" else store.remove)(old)
        if lost and data.draw(st.booleans()):
            lost = False
            for shown in truth.values():
                store.put(shown)
            store.keep_only({shown["metadata"]["uid"] for shown in truth.values()}, revision, namespace=None)
    for shown in truth.values():
        store.put(shown)
    store.keep_only({shown["metadata"]["uid"] for shown in truth.values()}, 1000, namespace=None)
    assert held(store) == {name: body["metadata"]["labels"][names.LABEL_TEMPLATE] for name, body in truth.items()}
    assert {entry.name for entry in store.of_job(JobKey("a", "j"))} == set(truth)
