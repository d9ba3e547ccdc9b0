"""One standalone evaluation from its request to `results.json`.

Each answer is written down as soon as it is graded, so that a killed evaluation has lost what was being written and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from transformers.utils import logging as transformers_logging

from reasonrl.rl.records import Prompt
from reasonrl.rollout.stepping import SteppingEngine
from reasonrl.run.errors import RunInputError
from reasonrl.run.run_directory import locked
from reasonrl.run.standalone_evaluation.answer_grading import AnswerGrader
from reasonrl.run.standalone_evaluation.answer_records import AnswerRecord, AnswersFile, record_of
from reasonrl.run.standalone_evaluation.data_option import Questions
from reasonrl.run.standalone_evaluation.local_answers import (
    DEFAULT_MAX_RESPONSE_TOKENS,
    LocalEngine,
    LocalSource,
    load_tokenizer,
    response_limit,
    start_engine,
)
from reasonrl.run.standalone_evaluation.model_place import ModelPlace, fingerprint
from reasonrl.run.standalone_evaluation.prompting import (
    chosen_prompt,
    frame_asks_for_tags,
    local_template,
    rendered_prompts,
    server_frame,
)
from reasonrl.run.standalone_evaluation.results import RESULTS_FILE, BenchmarkResult, mean_accuracy, summarised
from reasonrl.run.standalone_evaluation.sampled import Sampling, Source
from reasonrl.run.standalone_evaluation.server_answers import ServerSource
from reasonrl.run.standalone_evaluation.server_client import Server
from reasonrl.run.standalone_evaluation.setting import GradingChoice, PromptChoice, keep_setting
from reasonrl.run.telemetry.json_lines import replace_file

_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of whom. `max_response_tokens` None: the report's 32,768, or what the model's context leaves."""

    benchmarks: Sequence[Questions]
    samples: int
    temperature: float
    top_p: float
    max_response_tokens: int | None
    seed: int
    prompt: PromptChoice
    grading: GradingChoice
    workers: int
    output: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    place: ModelPlace
    engine: LocalEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    results: list[BenchmarkResult]
    mean_accuracy: float | None
    path: Path


