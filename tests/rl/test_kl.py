"""KL estimators against closed forms and a distribution whose KL is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reasonrl.rl.kl import ESTIMATORS, KLTerm, estimates, kl_estimate


def term(estimator: str, clamp: float = 10.0) -> KLTerm:
    return KLTerm(estimator=estimator, placement="loss", clamp=clamp)  # type: ignore[arg-type]


@pytest.mark.parametrize("d", [-4.0, -0.3, 0.0, 1e-4, 0.7, 5.0])
def test_values_are_the_published_formulas(d: float) -> None:
    policy, reference = torch.tensor([d - 1.0], dtype=torch.float64), torch.tensor([-1.0], dtype=torch.float64)
    expected = {"k1": d, "k2": d * d / 2, "k3": math.exp(-d) - 1 + d, "k3+": math.exp(-d) - 1 + d}
    for name, value in expected.items():
        assert kl_estimate(policy, reference, term(name)).item() == pytest.approx(value, rel=1e-9, abs=1e-12), name
    logged = estimates(policy, reference, clamp=10.0)
    assert [each.item() for each in logged] == pytest.approx([expected["k1"], expected["k2"], expected["k3"]], rel=1e-9, abs=1e-12)


def test_k3_keeps_its_precision_near_zero() -> None:
    found = kl_estimate(torch.tensor([1e-3]), torch.tensor([0.0]), term("k3")).item()
    assert found == pytest.approx(0.5e-6, rel=0.02)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_gradients_agree_with_finite_differences(estimator: str) -> None:
    policy = torch.tensor([-3.0, -0.2, -1.1, -40.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-1.0, -1.2, -1.0, -1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda policy: kl_estimate(policy, reference, term(estimator)), (policy,))


def test_k3_plus_has_the_gradient_of_k2() -> None:
    reference = torch.tensor([-1.0, -1.2])
    gradients = []
    for name in ("k3+", "k2"):
        policy = torch.tensor([-3.0, -0.2], requires_grad=True)
        kl_estimate(policy, reference, term(name)).sum().backward()
        gradients.append(policy.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def expectation(policy_logits: Tensor, reference: Tensor, name: str, *, detach_weights: bool) -> Tensor:
    """The estimator's mean over every token, weighted by the policy that samples it."""
    logprobs = policy_logits.log_softmax(0)
    weights = logprobs.exp()
    return ((weights.detach() if detach_weights else weights) * kl_estimate(logprobs, reference, term(name))).sum()


def test_k1_and_k3_are_unbiased_and_the_gradient_of_k2_is_that_of_the_reverse_kl() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, generator=generator, dtype=torch.float64).requires_grad_()
    reference = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(0)
    exact = torch.nn.functional.kl_div(reference, logits.log_softmax(0), reduction="sum", log_target=True)
    exact_gradient = torch.autograd.grad(exact, logits, retain_graph=True)[0]
    for name in ("k1", "k3", "k3+"):
        torch.testing.assert_close(expectation(logits, reference, name, detach_weights=True), exact, msg=name)
    for name in ("k2", "k3+"):
        found = torch.autograd.grad(expectation(logits, reference, name, detach_weights=True), logits)[0]
        torch.testing.assert_close(found, exact_gradient, msg=name)
    useless = torch.autograd.grad(expectation(logits, reference, "k1", detach_weights=True), logits)[0]
    torch.testing.assert_close(useless, torch.zeros_like(useless))


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(ESTIMATORS)),
    policy=st.floats(-1e5, 0.0),
    reference=st.floats(-1e5, 0.0),
    clamp=st.floats(0.1, 20.0),
)
def test_clamp_bounds_value_and_gradient(name: str, policy: float, reference: float, clamp: float) -> None:
    tensor = torch.tensor([policy], dtype=torch.float64, requires_grad=True)
    value = kl_estimate(tensor, torch.tensor([reference], dtype=torch.float64), term(name, clamp))
    value.sum().backward()
    assert tensor.grad is not None
    bound = max(clamp, clamp**2 / 2, math.exp(clamp) - 1 - clamp, math.exp(-clamp) - 1 + clamp)
    assert abs(value.item()) <= bound * (1 + 1e-9)
    assert math.isfinite(tensor.grad.item())
    if abs(policy - reference) > clamp:
        assert tensor.grad.item() == 0.0


def test_logged_estimates_carry_no_gradient() -> None:
    policy = torch.tensor([-1.0], requires_grad=True)
    assert not any(each.requires_grad for each in estimates(policy, torch.tensor([-2.0]), clamp=10.0))
