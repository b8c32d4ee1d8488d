"""What one camera's images may cost the others, on a clock of the test's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_helpers import accounted, camera, frame, lane

from yolox_trt_ros.admission.allowance import FEW_PIXELS, MOST_PIXELS, REPAID, Allowance
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.state import Batch

MS = 1_000_000
SECOND = 1_000 * MS


def shot(width: int, height: int, at_ns: int = 0, name: str = 'a', sequence: int = 0) -> Frame:
    look = {'width': width, 'height': height, 'encoding': 'jpeg'}
    return replace(frame(name, sequence, at_ns), **look)


def reason(allowance: Allowance, of: Frame) -> DropReason | None:
    refusal = allowance.refusal(of)
    return refusal and refusal.reason


def test_an_image_much_larger_than_the_first_is_refused_by_its_header() -> None:
    allowance = Allowance(camera('a'))
    assert reason(allowance, shot(6000, 6000)) is None
    assert reason(allowance, shot(16384, 16384)) is DropReason.OVERSIZED
    allowance.succeeded(shot(1600, 1000))
    assert reason(allowance, shot(3200, 2000)) is None
    message = str(allowance.refusal(shot(3300, 2000)))
    for part in ('3300x2000, 6.6 megapixels', 'at most 6.4', 'first', 'cameras.a.max_megapixels'):
        assert part in message
    assert FEW_PIXELS < 6_400_000 < MOST_PIXELS


def test_a_camera_that_began_small_may_become_ordinary() -> None:
    allowance = Allowance(camera('a'))
    allowance.succeeded(shot(2, 2))
    assert reason(allowance, shot(1920, 1080)) is None


def test_the_parameter_is_the_limit_and_may_change() -> None:
    allowance = Allowance(camera('a', max_megapixels=50.0))
    allowance.succeeded(shot(64, 64))
    assert reason(allowance, shot(7000, 7000)) is None
    assert reason(allowance, shot(7100, 7100)) is DropReason.OVERSIZED
    allowance.update(0.01, 150.0)
    assert reason(allowance, shot(200, 100)) is DropReason.OVERSIZED


def test_what_took_too_long_is_repaid() -> None:
    allowance = Allowance(camera('a'))
    for _ in range(5):
        assert allowance.spent('cpu', 3 * MS, True, 0) == 0
    assert allowance.spent('cpu', 20 * MS, True, 0) == 0
    assert allowance.spent('cpu', 140 * MS, False, SECOND) == 120 * MS
    assert reason(allowance, shot(64, 64, SECOND)) is DropReason.SLOWED
    assert 'took 140 ms to decode, expected at most 20 ms' in allowance.slowed(SECOND)
    back_ns = SECOND + REPAID * 120 * MS
    assert reason(allowance, shot(64, 64, back_ns - 1)) is DropReason.SLOWED
    assert reason(allowance, shot(64, 64, back_ns)) is None
    assert allowance.slowed(back_ns) == ''


def test_images_that_are_always_heavy_are_what_the_camera_is() -> None:
    allowance = Allowance(camera('a'))
    assert all(allowance.spent('cpu', 120 * MS, True, 0) == 0 for _ in range(40))
    assert allowance.spent('gpu', 140 * MS, True, 0) == 0, 'another lane has other costs'


def test_in_lockstep_nobody_is_slowed_down() -> None:
    allowance = Allowance(camera('a'), live=False)
    allowance.spent('cpu', 10 * SECOND, False, 0)
    allowance.failed(0)
    assert reason(allowance, shot(64, 64)) is None
    allowance.succeeded(shot(64, 64))
    assert reason(allowance, shot(6000, 6000)) is None, 'what is known may depend on timing'


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 5_000)), max_size=200))
def test_whatever_a_camera_sends_it_takes_little_from_the_others(images) -> None:
    """Images of any cost at any time: what exceeds 20 ms each is at most a 25th of the time."""
    allowance, now_ns, excess_ns = Allowance(camera('a')), 0, 0
    for _ in range(3):
        allowance.spent('cpu', MS, True, 0)
    for took_ms, gap_ms in images:
        now_ns += gap_ms * MS
        if allowance.refusal(shot(64, 64, now_ns)) is None:
            now_ns += took_ms * MS
            excess_ns += allowance.spent('cpu', took_ms * MS, took_ms < 100, now_ns)
            last_ns = max(0, took_ms * MS - 20 * MS)
            assert excess_ns <= now_ns / REPAID + last_ns


# -- in the dispatcher ---------------------------------------------------------------------------


def running(*names: str, cameras=('a', 'good')) -> Dispatcher:
    dispatcher = Dispatcher([camera(c) for c in cameras], [lane(name) for name in names])
    for name in names:
        dispatcher.lanes[name].costs[''].observe(1, 0, 10 * MS)
        dispatcher.lane_up(name, 0)
    return dispatcher


def run(dispatcher: Dispatcher, batch: Batch, now_ns: int, took_ms: float, good: bool) -> None:
    """Finish a batch of one frame."""
    prepare_ns = round(took_ms * MS)
    error = FrameError(DropReason.UNDECODABLE, 'damaged')
    error.prepare_ns = prepare_ns
    result = Detected(Detections.empty(), 0, 0, 0, 0, prepare_ns) if good else error
    assert dispatcher.collect(batch, now_ns, [result])
    (taken,) = batch.frames
    if good:
        dispatcher.published(taken, now_ns)
    else:
        dispatcher.drop(taken, error.reason)
    dispatcher.release(batch.lane)


def test_slow_images_do_not_become_the_lanes_cost_and_count_as_their_cameras() -> None:
    dispatcher = running('cpu')
    now_ns = 0
    for sequence in range(20):
        dispatcher.offer(shot(64, 64, now_ns, sequence=sequence))
        for batch in dispatcher.dispatch(now_ns):
            now_ns += 1010 * MS
            run(dispatcher, batch, now_ns, 1000, good=False)
        now_ns += SECOND
    snapshot = dispatcher.snapshot(now_ns)
    assert snapshot.lanes[0].cost_ns == {1: 10 * MS}
    bad = snapshot.cameras[0]
    assert bad.dropped[DropReason.UNDECODABLE] == 1 and bad.dropped[DropReason.SLOWED] == 19
    assert accounted(bad) and 'took 1000 ms to decode' in bad.slowed


def test_what_waits_of_a_camera_that_is_slowed_down_is_not_run_either() -> None:
    dispatcher = running('cpu')
    dispatcher.offer(shot(64, 64, 0))
    (batch,) = dispatcher.dispatch(0)
    dispatcher.offer(shot(64, 64, MS, sequence=1))
    run(dispatcher, batch, 2 * SECOND, 1900, good=True)
    assert dispatcher.dispatch(2 * SECOND) == []
    account = dispatcher.snapshot(2 * SECOND).cameras[0]
    assert account.dropped[DropReason.SLOWED] == 1 and accounted(account)


def test_the_time_to_decode_an_image_is_not_the_lanes() -> None:
    dispatcher = running('cpu')
    dispatcher.offer(shot(5000, 4000, 0))
    (batch,) = dispatcher.dispatch(0)
    assert dispatcher.overdue(6 * SECOND) == []
    ((name, _),) = dispatcher.overdue(6 * SECOND + MS)
    assert name == batch.lane == 'cpu'


def fail(dispatcher: Dispatcher, batch: Batch, now_ns: int) -> None:
    dispatcher.lane_down(batch.lane, 'broken', now_ns, batch)


def test_a_frame_with_which_lanes_fail_is_tried_once_more_and_then_its_cameras_fault() -> None:
    dispatcher = running('gpu', 'dla')
    now_ns, failures = 0, 0
    for sequence in range(40):
        now_ns += SECOND
        for name in ('gpu', 'dla'):
            if dispatcher.lanes[name].state is not LaneState.RUNNING:
                dispatcher.lane_up(name, now_ns)
        dispatcher.offer(shot(64, 64, now_ns, 'good', sequence))
        (batch,) = dispatcher.dispatch(now_ns)
        run(dispatcher, batch, now_ns + 10 * MS, 1, good=True)
        dispatcher.offer(shot(64, 64, now_ns + 20 * MS, 'a', sequence))
        while batches := dispatcher.dispatch(now_ns + 30 * MS):
            for batch in batches:
                fail(dispatcher, batch, now_ns + 30 * MS)
                failures += 1
    snapshot = dispatcher.snapshot(now_ns + SECOND)
    bad, good = snapshot.cameras
    assert good.published == 40 and accounted(bad)
    assert failures <= 6, 'each time the camera is left out for longer'
    assert bad.dropped[DropReason.FAILED] == failures - 2
    assert all(lane.failures_in_row < 3 for lane in dispatcher.lanes.values())


@pytest.mark.parametrize('cameras', [('a',), ('a', 'good')])
def test_lanes_that_fail_with_everything_are_at_fault_themselves(cameras) -> None:
    dispatcher = running('cpu', cameras=cameras)
    now_ns = 0
    for sequence in range(8):
        now_ns += 70 * SECOND
        if dispatcher.lanes['cpu'].state is not LaneState.RUNNING:
            dispatcher.lane_up('cpu', now_ns)
        for name in cameras:
            dispatcher.offer(shot(64, 64, now_ns, name, sequence))
        for batch in dispatcher.dispatch(now_ns):
            fail(dispatcher, batch, now_ns)
    for account in dispatcher.snapshot(now_ns).cameras:
        assert account.dropped[DropReason.FAILED] == account.dropped[DropReason.SLOWED] == 0
    assert dispatcher.lanes['cpu'].state is LaneState.OPEN


def test_a_batch_that_failed_is_tried_again_one_by_one() -> None:
    names = ('a', 'b', 'c')
    dispatcher = Dispatcher(
        [camera(name) for name in names], [lane('gpu', max_batch=4), lane('spare', max_batch=4)]
    )
    for name in ('gpu', 'spare'):
        for size, cost_ms in ((1, 10), (4, 12)):
            dispatcher.lanes[name].costs[''].observe(size, 0, cost_ms * MS)
    dispatcher.lane_up('gpu', 0)
    for name in names:
        dispatcher.offer(shot(64, 64, 0, name))
    (batch,) = dispatcher.dispatch(0)
    assert len(batch.frames) == 3
    dispatcher.lane_up('spare', 0)
    fail(dispatcher, batch, MS)
    alone = []
    while batches := dispatcher.dispatch(MS):
        ((batch,),) = (batches,)
        alone.append([f.camera for f in batch.frames])
        run(dispatcher, batch, MS, 1, good=True)
    assert sorted(alone) == [['a'], ['b'], ['c']]
    assert all(not c.strikes for c in dispatcher.cameras.values())
