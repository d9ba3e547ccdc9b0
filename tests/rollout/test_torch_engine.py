from __future__ import annotations

import copy
import gc
import logging
import weakref

import pytest
import torch

from reasonrl.rl.records import FinishReason
from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.stepping import BlockingEngineSteps
from reasonrl.rollout.task import cut_into_tasks
from reasonrl.rollout.torch_engine import TorchEngine

LEAN = ["qwen2-tied", "qwen2-untied", "llama", "llama-scaled-rope", "qwen3", "mistral"]
GENERAL = ["gpt2", "gpt-neox", "mistral-sliding", "llama-biased", "gemma2"]
RAGGED = (3, 17, 9, 30, 1)
LOGPROB_BOUND = 1e-4


def setting(tokens=24, temperature=1.0, seed=5, top_p=1.0):
    return SamplingSetting(max_response_tokens=tokens, temperature=temperature, seed=seed, top_p=top_p)


@pytest.fixture(scope="module")
def make_engine(tokenizer, end_token):
    def make(model, *, max_sequences=64, **options):
        return TorchEngine(model, tokenizer, stop_token_ids=[end_token], max_sequences=max_sequences, **options)

    return make


@pytest.fixture(scope="module")
def weights_of():
    return lambda model: list(model.named_parameters())


def same_responses(first, second):
    return all(
        torch.equal(one.tokens, other.tokens) and torch.equal(one.sampler_logprobs, other.sampler_logprobs)
        for group, twin in zip(first, second, strict=True)
        for one, other in zip(group, twin, strict=True)
    )


@pytest.mark.parametrize("family", LEAN + GENERAL)
def test_greedy_equals_generate_token_for_token(family, make_model, make_engine, make_prompts, end_token):
    model = make_model(family)
    prompts = make_prompts(RAGGED)
    groups = make_engine(model).sample(prompts, responses_per_prompt=2, setting=setting(temperature=0.0))
    for prompt, group in zip(prompts, groups, strict=True):
        row = torch.tensor([prompt.tokens])
        expected = model.generate(
            row, attention_mask=torch.ones_like(row), max_new_tokens=24, do_sample=False, eos_token_id=end_token, pad_token_id=0
        )
        for response in group:
            assert response.tokens.tolist() == expected[0, len(prompt.tokens) :].tolist()


@pytest.mark.parametrize(("families", "decoder"), [(LEAN, "LeanDecoder"), (GENERAL, "TransformersDecoder")])
def test_the_lean_decoder_serves_its_family_and_the_library_the_rest(families, decoder, make_model, make_engine):
    assert [make_engine(make_model(family)).decoder_name for family in families] == [decoder] * len(families)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("family", ["qwen2-tied", "qwen2-untied", "qwen3", "gpt2", "gemma2"])
def test_sampler_logprobs_agree_with_the_plain_forward_pass_before_and_after_a_load(
    family, temperature, make_model, make_engine, make_prompts, plain_logprobs, weights_of
):
    old, new = make_model(family, seed=0), make_model(family, seed=1)
    prompts = make_prompts(RAGGED)
    engine = make_engine(old)

    def worst_gap(model):
        groups = engine.sample(prompts, responses_per_prompt=3, setting=setting(temperature=temperature))
        return max(
            float((plain_logprobs(model, prompt, response.tokens, temperature=temperature or 1.0) - response.sampler_logprobs).abs().max())
            for prompt, group in zip(prompts, groups, strict=True)
            for response in group
        )

    assert worst_gap(old) <= LOGPROB_BOUND
    assert worst_gap(new) > 0.1
    engine.load(weights_of(new), version=4)
    assert worst_gap(new) <= LOGPROB_BOUND
    assert engine.weight_version == 4


