"""Images find their own detections, whatever is lost or comes late."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.pairing import StampJoin

STREAMS = ('image', 'detections', 'latency')


def test_parts_meet_in_any_order() -> None:
    join = StampJoin(STREAMS, 3)
    assert join.add('latency', 7, 'l') is None
    assert join.add('image', 7, 'i') is None
    assert join.add('detections', 8, 'other') is None
    assert join.add('detections', 7, 'd') == {'image': 'i', 'detections': 'd', 'latency': 'l'}
    assert join.add('detections', 7, 'd') is None  # used up


def test_the_oldest_is_forgotten_and_counted() -> None:
    join = StampJoin(('image', 'detections'), 2)
    for stamp in (1, 2, 3):
        join.add('image', stamp, f'image {stamp}')
    assert join.alone == {'image': 1}
    assert join.add('detections', 1, None) is None
    assert join.add('detections', 2, 'd') == {'image': 'image 2', 'detections': 'd'}


def test_a_stamp_that_comes_again_is_never_joined_with_another_image() -> None:
    join = StampJoin(('image', 'detections'), 2)
    join.add('image', 0, 'first')
    join.add('image', 0, 'second')
    assert join.add('detections', 0, 'of the first or of the second') is None
    assert join.repeated == {'image': 2, 'detections': 1}
    # Also where the parts came in step until one image was dropped.
    join.add('image', 1, 'a')
    assert join.add('detections', 1, 'of a') == {'image': 'a', 'detections': 'of a'}
    assert join.add('image', 1, 'dropped by the detector') is None
    assert join.add('image', 1, 'c') is None and join.add('detections', 1, 'of c') is None
    assert join.add('image', 2, 'e') is None
    assert join.add('detections', 2, 'of e') == {'image': 'e', 'detections': 'of e'}
    assert not join.alone.total()


def test_a_limit_is_needed() -> None:
    with pytest.raises(ValueError, match='expected at least 1, got 0'):
        StampJoin(STREAMS, 0)


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Return parts of some stamps with losses, each moved a few places from where it belongs."""
    stamps = range(draw(st.integers(1, 25)))
    parts = [
        (stamp * 3 + k + draw(st.integers(0, 12)), stream, stamp)
        for stamp in stamps
        for k, stream in enumerate(STREAMS)
        if draw(st.integers(0, 9)) < 8
    ]
    return [(stream, stamp) for _, stream, stamp in sorted(parts)]


@given(arrivals(), st.integers(1, 30))
def test_only_whole_stamps_come_out_and_every_part_is_accounted_for(
    parts: list[tuple[str, int]], limit: int
) -> None:
    join = StampJoin(STREAMS, limit)
    done: list[int] = []
    for stream, stamp in parts:
        found = join.add(stream, stamp, (stream, stamp))
        if found:
            assert found == {name: (name, stamp) for name in STREAMS}  # never another image's
            done.append(stamp)
    assert len(set(done)) == len(done)
    came = Counter(stream for stream, _ in parts)
    for stream in STREAMS:
        held = came[stream] - len(done) - join.alone[stream]
        assert 0 <= held <= limit
    whole = {stamp for stamp in range(25) if all((name, stamp) in parts for name in STREAMS)}
    assert set(done) <= whole
    if limit >= 25:  # nothing is forgotten: nothing may be missed
        assert set(done) == whole
        assert not join.alone.total()
