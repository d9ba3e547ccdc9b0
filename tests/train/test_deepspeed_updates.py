"""The trainer of several ranks against the built-in one: the same rollouts give the same losses, norms and weights.

Adam's epsilon is large in these jobs: with a tiny one an element whose gradient is rounding noise moves by a whole learning rate, either
way, and nothing could be compared.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from transformers import AutoConfig, Qwen2Config, Qwen2ForCausalLM

MAIN = {"kl": True, "updates": 2, "tied": False, "budget": 60}
"""A reference in the loss, two updates a step, a token budget that cuts a rank's share of an update into several micro-batches."""


@pytest.fixture(scope="module")
def built_in(on_ranks: Any) -> Any:
    """What the built-in trainer makes of a job; each job once."""

    @functools.cache
    def run(**job: Any) -> Any:
        return on_ranks(engine="torch", **job)[0]

    return run


def assert_same(found: dict[str, Any], expected: dict[str, Any], *, tolerance: float = 3e-5) -> None:
    assert found["errors"] == expected["errors"]
    assert len(found["stats"]) == len(expected["stats"])
    for mine, theirs in zip(found["stats"], expected["stats"], strict=True):
        assert mine == pytest.approx(theirs, rel=10 * tolerance, abs=tolerance)
    assert_close(found["weights"], expected["weights"], tolerance=tolerance)
    for key in ("logprobs", "reference"):
        for mine, theirs in zip(found.get(key, []), expected.get(key, []), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=10 * tolerance, atol=10 * tolerance)


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], *, tolerance: float) -> None:
    assert list(found) == list(expected)
    for name, tensor in found.items():
        torch.testing.assert_close(
            tensor.float(), expected[name].float(), rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def assert_ranks_agree(found: list[Any]) -> None:
    for other in found[1:]:
        assert other["stats"] == found[0]["stats"]
        assert other["errors"] == found[0]["errors"]
        assert all(torch.equal(tensor, other["weights"][name]) for name, tensor in found[0]["weights"].items())
        for key in ("logprobs", "reference"):
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(found[0].get(key, []), other.get(key, []), strict=True))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_any_number_of_ranks_at_any_stage_makes_the_same_updates(on_ranks: Any, built_in: Any, world: int, stage: int) -> None:
    found = on_ranks(world=world, stage=stage, **MAIN)
    assert_ranks_agree(found)
    assert_same(found[0], built_in(**MAIN))
    assert found[0]["stats"][0]["clip_fraction"] > 0, "the second update of a step must be off-policy for this to say anything"


@pytest.mark.parametrize(("world", "stage", "sequences"), [(4, 2, 3), (4, 3, 3), (2, 0, 5), (2, 2, 5), (2, 3, 5)])
def test_ranks_with_less_to_do_or_nothing_keep_step(on_ranks: Any, built_in: Any, world: int, stage: int, sequences: int) -> None:
    # A micro-batch for each sequence: four ranks have 1, 1, 1 and 0 of them, two ranks 3 and 2.
    job = {"sequences": sequences, "tied": True, "budget": 1, "checkpointing": True}
    found = on_ranks(world=world, stage=stage, **job)
    assert_ranks_agree(found)
    assert_same(found[0], built_in(**job))


@pytest.mark.parametrize("stage", [2, 3])
def test_a_loss_over_whole_sequences_is_the_same(on_ranks: Any, built_in: Any, stage: int) -> None:
    job = {"loss": "gspo", "aggregation": "sequenceMean", "tied": True}
    found = on_ranks(world=2, stage=stage, **job)
    assert_same(found[0], built_in(**job))


@pytest.mark.parametrize(("stage", "offload"), [(1, "optimizer"), (2, "optimizer"), (3, "optimizer"), (3, "parameters")])
def test_what_is_offloaded_learns_the_same(on_ranks: Any, built_in: Any, stage: int, offload: str) -> None:
    found = on_ranks(world=2, stage=stage, offload=offload, **MAIN)
    assert_same(found[0], built_in(**MAIN))