class Watcher(Protocol):
    """Told how the evaluation goes, to show it."""

    def note(self, sentence: str) -> None: ...

    def begin(self, benchmark: str, *, answers: int, there: Sequence[AnswerRecord]) -> None:
        """`answers` are wanted in all; those in `there` an earlier start has left."""
        ...

    def answered(self, benchmark: str, records: Sequence[AnswerRecord]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """`tags`: whether a benchmark's prompts ask for answers in tags. `sources` opens what answers; nothing is loaded before the setting is
    known to fit the directory."""

    setting: Mapping[str, object]
    sampling: Sampling
    tags: Mapping[str, bool]
    sources: Callable[[ExitStack], Callable[[Questions], Source]]


def evaluate(request: Request, answering: Local | Server, *, watcher: Watcher) -> Outcome:
    """Asks what was not answered before, and sums up.

    Raises RunInputError, DataError and RunDirectoryError for what is asked for and cannot be; RolloutError, ServerError and SandboxError
    when answering or grading fails.
    """
    _check_sampling(request)
    # Its bars would tear the view apart.
    transformers_logging.disable_progress_bar()
    plan = _local_plan(request, answering) if isinstance(answering, Local) else _server_plan(request, answering)
    with ExitStack() as stack:
        stack.enter_context(locked(request.output))
        resumed = keep_setting(request.output, plan.setting)
        answers = stack.enter_context(closing(AnswersFile(request.output)))
        if resumed:
            watcher.note(f"going on with {request.output}")
        grader = stack.enter_context(AnswerGrader(request.grading, workers=request.workers))
        _answer_all(request, plan, answers, grader, watcher)
        results = [summarised(each.name, answers.of(each.name), samples=request.samples, grader=grader) for each in request.benchmarks]
    outcome = Outcome(results=results, mean_accuracy=mean_accuracy(results), path=request.output / RESULTS_FILE)
    _write(outcome, plan.setting)
    return outcome


def _check_sampling(request: Request) -> None:
    if request.temperature == 0 and request.samples > 1:
        raise RunInputError(
            f"--samples = {request.samples}: at --temperature 0 every answer to a question is the same; use --samples 1, or a temperature "
            "above 0"
        )


def _answer_all(request: Request, plan: _Plan, answers: AnswersFile, grader: AnswerGrader, watcher: Watcher) -> None:
    missing = {each.name: answers.missing(each.name, questions=len(each.questions), samples=request.samples) for each in request.benchmarks}
    for each in request.benchmarks:
        watcher.begin(each.name, answers=len(each.questions) * request.samples, there=answers.of(each.name))
    if not any(missing.values()):
        return
    with ExitStack() as stack:
        source_of = plan.sources(stack)
        for each in request.benchmarks:
            if not missing[each.name]:
                continue
            batches = stack.enter_context(closing(source_of(each).answers(missing[each.name])))
            for batch in batches:
                golds = [(sampled.text, each.questions[sampled.question].answer) for sampled in batch]
                judged = grader.judge(golds, tags=plan.tags[each.name])
                records = [
                    record_of(sampled, one, benchmark=each.name, question=each.questions[sampled.question])
                    for sampled, one in zip(batch, judged, strict=True)
                ]
                watcher.answered(each.name, answers.add(records))


def _local_plan(request: Request, local: Local) -> _Plan:
    place, engine = local.place, local.engine
    tokenizer = load_tokenizer(place.directory)
    choice = chosen_prompt(request.prompt, run=place.run, has_chat_template=bool(tokenizer.chat_template))
    # One for each: with raw and chat, how prompts end depends on the questions.
    templates = {each.name: local_template(choice, tokenizer, example=each.questions[0].text) for each in request.benchmarks}
    prompts: dict[str, list[Prompt]] = {
        each.name: rendered_prompts(each.questions, templates[each.name], tokenizer) for each in request.benchmarks
    }
    every = [prompt for each in prompts.values() for prompt in each]
    limit = response_limit(request.max_response_tokens, every, place.directory)
    sampling = _sampling(request, limit)
    size = engine.questions_per_task(request.samples)
    longest = max(len(prompt.tokens) for prompt in every)

    def sources(stack: ExitStack) -> Callable[[Questions], Source]:
        started: SteppingEngine = start_engine(engine, place.directory, tokenizer, context_tokens=longest + limit)
        stack.callback(started.close)
        return lambda each: LocalSource(started, prompts[each.name], sampling, benchmark=each.name, questions_per_task=size)

    model = {
        "name": place.name,
        "fingerprint": fingerprint(place.directory),
        "engine": engine.name,
        "dtype": str(engine.dtype).removeprefix("torch."),
        "questions_per_call": size,
    }
    return _Plan(
        setting=_setting(request, model, choice, sampling),
        sampling=sampling,
        tags={name: template.uses_tags for name, template in templates.items()},
        sources=sources,
    )


def _server_plan(request: Request, server: Server) -> _Plan:
    choice = chosen_prompt(request.prompt, run=None, has_chat_template=True)
    frame = server_frame(choice)
    sampling = _sampling(request, request.max_response_tokens or DEFAULT_MAX_RESPONSE_TOKENS)

    def sources(_stack: ExitStack) -> Callable[[Questions], Source]:
        return lambda each: ServerSource(
            server=server, questions=each.questions, sampling=sampling, benchmark=each.name, frame=frame, system=choice.system
        )

    model = {"name": server.model, "server": server.url}
    return _Plan(
        setting=_setting(request, model, choice, sampling),
        sampling=sampling,
        tags={each.name: frame_asks_for_tags(frame) for each in request.benchmarks},
        sources=sources,
    )


def _sampling(request: Request, limit: int) -> Sampling:
    return Sampling(
        samples=request.samples, temperature=request.temperature, top_p=request.top_p, max_response_tokens=limit, seed=request.seed
    )


def _setting(request: Request, model: Mapping[str, object], choice: PromptChoice, sampling: Sampling) -> dict[str, object]:
    return {
        "schema_version": _SCHEMA_VERSION,
        "model": dict(model),
        "benchmarks": {each.name: {"questions": len(each.questions), "digest": each.digest} for each in request.benchmarks},
        "prompt": asdict(choice),
        "sampling": asdict(sampling),
        "grading": asdict(request.grading),
    }


def _write(outcome: Outcome, setting: Mapping[str, object]) -> None:
    content = {
        "schema_version": _SCHEMA_VERSION,
        "setting": dict(setting),
        "benchmarks": [result.model_dump() for result in outcome.results],
        "mean_accuracy": outcome.mean_accuracy,
    }
    replace_file(outcome.path, json.dumps(content, indent=1, ensure_ascii=False).encode())
