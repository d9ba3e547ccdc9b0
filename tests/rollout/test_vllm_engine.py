from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch

from reasonrl.rl.records import FinishReason
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.task import cut_into_tasks
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
CACHE_BYTES = 64 * 2**20


def setting(tokens=24, temperature=1.0, seed=5, top_p=1.0):
    return SamplingSetting(max_response_tokens=tokens, temperature=temperature, seed=seed, top_p=top_p)


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


def tasks_of(prompts, tokens=24):
    return cut_into_tasks(prompts, responses_per_prompt=3, setting=setting(tokens), prompts_per_task=1, call=1)


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


def test_weights_from_other_gpus_are_refused_on_a_cpu(engine_process, make_model, tokenizer, end_token, tmp_path):
    make_model("qwen2-tied").save_pretrained(tmp_path)
    with pytest.raises(RolloutError, match="weights cannot come by nccl on a CPU"):
        engine_process.start(str(tmp_path), tokenizer, stop_token_ids=[end_token], max_sequences=4, transfer="nccl")


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


def test_the_probe_follows_the_first_load_and_then_every_third(engine_process, make_model, tokenizer, end_token, tmp_path):
    """A head that kept its old weights is what only the probe can see."""
    make_model("qwen2-tied").save_pretrained(tmp_path)
    engine_process.start(
        str(tmp_path),
        tokenizer,
        stop_token_ids=[end_token],
        max_sequences=4,
        key_value_cache_bytes=CACHE_BYTES,
        context_tokens=128,
        probe_every=3,
    )
    try:
        weights = [weights_of(make_model("qwen2-tied", seed=seed)) for seed in range(2)]
        with pytest.raises(WeightLoadError, match="version 1"):
            engine_process.load_and_forget_the_head(weights[1], version=1)
        engine_process.load(weights[0], version=2)
        engine_process.load_and_forget_the_head(weights[1], version=3)
        engine_process.load_and_forget_the_head(weights[1], version=4)
        with pytest.raises(WeightLoadError, match="version 5"):
            engine_process.load_and_forget_the_head(weights[1], version=5)
        with pytest.raises(WeightLoadError, match="version 6"):
            engine_process.load_and_forget_the_head(weights[1], version=6)
    finally:
        engine_process.close()


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


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"came": -1, "announced": None, "flip": False}, "were announced, and"),
        ({"came": -1, "announced": -1, "flip": False}, "found no weights of version 7 for 1 parameters"),
        ({"came": None, "announced": None, "flip": True}, "'model.embed_tokens.weight' of version 7 was damaged on its way"),
    ],
    ids=["tensors-lost", "announced-without-it", "byte-flipped"],
)
def test_a_push_that_does_not_arrive_whole_is_named_and_a_good_one_heals_it(
    fault, message, fresh, family, make_model, make_prompts, plain_logprobs
):
    model = make_model(family, seed=1)
    weights = weights_of(model)
    with pytest.raises(WeightLoadError, match=message):
        fresh.load_damaged(weights[: fault["came"]], version=7, announced=weights[: fault["announced"]], flip=fault["flip"])
    assert fresh.weight_version() == 0
    with pytest.raises(RolloutError, match="no usable weights: it did not take those of version 7"):
        fresh.sample(make_prompts((4,)), responses_per_prompt=1, setting=setting())
    fresh.load(weights, version=8)
    assert worst_gap(fresh, model, make_prompts(RAGGED), plain_logprobs, 1.0) <= LOGPROB_BOUND


def test_a_push_through_the_interface_of_vllms_trainers_counts_once_it_is_adopted(fresh, family, make_model, make_prompts, plain_logprobs):
    """NCCL and IPC speak to the engine in these calls; here the bytes come in host memory."""
    assert fresh.is_a_client()
    model, prompts = make_model(family, seed=1), make_prompts(RAGGED)
    weights = weights_of(model)
    fresh.push([weights], version=5)
    with pytest.raises(RolloutError, match="a push came and was not adopted"):
        fresh.sample(prompts, responses_per_prompt=1, setting=setting())
    fresh.adopt(dict(weights), version=5)
    assert fresh.weight_version() == 5
    assert worst_gap(fresh, model, prompts, plain_logprobs, 1.0) <= LOGPROB_BOUND