@pytest.mark.parametrize("family", ["qwen2-tied", "gpt2"])
def test_bfloat16_agrees_with_the_same_model_in_bfloat16(family, make_model, make_engine, make_prompts, plain_logprobs):
    model = make_model(family).bfloat16()
    prompts = make_prompts(RAGGED)
    groups = make_engine(model).sample(prompts, responses_per_prompt=3, setting=setting())
    gaps = torch.cat(
        [
            (plain_logprobs(model, prompt, response.tokens) - response.sampler_logprobs).abs()
            for prompt, group in zip(prompts, groups, strict=True)
            for response in group
        ]
    )
    assert gaps.mean() < 0.03
    assert gaps.max() < 0.25


@pytest.mark.parametrize("family", ["qwen2-untied", "gpt2"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_queues_and_compaction_do_not_change_a_response(family, temperature, make_model, make_engine, make_prompts):
    model = make_model(family)
    prompts = make_prompts((4, 25, 11, 2, 8, 16, 30))
    wide, *narrow = (
        [
            [response.tokens.tolist() for response in group]
            for group in make_engine(model, max_sequences=rows).sample(prompts, responses_per_prompt=3, setting=setting(40, temperature))
        ]
        for rows in (64, 1, 4, 9)
    )
    assert {len(tokens) for group in wide for tokens in group} > {40}, "the case must mix lengths to try compaction"
    assert narrow == [wide] * 3


def test_a_group_shares_its_prompt_and_nothing_else(make_model, make_engine, make_prompts):
    engine = make_engine(make_model("qwen2-tied"))
    prompts = make_prompts((6, 12))
    (first, second) = engine.sample(prompts, responses_per_prompt=16, setting=setting(12))
    assert len({tuple(response.tokens.tolist()) for response in first}) > 8
    (alone,) = engine.sample(prompts[:1], responses_per_prompt=16, setting=setting(12))
    assert [response.tokens.tolist() for response in alone] == [response.tokens.tolist() for response in first]
    assert len(second) == 16


def test_the_same_call_gives_the_same_bits_and_another_seed_others(make_model, make_engine, make_prompts):
    engine = make_engine(make_model("qwen2-tied"), max_sequences=5)
    prompts = make_prompts(RAGGED)
    first = engine.sample(prompts, responses_per_prompt=4, setting=setting(seed=1))
    assert same_responses(first, engine.sample(prompts, responses_per_prompt=4, setting=setting(seed=1)))
    other = engine.sample(prompts, responses_per_prompt=4, setting=setting(seed=2))
    assert [r.tokens.tolist() for g in first for r in g] != [r.tokens.tolist() for g in other for r in g]


def test_a_response_stops_at_its_end_token_or_exactly_at_the_limit(make_model, make_engine, make_prompts, tokenizer, end_token):
    engine = make_engine(make_model("qwen2-tied"))
    groups = engine.sample(make_prompts(RAGGED), responses_per_prompt=8, setting=setting(30))
    responses = [response for group in groups for response in group]
    assert {response.finish for response in responses} == {FinishReason.STOP, FinishReason.LENGTH}
    for response in responses:
        body = response.tokens.tolist()
        assert response.sampler_logprobs.shape == response.tokens.shape
        assert response.sampler_logprobs.dtype == torch.float32
        assert end_token not in body[:-1]
        if response.finish is FinishReason.STOP:
            assert body.pop() == end_token
        else:
            assert len(body) == 30
            assert body[-1] != end_token
        assert response.text.split() == [f"w{token}" for token in body if token > end_token]


@pytest.mark.parametrize("limit", [1, 2])
def test_the_shortest_limits_are_kept(limit, make_model, make_engine, make_prompts):
    engine = make_engine(make_model("qwen2-tied"), max_sequences=3)
    groups = engine.sample(make_prompts(RAGGED), responses_per_prompt=2, setting=setting(limit))
    lengths = {len(response.tokens) for group in groups for response in group}
    assert max(lengths) == limit


def test_any_of_several_end_tokens_ends_a_response(make_model, make_prompts, tokenizer):
    engine = TorchEngine(make_model("qwen2-tied"), tokenizer, stop_token_ids=range(48), max_sequences=64)
    groups = engine.sample(make_prompts(RAGGED), responses_per_prompt=8, setting=setting(30))
    stopped = [response for group in groups for response in group if response.finish is FinishReason.STOP]
    assert {int(response.tokens[-1]) for response in stopped} - {1}
    assert all(int(response.tokens[-1]) < 48 and bool((response.tokens[:-1] >= 48).all()) for response in stopped)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_are_drawn_with_the_softmax_probabilities(temperature, make_model, make_engine, make_prompts):
    model = make_model("qwen2-tied")
    (prompt,) = make_prompts((9,))
    draws = 4000
    engine = make_engine(model, max_sequences=1024)
    (group,) = engine.sample([prompt], responses_per_prompt=draws, setting=setting(1, temperature))
    counts = torch.bincount(torch.cat([response.tokens for response in group]), minlength=96).double()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt.tokens])).logits[0, -1].double()
    expected = torch.softmax(logits / temperature, dim=0) * draws
    common = expected >= 5
    counts = torch.cat((counts[common], counts[~common].sum()[None]))
    expected = torch.cat((expected[common], expected[~common].sum()[None]))
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = torch.tensor((len(counts) - 1) / 2, dtype=torch.double)
    assert torch.special.gammaincc(freedom, chi_square / 2) > 1e-3


