"""Policy losses against the published formulas, written out one token at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reasonrl.rl.aggregation import token_weights
from reasonrl.rl.losses import LOG_RATIO_LIMIT, LOSSES, ClipSetting, TokenLoss, cispo_loss, clip_loss, gspo_loss, sequence_means

CLIP = ClipSetting(low=0.2, high=0.28)


def run(
    name: str, new: Tensor, old: Tensor, advantages: Tensor, *, clip: ClipSetting = CLIP, lengths: list[int] | None = None
) -> TokenLoss:
    counts = torch.tensor(lengths if lengths is not None else [new.numel()])
    ids = torch.repeat_interleave(torch.arange(counts.numel()), counts)
    return LOSSES[name].compute(new, old, advantages, torch.ones_like(advantages), ids, clip)


def ppo_by_hand(ratio: float, advantage: float, clip: ClipSetting) -> float:
    loss = -min(ratio * advantage, min(max(ratio, 1 - clip.low), 1 + clip.high) * advantage)
    return min(loss, -clip.dual * advantage) if clip.dual is not None and advantage < 0 else loss


@pytest.mark.parametrize("dual", [None, 3.0])
@pytest.mark.parametrize("advantage", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize("ratio", [0.1, 0.75, 0.95, 1.0, 1.2, 1.35, 4.0, 50.0])
def test_clip_is_the_ppo_formula(ratio: float, advantage: float, dual: float | None) -> None:
    clip = ClipSetting(low=0.2, high=0.28, dual=dual)
    found = run("clip", torch.tensor([math.log(ratio)]), torch.tensor([0.0]), torch.tensor([advantage]), clip=clip)
    assert found.loss.item() == pytest.approx(ppo_by_hand(ratio, advantage, clip), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual", "clipped"),
    [
        (1.5, 1.0, None, 1.0),
        (1.5, -1.0, None, 0.0),
        (0.5, -1.0, None, 1.0),
        (0.5, 1.0, None, 0.0),
        (1.1, 1.0, None, 0.0),
        (1.0, 0.0, None, 0.0),
        (9.0, 0.0, None, 0.0),
        (4.0, -1.0, 3.0, 1.0),
        (2.0, -1.0, 3.0, 0.0),
    ],
)
def test_clipped_marks_the_tokens_that_lose_their_gradient(ratio: float, advantage: float, dual: float | None, clipped: float) -> None:
    new = torch.tensor([math.log(ratio)], requires_grad=True)
    found = run("clip", new, torch.zeros(1), torch.tensor([advantage]), clip=ClipSetting(low=0.2, high=0.28, dual=dual))
    found.loss.sum().backward()
    assert found.clipped.item() == clipped
    assert new.grad is not None
    assert (new.grad.item() == 0.0) == (clipped == 1.0 or advantage == 0.0)


@pytest.mark.parametrize("name", ["clip", "gspo"])
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    old = torch.randn(12, generator=generator, dtype=torch.float64)
    advantages = torch.randn(12, generator=generator, dtype=torch.float64)
    new = (old + 0.4 * torch.randn(12, generator=generator, dtype=torch.float64)).requires_grad_()
    weights = torch.cat([torch.full((length,), 1.0 / length, dtype=torch.float64) for length in (5, 4, 3)])
    if name == "gspo":
        # The token form's value is per token but its gradient is the sequence's only when summed with equal advantages and weights.
        advantages = advantages[[0] * 5 + [1] * 4 + [2] * 3]
    assert torch.autograd.gradcheck(lambda new: (weights * run(name, new, old, advantages, lengths=[5, 4, 3]).loss).sum(), (new,))


def test_on_policy_gradient_of_every_loss_is_reinforce() -> None:
    """At ratio 1 each loss has gradient −A, averaged as its aggregation says."""
    advantages = torch.tensor([1.0, 1.0, 1.0, -2.0, -2.0])
    for name in LOSSES:
        new = torch.tensor([-1.0, -2.0, -0.5, -3.0, -0.1], requires_grad=True)
        run(name, new, new.detach(), advantages, lengths=[3, 2]).loss.sum().backward()
        assert new.grad is not None
        torch.testing.assert_close(new.grad, -advantages, msg=name)


def test_gspo_is_the_sequence_form_under_sequence_mean() -> None:
    generator = torch.Generator().manual_seed(7)
    lengths = [6, 3, 4]
    masks = [torch.tensor([1.0, 1, 0, 1, 1, 1]), torch.ones(3), torch.tensor([1.0, 1, 1, 0])]
    old = torch.randn(13, generator=generator, dtype=torch.float64)
    new = (old + 0.1 * torch.randn(13, generator=generator, dtype=torch.float64)).requires_grad_()
    advantage = torch.tensor([1.0, -0.5, -2.0], dtype=torch.float64)
    clip = ClipSetting(low=0.02, high=0.03)
    ids = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))

    expected = torch.zeros((), dtype=torch.float64)
    ratios = []
    for index, (log_ratio, mask) in enumerate(zip((new - old).split(lengths), masks, strict=True)):
        ratio = ((log_ratio * mask).sum() / mask.sum()).exp()
        ratios.append(ratio.item())
        expected = expected - torch.min(ratio * advantage[index], ratio.clamp(1 - clip.low, 1 + clip.high) * advantage[index]) / 3
    expected_gradient = torch.autograd.grad(expected, new)[0]

    weights = torch.cat(token_weights(masks, kind="sequenceMean", constant_length=1)).double()
    found = gspo_loss(new, old, advantage[ids], torch.cat(masks), ids, clip)
    loss = (weights * found.loss).sum()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(torch.autograd.grad(loss, new)[0], expected_gradient, rtol=1e-6, atol=1e-8)
    assert any(not 1 - clip.low <= ratio <= 1 + clip.high for ratio in ratios), "the case must reach the clip"


def test_gspo_token_outside_the_mask_does_not_move_the_ratio() -> None:
    old, advantages, ids = torch.zeros(3), torch.ones(3), torch.zeros(3, dtype=torch.long)
    mask = torch.tensor([1.0, 1.0, 0.0])
    calm = gspo_loss(torch.tensor([0.1, 0.2, 0.0]), old, advantages, mask, ids, CLIP).loss
    wild = gspo_loss(torch.tensor([0.1, 0.2, -9.0]), old, advantages, mask, ids, CLIP).loss
    torch.testing.assert_close(calm[:2], wild[:2])
    torch.testing.assert_close(calm[:2], torch.full((2,), -math.exp(0.15)))


def test_cispo_truncates_the_weight_and_keeps_every_gradient() -> None:
    ratios = torch.tensor([0.1, 0.9, 1.28, 1.3, 7.0])
    advantages = torch.tensor([1.0, -1.0, 1.0, 2.0, -3.0])
    old = torch.full((5,), -2.0)
    new = (old + ratios.log()).requires_grad_()
    found = cispo_loss(new, old, advantages, torch.ones(5), torch.zeros(5, dtype=torch.long), CLIP)
    weight = torch.tensor([0.1, 0.9, 1.28, 1.28, 1.28])
    torch.testing.assert_close(found.loss, -weight * advantages * new)
    torch.testing.assert_close(torch.autograd.grad(found.loss.sum(), new)[0], -weight * advantages)
    assert found.clipped.tolist()[3:] == [1.0, 1.0]
    assert found.clipped.tolist()[:2] == [0.0, 0.0]


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(LOSSES)),
    new=st.floats(-1e4, 0.0),
    old=st.floats(-1e4, 0.0),
    advantage=st.floats(-10.0, 10.0),
    dual=st.sampled_from([None, 3.0]),
)
def test_losses_and_gradients_are_finite_for_extreme_ratios(
    name: str, new: float, old: float, advantage: float, dual: float | None
) -> None:
    policy = torch.tensor([new, -1.0], requires_grad=True)
    found = run(name, policy, torch.tensor([old, -1.0]), torch.tensor([advantage, 0.0]), clip=ClipSetting(low=0.2, high=0.28, dual=dual))
    found.loss.sum().backward()
    assert policy.grad is not None
    assert torch.isfinite(found.loss).all()
    assert torch.isfinite(policy.grad).all()
    assert (advantage != 0.0) or found.loss.tolist() == [0.0, 0.0]


def test_ratio_is_clamped_at_the_limit() -> None:
    found = clip_loss(
        torch.tensor([0.0]), torch.tensor([-500.0]), torch.tensor([-1.0]), torch.ones(1), torch.zeros(1, dtype=torch.long), CLIP
    )
    assert found.loss.item() == pytest.approx(math.exp(LOG_RATIO_LIMIT), rel=1e-6)


def test_sequence_means_count_masked_tokens_and_survive_an_empty_sequence() -> None:
    values = torch.tensor([1.0, 3.0, 100.0, float("inf"), 5.0])
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0])
    ids = torch.tensor([0, 0, 0, 1, 2])
    torch.testing.assert_close(sequence_means(values, mask=mask, sequence_ids=ids), torch.tensor([2.0, 0.0, 5.0]))
    assert sequence_means(torch.zeros(0), mask=torch.zeros(0), sequence_ids=torch.zeros(0, dtype=torch.long)).numel() == 0
