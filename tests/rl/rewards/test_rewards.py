"""Format, overlong and combined rewards against the formulas and checks that they come from."""

from __future__ import annotations

import pytest

from reasonrl.rl.answers.judging import judge
from reasonrl.rl.rewards.combination import WeighedValue, combined_reward
from reasonrl.rl.rewards.format import format_fault
from reasonrl.rl.rewards.overlong import overlong_punishment


def test_a_response_in_the_reports_format_passes() -> None:
    assert format_fault(" 7 + 9 = 16 </think> <answer> 16 </answer>", prefix="<think>") is None
    assert format_fault("<think> a </think>\n\n<answer>b</answer>\n", prefix="") is None


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        ("a </think> <answer> b", "begin with <think> and end with </answer>"),
        ("a </think> <answer> b </answer> so", "end with </answer>"),
        ("a </think> </think> <answer> b </answer>", "</think> occurs 2 times"),
        ("a <answer> b </answer>", "</think> occurs 0 times"),
        ("a <answer> b </think> c </answer>", "out of order"),
        (" </think> <answer> b </answer>", "empty"),
        ("a </think> <answer>  </answer>", "empty"),
        ("a </think> therefore <answer> b </answer>", "text between"),
    ],
)
def test_each_of_the_five_checks_can_fail(response: str, fault: str) -> None:
    found = format_fault(response, prefix="<think>")
    assert found is not None
    assert fault in found


@pytest.mark.parametrize(
    ("length", "punishment"), [(0, 0.0), (16_384, 0.0), (18_432, -0.5), (20_479, -4095 / 4096), (20_480, -1.0), (30_000, -1.0)]
)
def test_the_overlong_punishment_is_daposs(length: int, punishment: float) -> None:
    assert overlong_punishment(length, limit=20_480, buffer=4096) == pytest.approx(punishment)


def part(value: float | None, weight: float = 1.0, *, gate: bool = False) -> WeighedValue:
    return WeighedValue(value=value, weight=weight, gate=gate)


def test_values_are_weighed_and_summed_and_then_gated() -> None:
    assert combined_reward([part(1.0, 2.0), part(-0.5)]) == pytest.approx(1.5)
    assert combined_reward([part(1.0, 2.0), part(-0.5), part(0.0, gate=True)]) == 0.0
    assert combined_reward([part(1.0, 2.0), part(1.0, 7.0, gate=True)]) == 2.0


def test_a_reward_that_is_half_known_is_none() -> None:
    assert combined_reward([part(1.0), part(None)]) is None
    assert combined_reward([part(1.0), part(None, gate=True)]) is None


@pytest.mark.parametrize(
    ("response", "answer", "verdict"),
    [
        ("so \\boxed{\\frac{1}{2}}", "0.5", "correct"),
        ("so \\boxed{2}, or rather \\boxed{3}", "3", "correct"),
        ("<answer> 12 </answer> \\boxed{13}", "12", "correct"),
        ("so \\boxed{12}", "13", "incorrect"),
        ("I do not know", "13", "missing"),
    ],
)
def test_a_response_is_judged_by_its_final_answer(response: str, answer: str, verdict: str) -> None:
    assert judge(response, answer, tags=True, require_boxed=False)["verdict"] == verdict


def test_only_a_box_counts_when_a_box_is_required() -> None:
    assert judge("the answer is 12", "12", tags=False, require_boxed=True)["verdict"] == "missing"
    assert judge("the answer is \\boxed{12}", "12", tags=False, require_boxed=True)["verdict"] == "correct"
