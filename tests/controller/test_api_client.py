"""Deadlines, retries, patience and errors of the API client, against a server that answers as told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.aio.client.configuration import Configuration

from reasonrl.controller.api_client import ApiClient, Patience
from reasonrl.controller.api_errors import AlreadyExists, ApiError, Conflict, Forbidden, Gone, Invalid, NoAnswer, NotFound, NotLeading
from reasonrl.controller.kinds import POD

POD_PATH = "/api/v1/namespaces/a/pods"
BODY = {"metadata": {"name": "x"}}


def run(scripted: Callable[[], Any], story: Callable[[Any], Any]) -> Any:
    async def main() -> Any:
        async with scripted() as server:
            return await story(server)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
    ],
)
def test_an_answer_that_stays_the_same_is_not_asked_for_again(scripted: Any, code: int, reason: str, error: type[ApiError]) -> None:
    async def story(server: Any) -> int:
        server.on("POST", POD_PATH, server.refuse(code, reason))
        client = server.client()
        with pytest.raises(error) as caught:
            await client.create(POD, BODY, namespace="a")
        assert type(caught.value) is error
        assert "scripted" in str(caught.value)
        await client.close()
        return int(server.count("POST"))

    assert run(scripted, story) == 1


@pytest.mark.parametrize("fault", ["500", "503", "429", "cut"])
def test_faults_that_pass_are_outlasted(scripted: Any, fault: str) -> None:
    async def story(server: Any) -> None:
        bad = server.cut() if fault == "cut" else server.refuse(int(fault), "InternalError")
        server.on("POST", POD_PATH, bad, bad, server.say({"metadata": {"uid": "1"}}, 201))
        counted: list[tuple[str, str, str]] = []
        client = server.client(count=lambda verb, kind, code, seconds: counted.append((verb, kind, code)))
        assert await client.create(POD, BODY, namespace="a") == {"metadata": {"uid": "1"}}
        code = "none" if fault == "cut" else fault
        assert counted == [("create", "Pod", code), ("create", "Pod", code), ("create", "Pod", "201")]
        await client.close()

    run(scripted, story)


def test_the_budget_of_retries_ends(scripted: Any) -> None:
    async def story(server: Any) -> None:
        server.on("POST", POD_PATH, server.refuse(500, "InternalError"))
        client = server.client()
        with pytest.raises(ApiError, match="500"):
            await client.create(POD, BODY, namespace="a")
        assert server.count("POST") == 5
        await client.close()

    run(scripted, story)


def test_retry_after_is_waited_for(scripted: Any) -> None:
    async def story(server: Any) -> float:
        server.on("GET", f"{POD_PATH}/x", server.refuse(429, "TooManyRequests", {"Retry-After": "1"}), server.say({}))
        client = server.client()
        started = asyncio.get_running_loop().time()
        await client.get(POD, namespace="a", name="x")
        await client.close()
        return asyncio.get_running_loop().time() - started

    assert run(scripted, story) >= 1.0


def test_a_retry_after_beyond_the_deadline_is_not_slept_through(scripted: Any) -> None:
    async def story(server: Any) -> None:
        server.on("GET", f"{POD_PATH}/x", server.refuse(429, "TooManyRequests", {"Retry-After": "3600"}))
        client = server.client()
        with pytest.raises(ApiError) as caught:
            await client.get(POD, namespace="a", name="x")
        assert caught.value.retry_after == 3600
        assert server.count("GET") == 1
        await client.close()

    run(scripted, story)


def test_a_server_that_never_answers_costs_one_deadline(scripted: Any) -> None:
    async def story(server: Any) -> None:
        server.on("GET", ".*", server.hang())
        client = server.client()
        with pytest.raises(NoAnswer):
            await client.get(POD, namespace="a", name="x", patience=Patience(deadline=0.3, attempt=0.1, attempts=10))
        await client.close()

    run(scripted, story)


def test_pages_are_followed_and_metadata_alone_can_be_asked_for(scripted: Any) -> None:
    async def story(server: Any) -> None:
        first = {"metadata": {"resourceVersion": "5", "continue": "next"}, "items": [1]}
        server.on("GET", "/api/v1/pods", server.say(first), server.say({"metadata": {"resourceVersion": "5"}, "items": [2]}))
        client = server.client()
        pages = [page["items"] async for page in client.list_pages(POD, namespace=None, selector="a=b", page=1, metadata_only=True)]
        assert pages == [[1], [2]]
        assert [one.query.get("continue") for one in server.asked] == [None, "next"]
        assert {one.query["labelSelector"] for one in server.asked} == {"a=b"}
        assert all("PartialObjectMetadataList" in one.accept for one in server.asked)
        await client.close()

    run(scripted, story)


def test_a_fenced_process_writes_nothing_but_reads(scripted: Any) -> None:
    async def story(server: Any) -> None:
        server.on("GET", ".*", server.say({}))

        def fence() -> None:
            raise NotLeading("no")

        client = server.client(fence=fence)
        for write in (
            client.create(POD, BODY, namespace="a"),
            client.patch(POD, BODY, namespace="a", name="x"),
            client.delete(POD, namespace="a", name="x", uid="1"),
        ):
            with pytest.raises(NotLeading):
                await write
        await client.get(POD, namespace="a", name="x")
        assert [one.method for one in server.asked] == ["GET"]
        await client.close()

    run(scripted, story)


def test_the_fence_is_asked_again_before_each_attempt(scripted: Any) -> None:
    async def story(server: Any) -> None:
        server.on("POST", POD_PATH, server.refuse(500, "InternalError"))
        passed = []

        def fence() -> None:
            passed.append(1)
            if len(passed) > 2:
                raise NotLeading("lost meanwhile")

        client = server.client(fence=fence)
        with pytest.raises(NotLeading):
            await client.create(POD, BODY, namespace="a")
        assert server.count("POST") == 2
        await client.close()

    run(scripted, story)


def test_refused_credentials_are_read_again_once_for_all(scripted: Any) -> None:
    async def story(server: Any) -> None:
        refuse, allow = server.refuse(401, "Unauthorized"), server.say({})

        async def by_token(request: Any) -> Any:
            return await (allow if request.headers.get("Authorization") == "Bearer new" else refuse)(request)

        server.on("GET", ".*", by_token)
        logins = []

        async def log_in_again() -> Configuration:
            logins.append(1)
            return Configuration(host=server.url, api_key={"BearerToken": "Bearer new"})

        client = server.client(log_in_again=log_in_again)
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(client.get(POD, namespace="a", name=f"x{number}"))
        assert len(logins) == 1
        await client.close()

    run(scripted, story)


def test_calls_in_flight_are_bounded(scripted: Any) -> None:
    async def story(server: Any) -> int:
        now, most = 0, 0
        allow = server.say({})

        async def slow(request: Any) -> Any:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.005)
            now -= 1
            return await allow(request)

        server.on("GET", ".*", slow)
        client = server.client(in_flight=3)
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(client.get(POD, namespace="a", name=f"x{number}"))
        await client.close()
        return most

    assert run(scripted, story) == 3


def test_the_proxy_of_the_environment_is_used_but_not_where_it_is_excepted(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(server: Any) -> None:
        server.on("GET", ".*", server.say({}))
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "inside.example")
        through = ApiClient(Configuration(host="http://outside.example"), random=lambda: 0.5)
        await through.get(POD, namespace="a", name="x")
        assert server.count("GET") == 1
        direct = ApiClient(Configuration(host="http://inside.example:1"), random=lambda: 0.5, patience=Patience(attempts=1, attempt=0.5))
        with pytest.raises(NoAnswer):
            await direct.get(POD, namespace="a", name="x")
        assert server.count("GET") == 1
        await through.close()
        await direct.close()

    run(scripted, story)