def test_top_p_keeps_to_the_nucleus_and_reports_the_full_distribution(make_model, make_engine, make_prompts, plain_logprobs):
    model = make_model("qwen2-tied")
    (prompt,) = make_prompts((9,))
    (group,) = make_engine(model).sample([prompt], responses_per_prompt=400, setting=setting(1, 0.8, top_p=0.6))
    with torch.no_grad():
        probabilities = torch.softmax(model(input_ids=torch.tensor([prompt.tokens])).logits[0, -1].double() / 0.8, dim=0)
    ordered = probabilities.sort(descending=True)
    size = int((ordered.values.cumsum(0) < 0.6).sum()) + 1
    assert {int(response.tokens[0]) for response in group} == set(ordered.indices[:size].tolist())
    for response in group[:5]:
        gap = response.sampler_logprobs - plain_logprobs(model, prompt, response.tokens, temperature=0.8)
        assert float(gap.abs()) <= LOGPROB_BOUND


def test_a_long_queue_on_few_rows_moves_the_window_of_the_cache(make_model, make_engine, make_prompts, plain_logprobs):
    model = make_model("qwen2-untied")
    prompts = make_prompts([3 + index % 20 for index in range(40)])
    groups = make_engine(model, max_sequences=2).sample(prompts, responses_per_prompt=1, setting=setting(30))
    for prompt, (response,) in zip(prompts, groups, strict=True):
        assert float((plain_logprobs(model, prompt, response.tokens) - response.sampler_logprobs).abs().max()) <= LOGPROB_BOUND


@pytest.mark.parametrize("family", ["qwen2-tied", "qwen2-untied", "gpt2"])
@pytest.mark.parametrize("fault", ["missing", "unknown", "misshapen", "doubled", "integer"])
def test_a_faulty_load_keeps_the_old_weights_and_version(family, fault, make_model, make_engine, make_prompts, weights_of):
    engine = make_engine(make_model(family))
    engine.load(weights_of(make_model(family, seed=0)), version=3)
    prompts = make_prompts(RAGGED)
    before = engine.sample(prompts, responses_per_prompt=2, setting=setting())
    offer = weights_of(make_model(family, seed=1))
    name, tensor = offer[-1]
    if fault == "missing":
        offer.pop()
    elif fault == "unknown":
        offer.append(("model.extra.weight", torch.zeros(2)))
    elif fault == "misshapen":
        offer[-1] = (name, torch.zeros(*tensor.shape, 1))
    elif fault == "doubled":
        offer.append((name, tensor))
    else:
        offer[-1] = (name, tensor.long())
    with pytest.raises(WeightLoadError, match=r"model\.extra" if fault == "unknown" else name.replace(".", r"\.")):
        engine.load(offer, version=9)
    assert engine.weight_version == 3
    assert same_responses(before, engine.sample(prompts, responses_per_prompt=2, setting=setting()))


