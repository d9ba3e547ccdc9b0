"""Where the final answer is looked for, and in which order."""

from __future__ import annotations

import pytest

from reasonrl.rl.answers.boxes import boxes, last_run
from reasonrl.rl.answers.extraction import final_answer


def tagged(response: str) -> str | None:
    return final_answer(response, tags=True, require_boxed=False)


def untagged(response: str) -> str | None:
    return final_answer(response, tags=False, require_boxed=False)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("thinking</think> <answer> 12 </answer>", "12"),
        ("<answer>1</answer> no: <answer>2</answer>", "2"),
        ("<answer>\\boxed{3}</answer>", "3"),
        ("<answer>so it is \\boxed{3}.</answer> \\boxed{4}", "3"),
        ("<ANSWER>5</ANSWER>", "5"),
        ("no tags but \\boxed{7}", "7"),
        ("<answer>8 was cut", None),
        ("<answer>  </answer>", None),
        ("the answer is 9", None),
        ("so x = 10", None),
    ],
)
def test_with_tags_the_last_body_counts_then_the_last_box_and_nothing_else(response: str, answer: str | None) -> None:
    assert tagged(response) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed{1} then \\boxed{2}", "2"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\fbox{3}", "3"),
        ("\\boxed 4", "4"),
        ("\\boxed{ \\{1, 2\\} }", "\\{1, 2\\}"),
        ("\\boxed{5} and the rest is cut \\boxed{6", "5"),
        ("\\boxed{\\boxed{7}}", "\\boxed{7}"),
        ("\\boxed{} ", None),
        ("<answer>8</answer> without being asked, \\boxed{9}", "9"),
        ("first \\boxed{1}, or rather \\boxed{2}", "2"),
        ("\\boxed{1}\n\n\\boxed{2}", "2"),
    ],
)
def test_without_tags_the_last_closed_box_counts(response: str, answer: str | None) -> None:
    assert untagged(response) == answer


@pytest.mark.parametrize(
    "response", ["$\\boxed{1}$ and $\\boxed{2}$", "\\boxed{1}, \\boxed{2}", "$x = \\boxed{1}$ and then $y = \\boxed{2}$"]
)
def test_boxes_that_the_sentence_joins_are_one_answer(response: str) -> None:
    assert [box.content for box in last_run(response)] == ["1", "2"]
    assert final_answer(response, tags=False, require_boxed=True) not in ("1", "2")


@pytest.mark.parametrize("response", ["the answer is 5", "<answer>5</answer>", "5", "$5$", "**5**"])
def test_when_a_box_is_required_nothing_else_counts(response: str) -> None:
    assert final_answer(response, tags=False, require_boxed=True) is None
    assert final_answer(response, tags=True, require_boxed=True) is None


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("42", "42"),
        ("\\frac{1}{2}", "\\frac{1}{2}"),
        ("We add. The answer is 42.", "42"),
        ("We add.\nAnswer: $\\frac{1}{2}$ of the cake", "\\frac{1}{2}"),
        ("La réponse est 7.", "7"),
        ("所以答案是12。", "12"),
        ("First 3 birds came. In the end there are 7 birds.", "7"),
        ("So the total is **66**.", "66"),
        ("Hence $x = 2$ and the pair is $(1, 2)$.", "(1, 2)"),
        ("<think>maybe 5</think> It is 6.", "It is 6."),
        ("I cannot say what follows from all of this here", None),
        ("", None),
    ],
)
def test_an_unmarked_answer_is_what_the_end_states(response: str, answer: str | None) -> None:
    assert untagged(response) == answer


def test_the_tags_of_an_unclosed_thought_are_not_an_answer() -> None:
    assert tagged("<think> the format is <answer> </answer> so I will write") is None


@pytest.mark.parametrize("text", ["\\boxed{" * 20_000, "{" * 100_000 + "\\boxed{1}", "}" * 100_000, "\\boxed{1}" * 20_000])
def test_braces_without_end_are_read_in_one_pass(text: str) -> None:
    assert len(boxes(text)) == text.count("\\boxed{1}")
