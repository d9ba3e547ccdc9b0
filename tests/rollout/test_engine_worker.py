from __future__ import annotations

import threading
import time
import weakref

import pytest
import torch

from reasonrl.rollout.engine_session import EngineLostError
from reasonrl.rollout.engine_worker import EngineWorker
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.stepping import BlockingEngineSteps
from reasonrl.rollout.task import completed, cut_into_tasks
from reasonrl.rollout.torch_engine import TorchEngine

SETTING = SamplingSetting(max_response_tokens=12, temperature=1.0, seed=5)
LENGTHS = (3, 12, 9, 14, 5)
SECONDS = 60.0


class Scripted(BlockingEngineSteps):
    """A real engine whose steps can be held up, broken or falsified."""

    def __init__(self, engine):
        super().__init__(engine)
        self.released = threading.Event()
        self.released.set()
        self.entered = threading.Event()
        self.error = None
        self.change = lambda outcomes: outcomes
        self.threads = set()

    def step(self):
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.released.wait(timeout=SECONDS)
        if self.error is not None:
            raise self.error
        return self.change(super().step())

    def load(self, weights, *, version):
        self.threads.add(threading.get_ident())
        super().load(weights, version=version)


@pytest.fixture
def engine(make_model, tokenizer, end_token):
    return Scripted(TorchEngine(make_model("llama"), tokenizer, stop_token_ids=[end_token], max_sequences=16))


@pytest.fixture
def worker(engine):
    worker = EngineWorker(lambda: engine)
    yield worker
    engine.released.set()
    worker.close()


@pytest.fixture
def tasks(make_prompts):
    return cut_into_tasks(make_prompts(LENGTHS), responses_per_prompt=2, setting=SETTING, prompts_per_task=2, call=1)


def collect_all(worker, count):
    outcomes = []
    until = time.monotonic() + SECONDS
    while len(outcomes) < count:
        assert time.monotonic() < until
        outcomes += worker.collect(5.0).outcomes
    return outcomes


def tokens_of(groups):
    return [[response.tokens.tolist() for response in group] for group in groups]


def test_a_task_draws_what_the_engine_alone_would_draw(worker, engine, tasks):
    worker.submit(tasks)
    outcomes = collect_all(worker, len(tasks))
    assert [outcome.number for outcome in outcomes] == [0, 1, 2]
    for task, outcome in zip(tasks, outcomes, strict=True):
        alone = engine._engine.sample(task.prompts, responses_per_prompt=2, setting=task.setting)
        assert tokens_of(outcome.groups) == tokens_of(alone)
    assert len({task.setting.seed for task in tasks}) == len(tasks)


def test_collect_waits_no_longer_than_told_and_counts_what_is_left(worker, engine, tasks):
    engine.released.clear()
    worker.submit(tasks)
    silent = worker.collect(0.0)
    assert (silent.outcomes, silent.unfinished, silent.steps) == ([], 3, 0)
    engine.released.set()
    collect_all(worker, 3)
    done = worker.collect(0.0)
    assert (done.outcomes, done.unfinished, done.steps) == ([], 0, 3)


class Straggling(Scripted):
    """Writes all responses but one of each task at its first step, and the rest when released."""

    capacity = 4

    def step(self):
        if self.released.is_set():
            return super().step()
        self.entered.set()
        threading.Event().wait(0.01)
        return []

    def unwritten(self):
        return len(self._waiting) if self.entered.is_set() else super().unwritten()


def test_room_that_stragglers_leave_is_told_before_any_task_is_complete(make_model, tokenizer, end_token, tasks):
    engine = Straggling(TorchEngine(make_model("llama"), tokenizer, stop_token_ids=[end_token], max_sequences=16))
    engine.released.clear()
    worker = EngineWorker(lambda: engine)
    worker.submit(tasks)
    told = worker.collect(SECONDS)
    assert (told.outcomes, told.unfinished, told.unwritten) == ([], 3, 3)
    # It is told once: the next answer comes when a task is complete.
    assert worker.collect(0.1).unwritten == 3
    engine.released.set()
    assert len(collect_all(worker, 3)) == 3
    assert worker.collect(0.0).unwritten == 0
    worker.close()


def test_a_step_that_hangs_shows_in_the_counter_while_the_worker_answers(worker, engine, tasks):
    engine.released.clear()
    worker.submit(tasks)
    assert engine.entered.wait(timeout=SECONDS)
    assert [worker.collect(0.0).steps for _ in range(3)] == [0, 0, 0]


def test_a_broken_engine_is_lost_with_what_it_died_of(worker, engine, tasks):
    engine.error = RuntimeError("device lost")
    worker.submit(tasks)
    with pytest.raises(EngineLostError, match="RuntimeError: device lost"):
        worker.collect(SECONDS)
    with pytest.raises(EngineLostError, match="device lost"):
        worker.submit(tasks)
    worker.close()


