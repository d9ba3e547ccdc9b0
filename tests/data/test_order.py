"""The order of questions: complete epochs, no repeats in a step, exact resume, independence of everything but the cursor."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.data.errors import DataError
from reasonrl.data.order import PositionOrder, QuestionStream
from reasonrl.rl.records import Question

unhurried = settings(deadline=None)
sizes = st.integers(1, 40)
seeds = st.integers(0, 2**40)


def question(number: int, **fields: object) -> Question:
    return Question(id=f"q{number}", text=f"what is {number}?", answer=str(number), source="made", fields=fields)


def questions(size: int) -> list[Question]:
    return [question(number) for number in range(size)]


@unhurried
@given(size=sizes, seed=seeds, step=st.integers(1, 40), epochs=st.integers(1, 4))
def test_every_question_comes_exactly_once_in_each_epoch(size: int, seed: int, step: int, epochs: int) -> None:
    step = min(step, size)
    order = PositionOrder(size, shuffle_seed=seed)
    taken: list[int] = []
    while len(taken) < size * epochs:
        taken += order.indices(len(taken), step)
    for epoch in range(epochs):
        assert sorted(taken[epoch * size : (epoch + 1) * size]) == list(range(size))


@unhurried
@given(size=sizes, seed=seeds, step=st.integers(1, 40), steps=st.integers(1, 12))
def test_no_question_comes_twice_in_a_step_across_epoch_ends(size: int, seed: int, step: int, steps: int) -> None:
    step = min(step, size)
    order = PositionOrder(size, shuffle_seed=seed)
    for number in range(steps):
        taken = order.indices(number * step, step)
        assert len(set(taken)) == step


@unhurried
@given(size=st.integers(2, 40), seed=seeds, steps=st.lists(st.integers(1, 20), min_size=1, max_size=30))
def test_steps_of_changing_size_up_to_half_the_set_share_one_order(size: int, seed: int, steps: list[int]) -> None:
    """A phase may change promptsPerStep in the middle of an epoch."""
    steps = [min(step, size // 2) for step in steps]
    mixed, whole = PositionOrder(size, shuffle_seed=seed), PositionOrder(size, shuffle_seed=seed)
    taken: list[int] = []
    for step in steps:
        part = mixed.indices(len(taken), step)
        assert len(set(part)) == step
        taken += part
    assert taken == [whole.indices(position, 1)[0] for position in range(len(taken))]


@unhurried
@given(size=sizes, seed=seeds, step=st.integers(1, 50), done=st.integers(0, 12), more=st.integers(1, 6))
def test_resume_from_any_cursor_gives_the_same_stream(size: int, seed: int, step: int, done: int, more: int) -> None:
    stream, cursor = QuestionStream(questions(size), seed=seed), 0
    for _ in range(done):
        _, cursor = stream.take(cursor, step)
    resumed, resumed_cursor = QuestionStream(questions(size), seed=seed), cursor
    for _ in range(more):
        expected, cursor = stream.take(cursor, step)
        found, resumed_cursor = resumed.take(resumed_cursor, step)
        assert [each.id for each in found] == [each.id for each in expected]
        assert resumed_cursor == cursor


def test_taking_twice_from_one_cursor_gives_the_same_questions() -> None:
    """A step that was dropped for a signal is done again."""
    stream = QuestionStream(questions(10), seed=3)
    first, _ = stream.take(25, 4)
    stream.take(100, 4)
    assert stream.take(25, 4)[0] == first


@unhurried
@given(size=st.integers(1, 6), seed=seeds, step=st.integers(1, 30), steps=st.integers(1, 8))
def test_a_step_larger_than_the_set_repeats_questions_evenly(size: int, seed: int, step: int, steps: int) -> None:
    step += size
    order = PositionOrder(size, shuffle_seed=seed)
    for number in range(steps):
        counts = Counter(order.indices(number * step, step)).values()
        assert sum(counts) == step
        assert max(counts) - min(counts) <= 1
        assert len(counts) == size


def test_the_first_epoch_is_a_uniform_shuffle() -> None:
    """All 24 orders of four questions, over 4,800 seeds: chi-square with 23 degrees of freedom stays below its 99.99 % point."""
    counts = Counter(tuple(PositionOrder(4, shuffle_seed=seed).indices(0, 4)) for seed in range(4800))
    chi_square = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert len(counts) == 24
    assert chi_square < 56


def test_later_epochs_are_shuffled_anew() -> None:
    order = PositionOrder(100, shuffle_seed=1)
    assert len({tuple(order.indices(100 * epoch, 50)) for epoch in range(5)}) == 5


def test_later_epochs_mix_all_places() -> None:
    """The gap between two occurrences must not keep the order of the first epoch: over 200 seeds, the place of the first question in
    the second epoch covers nearly everything."""
    places = set()
    for seed in range(200):
        order = PositionOrder(20, shuffle_seed=seed)
        first = order.indices(0, 1)[0]
        places.add([*order.indices(20, 10), *order.indices(30, 10)].index(first))
    assert places == set(range(20))


def test_seeds_give_different_orders() -> None:
    assert len({tuple(PositionOrder(30, shuffle_seed=seed).indices(0, 30)) for seed in range(50)}) == 50


def test_the_global_generator_is_left_alone() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    PositionOrder(30, shuffle_seed=7).indices(0, 30)
    assert random.random() == expected


@unhurried
@given(size=sizes, cursor=st.integers(0, 100), count=st.integers(0, 50))
def test_given_order_repeats_the_sources_order(size: int, cursor: int, count: int) -> None:
    stream = QuestionStream(questions(size), order="given", seed=9)
    taken, after = stream.take(cursor, count)
    assert [each.id for each in taken] == [f"q{(cursor + offset) % size}" for offset in range(count)]
    assert after == cursor + count


@unhurried
@given(values=st.lists(st.one_of(st.integers(-5, 5), st.floats(-5, 5)), min_size=1, max_size=20), descending=st.booleans())
def test_sorted_order_is_stable_and_by_value(values: list[float], descending: bool) -> None:
    source = [question(number, level=value) for number, value in enumerate(values)]
    stream = QuestionStream(source, order="sortedBy", sort_field="level", sort_descending=descending, seed=0)
    taken, _ = stream.take(0, len(values))
    expected = sorted(range(len(values)), key=lambda index: (-values[index] if descending else values[index], index))
    assert [each.id for each in taken] == [f"q{index}" for index in expected]


def test_sorting_by_a_field_that_some_rows_lack_names_them_and_the_fields_there_are() -> None:
    source = [question(0, level=1, topic="x"), question(1, topic="y"), question(2, level=None, topic="z")]
    with pytest.raises(DataError, match=r"2 of 3 questions have no field 'level' \(first: q1\); this one has topic"):
        QuestionStream(source, order="sortedBy", sort_field="level", seed=0)


@pytest.mark.parametrize("values", [(1, "a"), (True, False), (float("nan"), 1.0), ([1], [2])])
def test_sorting_refuses_values_without_an_order(values: tuple[object, object]) -> None:
    source = [question(number, level=value) for number, value in enumerate(values)]
    with pytest.raises(DataError, match="cannot be put in one order"):
        QuestionStream(source, order="sortedBy", sort_field="level", seed=0)


def test_sorted_order_needs_a_field() -> None:
    with pytest.raises(DataError, match="sortField"):
        QuestionStream(questions(3), order="sortedBy", seed=0)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match="no questions are left"):
        QuestionStream([], seed=0)


def test_epochs_are_counted_from_the_cursor() -> None:
    stream = QuestionStream(questions(10), seed=0)
    assert [stream.epoch(cursor) for cursor in (0, 9, 10, 25)] == [0, 0, 1, 2]
    assert len(stream) == 10


@settings(unhurried, max_examples=3)
@given(seed=seeds)
def test_a_large_set_is_complete(seed: int) -> None:
    order = PositionOrder(20_000, shuffle_seed=seed)
    assert sorted(order.indices(20_000, 20_000)) == list(range(20_000))
