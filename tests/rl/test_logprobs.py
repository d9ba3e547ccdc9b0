"""The chunked head against log_softmax, finite differences, and itself under other cuts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from reasonrl.rl.logprobs import fused_head_loss, inference_logprobs, token_logprobs


def inputs(
    tokens: int, size: int, vocab: int, *, dtype: torch.dtype = torch.float64, seed: int = 0, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = (torch.randn(tokens, size, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()
    weight = torch.randn(vocab, size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    bias = torch.randn(vocab, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, weight, bias, torch.randint(0, vocab, (tokens,), generator=generator)


def naive(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logits = hidden @ weight.t()
    logits = (logits if bias is None else logits + bias) / temperature
    log_softmax = logits.log_softmax(-1)
    return log_softmax.gather(1, targets[:, None]).squeeze(1), -(log_softmax.exp() * log_softmax).sum(-1)


def surrogate(logprobs: Tensor, entropy: Tensor, advantages: Tensor) -> Tensor:
    return (advantages * (logprobs - logprobs.detach()).exp() * logprobs.exp().detach() + 0.3 * entropy * advantages.abs()).sum()


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
@pytest.mark.parametrize("with_bias", [False, True])
def test_values_are_those_of_log_softmax(temperature: float, with_bias: bool) -> None:
    hidden, weight, bias, targets = inputs(13, 5, 7)
    used = bias if with_bias else None
    expected = naive(hidden, weight, used, targets, temperature)
    logprobs, entropy = token_logprobs(hidden, weight, targets, temperature=temperature, chunk_tokens=4, head_bias=used)
    torch.testing.assert_close(logprobs, expected[0])
    torch.testing.assert_close(entropy, expected[1])
    alone = inference_logprobs(hidden, weight, targets, temperature=temperature, chunk_tokens=4, head_bias=used)
    torch.testing.assert_close(alone, expected[0].detach())
    assert not alone.requires_grad


@pytest.mark.parametrize("with_bias", [False, True])
def test_gradients_agree_with_finite_differences(with_bias: bool) -> None:
    hidden, weight, bias, targets = inputs(9, 4, 6)

    def outputs(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return token_logprobs(hidden, weight, targets, temperature=0.7, chunk_tokens=4, head_bias=bias if with_bias else None)

    assert torch.autograd.gradcheck(outputs, (hidden, weight, bias))


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(1, 20),
    vocab=st.integers(2, 30),
    chunk=st.integers(1, 25),
    temperature=st.floats(0.3, 2.0),
    seed=st.integers(0, 2**16),
    uses_entropy=st.booleans(),
)
def test_fused_loss_has_the_gradient_of_the_naive_one_whatever_the_chunk(
    tokens: int, vocab: int, chunk: int, temperature: float, seed: int, uses_entropy: bool
) -> None:
    hidden, weight, bias, targets = inputs(tokens, 5, vocab, seed=seed)
    advantages = torch.linspace(-1.0, 1.0, tokens, dtype=torch.float64)

    def loss(logprobs: Tensor, entropy: Tensor, rows: slice) -> Tensor:
        return surrogate(logprobs, entropy if uses_entropy else entropy.detach(), advantages[rows])

    leaves = (hidden, weight, bias)
    expected_values = naive(hidden, weight, bias, targets, temperature)
    expected = loss(*expected_values, slice(0, tokens))
    expected_gradients = torch.autograd.grad(expected, leaves)

    fused = fused_head_loss(hidden, weight, targets, temperature=temperature, chunk_tokens=chunk, loss_of_chunk=loss, head_bias=bias)
    torch.testing.assert_close(fused.loss, expected)
    torch.testing.assert_close((fused.logprobs, fused.entropy), tuple(value.detach() for value in expected_values))
    # An upstream factor must scale the gradient that was taken in the forward pass.
    gradients = torch.autograd.grad(2.5 * fused.loss, leaves)
    torch.testing.assert_close(gradients, tuple(2.5 * gradient for gradient in expected_gradients))

    plain = loss(*token_logprobs(hidden, weight, targets, temperature=temperature, chunk_tokens=chunk, head_bias=bias), slice(0, tokens))
    torch.testing.assert_close(torch.autograd.grad(plain, leaves), expected_gradients)


def test_loss_that_ignores_the_logprobs_gives_the_entropy_gradient() -> None:
    hidden, weight, bias, targets = inputs(11, 5, 7)
    expected = torch.autograd.grad(naive(hidden, weight, bias, targets, 1.0)[1].sum(), (hidden, weight, bias))
    fused = fused_head_loss(
        hidden, weight, targets, temperature=1.0, chunk_tokens=3, head_bias=bias, loss_of_chunk=lambda _, entropy, rows: entropy.sum()
    )
    torch.testing.assert_close(torch.autograd.grad(fused.loss, (hidden, weight, bias)), expected)
    plain = token_logprobs(hidden, weight, targets, temperature=1.0, chunk_tokens=3, head_bias=bias)[1].sum()
    torch.testing.assert_close(torch.autograd.grad(plain, (hidden, weight, bias)), expected)


def test_loss_of_chunk_sees_each_token_once_and_in_order() -> None:
    hidden, weight, _, targets = inputs(10, 3, 5)
    seen: list[slice] = []

    def loss(logprobs: Tensor, entropy: Tensor, rows: slice) -> Tensor:
        assert logprobs.shape == entropy.shape == (rows.stop - rows.start,)
        seen.append(rows)
        return logprobs.sum()

    fused_head_loss(hidden, weight, targets, temperature=1.0, chunk_tokens=4, loss_of_chunk=loss)
    assert [index for rows in seen for index in range(rows.start, rows.stop)] == list(range(10))


def test_without_gradient_the_fused_loss_has_its_value_and_no_graph() -> None:
    hidden, weight, _, targets = inputs(10, 3, 5)
    expected = naive(hidden, weight, None, targets, 1.0)[0].sum()
    with torch.no_grad():
        fused = fused_head_loss(
            hidden, weight, targets, temperature=1.0, chunk_tokens=4, loss_of_chunk=lambda logprobs, entropy, rows: logprobs.sum()
        )
    torch.testing.assert_close(fused.loss, expected.detach())
    assert not fused.loss.requires_grad


def test_second_backward_of_the_fused_loss_is_refused() -> None:
    hidden, weight, _, targets = inputs(10, 3, 5)
    fused = fused_head_loss(hidden, weight, targets, temperature=1.0, chunk_tokens=4, loss_of_chunk=lambda logprobs, *_: logprobs.sum())
    fused.loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="first backward"):
        fused.loss.backward()


@pytest.mark.parametrize("shift", [-3000.0, 3000.0])
def test_extreme_logits_stay_finite(shift: float) -> None:
    weight = torch.zeros(4, 2, requires_grad=True)
    hidden = torch.zeros(3, 2, requires_grad=True)
    bias = torch.tensor([shift, 0.0, shift, -shift])
    targets = torch.tensor([0, 1, 3])
    logprobs, entropy = token_logprobs(hidden, weight, targets, temperature=0.5, chunk_tokens=2, head_bias=bias)
    torch.testing.assert_close(logprobs, (bias / 0.5).log_softmax(0)[targets])
    torch.testing.assert_close(entropy, torch.full((3,), 0.0 if shift < 0 else torch.tensor(2.0).log().item()))
    (logprobs + entropy).sum().backward()
    assert hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_exponential_is_subnormal_and_far_targets_keep_their_logprob(dtype: torch.dtype) -> None:
    bias = torch.linspace(-120.0, 0.0, 61, dtype=dtype)
    hidden, weight = torch.zeros(61, 2, dtype=dtype, requires_grad=True), torch.zeros(61, 2, dtype=dtype, requires_grad=True)
    seen: list[Tensor] = []

    class Exponentials(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if "exp" in func.__name__ and isinstance(result, Tensor) and result.numel() > 61:
                seen.append(result.clone())
            return result

    with Exponentials():
        logprobs, entropy = token_logprobs(hidden, weight, torch.arange(61), temperature=1.0, chunk_tokens=20, head_bias=bias)
    assert len(seen) >= 3
    assert all(float(each.min()) >= torch.finfo(torch.float32).tiny for each in seen)
    exact = bias.double().log_softmax(0)
    torch.testing.assert_close(logprobs, exact.to(dtype))
    torch.testing.assert_close(entropy, (-(exact.exp() * exact).sum()).to(dtype).expand(61))
    (gradient,) = torch.autograd.grad(logprobs[0], weight, retain_graph=True)
    assert torch.isfinite(gradient).all()


def test_bfloat16_head_follows_the_float64_one() -> None:
    hidden, weight, _, targets = inputs(64, 32, 50, dtype=torch.bfloat16, scale=0.2)
    exact_hidden, exact_weight = hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    advantages = torch.linspace(-1.0, 1.0, 64)
    expected = naive(exact_hidden, exact_weight, None, targets, 0.9)
    (advantages * expected[0]).sum().backward()
    fused = fused_head_loss(
        hidden,
        weight,
        targets,
        temperature=0.9,
        chunk_tokens=20,
        loss_of_chunk=lambda logprobs, _, rows: (advantages[rows] * logprobs).sum(),
    )
    fused.loss.backward()
    assert fused.logprobs.dtype == torch.float32
    torch.testing.assert_close(fused.logprobs, expected[0].detach().float(), atol=0.02, rtol=0.01)
    torch.testing.assert_close(fused.entropy, expected[1].detach().float(), atol=0.02, rtol=0.01)
    for found, wanted in ((hidden.grad, exact_hidden.grad), (weight.grad, exact_weight.grad)):
        assert found is not None
        assert wanted is not None
        assert found.dtype == torch.bfloat16
        assert float((found.double() - wanted).norm() / wanted.norm()) < 0.01


def test_gradient_of_a_nearly_certain_token_survives_bfloat16() -> None:
    """`1 − p` of a token with p near 1 must not be lost to the rounding of p."""
    hidden = torch.tensor([[8.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    fused = fused_head_loss(
        hidden, weight, torch.tensor([0]), temperature=1.0, chunk_tokens=1, loss_of_chunk=lambda logprobs, *_: logprobs.sum()
    )
    fused.loss.backward()
    missing = 1.0 / (1.0 + torch.tensor(8.0).exp())
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad.float(), torch.stack([missing, -missing])[None], rtol=0.01, atol=0.0)


class LiveBytes(TorchDispatchMode):
    """Follows the storages that operations allocate: `most` is the largest number of their bytes alive at one time."""

    def __init__(self) -> None:
        super().__init__()
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            storage = result.untyped_storage()
            self._storages[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        self._storages = {key: entry for key, entry in self._storages.items() if not entry[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._storages.values()))
        return result


@pytest.mark.parametrize("chunk", [10, 20, 40])
def test_memory_is_two_buffers_of_a_chunk_whatever_the_tokens_and_one_without_gradient(chunk: int) -> None:
    tokens, vocab = 400, 2000
    hidden, weight, _, targets = inputs(tokens, 2, vocab, dtype=torch.float32)
    buffers = 2 * chunk * vocab * 4
    others = 8 * (hidden.numel() + weight.numel() + tokens) * 4
    with LiveBytes() as live:
        fused_head_loss(
            hidden, weight, targets, temperature=0.8, chunk_tokens=chunk, loss_of_chunk=lambda logprobs, *_: logprobs.sum()
        ).loss.backward()
    assert buffers <= live.most <= buffers + others
    with LiveBytes() as live:
        token_logprobs(hidden, weight, targets, temperature=0.8, chunk_tokens=chunk)[0].sum().backward()
    assert buffers <= live.most <= buffers + others
    with LiveBytes() as live:
        inference_logprobs(hidden, weight, targets, temperature=0.8, chunk_tokens=chunk)
    assert buffers / 2 <= live.most <= buffers / 2 + others


def test_no_tokens_is_no_loss() -> None:
    hidden, weight, _, targets = inputs(0, 3, 5)
    fused = fused_head_loss(hidden, weight, targets, temperature=1.0, chunk_tokens=4, loss_of_chunk=lambda logprobs, *_: logprobs.sum())
    fused.loss.backward()
    assert fused.loss.item() == 0.0
    assert weight.grad is not None
    assert not weight.grad.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": float("nan")}, "temperature must be positive"),
        ({"chunk_tokens": 0}, "chunk_tokens must be at least 1"),
        ({"targets": torch.zeros(3, dtype=torch.long)}, "one id for each of the 4 rows"),
        ({"head_weight": torch.zeros(5, 2)}, r"must be \[tokens, h\] and \[vocab, h\]"),
        ({"head_weight": torch.zeros(5, 3, dtype=torch.bfloat16)}, "cast one"),
        ({"head_bias": torch.zeros(4)}, "one value for each of the 5 rows"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "hidden": torch.zeros(4, 3),
        "head_weight": torch.zeros(5, 3),
        "targets": torch.zeros(4, dtype=torch.long),
        "temperature": 1.0,
        "chunk_tokens": 2,
    }
    with pytest.raises(ValueError, match=message):
        token_logprobs(**(good | change))
