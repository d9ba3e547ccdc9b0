"""Whole evaluations: what is written down, what a restart asks again, and what it refuses."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from aiohttp import web
from safetensors.torch import load_file, save_file

from reasonrl.rl.records import Question
from reasonrl.run.errors import RunInputError
from reasonrl.run.standalone_evaluation.answer_records import AnswerRecord
from reasonrl.run.standalone_evaluation.data_option import Fields, Questions, load_benchmarks
from reasonrl.run.standalone_evaluation.evaluate import Local, Outcome, Request, evaluate
from reasonrl.run.standalone_evaluation.local_answers import LocalEngine
from reasonrl.run.standalone_evaluation.model_place import find_model
from reasonrl.run.standalone_evaluation.server_client import Server, ServerError
from reasonrl.run.standalone_evaluation.setting import GradingChoice, PromptChoice


class Silent:
    """A watcher that counts what it is told."""

    def __init__(self) -> None:
        self.there = 0
        self.answers = 0

    def note(self, sentence: str) -> None: ...

    def begin(self, benchmark: str, *, answers: int, there: Sequence[AnswerRecord]) -> None:
        self.there += len(there)

    def answered(self, benchmark: str, records: Sequence[AnswerRecord]) -> None:
        self.answers += len(records)


def request(output: Path, benchmarks: Sequence[Questions], **changes: Any) -> Request:
    wanted = Request(
        benchmarks=benchmarks,
        samples=4,
        temperature=1.0,
        top_p=0.9,
        max_response_tokens=20,
        seed=5,
        prompt=PromptChoice(template="raw", text=None, system=None),
        grading=GradingChoice(require_boxed=False, timeout_seconds=30.0),
        workers=1,
        output=output,
    )
    return replace(wanted, **changes)


def sums(count: int) -> Questions:
    questions = [Question(id=f"q{index}", text=f"{index}+{index}", answer=str(2 * index), source="s") for index in range(count)]
    return Questions(name="sums", option="sums", questions=questions, digest=str(count))


def server(url: str, **changes: Any) -> Server:
    return replace(
        Server(url=url, model="m", api_key=None, concurrency=4, request_seconds=60.0, retries=0, first_pause_seconds=0.001), **changes
    )


def tiny(model: Path) -> Local:
    engine = LocalEngine(name="torch", dtype=torch.float32, max_sequences=8, memory_utilization=0.5)
    return Local(place=find_model(model), engine=engine)


def records(outcome: Outcome) -> list[dict[str, Any]]:
    lines = outcome.path.with_name("answers.jsonl").read_text().splitlines()
    return sorted((json.loads(line) for line in lines), key=lambda each: (each["benchmark"], each["question_index"], each["sample"]))


def scripted(answers: dict[str, list[str]]) -> Any:
    """A server that gives each question its answers in turn."""
    left = {question: list(texts) for question, texts in answers.items()}

    async def answering(_: Any, body: dict[str, Any]) -> web.Response:
        text = left[body["prompt"]].pop()
        finish = "length" if "…" in text else "stop"
        return web.json_response({"choices": [{"text": text, "finish_reason": finish}], "usage": {"completion_tokens": len(text)}})

    return answering


def test_the_numbers_of_a_known_set_of_answers(serve: Any, tmp_path: Path) -> None:
    answers = {
        "0+0": ["\\boxed{0}", "\\boxed{0.0}", "\\boxed{1}", "\\boxed{2}"],
        "1+1": ["\\boxed{4/2}", "\\boxed{3}", "\\boxed{3.0}", "I am still thinking about it and …"],
        "2+2": ["\\boxed{5}", "\\boxed{6}", "\\boxed{7}", "\\boxed{8}"],
    }
    served = serve(scripted(answers))
    outcome = evaluate(request(tmp_path / "out", [sums(3)]), server(served.url), watcher=Silent())
    (result,) = outcome.results
    metrics = {name: metric.value for name, metric in result.metrics.items()}
    # Right: 2, 1 and 0 of 4. Two of the wrong answers to the second question are one number, and win.
    assert metrics == {
        "avg@4": pytest.approx((0.5 + 0.25 + 0) / 3),
        "pass@1": pytest.approx((0.5 + 0.25 + 0) / 3),
        "pass@2": pytest.approx((1 - 1 / 6 + 0.5 + 0) / 3),
        "pass@4": pytest.approx(2 / 3),
        "maj@4": pytest.approx(1 / 3),
    }
    assert {name: metric.interval for name, metric in result.metrics.items()} == {
        "avg@4": "bootstrap",
        "pass@1": "bootstrap",
        "pass@2": "bootstrap",
        "pass@4": "wilson",
        "maj@4": "wilson",
    }
    right = [len(text) for text in ("\\boxed{0}", "\\boxed{0.0}", "\\boxed{4/2}")]
    assert result.correct_length_mean == pytest.approx(statistics.fmean(right))
    assert result.finished_share == pytest.approx(11 / 12)
    assert result.missing_share == pytest.approx(1 / 12)
    assert result.verdicts == {"correct": 3, "incorrect": 8, "missing": 1}
    written = json.loads(outcome.path.read_text())
    assert written["benchmarks"][0]["metrics"]["maj@4"]["questions"] == 3
    assert written["setting"]["model"] == {"name": "m", "server": served.url}


def test_an_answer_that_cannot_be_judged_is_left_out_and_counted(serve: Any, tmp_path: Path) -> None:
    questions = [Question(id="a", text="a", answer="1", source="s"), Question(id="b", text="b", answer="x" * 3000, source="s")]
    benchmark = Questions(name="odd", option="odd", questions=questions, digest="d")
    served = serve(scripted({"a": ["\\boxed{1}"], "b": ["\\boxed{1}"]}))
    outcome = evaluate(request(tmp_path / "out", [benchmark], samples=1), server(served.url), watcher=Silent())
    (result,) = outcome.results
    assert result.accuracy is not None
    assert (result.accuracy.value, result.accuracy.questions, result.unjudged) == (1.0, 1, 1)


def test_a_server_that_fails_in_the_middle_loses_nothing_and_is_asked_the_rest(serve: Any, tmp_path: Path) -> None:
    async def failing(served: Any, body: dict[str, Any]) -> web.Response:
        if len(served.requests) > 9:
            return web.Response(status=503)
        return web.json_response({"choices": [{"text": str(body["seed"]), "finish_reason": "stop"}]})

    async def working(_: Any, body: dict[str, Any]) -> web.Response:
        return web.json_response({"choices": [{"text": str(body["seed"]), "finish_reason": "stop"}]})

    served = serve(failing)
    asked = request(tmp_path / "out", [sums(5)])
    with pytest.raises(ServerError):
        evaluate(asked, server(served.url), watcher=Silent())
    served.answering = working
    before, seen = len(served.requests), Silent()
    resumed = evaluate(asked, server(served.url), watcher=seen)
    assert seen.there == 9
    assert len(served.requests) - before == 20 - 9
    found = records(resumed)
    assert [(each["question_index"], each["sample"]) for each in found] == [
        (question, sample) for question in range(5) for sample in range(4)
    ]
    # The seed says which sample it is, and those that failed were asked again with the same one.
    assert sorted(each["response"] for each in found) == sorted({str(body["seed"]) for _, _, body in served.requests})


def test_greedy_with_several_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunInputError, match="--samples = 4: at --temperature 0 every answer"):
        evaluate(request(tmp_path, [sums(1)], temperature=0.0), server("http://127.0.0.1:9/v1"), watcher=Silent())


def test_a_local_model_that_lost_answers_draws_them_again_as_they_were(tiny_model: Path, tmp_path: Path) -> None:
    benchmarks = load_benchmarks(
        ["chainedDigits:size=9,seed=2,minTerms=2,maxTerms=3"], fields=Fields(question=None, answer=None), limit=None
    )
    asked = request(tmp_path / "out", benchmarks)
    whole = evaluate(asked, tiny(tiny_model), watcher=Silent())
    before, results = records(whole), whole.path.read_bytes()
    assert len(before) == 36
    assert len({each["response"] for each in before}) > 1
    file = tmp_path / "out" / "answers.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    # What a kill leaves: a part of a task, and a torn line.
    file.write_bytes(b"".join(lines[:17]) + lines[17][:40])
    seen = Silent()
    resumed = evaluate(asked, tiny(tiny_model), watcher=seen)
    assert (seen.there, seen.answers) == (17, 19)
    assert records(resumed) == before
    assert resumed.path.read_bytes() == results


def test_a_limit_that_the_context_cannot_hold_is_refused_before_the_model_is_loaded(tiny_model: Path, tmp_path: Path) -> None:
    benchmarks = load_benchmarks(["chainedDigits:size=2"], fields=Fields(question=None, answer=None), limit=None)
    with pytest.raises(RunInputError, match=r"--max-tokens = 96: with the \d+ prompt tokens.*context of 96 tokens; use at most \d+"):
        evaluate(request(tmp_path / "out", benchmarks, max_response_tokens=96), tiny(tiny_model), watcher=Silent())
    free = evaluate(request(tmp_path / "free", benchmarks, max_response_tokens=None, samples=1), tiny(tiny_model), watcher=Silent())
    assert 40 < json.loads(free.path.read_text())["setting"]["sampling"]["max_response_tokens"] < 96


def test_benchmarks_whose_prompts_end_differently_are_asked_together(tiny_model: Path, tmp_path: Path) -> None:
    (chains,) = load_benchmarks(["chainedDigits:size=2"], fields=Fields(question=None, answer=None), limit=None)
    shorter = [replace(question, text=question.text.removesuffix(" <think>")) for question in chains.questions]
    other = replace(chains, name="plain", questions=shorter)
    outcome = evaluate(request(tmp_path / "out", [chains, other], samples=1), tiny(tiny_model), watcher=Silent())
    assert [result.answers for result in outcome.results] == [2, 2]
    assert outcome.mean_accuracy is not None


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole evaluation of the tiny model, with the model beside it. Copy it before it is changed."""
    directory = tmp_path_factory.mktemp("finished")
    shutil.copytree(tiny_model, directory / "model")
    evaluate(one_answer_each(directory), tiny(directory / "model"), watcher=Silent())
    return directory


