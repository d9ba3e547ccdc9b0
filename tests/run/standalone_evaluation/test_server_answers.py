"""A server that is busy, broken, silent or talks nonsense: what is asked again, how often, and what ends the evaluation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from reasonrl.rl.records import Question
from reasonrl.run.errors import RunInputError
from reasonrl.run.standalone_evaluation.sampled import Sampled, Sampling, Wanted
from reasonrl.run.standalone_evaluation.server_answers import ServerSource
from reasonrl.run.standalone_evaluation.server_client import Server, ServerError, server_url

QUESTIONS = [Question(id=f"q{index}", text=f"What is {index} + {index}?", answer=str(2 * index), source="s") for index in range(6)]
SAMPLING = Sampling(samples=2, temperature=0.7, top_p=0.9, max_response_tokens=50, seed=11)


def source(url: str, *, frame: str | None = None, system: str | None = None, **options: Any) -> ServerSource:
    settings: dict[str, Any] = {
        "api_key": "secret",
        "concurrency": 3,
        "request_seconds": 60.0,
        "retries": 3,
        "first_pause_seconds": 0.001,
        **options,
    }
    server = Server(url=url, model="m", **settings)
    return ServerSource(server=server, questions=QUESTIONS, sampling=SAMPLING, benchmark="b", frame=frame, system=system)


def all_answers(asked: ServerSource, *, questions: int = 6) -> list[Sampled]:
    wanted = [Wanted(question=index, samples=(0, 1)) for index in range(questions)]
    return [answer for batch in asked.answers(wanted) for answer in batch]


def one_answer(asked: ServerSource) -> Sampled:
    (answer,) = [answer for batch in asked.answers([Wanted(question=2, samples=(1,))]) for answer in batch]
    return answer


def test_every_sample_is_one_chat_request_with_all_settings_and_a_seed_of_its_own(serve: Any, reply: Any) -> None:
    async def answering(_: Any, body: dict[str, Any]) -> web.Response:
        return reply.chat(f"to {body['messages'][-1]['content']}", finish="length")

    served = serve(answering)
    answers = all_answers(source(served.url, system="Be brief."))
    assert sorted((each.question, each.sample) for each in answers) == [(q, s) for q in range(6) for s in range(2)]
    assert all(each.text == f"to {QUESTIONS[each.question].text}" for each in answers)
    assert {(each.length, each.finish) for each in answers} == {(7, "length")}
    path, authorization, body = served.requests[0]
    assert (path, authorization) == ("/v1/chat/completions", "Bearer secret")
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {key: body[key] for key in ("model", "temperature", "top_p", "max_tokens", "n")} == {
        "model": "m",
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 50,
        "n": 1,
    }
    assert len({each[2]["seed"] for each in served.requests}) == 12


def test_the_same_sample_is_asked_with_the_same_seed_again(serve: Any, reply: Any) -> None:
    async def answering(_: Any, body: dict[str, Any]) -> web.Response:
        return reply.chat(str(body["seed"]))

    served = serve(answering)
    assert one_answer(source(served.url)).text == one_answer(source(served.url)).text


def test_a_frame_makes_it_a_completion_of_text(serve: Any, reply: Any) -> None:
    async def answering(_: Any, body: dict[str, Any]) -> web.Response:
        return reply.completion(body["prompt"], tokens=None)

    served = serve(answering)
    answer = one_answer(source(served.url, frame="Q: {question} A:", api_key=None))
    assert (answer.text, answer.length) == ("Q: What is 2 + 2? A:", None)
    path, authorization, _ = served.requests[0]
    assert (path, authorization) == ("/v1/completions", None)


def test_thinking_that_a_server_sends_apart_is_put_before_the_answer(serve: Any, reply: Any) -> None:
    async def answering(_: Any, body: dict[str, Any]) -> web.Response:
        return reply.chat("4", reasoning_content="two and two")

    assert one_answer(source(serve(answering).url)).text == "<think>two and two</think>4"


def test_no_more_requests_than_allowed_are_under_way(serve: Any, reply: Any) -> None:
    gate = asyncio.Event()

    async def answering(served: Any, _: dict[str, Any]) -> web.Response:
        if served.at_once == 3:
            gate.set()
        await asyncio.wait_for(gate.wait(), 60)
        return reply.chat("1")

    served = serve(answering)
    all_answers(source(served.url))
    assert served.most_at_once == 3


def broken_body(_: Any) -> web.Response:
    return web.Response(text='{"choices": [{"mess', content_type="application/json")


def cut_connection(_: Any) -> web.Response:
    response = web.Response(body=b"half")
    response.headers["Content-Length"] = "4000"
    response.force_close()
    return response


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(lambda _: web.Response(status=429, headers={"Retry-After": "0.01"}), id="429"),
        pytest.param(lambda _: web.Response(status=500, text="oops"), id="500"),
        pytest.param(lambda _: web.Response(status=503), id="503"),
        pytest.param(broken_body, id="broken body"),
        pytest.param(lambda _: web.json_response({"choices": []}), id="no choice"),
        pytest.param(lambda _: web.json_response(["?"]), id="another shape"),
        pytest.param(lambda reply: reply.completion(None), id="no text"),
        pytest.param(cut_connection, id="cut connection"),
    ],
)
def test_what_may_pass_is_asked_again(serve: Any, reply: Any, failure: Callable[[Any], web.Response]) -> None:
    async def answering(served: Any, _: dict[str, Any]) -> web.Response:
        return failure(reply) if len(served.requests) < 3 else reply.chat("at last")

    served = serve(answering)
    assert one_answer(source(served.url, request_seconds=5.0)).text == "at last"
    assert len(served.requests) == 3


def test_a_server_that_hangs_costs_one_deadline_and_is_asked_again(serve: Any, reply: Any) -> None:
    async def answering(served: Any, _: dict[str, Any]) -> web.Response:
        if len(served.requests) == 1:
            await asyncio.sleep(3600)
        return reply.chat("awake")

    served = serve(answering)
    assert one_answer(source(served.url, request_seconds=0.5)).text == "awake"


def test_the_budget_of_retries_ends_and_says_what_the_server_said(serve: Any, reply: Any) -> None:
    async def answering(_: Any, body: dict[str, Any]) -> web.Response:
        return web.json_response({"error": {"message": "the GPU is on fire"}}, status=500)

    served = serve(answering)
    with pytest.raises(ServerError, match=r"'q2' of b: HTTP 500: the GPU is on fire; tried 3 times"):
        one_answer(source(served.url, retries=2))
    assert len(served.requests) == 3


def test_nobody_there_is_a_server_error(serve: Any) -> None:
    with pytest.raises(ServerError, match="tried 2 times"):
        one_answer(source("http://127.0.0.1:9/v1", retries=1))


@pytest.mark.parametrize(("status", "remedy"), [(401, "--api-key-env"), (404, "--model-name"), (400, "--template, --max-tokens")])
def test_what_no_retry_can_mend_ends_it_at_once(serve: Any, status: int, remedy: str) -> None:
    async def answering(_: Any, body: dict[str, Any]) -> web.Response:
        return web.json_response({"error": {"message": "no such thing"}}, status=status)

    served = serve(answering)
    with pytest.raises(RunInputError, match=f"HTTP {status}: no such thing.*{remedy}") as refused:
        one_answer(source(served.url))
    assert len(served.requests) == 1
    assert "secret" not in str(refused.value)


def test_a_redirect_is_not_followed_with_the_key(serve: Any) -> None:
    async def answering(_: Any, body: dict[str, Any]) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://elsewhere.example/v1"})

    served = serve(answering)
    with pytest.raises(RunInputError, match=r"redirects to 'http://elsewhere\.example/v1'"):
        one_answer(source(served.url))


def test_answers_under_way_when_another_fails_are_kept_and_none_is_begun_after(serve: Any, reply: Any) -> None:
    failed = asyncio.Event()

    async def answering(served: Any, body: dict[str, Any]) -> web.Response:
        if body["messages"][-1]["content"] == QUESTIONS[0].text:
            failed.set()
            return web.Response(status=400)
        await asyncio.wait_for(failed.wait(), 60)
        return reply.chat("kept")

    served = serve(answering)
    answers: list[Sampled] = []
    with pytest.raises(RunInputError):
        for batch in source(served.url).answers([Wanted(question=index, samples=(0,)) for index in range(6)]):
            answers += batch
    assert len(answers) == len(served.requests) - 1
    assert len(served.requests) < 6


def test_a_reader_that_stops_early_leaves_no_thread_behind(serve: Any, reply: Any) -> None:
    async def answering(_: Any, body: dict[str, Any]) -> web.Response:
        if body["messages"][-1]["content"] != QUESTIONS[0].text:
            await asyncio.sleep(3600)
        return reply.chat("first")

    batches = source(serve(answering).url).answers([Wanted(question=index, samples=(0,)) for index in range(6)])
    assert next(batches)[0].text == "first"
    batches.close()
    assert "requests" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("https://h/openai/v1/chat/completions", "https://h/openai/v1"),
    ],
)
def test_an_address_may_be_written_in_the_usual_ways(given: str, meant: str) -> None:
    assert server_url(given) == meant


@pytest.mark.parametrize("given", ["localhost:8000", "ftp://h/v1", "http://", "http://user:pw@h/v1", "http://h/v1?key=1"])
def test_an_address_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(RunInputError, match="--server"):
        server_url(given)
