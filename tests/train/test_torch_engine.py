"""The built-in trainer against plain autograd over whole logits, written out here from the papers' formulas."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from reasonrl.rl.importance import ImportanceCorrection
from reasonrl.rl.kl import KLTerm
from reasonrl.train.protocol import TrainerError


def parameters(trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.weights()}


def plain_logprobs(model, sequence, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs and entropies `[time]` of a response, by one forward pass over this sequence alone."""
    logits = model(input_ids=sequence.tokens[None]).logits[0].float() / temperature
    distribution = logits.log_softmax(dim=-1)[sequence.prompt_length - 1 : -1]
    targets = sequence.tokens[sequence.prompt_length :]
    return distribution.gather(1, targets[:, None]).squeeze(1), -(distribution.exp() * distribution).sum(dim=-1)


def first_moments(trainer) -> dict[str, torch.Tensor]:
    """After one step from nothing, AdamW's first moment is (1 − 0.9) × gradient."""
    return {name: trainer._optimizer.state[parameter]["exp_avg"] for name, parameter in trainer.model.named_parameters()}


def tenth_of_gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    loss.backward()
    return {name: 0.1 * parameter.grad for name, parameter in model.named_parameters()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 2e-5) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("aggregation", ["tokenMean", "sequenceMean", "constant"])
def test_an_on_policy_update_is_the_truncated_policy_gradient(make_trainer, make_sequences, make_setting, aggregation: str) -> None:
    trainer, sequences = make_trainer(aggregation=aggregation), make_sequences(6)
    model = copy.deepcopy(trainer.model)
    tokens = sum(sequence.response_length for sequence in sequences)
    loss = torch.zeros(())
    for sequence in sequences:
        logprobs, _ = plain_logprobs(model, sequence)
        weight = (logprobs.detach() - sequence.sampler_logprobs).exp().clamp(max=2.0)
        term = -(weight * sequence.advantages * (logprobs - logprobs.detach()).exp()).sum()
        denominator = {"tokenMean": tokens, "sequenceMean": 6 * sequence.response_length, "constant": 6 * 20}[aggregation]
        loss = loss + term / denominator
    stats = trainer.update([sequences], setting=make_setting())
    assert stats.loss == pytest.approx(loss.item(), rel=1e-4, abs=1e-6)
    assert stats.tokens == tokens
    assert stats.clip_fraction == 0.0
    assert_same(first_moments(trainer), tenth_of_gradients(model, loss))


def test_entropy_and_kl_terms_are_added_once(make_trainer, make_sequences, make_setting) -> None:
    trainer = make_trainer(kl=KLTerm(estimator="k2", placement="loss", clamp=10.0), correction=ImportanceCorrection(kind="none"))
    sequences = make_sequences(5)
    model = copy.deepcopy(trainer.model)
    reference = [logprobs + 0.1 for logprobs in trainer.reference_logprobs(sequences, temperature=0.7)]
    for sequence, logprobs in zip(sequences, reference, strict=True):
        sequence.reference_logprobs = logprobs
    loss = torch.zeros(())
    tokens = sum(sequence.response_length for sequence in sequences)
    for sequence in sequences:
        logprobs, entropy = plain_logprobs(model, sequence, temperature=0.7)
        surrogate = -(sequence.advantages * (logprobs - logprobs.detach()).exp())
        kl = 0.5 * (logprobs - sequence.reference_logprobs) ** 2
        loss = loss + (surrogate + 0.3 * kl - 0.05 * entropy).sum() / tokens
    trainer.update([sequences], setting=make_setting(temperature=0.7, kl_coefficient=0.3, entropy_coefficient=0.05))
    assert_same(first_moments(trainer), tenth_of_gradients(model, loss))


