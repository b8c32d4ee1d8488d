"""A camera's highest rate: what passes is even, what does not is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.admission.pace import Pace
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.schedule.dispatcher import Dispatcher

SECOND = 10**9


@pytest.mark.parametrize(
    ('in_hz', 'most_hz', 'out_hz'),
    [(10, 3, 3), (10, 10, 10), (10, 7, 7), (10, 15, 10), (30, 4, 4), (10, 0, 10), (20, 0.5, 0.5)],
)
def test_the_rate_is_met(in_hz: float, most_hz: float, out_hz: float) -> None:
    pace = Pace(most_hz)
    passed = sum(pace.passes(round(i * 1e9 / in_hz)) for i in range(round(100 * in_hz)))
    assert passed == pytest.approx(100 * out_hz, rel=0.02)


@given(
    st.lists(st.integers(0, 3 * SECOND), min_size=1, max_size=300),
    st.floats(0.5, 100.0),
)
def test_never_more_than_the_rate_whatever_comes(gaps: list[int], most_hz: float) -> None:
    pace, now, passed = Pace(most_hz), 5 * SECOND, []
    for gap in gaps:
        now += gap // 20
        if pace.passes(now):
            passed.append(now)
    assert passed
    for count in (2, 5, 20):
        for first, last in zip(passed, passed[count - 1 :], strict=False):
            assert last - first >= (count - 2) * 1e9 / most_hz - count  # a period of credit


def dispatcher(**camera: object) -> Dispatcher:
    flat = {'camera_names': ['a'], 'lane_names': ['x'], 'cameras.a.rate_hz': 10.0}
    config = Config.from_parameters(flat | {f'cameras.a.{n}': v for n, v in camera.items()})
    return Dispatcher(config.cameras, config.lanes)


def offer(to: Dispatcher, first: int, count: int) -> None:
    for i in range(first, first + count):
        to.offer(Frame('a', i, 0, i * SECOND // 10, '', 'mono8', 1, 1, 1, bytearray(1)))


def test_what_is_thinned_is_counted_and_the_account_holds() -> None:
    thinning = dispatcher(max_rate_hz=2.0)
    offer(thinning, 1, 100)
    (account,) = thinning.snapshot(0).cameras
    assert account.received == 100
    assert account.dropped[DropReason.THINNED] == 80
    assert account.dropped[DropReason.REPLACED] == 19 and account.waiting == 1
    assert sum(account.dropped.values()) + account.waiting + account.in_flight == 100


def test_the_rate_changes_while_it_runs() -> None:
    thinning = dispatcher()
    offer(thinning, 1, 10)
    thinning.cameras['a'].update(max_rate_hz=1.0)
    assert thinning.cameras['a'].processed_hz == 1.0
    offer(thinning, 11, 20)
    assert thinning.cameras['a'].dropped[DropReason.THINNED] == 18
    thinning.cameras['a'].update(max_rate_hz=0.0)
    offer(thinning, 31, 10)
    assert thinning.cameras['a'].dropped[DropReason.THINNED] == 18


def test_lockstep_processes_every_frame() -> None:
    flat = {'camera_names': ['a'], 'lane_names': ['x'], 'cameras.a.max_rate_hz': 1.0}
    config = Config.from_parameters(flat)
    replaying = Dispatcher(config.cameras, config.lanes, lockstep=True)
    replaying.cameras['a'].update(max_rate_hz=2.0)
    offer(replaying, 0, 20)
    assert replaying.snapshot(0).cameras[0].waiting == 20
