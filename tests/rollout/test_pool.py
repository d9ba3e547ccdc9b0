from __future__ import annotations

import threading

import pytest
import torch

from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.pool import RolloutPool
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.torch_engine import TorchEngine

LENGTHS = (3, 17, 9, 30, 1, 12, 5)
SETTING = SamplingSetting(max_response_tokens=20, temperature=1.0, seed=5)


class Faulty:
    """A real engine that breaks, hangs or refuses weights when told to."""

    def __init__(self, engine):
        self.engine = engine
        self.breaks = False
        self.hangs = False
        self.refuses = False
        self.calls = 0
        self.released = threading.Event()

    @property
    def weight_version(self):
        return self.engine.weight_version

    def sample(self, prompts, *, responses_per_prompt, setting):
        self.calls += 1
        if self.hangs:
            self.released.wait(timeout=60)
        if self.breaks:
            raise RuntimeError("device lost")
        return self.engine.sample(prompts, responses_per_prompt=responses_per_prompt, setting=setting)

    def load(self, weights, *, version):
        if self.refuses:
            raise WeightLoadError("out of memory")
        self.engine.load(weights, version=version)

    def close(self):
        self.engine.close()


@pytest.fixture
def make_engines(make_model, tokenizer, end_token):
    def make(count):
        model = make_model("llama")
        return [Faulty(TorchEngine(model, tokenizer, stop_token_ids=[end_token], max_sequences=16)) for _ in range(count)]

    return make


@pytest.fixture
def make_pool():
    pools = []

    def make(engines, *, prompts_per_task=2, task_seconds=60.0):
        pools.append(RolloutPool(engines, prompts_per_task=prompts_per_task, task_seconds=task_seconds))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def tokens_of(groups):
    return [[response.tokens.tolist() for response in group] for group in groups]


def test_responses_come_in_order_and_do_not_depend_on_who_wrote_them(make_engines, make_pool, make_prompts, plain_logprobs, make_model):
    prompts = make_prompts(LENGTHS)
    model = make_model("llama")
    alone, together = (make_pool(make_engines(count)).sample(prompts, responses_per_prompt=3, setting=SETTING) for count in (1, 3))
    assert tokens_of(alone) == tokens_of(together)
    assert len({tuple(tokens) for group in tokens_of(together) for tokens in group}) > len(LENGTHS)
    for prompt, group in zip(prompts, together, strict=True):
        assert len(group) == 3
        for response in group:
            assert float((plain_logprobs(model, prompt, response.tokens) - response.sampler_logprobs).abs().max()) < 1e-4


def test_a_broken_engines_tasks_are_done_by_the_others(make_engines, make_pool, make_prompts):
    engines = make_engines(3)
    prompts = make_prompts(LENGTHS)
    expected = tokens_of(make_pool(make_engines(1)).sample(prompts, responses_per_prompt=2, setting=SETTING))
    engines[1].breaks = True
    pool = make_pool(engines)
    assert tokens_of(pool.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    assert pool.live_engines == 2
    assert tokens_of(pool.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    assert engines[1].calls == 1


def test_a_silent_engine_is_given_up_after_its_deadline(make_engines, make_pool, make_prompts):
    engines = make_engines(2)
    prompts = make_prompts(LENGTHS)
    expected = tokens_of(make_pool(make_engines(1)).sample(prompts, responses_per_prompt=2, setting=SETTING))
    engines[0].hangs = True
    pool = make_pool(engines, task_seconds=8.0)
    assert tokens_of(pool.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected
    assert pool.live_engines == 1
    engines[0].released.set()
    assert tokens_of(pool.sample(prompts, responses_per_prompt=2, setting=SETTING)) == expected


def test_a_pool_without_engines_left_says_what_each_died_of(make_engines, make_pool, make_prompts):
    engines = make_engines(2)
    for engine in engines:
        engine.breaks = True
    with pytest.raises(RolloutError, match=r"no rollout engine is left: engine 0: RuntimeError: device lost; engine 1: RuntimeError"):
        make_pool(engines).sample(make_prompts((4, 5)), responses_per_prompt=1, setting=SETTING)


def test_a_task_that_breaks_every_engine_is_given_up_before_it_takes_them_all(make_engines, make_pool, make_prompts):
    engines = make_engines(5)
    for engine in engines:
        engine.breaks = True
    pool = make_pool(engines)
    with pytest.raises(RolloutError, match="failed on 3 engines; the last said: device lost"):
        pool.sample(make_prompts((4,)), responses_per_prompt=1, setting=SETTING)
    assert pool.live_engines == 2


def test_a_refused_request_is_an_error_of_the_request_and_costs_no_engine(make_engines, make_pool, make_prompts):
    pool = make_pool(make_engines(2))
    with pytest.raises(RolloutError, match="has no tokens"):
        pool.sample(make_prompts((4, 5, 0, 3, 6)), responses_per_prompt=1, setting=SETTING)
    assert pool.live_engines == 2
    assert len(pool.sample(make_prompts(LENGTHS), responses_per_prompt=1, setting=SETTING)) == len(LENGTHS)


def test_every_engine_takes_the_weights_or_none_does(make_engines, make_pool, make_model, make_prompts, plain_logprobs):
    engines = make_engines(2)
    pool = make_pool(engines)
    model = make_model("llama", seed=1)
    weights = [(name, parameter.detach()) for name, parameter in model.named_parameters()]
    with pytest.raises(WeightLoadError):
        pool.load(weights[1:], version=3)
    assert [pool.weight_version, *(engine.weight_version for engine in engines)] == [0, 0, 0]
    pool.load(iter(weights), version=3)
    assert [pool.weight_version, *(engine.weight_version for engine in engines)] == [3, 3, 3]
    prompts = make_prompts(LENGTHS)
    for prompt, (response,) in zip(prompts, pool.sample(prompts, responses_per_prompt=1, setting=SETTING), strict=True):
        assert response.weight_version == 3
        assert float((plain_logprobs(model, prompt, response.tokens) - response.sampler_logprobs).abs().max()) < 1e-4


def test_an_engine_that_alone_fails_to_load_is_retired(make_engines, make_pool, make_model):
    engines = make_engines(3)
    engines[2].refuses = True
    pool = make_pool(engines)
    pool.load([(name, parameter.detach()) for name, parameter in make_model("llama", seed=1).named_parameters()], version=3)
    assert (pool.live_engines, pool.weight_version) == (2, 3)


def test_engines_of_different_weights_make_no_pool(make_engines):
    engines = make_engines(2)
    engines[0].load([(name, torch.zeros(shape)) for name, shape in engines[0].engine._decoder.expected_weights.items()], version=1)
    with pytest.raises(RolloutError, match=r"\[0, 1\]"):
        RolloutPool(engines, prompts_per_task=1, task_seconds=60.0)