def test_a_tied_head_may_come_along_but_must_be_the_embedding(make_model, make_engine):
    model = make_model("qwen2-tied")
    engine = make_engine(model)
    engine.load(model.state_dict().items(), version=1)
    offer = dict(model.state_dict())
    offer["lm_head.weight"] = offer["lm_head.weight"] + 1.0
    with pytest.raises(WeightLoadError, match="one tied weight"):
        engine.load(offer.items(), version=2)
    del offer["model.embed_tokens.weight"]
    engine.load(offer.items(), version=3)
    assert engine.weight_version == 3


def test_the_engine_keeps_its_weights_while_the_given_model_trains_on(make_model, make_engine, make_prompts):
    for family in ("qwen2-tied", "gpt2"):
        model = make_model(family)
        engine = make_engine(model)
        prompts = make_prompts(RAGGED)
        before = engine.sample(prompts, responses_per_prompt=2, setting=setting())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
        assert same_responses(before, engine.sample(prompts, responses_per_prompt=2, setting=setting()))


def test_responses_carry_the_version_that_wrote_them_and_may_enter_a_graph(make_model, make_engine, make_prompts, weights_of):
    model = make_model("qwen2-tied")
    engine = make_engine(model)
    engine.load(weights_of(model), version=11)
    ((response,),) = engine.sample(make_prompts((4,)), responses_per_prompt=1, setting=setting(8))
    assert response.weight_version == 11
    weight = torch.ones(1, requires_grad=True)
    (weight * response.sampler_logprobs).sum().backward()
    assert float(weight.grad) == pytest.approx(float(response.sampler_logprobs.sum()))


def test_a_model_that_the_lean_decoder_does_not_reproduce_is_decoded_by_the_library(make_model, make_engine, make_prompts, caplog):
    model = make_model("qwen2-untied")
    model.lm_head.register_forward_hook(lambda module, inputs, output: torch.tanh(output / 2) * 2)
    with caplog.at_level(logging.INFO, logger="reasonrl"):
        engine = make_engine(model)
    assert engine.decoder_name == "TransformersDecoder"
    assert "lean decoder is not used" in caplog.text


