from __future__ import annotations

import pytest
import torch

from reasonrl.rollout.key_value_slots import KeyValueSlots


def prompt_tensors(prompts, time):
    torch.manual_seed(0)
    return [torch.randn(2, 2, prompts, 3, time, 4), torch.randn(1, 1, prompts, 2, time, 5)]


def live(slots, row, first, now):
    return [stored[:, :, row, :, first - slots.origin : now - slots.origin] for stored in slots.storage]


@pytest.mark.parametrize("counts", [(2, 2, 2), (1, 3, 2)])
def test_each_prompt_lands_in_the_rows_of_its_group(counts):
    kept = prompt_tensors(3, 6)
    slots = KeyValueSlots.for_prompts(kept, rows=8, capacity=20)
    slots.write_prompts(kept, row=1, counts=counts, now=9)
    owners = [prompt for prompt, count in enumerate(counts) for _ in range(count)]
    for row, prompt in enumerate(owners, start=1):
        for found, expected in zip(live(slots, row, 3, 9), kept, strict=True):
            assert torch.equal(found, expected[:, :, prompt])
    assert all(not bool(stored[:, :, 0].any()) and not bool(stored[:, :, 7].any()) for stored in slots.storage)


@pytest.mark.parametrize(("first", "end", "grows"), [(16, 24, False), (8, 21, False), (5, 25, True), (5, 90, True)])
def test_making_room_keeps_what_is_live(first, end, grows):
    kept = prompt_tensors(4, 20)
    slots = KeyValueSlots.for_prompts(kept, rows=4, capacity=20)
    slots.write_prompts(kept, row=0, counts=(1, 1, 1, 1), now=20)
    slots.reserve(rows=3, first=first, now=20, end=end)
    assert (slots.capacity > 20) is grows
    assert all(end - slots.origin <= stored.shape[4] for stored in slots.storage)
    for row in range(3):
        for found, expected in zip(live(slots, row, first, 20), kept, strict=True):
            assert torch.equal(found, expected[:, :, row, :, first:])
    assert all(bool(stored.isfinite().all()) for stored in slots.storage)


@pytest.mark.parametrize("end", [23, 60])
def test_room_before_the_oldest_time_moves_what_is_live_to_the_right(end):
    kept = prompt_tensors(2, 20)
    slots = KeyValueSlots.for_prompts(kept, rows=3, capacity=20)
    slots.write_prompts(kept, row=0, counts=(1, 1), now=20)
    slots.reserve(rows=2, first=16, now=20, end=24)
    slots.reserve(rows=2, first=9, now=20, end=end)
    assert slots.origin <= 9
    assert end - slots.origin <= slots.capacity
    for row in range(2):
        for found, expected in zip(live(slots, row, 16, 20), kept, strict=True):
            assert torch.equal(found, expected[:, :, row, :, 16:])
    longer = [part[:, :, :1, :, 9:] for part in kept]
    slots.write_prompts(longer, row=2, counts=(1,), now=20)
    for found, expected in zip(live(slots, 2, 9, 20), longer, strict=True):
        assert torch.equal(found, expected[:, :, 0])


def test_room_that_is_there_costs_nothing():
    kept = prompt_tensors(1, 4)
    slots = KeyValueSlots.for_prompts(kept, rows=1, capacity=10)
    before = [stored.data_ptr() for stored in slots.storage]
    slots.reserve(rows=1, first=0, now=4, end=10)
    assert ([stored.data_ptr() for stored in slots.storage], slots.origin) == (before, 0)


def test_a_moved_row_is_the_same_row():
    kept = prompt_tensors(3, 5)
    slots = KeyValueSlots.for_prompts(kept, rows=3, capacity=9)
    slots.write_prompts(kept, row=0, counts=(1, 1, 1), now=7)
    slots.move_row(source=2, target=0, first=2, now=7)
    for found, expected in zip(live(slots, 0, 2, 7), kept, strict=True):
        assert torch.equal(found, expected[:, :, 2])


@pytest.mark.parametrize("end", [40, 16])
def test_slots_without_a_live_row_take_any_times(end):
    kept = prompt_tensors(1, 3)
    slots = KeyValueSlots.for_prompts(kept, rows=2, capacity=15)
    slots.reserve(rows=0, first=20, now=23, end=35)
    slots.reserve(rows=0, first=0, now=12, end=end)
    assert slots.origin <= 0
    assert end - slots.origin <= slots.capacity
