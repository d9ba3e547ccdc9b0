"""Log-probabilities and entropy through the language-model head, a chunk of tokens at a time.

The logits of a step, `[tokens, vocab]`, are by far its largest tensor; here they exist for `chunk_tokens` rows at once and are never
kept. `token_logprobs` is an ordinary differentiable function that computes a chunk's logits again in backward. `fused_head_loss`
serves losses that are sums over tokens: the derivative with respect to a chunk's log-probs is known as soon as the chunk is, so its
logits are computed once, turned into gradients on the spot, and dropped. `inference_logprobs` is the forward pass alone.

Notation: `z = (hidden · headᵀ + bias) / temperature`, `p = softmax(z)`. With `g = ∂L/∂log p_target` and `c = ∂L/∂H`,
`∂L/∂z = g · (onehot − p) − c · p · (log p + H)`. The first term needs no pass over `[chunk, vocab]`: a row's `g` scales the rows of
`p · head` and of `hidden` instead, and so does the softmax's denominator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

LOGIT_FLOOR = -80.0
"""Logits further than this below their row's maximum are raised to it, except in the log-prob of a target. They add less than
`vocab · exp(−80)` to a sum of at least 1, which no dtype here can hold; but their exponentials would be subnormal numbers, on which a
CPU is about fifty times slower."""

ChunkLoss = Callable[[Tensor, Tensor, slice], Tensor]
"""`(logprobs [chunk], entropy [chunk], rows) -> scalar`: the summed loss of the tokens `rows`. Differentiable in both tensors."""


class HeadLoss(NamedTuple):
    """`loss` is a differentiable scalar; `logprobs` and `entropy` `[tokens]` (nats) are detached, for statistics."""

    loss: Tensor
    logprobs: Tensor
    entropy: Tensor


def token_logprobs(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    chunk_tokens: int,
    head_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each target and entropy of each distribution, both `[tokens]` in nats and differentiable.

    `hidden` `[tokens, hidden]`, `head_weight` `[vocab, hidden]` of the same dtype, `targets` int64 `[tokens]`, `head_bias` `[vocab]`.
    The results are float32 (float64 for float64 inputs); bfloat16 logits are widened before the softmax. Memory is
    `O(chunk_tokens · vocab)` in forward and in backward, at the price of one more matrix product in backward. When no input
    requires a gradient, nothing is kept.

    Raises `ValueError` for a temperature or chunk that is not positive, or for shapes or dtypes that do not fit.
    """
    head = _checked_head(hidden, head_weight, head_bias, targets, temperature=temperature, chunk_tokens=chunk_tokens)
    logprobs, entropy = _TokenLogprobs.apply(hidden, head_weight, head_bias, targets, head)  # type: ignore[no-untyped-call]
    return logprobs, entropy


def fused_head_loss(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    chunk_tokens: int,
    loss_of_chunk: ChunkLoss,
    head_bias: Tensor | None = None,
) -> HeadLoss:
    """Sum of `loss_of_chunk` over the chunks, with its gradient taken while the chunk's logits are at hand.

    Shapes, dtypes and errors as in `token_logprobs`, and the same gradient with respect to `hidden`, `head_weight` and `head_bias`
    as `loss_of_chunk` applied to its results. The loss must be a sum over tokens: a term that needs other tokens' log-probs (a
    sequence ratio) must take the plain path. The gradients, `[tokens, hidden]` and `[vocab, hidden]`, are ready after the
    forward pass; backward only scales them and gives them away, so there is one backward and no second derivative. An entropy that
    the loss does not use costs no gradient. Raises `RuntimeError` in a second backward.
    """
    head = _checked_head(hidden, head_weight, head_bias, targets, temperature=temperature, chunk_tokens=chunk_tokens)
    inputs = (hidden, head_weight) if head_bias is None else (hidden, head_weight, head_bias)
    needs_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    loss, logprobs, entropy = _FusedHeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden, head_weight, head_bias, targets, head, loss_of_chunk, needs_gradient
    )
    return HeadLoss(loss, logprobs, entropy)


@torch.no_grad()
def inference_logprobs(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    chunk_tokens: int,
    head_bias: Tensor | None = None,
) -> Tensor:
    """Log-probs `[tokens]` alone, without gradient or entropy: for reference and old policies. Shapes as in `token_logprobs`."""
    head = _checked_head(hidden, head_weight, head_bias, targets, temperature=temperature, chunk_tokens=chunk_tokens)
    logprobs = torch.empty(hidden.shape[0], dtype=head.compute_dtype, device=hidden.device)
    buffers = head.logit_buffers(hidden.shape[0])
    for rows in head.chunks(hidden.shape[0]):
        shifted, at_target = head.shifted_logits(hidden[rows], targets[rows], buffers)
        logprobs[rows] = at_target - shifted.exp_().sum(dim=1).log()
    return logprobs


