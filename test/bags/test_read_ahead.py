"""Reading ahead changes neither the items nor their order, and passes errors on in their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.bags.read_ahead import ReadAhead
from yolox_trt_ros.core.errors import BagError


@given(st.lists(st.integers()), st.integers(1, 5), st.booleans())
def test_items_come_in_their_order(items: list[int], ahead: int, filled: bool) -> None:
    with ReadAhead(items, ahead) as reading:
        if filled:
            reading.fill()
        assert list(reading) == items


def test_an_error_comes_behind_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise BagError('cut off')

    seen = []
    with ReadAhead(items()) as reading, pytest.raises(BagError, match='cut off'):
        reading.fill()
        seen.extend(reading)
    with ReadAhead(items()) as reading:
        it = iter(reading)
        assert (next(it), next(it)) == (1, 2)


def test_no_more_is_read_than_may_be_held_and_leaving_ends_the_thread() -> None:
    read = []

    def items() -> Iterator[int]:
        for n in range(1_000_000):
            read.append(n)
            yield n

    with ReadAhead(items(), 3) as reading:
        reading.fill()
        assert next(iter(reading)) == 0
    assert len(read) <= 6
    assert 'read_ahead' not in [t.name for t in threading.enumerate()]
