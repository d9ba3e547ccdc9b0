from __future__ import annotations

import pytest
import torch

from reasonrl.rollout.sampling import sample_tokens


@pytest.mark.parametrize("vocabulary", [7, 1023, 1024, 3001])
def test_evenly_spaced_uniforms_hit_each_token_as_often_as_its_probability_says(vocabulary):
    torch.manual_seed(0)
    draws = 20000
    logits = torch.randn(vocabulary) * 2
    uniforms = (torch.arange(draws) + 0.5) / draws
    tokens, _ = sample_tokens(logits.expand(draws, -1), uniforms, temperature=0.9, top_p=1.0)
    counts = torch.bincount(tokens, minlength=vocabulary).double()
    expected = torch.softmax(logits.double() / 0.9, dim=0) * draws
    # The inverse CDF puts the count of every token within one of its expectation; a little more for float32 sums.
    assert float((counts - expected).abs().max()) <= 1.05


@pytest.mark.parametrize("vocabulary", [96, 4096])
def test_impossible_tokens_are_never_drawn(vocabulary):
    torch.manual_seed(0)
    possible = torch.rand(512, vocabulary) < 0.05
    possible[:, 3] = True
    logits = torch.randn(512, vocabulary).masked_fill(~possible, -torch.inf)
    for uniform in (0.0, 0.37, 1 - 2**-24):
        tokens, logprobs = sample_tokens(logits, torch.full((512,), uniform), temperature=1.0, top_p=1.0)
        assert bool(possible[torch.arange(512), tokens].all())
        assert bool(logprobs.isfinite().all())


@pytest.mark.parametrize("temperature", [1.0, 0.3, 2.0])
def test_logprobs_are_those_of_the_softmax_at_the_temperature(temperature):
    torch.manual_seed(0)
    logits = torch.randn(64, 2000) * 3
    tokens, logprobs = sample_tokens(logits, torch.rand(64), temperature=temperature, top_p=1.0)
    expected = torch.log_softmax(logits.double() / temperature, dim=1).gather(1, tokens[:, None]).squeeze(1)
    assert float((logprobs - expected).abs().max()) < 1e-5


def test_temperature_zero_takes_the_first_of_equals_and_scores_at_temperature_one():
    logits = torch.tensor([[0.0, 2.0, 2.0, 1.0]])
    tokens, logprobs = sample_tokens(logits, torch.tensor([0.9]), temperature=0.0, top_p=1.0)
    assert tokens.tolist() == [1]
    assert float(logprobs) == pytest.approx(float(torch.log_softmax(logits, dim=1)[0, 1]), abs=1e-6)


def test_a_nucleus_smaller_than_one_token_is_that_token():
    logits = torch.tensor([[1.0, 3.0, 0.0]]).expand(50, -1)
    tokens, logprobs = sample_tokens(logits, torch.linspace(0, 0.999, 50), temperature=1.0, top_p=1e-6)
    assert set(tokens.tolist()) == {1}
    assert torch.allclose(logprobs, torch.log_softmax(logits, dim=1)[:, 1], atol=1e-6)


def test_bfloat16_logits_are_widened_before_the_softmax():
    torch.manual_seed(0)
    logits = torch.randn(32, 500).bfloat16()
    tokens, logprobs = sample_tokens(logits, torch.rand(32), temperature=1.0, top_p=1.0)
    expected = torch.log_softmax(logits.double(), dim=1).gather(1, tokens[:, None]).squeeze(1)
    assert logprobs.dtype == torch.float32
    assert float((logprobs - expected).abs().max()) < 1e-5