def test_diverged_weights_are_an_error_and_a_good_load_heals_them(make_model, make_engine, make_prompts, weights_of):
    model = make_model("qwen2-tied")
    engine = make_engine(model)
    prompts = make_prompts(RAGGED)
    before = engine.sample(prompts, responses_per_prompt=2, setting=setting())
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.model.layers[0].mlp.down_proj.weight.fill_(float("nan"))
    engine.load(weights_of(broken), version=1)
    with pytest.raises(RolloutError, match="not finite at weight version 1"):
        engine.sample(prompts, responses_per_prompt=2, setting=setting())
    engine.load(weights_of(model), version=2)
    healed = engine.sample(prompts, responses_per_prompt=2, setting=setting())
    assert same_responses(before, healed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0}, "maxResponseTokens must be at least 1"),
        ({"tokens": 250}, "model's context is 256"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "topP"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(change, message, make_model, make_engine, make_prompts):
    engine = make_engine(make_model("qwen2-tied"))
    with pytest.raises(RolloutError, match=message):
        engine.sample(make_prompts((9,)), responses_per_prompt=1, setting=setting(**change))


def test_an_empty_prompt_is_refused_by_its_question(make_model, make_engine, make_prompts):
    engine = make_engine(make_model("qwen2-tied"))
    with pytest.raises(RolloutError, match="'q1' has no tokens"):
        engine.sample(make_prompts((9, 0)), responses_per_prompt=1, setting=setting())
    assert engine.sample([], responses_per_prompt=1, setting=setting()) == []


def test_an_engine_starts_from_a_directory_with_the_end_token_of_its_settings(tmp_path, make_model, tokenizer, make_prompts, end_token):
    model = make_model("qwen2-tied")
    model.generation_config.eos_token_id = [end_token, 5]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = TorchEngine.from_directory(tmp_path, max_sequences=8)
    direct = TorchEngine(model, tokenizer, stop_token_ids=[end_token, 5], max_sequences=8)
    prompts = make_prompts(RAGGED)
    assert same_responses(
        engine.sample(prompts, responses_per_prompt=2, setting=setting()), direct.sample(prompts, responses_per_prompt=2, setting=setting())
    )


def test_a_later_call_may_have_longer_prompts(make_model, make_engine, make_prompts):
    model = make_model("qwen2-tied")
    used, fresh = make_engine(model), make_engine(model)
    used.sample(make_prompts((3,)), responses_per_prompt=2, setting=setting(12))
    for length in (30, 5, 60):
        prompts = make_prompts((length,))
        found = used.sample(prompts, responses_per_prompt=2, setting=setting(12))
        expected = fresh.sample(prompts, responses_per_prompt=2, setting=setting(12))
        assert [response.tokens.tolist() for response in found[0]] == [response.tokens.tolist() for response in expected[0]]


def test_sampling_goes_on_after_close(make_model, make_engine, make_prompts):
    engine = make_engine(make_model("qwen2-tied"))
    prompts = make_prompts(RAGGED)
    before = engine.sample(prompts, responses_per_prompt=2, setting=setting())
    engine.close()
    assert same_responses(before, engine.sample(prompts, responses_per_prompt=2, setting=setting()))


def test_a_sleeping_engine_gives_its_cache_back_and_samples_again_after_wake_and_load(make_model, make_engine, make_prompts, weights_of):
    model, prompts = make_model("llama"), make_prompts(RAGGED)
    engine = make_engine(model)
    before = engine.sample(prompts, responses_per_prompt=2, setting=setting())
    cache = weakref.ref(engine._slots.storage[0])
    engine.sleep()
    gc.collect()
    assert cache() is None
    engine.wake()
    with pytest.raises(RolloutError, match="the engine slept; load a full set of weights"):
        engine.sample(prompts, responses_per_prompt=2, setting=setting())
    engine.load(weights_of(model), version=3)
    assert engine.weight_version == 3
    assert same_responses(engine.sample(prompts, responses_per_prompt=2, setting=setting()), before)


def test_a_load_while_the_engine_sleeps_may_fail_and_be_done_again(make_model, make_engine, make_prompts, weights_of):
    model, prompts = make_model("llama"), make_prompts(RAGGED)
    engine = make_engine(model)
    engine.sleep()
    with pytest.raises(WeightLoadError):
        engine.load(weights_of(model)[1:], version=1)
    with pytest.raises(RolloutError, match="the engine slept"):
        engine.sample(prompts, responses_per_prompt=2, setting=setting())
    engine.load(weights_of(model), version=2)
    assert len(engine.sample(prompts, responses_per_prompt=2, setting=setting())) == len(prompts)


def test_an_adapted_engine_sleeps_and_wakes_like_a_stepping_one(make_model, make_engine, make_prompts, weights_of):
    model = make_model("llama")
    engine = make_engine(model)
    adapted = BlockingEngineSteps(engine)
    (task,) = cut_into_tasks(make_prompts((4,)), responses_per_prompt=2, setting=setting(), prompts_per_task=1, call=1)
    adapted.submit(task)
    (before,) = adapted.step()
    adapted.sleep()
    adapted.wake()
    adapted.submit(task)
    (slept,) = adapted.step()
    assert slept.refused
    assert "the engine slept" in slept.error
    adapted.load(weights_of(model), version=1)
    adapted.submit(task)
    (after,) = adapted.step()
    assert same_responses(before.groups, after.groups)
