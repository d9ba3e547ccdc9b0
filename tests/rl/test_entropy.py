from __future__ import annotations

import torch

from reasonrl.rl.entropy import entropy_bonus


def test_minimising_the_bonus_raises_entropy() -> None:
    logits = torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64, requires_grad=True)

    def entropy(logits: torch.Tensor) -> torch.Tensor:
        return torch.distributions.Categorical(logits=logits).entropy()

    loss = entropy_bonus(entropy(logits)[None], coefficient=0.5)
    torch.testing.assert_close(loss, -0.5 * entropy(logits)[None])
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert entropy(logits - 0.1 * gradient) > entropy(logits)