class _Softmax(NamedTuple):
    """One chunk's distribution, unnormalised: with `s` the row of `z` less its maximum, `exponentials` is `exp(s)` and `products`
    is `s · exp(s)`.

    Both are `[chunk, vocab]` views of the workspace, overwritten by the gradient and by the next chunk; the rest is `[chunk]`.
    """

    exponentials: Tensor
    products: Tensor
    total: Tensor
    logprobs: Tensor
    entropy: Tensor


@dataclass(slots=True)
class _Gradients:
    """What one backward through the head accumulates; the parameters' share in the compute dtype."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, slots=True)
class _LogitBuffers:
    """`[chunk, vocab]` room for a chunk's logits, allocated once a call: on a CPU fresh pages cost as much as the arithmetic on them.

    `narrow` is there when the head computes in a smaller dtype than the softmax.
    """

    wide: Tensor
    narrow: Tensor | None


@dataclass(frozen=True, slots=True)
class _Workspace:
    """The buffers of a pass that needs the distribution itself, for the entropy or the gradient."""

    logits: _LogitBuffers
    exponentials: Tensor


@dataclass(frozen=True, slots=True)
class _Head:
    """The constants of one call."""

    weight: Tensor
    bias: Tensor | None
    inverse_temperature: float
    chunk_tokens: int
    compute_dtype: torch.dtype

    def chunks(self, tokens: int) -> Iterator[slice]:
        for start in range(0, tokens, self.chunk_tokens):
            yield slice(start, min(start + self.chunk_tokens, tokens))

    def logit_buffers(self, tokens: int) -> _LogitBuffers:
        shape = (min(self.chunk_tokens, tokens), self.weight.shape[0])
        wide = self.weight.new_empty(shape, dtype=self.compute_dtype)
        return _LogitBuffers(wide=wide, narrow=None if self.weight.dtype == self.compute_dtype else self.weight.new_empty(shape))

    def workspace(self, tokens: int) -> _Workspace:
        logits = self.logit_buffers(tokens)
        return _Workspace(logits=logits, exponentials=torch.empty_like(logits.wide))

    def empty_gradients(self, hidden: Tensor) -> _Gradients:
        return _Gradients(
            hidden=torch.empty_like(hidden),
            weight=torch.zeros_like(self.weight, dtype=self.compute_dtype),
            bias=None if self.bias is None else torch.zeros_like(self.bias, dtype=self.compute_dtype),
        )

    def shifted_logits(self, hidden: Tensor, targets: Tensor, buffers: _LogitBuffers) -> tuple[Tensor, Tensor]:
        """`z` less its row maximum, `[chunk, vocab]` in the wide buffer and floored; and that of the target, `[chunk]`, exact."""
        logits = buffers.wide[: hidden.shape[0]]
        products = logits if buffers.narrow is None else buffers.narrow[: hidden.shape[0]]
        # The temperature rides along as the product's factor: no pass of its own over the logits.
        if self.bias is None:
            torch.addmm(products, hidden, self.weight.t(), beta=0.0, alpha=self.inverse_temperature, out=products)
        else:
            scale = self.inverse_temperature
            torch.addmm(self.bias, hidden, self.weight.t(), beta=scale, alpha=scale, out=products)
        if buffers.narrow is not None:
            logits.copy_(products)
        logits.sub_(logits.amax(dim=1, keepdim=True))
        at_target = logits.gather(1, targets[:, None]).squeeze(1)
        return logits.clamp_(min=LOGIT_FLOOR), at_target

    def softmax(self, hidden: Tensor, targets: Tensor, work: _Workspace) -> _Softmax:
        shifted, at_target = self.shifted_logits(hidden, targets, work.logits)
        exponentials = torch.exp(shifted, out=work.exponentials[: hidden.shape[0]])
        total = exponentials.sum(dim=1)
        log_total = total.log()
        logprobs = at_target - log_total
        products = shifted.mul_(exponentials)
        entropy = log_total - products.sum(dim=1) / total
        return _Softmax(exponentials, products, total, logprobs, entropy)

    def accumulate(
        self,
        chunk: _Softmax,
        *,
        logprob_gradient: Tensor,
        entropy_gradient: Tensor | None,
        rows: slice,
        hidden: Tensor,
        targets: Tensor,
        work: _Workspace,
        into: _Gradients,
    ) -> None:
        """Adds the share of the chunk `rows` to every gradient. `hidden` and `targets` are those of the chunk."""
        slope = chunk.exponentials
        if entropy_gradient is None:
            row_scale = -logprob_gradient / chunk.total
            at_target = -chunk.total
        else:
            constant = logprob_gradient + entropy_gradient * (chunk.entropy - chunk.total.log())
            slope.mul_(constant[:, None]).addcmul_(chunk.products, entropy_gradient[:, None])
            row_scale = -1.0 / chunk.total
            at_target = -logprob_gradient * chunk.total
        slope.scatter_add_(1, targets[:, None], at_target[:, None])
        row_scale = row_scale.mul_(self.inverse_temperature)[:, None]
        if into.bias is not None:
            into.bias.addmv_(slope.t(), row_scale[:, 0])
        narrow = work.logits.narrow
        if narrow is not None:
            slope = narrow[: hidden.shape[0]].copy_(slope)
        torch.mm(slope, self.weight, out=into.hidden[rows]).mul_(row_scale)
        scaled_hidden = (hidden * row_scale).to(hidden.dtype)
        if narrow is None:
            into.weight.addmm_(slope.t(), scaled_hidden)
        else:
            into.weight.add_(slope.t() @ scaled_hidden)


def _checked_head(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, temperature: float, chunk_tokens: int) -> _Head:
    if not temperature > 0:
        raise ValueError(f"temperature must be positive to score tokens, got {temperature}; score greedy samples at temperature 1")
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens must be at least 1, got {chunk_tokens}")
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden {list(hidden.shape)} and head_weight {list(weight.shape)} must be [tokens, h] and [vocab, h]")
    if targets.shape != hidden.shape[:1]:
        raise ValueError(f"targets {list(targets.shape)} must have one id for each of the {hidden.shape[0]} rows of hidden")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"head_bias {list(bias.shape)} must have one value for each of the {weight.shape[0]} rows of head_weight")
    if hidden.dtype != weight.dtype:
        raise ValueError(f"hidden is {hidden.dtype} but head_weight is {weight.dtype}: cast one, so that the loss of precision is declared")
    return _Head(
        weight=weight.detach(),
        bias=None if bias is None else bias.detach(),
        inverse_temperature=1.0 / temperature,
        chunk_tokens=chunk_tokens,
        compute_dtype=torch.float64 if hidden.dtype == torch.float64 else torch.float32,
    )


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, head: _Head) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(hidden.shape[0], dtype=head.compute_dtype, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        work = head.workspace(hidden.shape[0])
        for rows in head.chunks(hidden.shape[0]):
            chunk = head.softmax(hidden[rows], targets[rows], work)
            logprobs[rows] = chunk.logprobs
            entropy[rows] = chunk.entropy
        # Saved so that a weight changed before backward is an error, as with any other operation.
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.head = head
        ctx.set_materialize_grads(False)
        return logprobs, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, logprob_gradient: Tensor | None, entropy_gradient: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        hidden, weight, bias, targets = ctx.saved_tensors
        head: _Head = ctx.head
        if logprob_gradient is None:
            logprob_gradient = torch.zeros(hidden.shape[0], dtype=head.compute_dtype, device=hidden.device)
        gradients = head.empty_gradients(hidden)
        work = head.workspace(hidden.shape[0])
        for rows in head.chunks(hidden.shape[0]):
            head.accumulate(
                head.softmax(hidden[rows], targets[rows], work),
                logprob_gradient=logprob_gradient[rows],
                entropy_gradient=None if entropy_gradient is None else entropy_gradient[rows],
                rows=rows,
                hidden=hidden[rows],
                targets=targets[rows],
                work=work,
                into=gradients,
            )
        bias_gradient = None if gradients.bias is None else gradients.bias.to(bias.dtype)
        return gradients.hidden, gradients.weight.to(weight.dtype), bias_gradient, None, None


class _FusedHeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        head: _Head,
        loss_of_chunk: ChunkLoss,
        needs_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        logprobs = torch.empty(hidden.shape[0], dtype=head.compute_dtype, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        loss = torch.zeros((), dtype=head.compute_dtype, device=hidden.device)
        gradients = head.empty_gradients(hidden) if needs_gradient else None
        work = head.workspace(hidden.shape[0])
        for rows in head.chunks(hidden.shape[0]):
            chunk = head.softmax(hidden[rows], targets[rows], work)
            logprobs[rows] = chunk.logprobs
            entropy[rows] = chunk.entropy
            if gradients is None:
                loss += loss_of_chunk(chunk.logprobs, chunk.entropy, rows)
                continue
            with torch.enable_grad():
                leaves = (chunk.logprobs.detach().requires_grad_(), chunk.entropy.detach().requires_grad_())
                chunk_loss = loss_of_chunk(*leaves, rows)
                logprob_gradient, entropy_gradient = torch.autograd.grad(chunk_loss, leaves, allow_unused=True)
            loss += chunk_loss.detach()
            head.accumulate(
                chunk,
                logprob_gradient=torch.zeros_like(chunk.logprobs) if logprob_gradient is None else logprob_gradient,
                entropy_gradient=entropy_gradient,
                rows=rows,
                hidden=hidden[rows],
                targets=targets[rows],
                work=work,
                into=gradients,
            )
        ctx.gradients = gradients
        ctx.mark_non_differentiable(logprobs, entropy)
        return loss, logprobs, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, upstream: Tensor, _logprobs: Tensor, _entropy: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, None, None, None, None]:
        gradients: _Gradients | None = ctx.gradients
        if gradients is None:
            raise RuntimeError("fused_head_loss gives its gradient away in the first backward: call it again, or use token_logprobs")
        ctx.gradients = None
        bias = None if gradients.bias is None else gradients.bias.mul_(upstream).to(gradients.hidden.dtype)
        hidden = gradients.hidden.mul_(upstream)
        return hidden, gradients.weight.mul_(upstream).to(hidden.dtype), bias, None, None, None, None