def test_a_push_through_that_interface_must_be_announced_in_full(fresh, family, make_model, make_prompts):
    weights = weights_of(make_model(family, seed=1))
    with pytest.raises(WeightLoadError, match="'strange' is unknown to the engine's model"):
        fresh.push([[("strange", torch.zeros(2))]], version=5)
    with pytest.raises(RolloutError, match="a push of weights did not finish"):
        fresh.sample(make_prompts((4,)), responses_per_prompt=1, setting=setting())
    with pytest.raises(WeightLoadError, match="no whole push came that version 5 could be"):
        fresh.adopt(dict(weights), version=5)
    with pytest.raises(WeightLoadError, match=f"the push ended with {len(weights)} of {len(weights)} weights missing"):
        fresh.push([], version=5)
    fresh.load(weights, version=6)
    assert fresh.weight_version() == 6


def test_what_a_task_draws_does_not_depend_on_who_else_is_in_hand(fresh, make_prompts):
    tasks = tasks_of(make_prompts(RAGGED))
    together = fresh.do(tasks, at_once=True)
    alone = fresh.do(tasks[::-1], at_once=False)
    assert sorted(together) == [task.number for task in tasks]
    for task in tasks:
        one, other = together[task.number], alone[task.number]
        assert (one.call, one.error, one.refused) == (1, None, False)
        assert tokens_of(one.groups) == tokens_of(other.groups)
        for first, second in zip(one.groups[0], other.groups[0], strict=True):
            # Another batch may be another kernel, which rounds otherwise in the last bits.
            assert float((first.sampler_logprobs - second.sampler_logprobs).abs().max()) <= 1e-5


def test_a_task_comes_out_as_soon_as_it_is_written_whoever_is_still_being_written(fresh, make_prompts):
    short, long = (replace(tasks_of(make_prompts((9,)), tokens)[0], number=tokens) for tokens in (2, 40))
    assert fresh.submit_and_step([long, short], steps=0) == 2
    assert fresh.unwritten() == 6
    assert fresh.submit_and_step([], steps=3) == 1
    assert 0 < fresh.unwritten() <= 3
    fresh.abandon()
    assert fresh.unwritten() == 0
    assert fresh.unfinished() == 0


def test_tasks_that_are_abandoned_leave_neither_requests_nor_cache_behind(fresh, make_prompts):
    tasks = tasks_of(make_prompts(RAGGED * 3))
    before = fresh.do(tasks, at_once=True)
    assert fresh.submit_and_step(tasks, steps=2) == len(tasks)
    # Sixteen are being written and the others wait.
    assert fresh.requests_in_vllm() == 3 * len(tasks)
    assert fresh.used_blocks() >= 16
    fresh.abandon()
    assert (fresh.unfinished(), fresh.requests_in_vllm(), fresh.used_blocks()) == (0, 0, 0)
    after = fresh.do(tasks, at_once=True)
    assert all(tokens_of(after[number].groups) == tokens_of(before[number].groups) for number in before)


def test_a_sleeping_engine_gives_its_cache_back_and_samples_again_after_wake_and_load(
    fresh, family, make_model, make_prompts, plain_logprobs
):
    model, prompts = make_model(family, seed=1), make_prompts(RAGGED)
    before = fresh.cache_bytes()
    assert 0.9 * CACHE_BYTES <= before <= CACHE_BYTES
    fresh.submit_and_step(tasks_of(prompts), steps=1)
    with pytest.raises(RolloutError, match=f"cannot sleep with {len(prompts)} tasks in hand"):
        fresh.sleep()
    fresh.abandon()
    for _ in range(2):
        fresh.sleep()
        assert fresh.cache_bytes() == 0
        with pytest.raises(RolloutError, match="no usable weights: it sleeps"):
            fresh.sample(prompts, responses_per_prompt=1, setting=setting())
        with pytest.raises(RolloutError, match="the engine sleeps; wake it"):
            fresh.load(weights_of(model), version=3)
        fresh.wake()
        assert fresh.cache_bytes() == before
        with pytest.raises(RolloutError, match="no usable weights: it slept"):
            fresh.sample(prompts, responses_per_prompt=1, setting=setting())
        fresh.load(weights_of(model), version=3)
        assert worst_gap(fresh, model, prompts, plain_logprobs, 1.0) <= LOGPROB_BOUND


def test_a_prompt_that_leaves_no_room_is_refused(fresh, make_prompts):
    with pytest.raises(RolloutError, match="model's context is 128"):
        fresh.sample(make_prompts((100,)), responses_per_prompt=1, setting=setting(29))
