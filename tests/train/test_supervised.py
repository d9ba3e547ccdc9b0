"""Supervised training: the loss is the cross-entropy of the responses, the gradient does not depend on how a batch is laid out, and a run
that stopped goes on bit for bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from reasonrl.train import supervised
from reasonrl.train.protocol import TrainerError
from reasonrl.train.supervised import SupervisedSetting, SupervisedTrainer, learning_rate_at
from reasonrl.train.supervised_rows import packed_rows, plain_rows

VOCABULARY = 23


@pytest.fixture(autouse=True, params=["lean", "library"])
def forward_pass(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to the hidden states: our pass for this family on a CPU, and the library's rows for everything else."""
    if request.param == "library":
        monkeypatch.setattr(supervised, "lean_forward_for", lambda *_args, **_options: None)
    return str(request.param)


@dataclass(frozen=True)
class Row:
    tokens: tuple[int, ...]
    prompt_length: int


def model_of(kind: str = "qwen2", *, tied: bool = True) -> PreTrainedModel:
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 128,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**shape)) if kind == "qwen2" else LlamaForCausalLM(LlamaConfig(**shape))


def rows_of(lengths: Sequence[tuple[int, int]], seed: int = 0) -> list[Row]:
    """One row for each (prompt length, response length)."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Row(tuple(torch.randint(0, VOCABULARY, (prompt + response,), generator=generator).tolist()), prompt) for prompt, response in lengths
    ]


MIXED = rows_of([(3, 5), (7, 1), (1, 12), (4, 4), (9, 20), (2, 2)])
SETTING = SupervisedSetting(steps=4, denominator=44.0, learning_rate=1e-2, warmup_steps=0, schedule="constant", max_gradient_norm=1e9)


def summed_cross_entropy(model: PreTrainedModel, rows: Sequence[Row]) -> torch.Tensor:
    """Row by row, with transformers' own head and torch's cross-entropy."""
    total = torch.zeros(())
    for row in rows:
        logits = model(torch.tensor([row.tokens])).logits[0, row.prompt_length - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(row.tokens[row.prompt_length :]), reduction="sum")
    return total


def gradient_of_first_step(
    model: PreTrainedModel, setting: SupervisedSetting, rows: Sequence[Row]
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss and the gradient that the optimizer is handed in the first step."""
    seen: dict[str, torch.Tensor] = {}
    trainer = SupervisedTrainer(model, setting)

    def look(*_: object) -> None:
        seen.update({name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None})

    trainer._optimizer.register_step_pre_hook(look)
    return next(trainer.steps(lambda _: rows)).loss, seen