def test_small_parameters_that_stay_whole_learn_the_same(on_ranks: Any, built_in: Any) -> None:
    found = on_ranks(world=2, stage=3, persistent=100_000, **MAIN)
    assert_ranks_agree(found)
    assert_same(found[0], built_in(**MAIN))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_in_bfloat16_the_updates_are_as_near_to_float32_as_the_built_in_trainers(on_ranks: Any, built_in: Any, stage: int) -> None:
    # Not the main job: through the KL term's slope, rounding grows a third of a step's length in three steps, whoever computes it.
    found = on_ranks(world=2, stage=stage, dtype="bfloat16", tied=True)
    assert_ranks_agree(found)
    exact, rounded, start = built_in(tied=True), built_in(tied=True, dtype="bfloat16"), built_in(tied=True, seeds=())

    def away(run: Any) -> float:
        """How far from the float32 run's movement, as a share of it."""
        gap = sum(float((run["weights"][name].float() - tensor).pow(2).sum()) for name, tensor in exact["weights"].items())
        moved = sum(float((tensor - start["weights"][name]).pow(2).sum()) for name, tensor in exact["weights"].items())
        return (gap / moved) ** 0.5

    assert 0 < away(found[0]) < 2 * away(rounded)
    for mine, theirs in zip(found[0]["stats"], exact["stats"], strict=True):
        assert mine["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=0.05)
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=0.01)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_float32_masters_start_from_the_weights_before_they_were_rounded(on_ranks: Any, built_in: Any, stage: int, tmp_path: Any) -> None:
    """A learning rate that bfloat16 weights could not follow moves masters; they must not start from rounded weights either."""
    on_ranks(world=2, stage=stage, dtype="bfloat16", seeds=(), save=str(tmp_path))
    resumed = on_ranks(engine="torch", seeds=(), load=str(tmp_path))[0]
    assert_close(resumed["weights"], built_in(seeds=())["weights"], tolerance=0)


@pytest.mark.parametrize(("stage", "dtype"), [(0, "float32"), (1, "float32"), (1, "bfloat16"), (2, "bfloat16"), (3, "float32")])
def test_a_gradient_that_is_not_finite_moves_nothing_on_any_rank(on_ranks: Any, built_in: Any, stage: int, dtype: str) -> None:
    whole = on_ranks(world=2, stage=stage, dtype=dtype, tied=True, seeds=(1, 3))
    broken = on_ranks(world=2, stage=stage, dtype=dtype, tied=True, seeds=(1, 2, 3), broken=2)
    assert_ranks_agree(broken)
    assert len(broken[0]["errors"]) == 1
    assert "LossNotFiniteError: the gradient norm of update 1 of 1 is" in broken[0]["errors"][0]
    assert broken[0]["stats"] == whole[0]["stats"]
    assert_close(broken[0]["weights"], whole[0]["weights"], tolerance=0)


@pytest.mark.parametrize("stage", [0, 3])
def test_without_any_advantage_nothing_moves(on_ranks: Any, stage: int) -> None:
    job = {"world": 2, "stage": stage, "tied": True}
    still, start = on_ranks(flat=True, **job), on_ranks(seeds=(), **job)
    assert [each["tokens"] for each in still[0]["stats"]] == [0, 0, 0]
    assert_close(still[0]["weights"], start[0]["weights"], tolerance=0)


def test_a_reset_forgets_moments_and_takes_the_policy_for_reference(on_ranks: Any, built_in: Any) -> None:
    job = {**MAIN, "reset": (2,)}
    for stage in (1, 3):
        assert_same(on_ranks(world=2, stage=stage, **job)[0], built_in(**job))


def test_a_model_comes_from_a_directory(on_ranks: Any, tmp_path: Any) -> None:
    torch.manual_seed(5)
    model = Qwen2ForCausalLM(
        Qwen2Config(vocab_size=37, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)
    )
    model.save_pretrained(tmp_path / "model")
    found = on_ranks(world=2, stage=3, seeds=(), model=str(tmp_path / "model"), save=str(tmp_path / "saved"))
    assert_close(found[1]["weights"], dict(model.named_parameters()), tolerance=0)
    assert AutoConfig.from_pretrained(tmp_path / "saved" / "policy").hidden_size == 16
