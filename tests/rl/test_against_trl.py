"""The objective against TRL's own: GRPOTrainer's loss, driven with log-probs of our choosing, and its log-prob functions.

TRL names differ: `grpo`, `dr_grpo` and `dapo` are one clipped loss under three aggregations, `delta` is dual clip, GSPO is `grpo` at
sequence level, and CISPO's `epsilon_high` is the bound itself rather than its distance from 1.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from reasonrl.rl.advantages import ADVANTAGES, RewardedGroup
from reasonrl.rl.aggregation import token_weights
from reasonrl.rl.entropy import entropy_bonus
from reasonrl.rl.importance import ImportanceCorrection, importance_weights
from reasonrl.rl.kl import KLTerm, kl_estimate
from reasonrl.rl.logprobs import token_logprobs
from reasonrl.rl.losses import LOSSES, ClipSetting

# Importing TRL takes up to twenty seconds, and warns of a vLLM that these tests do not touch.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:TRL currently supports vLLM:UserWarning")]

ROWS, TIME, LONGEST = 5, 7, 9
CLIP = ClipSetting(low=0.2, high=0.28)


@pytest.fixture(scope="module")
def trl() -> Any:
    pytest.importorskip("trl", reason="TRL is not installed (extra `bench`)")
    from trl import GRPOTrainer
    from trl.trainer import utils

    return SimpleNamespace(loss=GRPOTrainer._compute_loss, utils=utils)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(ROWS, TIME, generator=generator, dtype=torch.float64)

    old = noise(1.0) - 2
    mask = torch.ones(ROWS, TIME, dtype=torch.float64)
    for row, length in enumerate((7, 3, 5, 1, 6)):
        mask[row, length:] = 0
    return {
        "new": old + noise(0.4),
        "old": old,
        "sampler": old + noise(0.4),
        "reference": old + noise(0.3),
        "entropy": noise(1.0).abs(),
        "advantages": torch.tensor([1.0, -1.5, 0.0, 2.0, -0.5], dtype=torch.float64),
        "mask": mask,
    }


def trl_loss(
    trl: Any, batch: dict[str, Tensor], new: Tensor, *, entropy_coefficient: float = 0.0, ratio: Tensor | None = None, **setting: Any
) -> Tensor:
    chosen: dict[str, Any] = {
        "aux_loss_enabled": False,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "importance_sampling_level": "token",
        "beta": 0.0,
        "loss_type": "dapo",
        "epsilon_low": CLIP.low,
        "epsilon_high": CLIP.high,
        "use_vllm": ratio is not None,
        "vllm_importance_sampling_correction": ratio is not None,
        "current_gradient_accumulation_steps": 1,
        "max_completion_length": LONGEST,
        "use_adaptive_entropy": False,
        "_entropy_bonus_enabled": entropy_coefficient != 0.0,
        "entropy_coef": entropy_coefficient,
        "_metrics": {"train": defaultdict(list)},
        "model": SimpleNamespace(training=True),
        "accelerator": SimpleNamespace(
            num_processes=1, sync_gradients=True, gather=lambda tensor: tensor, reduce=lambda tensor, reduction: tensor
        ),
        "_get_per_token_logps_and_entropies": lambda *_, **__: (new, batch["entropy"], None),
    }
    arguments = SimpleNamespace(delta=setting.pop("delta", None), use_bias_correction_kl=False, steps_per_generation=1)
    trainer = SimpleNamespace(**(chosen | setting), args=arguments)
    inputs = {
        "prompt_ids": torch.zeros(ROWS, 1, dtype=torch.long),
        "prompt_mask": torch.ones(ROWS, 1, dtype=torch.long),
        "completion_ids": torch.zeros(ROWS, TIME, dtype=torch.long),
        "completion_mask": batch["mask"],
        "advantages": batch["advantages"],
        "old_per_token_logps": batch["old"],
        "ref_per_token_logps": batch["reference"],
        "importance_sampling_ratio": ratio,
        "num_items_in_batch": batch["mask"].sum(),
    }
    loss: Tensor = trl.loss(trainer, None, inputs)
    return loss


def our_loss(
    batch: dict[str, Tensor],
    new: Tensor,
    *,
    loss: str = "clip",
    aggregation: str = "tokenMean",
    clip: ClipSetting = CLIP,
    kl_coefficient: float = 0.0,
    entropy_coefficient: float = 0.0,
    correction: ImportanceCorrection | None = None,
) -> Tensor:
    """The sum over tokens that a trainer makes, from flat tokens without padding."""
    lengths = [int(count) for count in batch["mask"].sum(1)]
    ids = torch.repeat_interleave(torch.arange(ROWS), torch.tensor(lengths))

    def flat(tensor: Tensor) -> Tensor:
        return torch.cat([row[:length] for row, length in zip(tensor, lengths, strict=True)])

    mask = torch.ones(sum(lengths), dtype=torch.float64)
    # float32 weights would hide real differences behind their rounding, so they are scaled back to whole counts first.
    weights = torch.cat(token_weights([torch.ones(length) for length in lengths], kind=aggregation, constant_length=LONGEST)).double()
    weights = 1.0 / (1.0 / weights).round()
    policy = LOSSES[loss].compute(flat(new), flat(batch["old"]), batch["advantages"][ids], mask, ids, clip)
    token_loss = policy.loss
    if correction is not None:
        token_loss = (
            token_loss
            * importance_weights(flat(batch["old"]), flat(batch["sampler"]), mask=mask, sequence_ids=ids, correction=correction).weights
        )
    if kl_coefficient:
        term = KLTerm(estimator="k3", placement="loss")
        token_loss = token_loss + kl_coefficient * kl_estimate(flat(new), flat(batch["reference"]), term)
    if entropy_coefficient:
        token_loss = token_loss + entropy_bonus(flat(batch["entropy"]), coefficient=entropy_coefficient)
    return (weights * token_loss).sum()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"loss_type": "dapo"}, {"aggregation": "tokenMean"}),
        ({"loss_type": "grpo"}, {"aggregation": "sequenceMean"}),
        ({"loss_type": "dr_grpo"}, {"aggregation": "constant"}),
        ({"loss_type": "dapo", "beta": 0.04}, {"aggregation": "tokenMean", "kl_coefficient": 0.04}),
        ({"loss_type": "grpo", "beta": 0.04}, {"aggregation": "sequenceMean", "kl_coefficient": 0.04}),
        ({"loss_type": "dapo", "delta": 1.5}, {"clip": ClipSetting(low=0.2, high=0.28, dual=1.5)}),
        (
            {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.06},
            {"loss": "gspo", "aggregation": "sequenceMean", "clip": ClipSetting(low=0.05, high=0.06)},
        ),
        ({"loss_type": "cispo", "epsilon_high": 1.28}, {"loss": "cispo"}),
        ({"loss_type": "dapo", "entropy_coefficient": 0.01}, {"entropy_coefficient": 0.01}),
    ],
)
def test_loss_and_gradient_are_those_of_grpo_trainer(
    trl: Any, batch: dict[str, Tensor], theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    results = []
    for compute in (lambda new: trl_loss(trl, batch, new, **theirs), lambda new: our_loss(batch, new, **ours)):
        new = batch["new"].clone().requires_grad_()
        loss = compute(new)
        results.append((loss.detach(), torch.autograd.grad(loss, new)[0]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-12)
    assert results[0][1].any()


@pytest.mark.parametrize("kind", ["truncate", "mask"])
def test_sampler_correction_is_that_of_grpo_trainer(trl: Any, batch: dict[str, Tensor], kind: Any) -> None:
    """TRL's rule of `_generate_and_score_completions`: clamp above, or zero outside the range."""
    ratio = (batch["old"] - batch["sampler"]).exp()
    ratio = ratio.clamp(max=1.3) if kind == "truncate" else ratio.masked_fill((ratio < 0.7) | (ratio > 1.3), 0.0)
    new = batch["new"].clone().requires_grad_()
    expected = torch.autograd.grad(trl_loss(trl, batch, new, ratio=ratio), new)[0]
    correction = ImportanceCorrection(kind=kind, cap=1.3, floor=0.7)
    found = torch.autograd.grad(our_loss(batch, new, correction=correction), new)[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_logprobs_and_entropy_are_those_of_trl(trl: Any) -> None:
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(30, 8, generator=generator)
    weight = torch.randn(40, 8, generator=generator)
    targets = torch.randint(0, 40, (30,), generator=generator)
    logits = (hidden @ weight.t() / 0.8)[None]
    logprobs, entropy = token_logprobs(hidden, weight, targets, temperature=0.8, chunk_tokens=7)
    torch.testing.assert_close(logprobs, trl.utils.selective_log_softmax(logits, targets[None])[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy, trl.utils.entropy_from_logits(logits)[0], rtol=1e-5, atol=1e-5)


def test_grpo_advantages_are_trls_with_its_epsilon_and_unscored_responses(trl: Any) -> None:
    rewards = torch.tensor([[1.0, 0.0, float("nan"), 0.5], [0.2, 0.9, 0.1, 0.1]], dtype=torch.float64)
    expected = (rewards - rewards.nanmean(1, keepdim=True)) / (trl.utils.nanstd(rewards, dim=1, keepdim=True) + 1e-4)
    groups = [
        RewardedGroup(
            rewards=tuple(None if torch.isnan(value) else float(value) for value in row),
            valid=tuple(not bool(torch.isnan(value)) for value in row),
            lengths=(1,) * 4,
        )
        for row in rewards
    ]
    found = torch.stack([torch.cat(each) for each in ADVANTAGES["grpo"](groups, 1e-4)])
    torch.testing.assert_close(found, expected.nan_to_num(0.0).float())