LAYOUTS = {
    "one micro-batch": SETTING,
    "a micro-batch for each row": replace(SETTING, tokens_per_micro_batch=1),
    "micro-batches of some rows": replace(SETTING, tokens_per_micro_batch=30),
    "packed into short rows": replace(SETTING, packed_row_tokens=14),
    "packed": replace(SETTING, packed_row_tokens=1000),
    "packed and cut": replace(SETTING, packed_row_tokens=1000, tokens_per_micro_batch=32),
    "head in small chunks": replace(SETTING, logits_chunk_tokens=3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_loss_and_gradient_are_those_of_cross_entropy_however_the_batch_is_laid_out(layout: str, kind: str) -> None:
    model = model_of(kind, tied=kind == "qwen2")
    reference = copy.deepcopy(model).train()
    summed = summed_cross_entropy(reference, MIXED)
    (summed / SETTING.denominator).backward()
    expected = float(summed.detach())
    loss, gradient = gradient_of_first_step(model, LAYOUTS[layout], MIXED)
    assert loss == pytest.approx(expected / 44, rel=1e-5)
    for name, parameter in reference.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_model_that_knows_nothing_has_the_loss_of_a_uniform_guess() -> None:
    model = model_of()
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()
    loss, _ = gradient_of_first_step(model, SETTING, MIXED)
    assert loss == pytest.approx(math.log(VOCABULARY), rel=1e-6)


def test_prompt_tokens_take_no_part_in_the_loss() -> None:
    """The last response token predicts nothing, and prompts are only context: with a response of one token the loss is one log-prob."""
    model = model_of().eval()
    row = Row((3, 4, 5, 6, 7), 4)
    with torch.no_grad():
        expected = -torch.log_softmax(model(torch.tensor([row.tokens[:4]])).logits[0, -1], dim=0)[7]
    loss, _ = gradient_of_first_step(model, SETTING, [row])
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_the_denominator_is_constant() -> None:
    """Half the batch has half the gradient, not the same one: a short batch must not weigh as much as a long one."""
    _, whole = gradient_of_first_step(model_of(), SETTING, MIXED)
    parts = [gradient_of_first_step(model_of(), SETTING, part)[1] for part in (MIXED[:2], MIXED[2:])]
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_the_loss_falls_until_the_responses_are_known() -> None:
    setting = replace(SETTING, steps=150, learning_rate=2e-2, schedule="cosine", warmup_steps=5, max_gradient_norm=1.0)
    losses = [step.loss for step in SupervisedTrainer(model_of(), setting).steps(lambda _: MIXED)]
    assert len(losses) == 150
    assert losses[0] > 2.5
    assert losses[-1] < 0.05


def test_a_step_is_adamw_with_decay_on_matrices_alone() -> None:
    model = model_of()
    reference = copy.deepcopy(model).train()
    setting = replace(SETTING, weight_decay=0.1, max_gradient_norm=0.5, learning_rate=3e-3, warmup_steps=2)
    norms = []
    groups = [
        {"params": [parameter for parameter in reference.parameters() if parameter.dim() >= 2], "weight_decay": 0.1},
        {"params": [parameter for parameter in reference.parameters() if parameter.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    for rate in (1.5e-3, 3e-3, 3e-3, 3e-3):
        (summed_cross_entropy(reference, MIXED) / 44).backward()  # type: ignore[no-untyped-call]
        norms.append(float(torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    found = list(SupervisedTrainer(model, setting).steps(lambda _: MIXED))
    assert [step.gradient_norm for step in found] == pytest.approx(norms, rel=1e-4)
    assert [step.learning_rate for step in found] == pytest.approx([1.5e-3, 3e-3, 3e-3, 3e-3])
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name], parameter, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stop", [0, 1, 3, 6])
def test_a_run_that_stopped_goes_on_bit_for_bit(stop: int, tmp_path: Path) -> None:
    setting = replace(SETTING, steps=6, schedule="cosine", warmup_steps=2, packed_row_tokens=1000, weight_decay=0.01)

    def batch_at(step: int) -> list[Row]:
        return rows_of([(2 + step, 3), (1, 5 + step), (4, 4)], seed=step)

    whole = model_of()
    expected = list(SupervisedTrainer(whole, setting).steps(batch_at))

    trainer = SupervisedTrainer(model_of(), setting)
    steps = trainer.steps(batch_at)
    before = [next(steps) for _ in range(stop)]
    trainer.save(tmp_path / "state")
    resumed_model = model_of("qwen2")
    resumed = SupervisedTrainer(resumed_model, setting)
    resumed.load(tmp_path / "state")
    assert resumed.step == stop
    after = list(resumed.steps(batch_at))

    assert [(step.step, step.loss, step.gradient_norm) for step in (*before, *after)] == [
        (step.step, step.loss, step.gradient_norm) for step in expected
    ]
    for name, parameter in whole.named_parameters():
        assert torch.equal(dict(resumed_model.named_parameters())[name], parameter), name


def test_progress_counts_steps_and_tokens() -> None:
    steps = list(SupervisedTrainer(model_of(), SETTING).steps(lambda _: MIXED))
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert {step.tokens for step in steps} == {sum(len(row.tokens) for row in MIXED)}
    assert all(step.tokens_per_second > 0 for step in steps)


def test_a_gradient_that_is_not_finite_changes_no_weight() -> None:
    model = model_of()
    trainer = SupervisedTrainer(model, replace(SETTING, denominator=1e-45))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(
        TrainerError, match=r"supervised step 1: the gradient norm is (inf|nan); no weight was changed .*spec.sft.learningRate"
    ):
        next(trainer.steps(lambda _: MIXED))
    assert trainer.step == 0
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_state_of_something_else_is_refused(tmp_path: Path) -> None:
    trainer = SupervisedTrainer(model_of(), SETTING)
    with pytest.raises(TrainerError, match="holds no state of a supervised run"):
        trainer.load(tmp_path)
    trainer.save(tmp_path)
    with pytest.raises(TrainerError, match="another model"):
        SupervisedTrainer(
            Qwen2ForCausalLM(
                Qwen2Config(
                    vocab_size=7,
                    hidden_size=8,
                    intermediate_size=8,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    num_key_value_heads=2,
                    pad_token_id=None,
                )
            ),
            SETTING,
        ).load(tmp_path)


def test_packing_is_refused_for_attention_that_takes_no_mask() -> None:
    model = model_of()
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(TrainerError, match="packing needs attention that takes a mask"):
        SupervisedTrainer(model, replace(SETTING, packed_row_tokens=1000))


def test_bfloat16_products_stay_near_the_float32_gradient() -> None:
    _, exact = gradient_of_first_step(model_of(), SETTING, MIXED)
    for packed in (None, 1000):
        _, rounded = gradient_of_first_step(model_of(), replace(SETTING, dtype=torch.bfloat16, packed_row_tokens=packed), MIXED)
        assert {gradient.dtype for gradient in rounded.values()} == {torch.float32}
        difference = math.sqrt(sum(float((rounded[name] - gradient).square().sum()) for name, gradient in exact.items()))
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in exact.values()))
        assert 0 < difference < 0.05 * norm


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 + 0.5 * math.cos(math.pi * progress),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_learning_rate_rises_linearly_and_falls_as_named(name: str) -> None:
    setting = replace(SETTING, steps=110, warmup_steps=10, learning_rate=2.0, schedule=name)  # type: ignore[arg-type]
    assert [learning_rate_at(step, setting) for step in range(10)] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    for step in (10, 35, 60, 85, 109):
        assert learning_rate_at(step, setting) == pytest.approx(2.0 * SCHEDULES[name]((step - 10) / 100))


def test_warmup_over_the_whole_run_is_allowed() -> None:
    setting = replace(SETTING, steps=5, warmup_steps=5, learning_rate=1.0)
    assert [learning_rate_at(step, setting) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("budget", [1, 30, 64, 1000])
def test_packed_rows_hold_every_example_once_within_the_budget(budget: int) -> None:
    batches = packed_rows(MIXED, row_tokens=1000, token_budget=budget)
    longest = max(len(row.tokens) for row in MIXED)
    assert sorted(torch.cat([batch.targets for batch in batches]).tolist()) == sorted(
        token for row in MIXED for token in row.tokens[row.prompt_length :]
    )
    assert all(batch.tokens.shape[1] <= longest for batch in batches)
    assert all(batch.tokens.numel() <= max(budget, longest) for batch in batches)
    # 70 tokens in rows of 29: three rows, where plain rows are six.
    assert sum(len(batch.tokens) for batch in batches) == 3


def test_packed_rows_are_no_longer_than_asked_but_for_longer_examples() -> None:
    batches = packed_rows(MIXED, row_tokens=14, token_budget=1)
    assert sorted(batch.tokens.shape[1] for batch in batches) == [8, 8, 12, 13, 29]
    assert sum(batch.packing is not None for batch in batches) == 1


def test_packed_examples_attend_to_themselves_alone() -> None:
    (batch,) = packed_rows(
        [Row((1, 2, 3), 1), Row((4, 5), 1), Row((9, 9, 9, 9, 9, 9), 5), Row((6, 7, 8), 2)], row_tokens=50, token_budget=100
    )
    assert batch.packing is not None
    assert batch.tokens.tolist() == [[9, 9, 9, 9, 9, 9], [1, 2, 3, 6, 7, 8], [4, 5, 0, 0, 0, 0]]
    assert batch.packing.positions.tolist() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2], [0, 1, 0, 0, 0, 0]]
    assert (batch.packing.mask[0, 0] == 0).int().tolist() == torch.ones(6, 6).tril().int().tolist()
    seen = (batch.packing.mask[1, 0] == 0).int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
    ]
    assert (batch.packing.mask[2, 0, :2] == 0).int().tolist() == [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]
    # Flat places: 4 of the first row; 6 and 7, then 10, of the second; 12 of the third.
    assert batch.predictors.tolist() == [4, 6, 7, 10, 12]
    assert batch.targets.tolist() == [9, 2, 3, 8, 5]


def test_plain_rows_respect_the_token_budget() -> None:
    for batch in plain_rows(MIXED, token_budget=30):
        assert batch.tokens.numel() <= 30
        assert batch.packing is None


def test_plain_rows_are_not_padded_to_the_longest_of_the_step() -> None:
    lengths = [100, 30, 95, 20, 10] * 20
    batches = plain_rows(rows_of([(4, length - 4) for length in lengths]), token_budget=100_000)
    assert [tuple(batch.tokens.shape) for batch in batches] == [(40, 100), (20, 30), (26, 20), (14, 10)]
    assert sorted(torch.cat([batch.targets for batch in batches]).tolist()) == sorted(
        token for row in rows_of([(4, length - 4) for length in lengths]) for token in row.tokens[4:]
    )


def test_few_tokens_are_not_cut_any_further() -> None:
    (batch,) = plain_rows(rows_of([(4, 60), (4, 6), (4, 1)]), token_budget=100_000)
    assert batch.tokens.shape == (3, 64)
