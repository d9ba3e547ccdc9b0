"""From graded groups to sequences with advantages."""

from __future__ import annotations

import pytest
import torch

from reasonrl.rl.kl import KLTerm
from reasonrl.rl.records import FinishReason, Grade, GradedGroup, Group, Outcome, Prompt, Question, Response, Score
from reasonrl.rl.selection_rules import overlength_mask, response_selection
from reasonrl.run.learning_batch import BatchRules, learning_batch


def response(length: int, *, truncated: bool = False) -> Response:
    return Response(
        tokens=torch.arange(length),
        sampler_logprobs=torch.full((length,), -1.0),
        finish=FinishReason.LENGTH if truncated else FinishReason.STOP,
        weight_version=0,
        text="",
    )


def graded(rewards: list[float | None], *, name: str = "g", truncated: tuple[int, ...] = ()) -> GradedGroup:
    prompt = Prompt(question=Question(id=name, text="?", answer="!", source="test"), text="?", tokens=(7, 8))
    responses = tuple(response(3 + index, truncated=index in truncated) for index in range(len(rewards)))
    grades = tuple(
        Grade(
            reward=reward,
            correct=None if reward is None else reward > 0,
            scores=(Score("answer", Outcome.ERROR if reward is None else Outcome.VALUE, reward),),
        )
        for reward in rewards
    )
    return GradedGroup(Group(id=name, prompt=prompt, responses=responses), grades)


def rules(**changes) -> BatchRules:
    values = {"estimator": "dr_grpo", "epsilon": 1e-6, "selection": (), "updates_per_step": 1, "epochs": 1, "kl": None, **changes}
    return BatchRules(**values)


def test_a_sequence_is_prompt_and_response_with_the_advantage_on_every_token() -> None:
    batch = learning_batch([graded([1.0, 0.0])], rules(), kl_coefficient=0.0, reference=None)
    ((right, wrong),) = batch.updates
    assert right.tokens.tolist() == [7, 8, 0, 1, 2]
    assert right.prompt_length == 2
    assert right.advantages.tolist() == [0.5] * 3
    assert wrong.advantages.tolist() == [-0.5] * 4
    assert batch.kept_responses == 2
    assert batch.kl is None


def test_an_unscored_response_leaves_the_baseline_and_the_gradient() -> None:
    batch = learning_batch([graded([1.0, 0.0, None])], rules(), kl_coefficient=0.0, reference=None)
    ((right, _, unscored),) = batch.updates
    assert right.advantages.tolist() == [0.5] * 3
    assert not unscored.mask.any()
    assert batch.kept_responses == 2
    assert batch.dropped["unscored"] == 1


@pytest.mark.parametrize(("when", "advantage"), [("beforeGroupStatistics", 0.5), ("afterGroupStatistics", 2 / 3)])
def test_a_truncated_response_can_leave_before_or_after_the_statistics(when: str, advantage: float) -> None:
    selection = (overlength_mask(when=when),)  # type: ignore[arg-type]
    batch = learning_batch([graded([1.0, 0.0, 0.0], truncated=(2,))], rules(selection=selection), kl_coefficient=0.0, reference=None)
    ((right, _, cut),) = batch.updates
    assert right.advantages.tolist() == pytest.approx([advantage] * 3)
    assert not cut.mask.any()


def test_updates_are_disjoint_groups_and_epochs_repeat_them() -> None:
    groups = [graded([1.0, 0.0], name=f"g{index}") for index in range(4)]
    batch = learning_batch(groups, rules(updates_per_step=2, epochs=2), kl_coefficient=0.0, reference=None)
    assert [len(update) for update in batch.updates] == [4, 4, 4, 4]
    first, second, third, fourth = ({id(sequence) for sequence in update} for update in batch.updates)
    assert not first & second
    assert (first, second) == (third, fourth)


def test_kl_in_the_reward_is_subtracted_token_by_token() -> None:
    """reinforce_plus_plus: the return at t is the reward less the penalties from t on, whitened over the batch."""
    term = KLTerm(estimator="k1", placement="reward")
    batch = learning_batch(
        [graded([1.0, 0.0])],
        rules(estimator="reinforce_plus_plus", kl=term),
        kl_coefficient=0.5,
        reference=lambda rows: [torch.full((row.response_length,), -1.2) for row in rows],
    )
    # d = −1 − (−1.2) = 0.2, penalty 0.1 a token.
    returns = torch.tensor([1 - 0.3, 1 - 0.2, 1 - 0.1, -0.4, -0.3, -0.2, -0.1])
    whitened = (returns - returns.mean()) / (returns.std() + 1e-6)
    found = torch.cat([sequence.advantages for sequence in batch.updates[0]])
    torch.testing.assert_close(found, whitened, rtol=1e-4, atol=1e-5)
    assert batch.kl == pytest.approx({"k1": 0.2, "k2": 0.02, "k3": 2.718281828**-0.2 - 1 + 0.2}, rel=1e-5)


def test_kl_in_the_loss_leaves_the_rewards_alone_and_hands_the_reference_on() -> None:
    term = KLTerm(estimator="k3", placement="loss")
    batch = learning_batch(
        [graded([1.0, 0.0])],
        rules(kl=term),
        kl_coefficient=0.5,
        reference=lambda rows: [torch.full((row.response_length,), -2.0) for row in rows],
    )
    ((right, _),) = batch.updates
    assert right.advantages.tolist() == [0.5] * 3
    assert right.reference_logprobs is not None
    assert right.reference_logprobs.tolist() == [-2.0] * 3


def test_an_update_without_anything_to_learn_from_is_left_out_and_counted() -> None:
    groups = [graded([None, None], name="a"), graded([1.0, 0.0], name="b")]
    batch = learning_batch(groups, rules(updates_per_step=2, epochs=2), kl_coefficient=0.0, reference=None)
    assert [len(update) for update in batch.updates] == [2, 2]
    assert (batch.skipped_updates, batch.empty_questions, batch.kept_responses) == (2, 1, 2)


def test_nothing_at_all_to_learn_from_is_no_update() -> None:
    selection = (overlength_mask(when="beforeGroupStatistics"),)
    batch = learning_batch([graded([1.0, 0.0], truncated=(0, 1))], rules(selection=selection), kl_coefficient=0.0, reference=None)
    assert (batch.updates, batch.skipped_updates, batch.empty_questions) == ([], 1, 1)
    assert (batch.kept, batch.dropped) == ({"unscored": 2, "overlengthMask": 0}, {"unscored": 0, "overlengthMask": 2})


@pytest.mark.parametrize(("when", "right", "wrong"), [("afterGroupStatistics", 2 / 3, -1 / 3), ("beforeGroupStatistics", 0.5, -0.5)])
def test_response_selection_learns_from_two_with_the_advantages_of_two_or_of_all(when: str, right: float, wrong: float) -> None:
    # Rewards 0, 0, 1 of 3, 4 and 5 tokens: the longest right one has 5, the shortest wrong one 3.
    selection = (response_selection(when=when),)  # type: ignore[arg-type]
    batch = learning_batch([graded([0.0, 0.0, 1.0])], rules(selection=selection), kl_coefficient=0.0, reference=None)
    ((shortest, other, longest),) = batch.updates
    assert longest.advantages.tolist() == pytest.approx([right] * 5)
    assert shortest.advantages.tolist() == pytest.approx([wrong] * 3)
    assert not other.mask.any()
