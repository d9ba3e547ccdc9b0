from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from multiprocessing.connection import Listener
from pathlib import Path

import pytest
import torch

from reasonrl.rl.records import FinishReason
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.torch_engine import TorchEngine

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: pip install reasonrl[vllm] or reasonrl[cpu]"
    ),
]

RAGGED = (3, 17, 9, 30, 1)
LOGPROB_BOUND = 1e-4
DEADLINE_SECONDS = 300
CACHE_BYTES = 64 * 2**20


def setting(tokens=24, temperature=1.0, seed=5, top_p=1.0):
    return SamplingSetting(max_response_tokens=tokens, temperature=temperature, seed=seed, top_p=top_p)


class EngineProcess:
    """The methods of `engine_process.Host`, called across a socket, each with a deadline."""

    def __init__(self, directory: Path) -> None:
        address = str(directory / "engine")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._log = (directory / "log").open("w+")
        with Listener(address, family="AF_UNIX") as listener:
            listener._listener._socket.settimeout(DEADLINE_SECONDS)
            script = Path(__file__).with_name("engine_process.py")
            self.process = subprocess.Popen([sys.executable, str(script), address], env=environment, stdout=self._log, stderr=self._log)
            self._connection = listener.accept()

    def __getattr__(self, name):
        def call(*arguments, **options):
            self._connection.send_bytes(pickle.dumps((name, arguments, options)))
            assert self._connection.poll(DEADLINE_SECONDS), f"{name} did not answer"
            kind, value = pickle.loads(self._connection.recv_bytes())
            if kind == "error":
                raise value
            return value

        return call

    def end(self):
        self._connection.close()
        self.process.wait(timeout=60)
        self._log.close()


@pytest.fixture(scope="session")
def engine_process(tmp_path_factory):
    process = EngineProcess(tmp_path_factory.mktemp("vllm"))
    yield process
    process.end()