def test_what_was_done_before_the_engine_broke_is_told_first(worker, engine, tasks):
    def break_after_one(outcomes):
        engine.error = RuntimeError("device lost")
        return outcomes

    engine.change = break_after_one
    worker.submit(tasks)
    assert [outcome.number for outcome in worker.collect(SECONDS).outcomes] == [0]
    with pytest.raises(EngineLostError):
        worker.collect(SECONDS)


def test_a_refused_task_is_an_outcome_and_the_rest_goes_on(worker, make_prompts):
    tasks = cut_into_tasks(make_prompts((4, 0, 3)), responses_per_prompt=1, setting=SETTING, prompts_per_task=1, call=1)
    worker.submit(tasks)
    outcomes = collect_all(worker, 3)
    assert [outcome.refused for outcome in outcomes] == [False, True, False]
    assert "has no tokens" in outcomes[1].error


def test_an_error_of_the_request_while_stepping_refuses_all_tasks_and_leaves_the_engine_usable(worker, engine, tasks):
    engine.error = RolloutError("the policy's log-probs are not finite")
    worker.submit(tasks)
    assert all(outcome.refused and "not finite" in outcome.error for outcome in collect_all(worker, 3))
    engine.error = None
    worker.submit(tasks)
    assert not any(outcome.refused for outcome in collect_all(worker, 3))


def test_abandoned_tasks_are_not_told_even_when_one_was_at_work(worker, engine, tasks, make_prompts):
    engine.released.clear()
    worker.submit(tasks)
    assert engine.entered.wait(timeout=SECONDS)
    worker.abandon()
    assert worker.collect(0.0).unfinished == 0
    later = cut_into_tasks(make_prompts((4,)), responses_per_prompt=1, setting=SETTING, prompts_per_task=1, call=2)
    worker.submit(later)
    engine.released.set()
    assert [(outcome.call, outcome.number) for outcome in collect_all(worker, 1)] == [(2, 0)]
    assert worker.collect(0.0).unfinished == 0


def test_an_answer_to_a_task_that_was_not_given_breaks_the_engine(worker, engine, tasks):
    engine.change = lambda outcomes: [completed(tasks[2], outcome.groups) for outcome in outcomes]
    worker.submit(tasks[:1])
    with pytest.raises(EngineLostError, match=r"tasks that it was not given: \(call, number\) \[\(1, 2\)\]"):
        worker.collect(SECONDS)


def test_tasks_that_an_engine_forgets_break_it(worker, engine, tasks):
    engine.change = lambda outcomes: []
    worker.submit(tasks)
    with pytest.raises(EngineLostError, match="the engine lost 3 tasks"):
        worker.collect(SECONDS)


def test_weights_are_loaded_between_tasks_only_and_by_the_thread_that_steps(worker, engine, tasks, make_model):
    weights = [(name, parameter.detach()) for name, parameter in make_model("llama", seed=1).named_parameters()]
    engine.released.clear()
    worker.submit(tasks)
    with pytest.raises(RolloutError, match="3 tasks in hand"):
        worker.load(weights, version=4, seconds=SECONDS)
    worker.abandon()
    engine.released.set()
    worker.load(weights, version=4, seconds=SECONDS)
    assert worker.weight_version == worker.collect(0.0).weight_version == 4
    worker.submit(tasks)
    assert {response.weight_version for outcome in collect_all(worker, 3) for group in outcome.groups for response in group} == {4}
    assert len(engine.threads) == 1


class Weights(list):
    """A list whose end can be noticed."""


def test_weights_are_let_go_when_they_are_loaded(worker, make_model):
    weights = Weights((name, parameter.detach()) for name, parameter in make_model("llama", seed=1).named_parameters())
    kept = weakref.ref(weights)
    worker.load(weights, version=4, seconds=SECONDS)
    del weights
    until = time.monotonic() + SECONDS
    while kept() is not None:
        assert time.monotonic() < until


def test_weights_that_do_not_fit_leave_the_engine_usable(worker, tasks):
    with pytest.raises(WeightLoadError, match="missing"):
        worker.load([("model.embed_tokens.weight", torch.zeros(96, 128))], version=4, seconds=SECONDS)
    assert worker.weight_version == 0
    worker.submit(tasks)
    assert len(collect_all(worker, 3)) == 3


def test_a_load_that_comes_too_late_loses_the_engine(worker, engine, tasks):
    engine.released.clear()
    worker.submit(tasks)
    assert engine.entered.wait(timeout=SECONDS)
    worker.abandon()
    with pytest.raises(EngineLostError, match="did not take the weights of version 4 within"):
        worker.load([], version=4, seconds=0.05)


def test_an_engine_that_cannot_be_made_says_why():
    def fail():
        raise RolloutError("spec.rollout.engine: no such thing")

    with pytest.raises(RolloutError, match="no such thing"):
        EngineWorker(fail)


def test_a_closed_worker_refuses_work(worker, tasks):
    worker.close()
    with pytest.raises(EngineLostError, match="it was closed"):
        worker.submit(tasks)
