"""The protocol of the pipe."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.sandbox.frames import MAX_FRAME_BYTES, FrameError, FrameReader, encode_frame

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(values, max_size=5), st.integers(min_value=1, max_value=50))
def test_messages_survive_being_cut_anywhere(messages: list[object], size: int) -> None:
    stream = b"".join(encode_frame(each) for each in messages)
    reader = FrameReader()
    received = [message for start in range(0, len(stream), size) for message in reader.feed(stream[start : start + size])]
    assert received == messages


def test_a_length_beyond_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameError, match="limit"):
        FrameReader().feed(struct.pack(">I", MAX_FRAME_BYTES + 1))


@pytest.mark.parametrize("body", [b"not json", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError, match="not JSON"):
        FrameReader().feed(struct.pack(">I", len(body)) + body)
