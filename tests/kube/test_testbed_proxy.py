"""The proxy of the testbed that injects faults between operator and API server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import urllib3
from testbed.client import ApiError, Client, Object
from testbed.deadline import wait_for
from testbed.fault_proxy import FaultProxy
from testbed.fault_rules import Answer, CloseWatch, Delay, DropAfter, DropBefore, DuplicateEvents, ExpireWatch
from testbed.objects import config_map


@pytest.fixture
def through(proxy: FaultProxy) -> Client:
    """The API server through the proxy."""
    return proxy.client()


class Watcher:
    """Collects a watch's events in a thread until it ends."""

    def __init__(self, events: Iterator[Object]) -> None:
        self.events: list[Object] = []
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._source = events
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        try:
            for event in self._source:
                self.events.append(event)
        except (urllib3.exceptions.HTTPError, ApiError) as error:
            self.error = error
        finally:
            self.ended.set()

    def names(self) -> list[str]:
        return [event["object"]["metadata"].get("name", "") for event in self.events]


def watch_config_maps(client: Client, api: Client, namespace: str) -> Watcher:
    version = api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")["metadata"]["resourceVersion"]
    return Watcher(client.watch("configmaps", namespace=namespace, since=version, seconds=20))


class TestFaultProxy:
    def test_passes_everything_on_when_nothing_is_injected(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        through.create(config_map("plain", key="value with ünïcode & %2F"), namespace=namespace)
        assert api.get("configmaps", "plain", namespace=namespace)["data"]["key"] == "value with ünïcode & %2F"
        assert [one["metadata"]["name"] for one in through.list("configmaps", namespace=namespace, fields="metadata.name=plain")] == [
            "plain"
        ]
        assert [(one.method, one.status) for one in proxy.requests(path=f"{namespace}/configmaps")] == [("POST", 201), ("GET", 200)]

    def test_passes_the_callers_identity_on(self, proxy: FaultProxy, namespace: str) -> None:
        with pytest.raises(ApiError) as refused:
            proxy.client("stranger").list("pods", namespace=namespace)
        assert 'User "stranger"' in refused.value.message

    def test_connection_dropped_before_the_server_had_the_request(
        self, through: Client, api: Client, namespace: str, proxy: FaultProxy
    ) -> None:
        rule = proxy.inject(DropBefore(), method="POST", path="/configmaps")
        with pytest.raises(urllib3.exceptions.ProtocolError):
            through.create(config_map("lost"), namespace=namespace)
        assert (rule.hits, api.find("configmaps", "lost", namespace=namespace)) == (1, None)
        through.create(config_map("lost"), namespace=namespace)

    def test_connection_dropped_after_the_server_did_it(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(DropAfter(), method="POST", path="/configmaps")
        with pytest.raises(urllib3.exceptions.ProtocolError):
            through.create(config_map("done"), namespace=namespace)
        assert api.find("configmaps", "done", namespace=namespace)
        with pytest.raises(ApiError) as again:
            through.create(config_map("done"), namespace=namespace)
        assert again.value.status == 409

    @pytest.mark.parametrize("status", [409, 410, 429, 500, 503])
    def test_answers_that_the_server_did_not_give(
        self, status: int, through: Client, api: Client, namespace: str, proxy: FaultProxy
    ) -> None:
        proxy.inject(Answer(status, retry_after=2), method="POST", path="/configmaps")
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        answer = urllib3.request("POST", proxy.url + path, json=config_map("refused"), retries=False)
        assert (answer.status, answer.headers["Retry-After"], answer.json()["code"]) == (status, "2", status)
        assert api.find("configmaps", "refused", namespace=namespace) is None

    def test_rules_skip_count_and_repeat_by_seed(self, through: Client, namespace: str, proxy: FaultProxy) -> None:
        def outcome() -> int:
            return through.raw("GET", f"/api/v1/namespaces/{namespace}/configmaps")[0]

        proxy.inject(Answer(500), path="/configmaps", skip=1, times=2)
        assert [outcome() for _ in range(4)] == [200, 500, 500, 200]
        runs = []
        for _ in range(2):
            proxy.clear()
            proxy.inject(Answer(503), path="/configmaps", times=None, probability=0.5, seed=3)
            runs.append([outcome() for _ in range(12)])
        assert runs[0] == runs[1]
        assert set(runs[0]) == {200, 503}

    def test_delay_holds_a_request_back(self, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(Delay(30.0), method="GET", path="/configmaps")
        impatient = Client(proxy.url, token="", timeout=0.3)
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            impatient.raw("GET", f"/api/v1/namespaces/{namespace}/configmaps")

    def test_watch_events_arrive_one_by_one(self, through: Client, api: Client, namespace: str) -> None:
        watcher = watch_config_maps(through, api, namespace)
        for name in ("a", "b"):
            api.create(config_map(name), namespace=namespace)
            wait_for(lambda name=name: name in watcher.names(), what=f"the event of {name}")

    def test_frozen_watch_stays_open_and_catches_up(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        watcher = watch_config_maps(through, api, namespace)
        wait_for(lambda: proxy.open_watches("/configmaps") == 1)
        with proxy.frozen("/configmaps"):
            api.create(config_map("late"), namespace=namespace)
            direct = watch_config_maps(api, api, namespace)
            api.create(config_map("later"), namespace=namespace)
            wait_for(lambda: direct.names() == ["later"], what="the event on a watch that is not frozen")
            assert (watcher.names(), watcher.ended.is_set()) == ([], False)
        wait_for(lambda: watcher.names() == ["late", "later"], what="what came meanwhile")

    def test_lossy_freeze_loses_events_for_good(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        watcher = watch_config_maps(through, api, namespace)
        wait_for(lambda: proxy.open_watches("/configmaps") == 1)
        with proxy.frozen("/configmaps", lose=True):
            before = proxy.lost_events
            api.create(config_map("unseen"), namespace=namespace)
            wait_for(lambda: proxy.lost_events > before, what="the lost event")
        api.create(config_map("seen"), namespace=namespace)
        wait_for(lambda: watcher.names() == ["seen"], what="only the event after the freeze")

    def test_open_watches_can_be_cut(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        watcher = watch_config_maps(through, api, namespace)
        wait_for(lambda: proxy.open_watches("/configmaps") == 1)
        assert proxy.close_watches("/configmaps") == 1
        assert watcher.ended.wait(5)
        assert watcher.error is None

    @pytest.mark.parametrize("torn", [False, True], ids=["cleanly", "inside an event"])
    def test_watch_ends_after_an_event(self, torn: bool, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(CloseWatch(events=1, torn=torn), path="/configmaps")
        watcher = watch_config_maps(through, api, namespace)
        api.create(config_map("first"), namespace=namespace)
        assert watcher.ended.wait(10)
        assert watcher.names() == ["first"]
        assert (watcher.error is not None) == torn

    def test_watch_expires_with_410(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(ExpireWatch(events=1), path="/configmaps")
        watcher = watch_config_maps(through, api, namespace)
        api.create(config_map("first"), namespace=namespace)
        assert watcher.ended.wait(10)
        assert [event["type"] for event in watcher.events] == ["ADDED", "ERROR"]
        assert watcher.events[1]["object"]["code"] == 410

    def test_watch_events_come_twice(self, through: Client, api: Client, namespace: str, proxy: FaultProxy) -> None:
        proxy.inject(DuplicateEvents(), path="/configmaps")
        watcher = watch_config_maps(through, api, namespace)
        api.create(config_map("twice"), namespace=namespace)
        wait_for(lambda: watcher.names() == ["twice", "twice"], what="the event twice")