@pytest.fixture(scope="module", params=["qwen2-tied", "qwen2-untied"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def engine(family, engine_process, make_model, tokenizer, end_token, tmp_path_factory):
    directory = tmp_path_factory.mktemp(family)
    make_model(family).save_pretrained(directory)
    unnoticed = engine_process.start(
        str(directory),
        tokenizer,
        stop_token_ids=[end_token],
        max_sequences=16,
        key_value_cache_bytes=CACHE_BYTES,
        context_tokens=128,
        can_sleep=True,
        probe_every=1,
    )
    assert unnoticed, "starting vLLM must leave the random generators of the process alone"
    yield engine_process
    engine_process.close()


@pytest.fixture
def fresh(engine, family, make_model):
    """The engine with the family's first weights, whatever the test before did to it."""
    engine.load(weights_of(make_model(family)), version=0)
    return engine


def weights_of(model):
    return [(name, parameter.detach()) for name, parameter in model.named_parameters()]


def tokens_of(groups):
    return [[response.tokens.tolist() for response in group] for group in groups]


def worst_gap(engine, model, prompts, plain_logprobs, temperature):
    groups = engine.sample(prompts, responses_per_prompt=3, setting=setting(temperature=temperature))
    return max(
        float((plain_logprobs(model, prompt, response.tokens, temperature=temperature or 1.0) - response.sampler_logprobs).abs().max())
        for prompt, group in zip(prompts, groups, strict=True)
        for response in group
    )


def test_heads_without_a_kernel_on_a_cpu_are_refused_by_name(engine_process, make_model, tokenizer, end_token, tmp_path):
    make_model("qwen3").save_pretrained(tmp_path)
    with pytest.raises(RolloutError, match=r"vllm has no attention for heads of 16 dimensions on a CPU.*engine: torch"):
        engine_process.start(str(tmp_path), tokenizer, stop_token_ids=[end_token], max_sequences=4)


def test_more_prompt_tokens_than_one_pass_reads_are_sampled_all_the_same(
    engine_process, make_model, make_prompts, tokenizer, end_token, tmp_path
):
    """6,000 prompt tokens at once: more than a pass of vLLM takes on a CPU (4,096 at most), so one prompt would be read in pieces."""
    make_model("qwen2-tied").save_pretrained(tmp_path)
    engine_process.start(
        str(tmp_path), tokenizer, stop_token_ids=[end_token], max_sequences=64, key_value_cache_bytes=CACHE_BYTES, context_tokens=128
    )
    groups = engine_process.sample(make_prompts((100,) * 60), responses_per_prompt=1, setting=setting(3))
    engine_process.close()
    assert [len(group) for group in groups] == [1] * 60


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
def test_logprobs_agree_with_the_plain_forward_pass_before_and_after_a_load(
    temperature, fresh, family, make_model, make_prompts, plain_logprobs
):
    old, new = make_model(family, seed=0), make_model(family, seed=1)
    prompts = make_prompts(RAGGED)
    assert worst_gap(fresh, old, prompts, plain_logprobs, temperature) <= LOGPROB_BOUND
    fresh.load(weights_of(new), version=6)
    assert fresh.weight_version() == 6
    assert worst_gap(fresh, new, prompts, plain_logprobs, temperature) <= LOGPROB_BOUND
    assert worst_gap(fresh, old, prompts, plain_logprobs, temperature) > 0.1


def test_greedy_responses_are_those_of_the_torch_engine_before_and_after_a_load(
    fresh, family, make_model, make_prompts, tokenizer, end_token
):
    prompts = make_prompts(RAGGED)
    ours = TorchEngine(make_model(family), tokenizer, stop_token_ids=[end_token], max_sequences=16)
    greedy = setting(temperature=0.0)
    for seed in (0, 1):
        weights = weights_of(make_model(family, seed=seed))
        ours.load(weights, version=seed)
        fresh.load(weights, version=seed)
        theirs = fresh.sample(prompts, responses_per_prompt=2, setting=greedy)
        mine = ours.sample(prompts, responses_per_prompt=2, setting=greedy)
        assert tokens_of(theirs) == tokens_of(mine)
        for group, twin in zip(theirs, mine, strict=True):
            for one, other in zip(group, twin, strict=True):
                assert float((one.sampler_logprobs - other.sampler_logprobs).abs().max()) <= LOGPROB_BOUND
                assert (one.finish, one.text, one.weight_version) == (other.finish, other.text, seed)


def test_the_same_call_gives_the_same_responses_and_another_seed_others(fresh, make_prompts):
    prompts = make_prompts(RAGGED)
    first, again, other = (fresh.sample(prompts, responses_per_prompt=8, setting=setting(seed=seed)) for seed in (1, 1, 2))
    assert tokens_of(first) == tokens_of(again)
    assert tokens_of(first) != tokens_of(other)
    assert len({tuple(tokens) for tokens in tokens_of(first)[0]}) > 4


def test_a_response_stops_at_its_end_token_or_exactly_at_the_limit(fresh, make_prompts, end_token):
    groups = fresh.sample(make_prompts(RAGGED), responses_per_prompt=8, setting=setting(30))
    responses = [response for group in groups for response in group]
    assert {response.finish for response in responses} == {FinishReason.STOP, FinishReason.LENGTH}
    for response in responses:
        assert response.sampler_logprobs.shape == response.tokens.shape
        stopped = response.finish is FinishReason.STOP
        assert (int(response.tokens[-1]) == end_token) is stopped
        assert stopped or len(response.tokens) == 30
        assert end_token not in response.tokens[:-1]


def test_nucleus_sampling_makes_no_claim_about_logprobs(fresh, make_prompts):
    ((response,),) = fresh.sample(make_prompts((9,)), responses_per_prompt=1, setting=setting(8, 0.8, top_p=0.6))
    assert bool(response.sampler_logprobs.isnan().all())


def test_a_faulty_load_keeps_the_old_weights_and_version(fresh, family, make_model, make_prompts):
    prompts = make_prompts(RAGGED)
    before = tokens_of(fresh.sample(prompts, responses_per_prompt=2, setting=setting()))
    offer = weights_of(make_model(family, seed=1))
    for faulty in (offer[:-1], [*offer, ("model.extra.weight", torch.zeros(2))], [*offer[:-1], (offer[-1][0], torch.zeros(3, 3, 3))]):
        with pytest.raises(WeightLoadError):
            fresh.load(faulty, version=9)
    assert fresh.weight_version() == 0
    assert tokens_of(fresh.sample(prompts, responses_per_prompt=2, setting=setting())) == before


def test_weights_that_are_not_numbers_are_refused_until_good_ones_come(fresh, family, make_model, make_prompts, plain_logprobs):
    model = make_model(family)
    broken = [(name, torch.full_like(tensor, torch.nan) if "down_proj" in name else tensor) for name, tensor in weights_of(model)]
    with pytest.raises(WeightLoadError, match="version 9"):
        fresh.load(broken, version=9)
    with pytest.raises(RolloutError, match="no usable weights"):
        fresh.sample(make_prompts((4,)), responses_per_prompt=1, setting=setting())
    fresh.load(weights_of(model), version=10)
    assert worst_gap(fresh, model, make_prompts(RAGGED), plain_logprobs, 1.0) <= LOGPROB_BOUND


def test_the_canary_sees_a_tied_head_that_kept_its_old_weights(fresh, family, make_model):
    if family != "qwen2-tied":
        pytest.skip("an untied head is reloaded by vLLM itself")
    weights = weights_of(make_model(family, seed=1))
    with pytest.raises(WeightLoadError, match="differ from those of the offered weights"):
        fresh.load_and_forget_the_head(weights, version=1)
    fresh.load(weights, version=2)
    assert fresh.weight_version() == 2


def test_a_prompt_that_leaves_no_room_is_refused(fresh, make_prompts):
    with pytest.raises(RolloutError, match="model's context is 128"):
        fresh.sample(make_prompts((100,)), responses_per_prompt=1, setting=setting(29))