def one_answer_each(directory: Path, *, size: int = 3) -> Request:
    benchmarks = load_benchmarks([f"chainedDigits:size={size}"], fields=Fields(question=None, answer=None), limit=None)
    return request(directory / "out", benchmarks, samples=1)


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "again")
    return tmp_path / "again"


def test_a_finished_evaluation_asks_nothing_and_says_the_same(again: Path) -> None:
    results = (again / "out" / "results.json").read_bytes()
    (again / "out" / "results.json").unlink()
    seen = Silent()
    outcome = evaluate(one_answer_each(again), tiny(again / "model"), watcher=seen)
    assert (seen.there, seen.answers) == (3, 0)
    assert outcome.path.read_bytes() == results


def test_another_setting_in_the_same_directory_is_refused_field_by_field(again: Path) -> None:
    asked, local = one_answer_each(again), tiny(again / "model")
    with pytest.raises(RunInputError, match=r"sampling\.temperature was 1\.0 and is 0\.5; sampling\.seed was 5 and is 6\. Choose another"):
        evaluate(replace(asked, temperature=0.5, seed=6), local, watcher=Silent())
    with pytest.raises(RunInputError, match=r"benchmarks\.chainedDigits\.questions was 3 and is 2"):
        evaluate(one_answer_each(again, size=2), local, watcher=Silent())
    with pytest.raises(RunInputError, match=r'model\.name was "model" and is "m"'):
        evaluate(asked, server("http://127.0.0.1:9/v1"), watcher=Silent())


def test_other_weights_under_the_same_name_are_refused(again: Path) -> None:
    file = again / "model" / "model.safetensors"
    save_file({name: value * 1.001 for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    with pytest.raises(RunInputError, match=r"model\.fingerprint was"):
        evaluate(one_answer_each(again), tiny(again / "model"), watcher=Silent())


def test_a_line_that_is_no_answer_is_named(again: Path) -> None:
    with (again / "out" / "answers.jsonl").open("ab") as file:
        file.write(b'{"benchmark": "sums"}\n')
    with pytest.raises(RunInputError, match=r"answers\.jsonl, line 4: not an answer of an evaluation"):
        evaluate(one_answer_each(again), tiny(again / "model"), watcher=Silent())
