"""Buffers of images are locked for a device, and given back whatever the device says."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from edge_rig import Rig, image, open_rig

from yolox_trt_ros.core.errors import LaneError

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]


@pytest.fixture(params=['direct', 'serialised'])
def native_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with open_rig(request.param) as opened:
        yield opened


class Locks:
    """Locks nothing, and knows what is locked."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.locked: dict[int, int] = {}
        self.calls = 0

    def pin(self, address: int, size: int) -> None:
        self.calls += 1
        if self.refuse:
            raise LaneError('no pages left')
        assert address not in self.locked
        self.locked[address] = size

    def unpin(self, address: int) -> None:
        del self.locked[address]


def test_buffers_are_locked_once_and_as_long_as_they_live(native_rig: Rig) -> None:
    rig, locks = native_rig, Locks()
    rig.ingest.close()
    rig.ingest = rig.open(locks)
    assert rig.ingest.notes['a'].mode.endswith('pinned')
    rig.until(rig.front.get_subscription_count)
    for number in range(8):
        height = 24 if number < 4 else 1000  # larger than the buffers of before
        rig.front.publish(image(number, height, 1024))
        rig.until(lambda n=number: rig.account().published == n + 1)
        data = rig.keeper.frames.pop().data
        start = data.ctypes.data
        assert any(at <= start and start + data.nbytes <= at + n for at, n in locks.locked.items())
        del data
    assert locks.calls < 8, 'buffers are used again'
    rig.ingest.close()
    closed = weakref.ref(rig.ingest)
    rig.ingest = rig.open()
    for number in range(8, 12):  # the lane lets go of the last frames when others come
        rig.front.publish(image(number))
        rig.until(lambda n=number: rig.account().published == n + 1)
        rig.keeper.frames.clear()
    rig.until(lambda: not locks.locked)
    # Though C++ held functions of it, which no collector sees.
    rig.until(lambda: gc.collect() >= 0 and closed() is None)


def test_a_buffer_that_one_large_image_needed_is_given_up(native_rig: Rig) -> None:
    rig, locks = native_rig, Locks()
    rig.ingest.close()
    rig.ingest = rig.open(locks)
    rig.until(rig.front.get_subscription_count)

    def publish(number: int, height: int) -> None:
        rig.front.publish(image(number, height, 1024))
        rig.until(lambda: rig.account().published == number + 1)
        rig.keeper.frames.clear()

    publish(0, 3000)
    assert max(locks.locked.values()) > 9_000_000
    number = 1
    while max(locks.locked.values()) > 9_000_000:
        assert number < 200
        publish(number, 24)
        number += 1
    assert number > 64, 'not at once: the next image may be large again'
    publish(number, 3000)
    assert max(locks.locked.values()) > 9_000_000


def test_memory_that_cannot_be_locked_is_used_and_reported(native_rig: Rig) -> None:
    rig = native_rig
    rig.ingest.close()
    rig.ingest = rig.open(Locks(refuse=True))
    rig.until(rig.front.get_subscription_count)
    for number in range(3):
        rig.front.publish(image(number))
        rig.until(lambda n=number: rig.account().published == n + 1)
    assert rig.ingest.notes['a'].mode == rig.ingest.mode
    assert rig.ingest.mode.endswith('not pinned: no pages left')
    assert sum('no pages left' in warning for warning in rig.warnings) == 1


class DeadDevice(Locks):
    """Locks, and has lost its device when asked to unlock."""

    def unpin(self, address: int) -> None:
        super().unpin(address)
        raise LaneError('the device has fallen off the bus')


def test_memory_that_cannot_be_unlocked_is_freed_and_reported_once(native_rig: Rig) -> None:
    rig, locks = native_rig, DeadDevice()
    rig.ingest.close()
    rig.ingest = rig.open(locks)
    rig.until(rig.front.get_subscription_count)
    for number in range(8):
        rig.front.publish(image(number, 24 if number < 4 else 1000, 1024))
        rig.until(lambda n=number: rig.account().published == n + 1)
        rig.keeper.frames.clear()
    rig.ingest.close()
    rig.ingest = rig.open()
    for number in range(8, 12):
        rig.front.publish(image(number))
        rig.until(lambda n=number: rig.account().published == n + 1)
        rig.keeper.frames.clear()
    rig.until(lambda: not locks.locked)
    assert sum('fallen off the bus' in warning for warning in rig.warnings) == 1