@pytest.mark.parametrize("loss", ["clip", "gspo", "cispo"])
@pytest.mark.parametrize("aggregation", ["tokenMean", "sequenceMean", "constant"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_the_gradient_does_not_depend_on_the_cut_into_micro_batches(
    make_trainer, make_sequences, make_setting, loss: str, aggregation: str, level: str
) -> None:
    results = []
    for budget in (1, 40, 10_000):
        trainer = make_trainer(
            loss=loss,
            aggregation=aggregation,
            tokens_per_micro_batch=budget,
            correction=ImportanceCorrection(kind="truncate", level=level),  # type: ignore[arg-type]
        )
        sequences = make_sequences(8)
        stats = trainer.update([sequences[:4], sequences[4:]], setting=make_setting())
        results.append((stats, parameters(trainer)))
    for stats, found in results[1:]:
        assert stats.loss == pytest.approx(results[0][0].loss, rel=1e-4, abs=1e-6)
        assert stats.gradient_norm == pytest.approx(results[0][0].gradient_norm, rel=1e-4)
        assert_same(found, results[0][1], tolerance=1e-4)


def test_old_logprobs_are_those_of_the_start_of_the_step(make_trainer, make_sequences, make_setting) -> None:
    trainer, sequences = make_trainer(), make_sequences(6)
    expected = trainer.policy_logprobs(sequences[3:], temperature=1.0)
    trainer.update([sequences[:3], sequences[3:]], setting=make_setting())
    for sequence, logprobs in zip(sequences[3:], expected, strict=True):
        assert torch.equal(sequence.old_logprobs, logprobs)
    assert all(sequence.old_logprobs is None for sequence in sequences[:3])


def test_against_the_sampler_the_ratio_is_clipped_where_the_two_differ(make_trainer, make_sequences, make_setting) -> None:
    trainer, sequences = make_trainer(old_logprobs="sampler"), make_sequences(6)
    stats = trainer.update([sequences], setting=make_setting())
    assert stats.clip_fraction > 0.1


def test_statistics_are_those_of_the_policy_before_the_update(make_trainer, make_sequences, make_setting) -> None:
    trainer, sequences = make_trainer(), make_sequences(6)
    found = [plain_logprobs(trainer.model, sequence) for sequence in sequences]
    gaps = torch.cat([(logprobs - sequence.sampler_logprobs).abs() for sequence, (logprobs, _) in zip(sequences, found, strict=True)])
    entropies = torch.cat([entropy for _, entropy in found])
    stats = trainer.update([sequences], setting=make_setting())
    assert stats.sampler_gap_mean == pytest.approx(float(gaps.mean()), rel=1e-4)
    assert stats.sampler_gap_max == pytest.approx(float(gaps.max()), rel=1e-4)
    assert stats.entropy == pytest.approx(float(entropies.mean()), rel=1e-4)


def test_without_any_advantage_nothing_moves(make_trainer, make_sequences, make_setting) -> None:
    trainer, sequences = make_trainer(), make_sequences(4)
    for sequence in sequences:
        sequence.advantages.zero_()
    before = parameters(trainer)
    stats = trainer.update([sequences], setting=make_setting())
    assert stats.tokens == 0
    assert_same(parameters(trainer), before, tolerance=0)


def test_masked_sequences_count_in_the_constant_denominator_only(make_trainer, make_sequences, make_setting) -> None:
    """A response that selection took out is in no gradient; tokenMean divides by what is left."""
    whole, part = make_trainer(), make_trainer()
    sequences = make_sequences(4)
    for sequence in sequences[2:]:
        sequence.mask.zero_()
    whole.update([sequences], setting=make_setting())
    part.update([make_sequences(4)[:2]], setting=make_setting())
    assert_same(parameters(whole), parameters(part), tolerance=1e-6)


def test_a_gradient_that_is_not_finite_stops_before_the_optimizer(make_trainer, make_sequences, make_setting) -> None:
    trainer, sequences = make_trainer(), make_sequences(4)
    sequences[0].advantages[:] = float("inf")
    before = parameters(trainer)
    with pytest.raises(TrainerError, match=r"gradient norm of update 1 of 1 is (nan|inf).*learningRate"):
        trainer.update([sequences], setting=make_setting())
    assert_same(parameters(trainer), before, tolerance=0)


def test_kl_in_the_loss_without_reference_logprobs_is_an_error(make_trainer, make_sequences, make_setting) -> None:
    trainer = make_trainer(kl=KLTerm(estimator="k3", placement="loss"))
    with pytest.raises(TrainerError, match="without reference log-probs"):
        trainer.update([make_sequences(2)], setting=make_setting(kl_coefficient=0.1))


def test_gradient_checkpointing_changes_memory_and_not_the_update(make_trainer, make_sequences, make_setting) -> None:
    plain, checkpointed = make_trainer(), make_trainer(gradient_checkpointing=True)
    for trainer in (plain, checkpointed):
        trainer.update([make_sequences(6)], setting=make_setting())
    assert_same(parameters(checkpointed), parameters(plain), tolerance=1e-6)


def test_the_gradient_norm_is_clipped(make_trainer, make_sequences, make_setting) -> None:
    free, clipped = make_trainer(), make_trainer(max_gradient_norm=1e-3)
    norm = free.update([make_sequences(6)], setting=make_setting()).gradient_norm
    assert clipped.update([make_sequences(6)], setting=make_setting()).gradient_norm == pytest.approx(norm)
    total = torch.stack([moment.norm() for moment in first_moments(clipped).values()]).norm()
    assert float(total) == pytest.approx(0.1 * 1e-3, rel=1e-3)


def test_the_optimizer_steps_as_adamw_with_decay_on_matrices_only(make_trainer, make_sequences, make_setting) -> None:
    trainer = make_trainer()
    before = parameters(trainer)
    trainer.update([make_sequences(6)], setting=make_setting(learning_rate=1e-3))
    for name, parameter in trainer.model.named_parameters():
        state = trainer._optimizer.state[parameter]
        first, second = state["exp_avg"] / (1 - 0.9), state["exp_avg_sq"] / (1 - 0.95)
        decay = 0.01 if parameter.dim() >= 2 else 0.0
        expected = before[name] * (1 - 1e-3 * decay) - 1e-3 * first / (second.sqrt() + 1e-8)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_trainer_goes_on_bit_for_bit(make_trainer, make_sequences, make_setting, tmp_path: Path, dtype: torch.dtype) -> None:
    term = KLTerm(estimator="k3", placement="loss")
    through, stopped, resumed = (make_trainer(kl=term, dtype=dtype) for _ in range(3))

    def learn(trainer, seed: int) -> None:
        sequences = make_sequences(6, seed)
        for sequence, logprobs in zip(sequences, trainer.reference_logprobs(sequences, temperature=1.0), strict=True):
            sequence.reference_logprobs = logprobs
        trainer.update([sequences], setting=make_setting(kl_coefficient=0.1))

    for trainer in (through, stopped):
        learn(trainer, 1)
        trainer.reset_reference(reset_optimizer=False)
        learn(trainer, 2)
    stopped.save(tmp_path)
    resumed.load(tmp_path)
    for trainer in (through, resumed):
        learn(trainer, 3)
        learn(trainer, 4)
    assert_same(parameters(resumed), parameters(through), tolerance=0)


def test_the_saved_policy_loads_in_transformers(make_trainer, make_sequences, make_setting, tmp_path: Path) -> None:
    trainer = make_trainer(dtype=torch.bfloat16)
    trainer.update([make_sequences(4)], setting=make_setting())
    trainer.save(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    assert loaded.dtype == torch.bfloat16
    for name, tensor in trainer.weights():
        assert torch.equal(loaded.get_parameter(name), tensor.to(torch.bfloat16))


def test_a_checkpoint_of_another_model_is_refused(make_trainer, tmp_path: Path) -> None:
    make_trainer().save(tmp_path)
    other = make_trainer()
    other.model.model.norm.weight = torch.nn.Parameter(torch.ones(7))
    with pytest.raises(TrainerError, match=r"parameter model\.norm\.weight should be \[7\], found \[32\]"):
        other.load(tmp_path)


def test_a_reference_that_the_checkpoint_lacks_is_an_error(make_trainer, tmp_path: Path) -> None:
    make_trainer().save(tmp_path)
    with pytest.raises(TrainerError, match="holds no reference model"):
        make_trainer(kl=KLTerm(estimator="k3", placement="loss")).load(tmp_path)


def test_after_a_reset_the_reference_is_the_policy(make_trainer, make_sequences, make_setting) -> None:
    trainer, sequences = make_trainer(kl=KLTerm(estimator="k3", placement="reward")), make_sequences(3)
    trainer.update([sequences], setting=make_setting())
    before = trainer.reference_logprobs(sequences, temperature=1.0)
    trainer.reset_reference(reset_optimizer=True)
    after = trainer.reference_logprobs(sequences, temperature=1.0)
    policy = trainer.policy_logprobs(sequences, temperature=1.0)
    assert not torch.equal(before[0], after[0])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(policy, after, strict=True))
    assert not trainer._optimizer.state


def test_a_run_without_kl_holds_no_reference(make_trainer, make_sequences) -> None:
    with pytest.raises(TrainerError, match="holds no reference model"):
        make_trainer().reference_logprobs(make_sequences(1), temperature=1.0)
