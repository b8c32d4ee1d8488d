"""How lanes start, fail, hang, come back and stop, on real threads; waits are bounded."""

from __future__ import annotations

import threading
import time

import pytest
from pipeline_helpers import Published, make_pipeline, wait_until
from schedule_helpers import SleepingDetector, accounted, camera, frame, lane

from yolox_trt_ros.admission import allowance as allowance_module
from yolox_trt_ros.core.errors import (
    DropReason,
    LaneError,
    MissingDependencyError,
    ModelError,
)
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule import host as host_module
from yolox_trt_ros.schedule import state as state_module
from yolox_trt_ros.schedule import supervisor as supervisor_module
from yolox_trt_ros.schedule.failures import MOST_LEFT
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions


@pytest.mark.parametrize(
    ('fault', 'text'),
    [
        (lambda frames: 1 / 0, 'ZeroDivisionError: division by zero'),
        (lambda frames: [], 'expected 1 results for its batch, got 0'),
        (lambda frames: ['box'], 'expected Detected or FrameError, got str'),
    ],
)
def test_a_failed_lane_gives_its_frame_to_another_and_comes_back(monkeypatch, fault, text):
    monkeypatch.setattr(state_module, 'BACKOFF_NS', 1_000_000)
    published = Published()
    sick = threading.Event()
    made = []

    def factory():
        made.append(
            SleepingDetector(answer=lambda frames: fault(frames) if sick.is_set() else None)
        )
        return made[-1]

    pipeline = make_pipeline(
        [camera('a', lane='gpu')], {'gpu': factory, 'cpu': SleepingDetector(0.001)}, published
    )
    with pipeline:
        sick.set()
        pipeline.offer(frame('a', 0))
        wait_until(lambda: published.sequences['a'] == [0])
        assert published.traces == [] or published.traces[0].lane == 'cpu'
        assert pipeline.snapshot().cameras[0].ran == {'cpu': 1}
        sick.clear()
        wait_until(lambda: pipeline.snapshot().lanes[0].restarts == 1)
        wait_until(lambda: pipeline.snapshot().cameras[0].lane == 'gpu')
        pipeline.offer(frame('a', 1))
        assert pipeline.drain(20.0)
        assert published.traces[-1].lane == 'gpu'
    assert len(made) >= 2 and all(detector.closed == 1 for detector in made)
    assert any(level == 'error' and text in message for level, message in published.events)
    assert accounted(pipeline.snapshot().cameras[0])


def test_a_submission_that_fails_while_results_wait_loses_none_of_them(monkeypatch):
    monkeypatch.setattr(state_module, 'BACKOFF_NS', 1_000_000)
    published = Published()
    has_it, gate = threading.Event(), threading.Event()

    class Breaks(SleepingDetector):
        def submit(self, frames):
            if frames[0].camera == 'b':
                raise RuntimeError('out of memory')
            return super().submit(frames)

    def hold(frames):
        if frames[0].camera == 'a':
            has_it.set()
            gate.wait(20)

    pipeline = make_pipeline(
        ['a', 'b'], {'gpu': lambda: Breaks(answer=hold)}, published, gpu={'in_flight': 2}
    )
    with pipeline:
        pipeline.offer(frame('a', 0))
        assert has_it.wait(20)
        pipeline.offer(frame('b', 0))
        gate.set()
        wait_until(lambda: pipeline.snapshot().cameras[1].dropped[DropReason.LANE_FAILED] == 1)
        assert pipeline.drain(20.0)
    assert published.sequences == {'a': [0]}
    assert all(accounted(account) for account in pipeline.snapshot().cameras)
    assert any('out of memory' in message for _, message in published.events)


def test_a_hanging_lane_is_given_up_and_its_late_answer_is_worth_nothing(monkeypatch):
    monkeypatch.setattr(state_module, 'HANG_NS', 50_000_000)
    monkeypatch.setattr(state_module, 'BACKOFF_NS', 1_000_000)
    published = Published()
    gate = threading.Event()
    made = []

    def factory():
        hangs = not made

        def answer(frames):
            if hangs and frames[0].camera == 'a':
                gate.wait(60)

        made.append(SleepingDetector(answer=answer))
        return made[-1]

    pipeline = make_pipeline(
        [camera('a', lane='gpu')], {'gpu': factory, 'cpu': SleepingDetector(0.001)}, published
    )
    with pipeline:
        pipeline.offer(frame('a', 0))
        wait_until(lambda: published.sequences['a'] == [0])
        wait_until(lambda: pipeline.snapshot().lanes[0].restarts == 1)
        gate.set()
        wait_until(lambda: made[0].closed == 1)
        assert published.sequences['a'] == [0]
        assert accounted(pipeline.snapshot().cameras[0])
    assert any('no result after' in message for _, message in published.events)


def test_a_lane_whose_calls_never_return_is_not_built_for_ever(monkeypatch):
    """Each of them keeps its frames, and cameras have a few buffers only."""
    monkeypatch.setattr(state_module, 'HANG_NS', 50_000_000)
    monkeypatch.setattr(state_module, 'BACKOFF_NS', 1_000_000)
    monkeypatch.setattr(host_module, 'CROWDED_NS', 10_000_000)
    published = Published()
    gate, well = threading.Event(), threading.Event()
    made = []

    def answer(frames):
        if frames[0].camera != 'warm-up' and not well.is_set():
            gate.wait(60)

    def factory():
        made.append(SleepingDetector(answer=answer))
        return made[-1]

    cameras = [camera(name, lane='gpu') for name in 'abcd']
    with make_pipeline(cameras, {'gpu': factory}, published) as pipeline:
        for name in 'abcd':
            pipeline.offer(frame(name, 0))
        wait_until(lambda: pipeline.snapshot().lanes[0].failures == MOST_LEFT)
        time.sleep(0.3)
        assert len(made) == MOST_LEFT
        well.set()
        gate.set()
        wait_until(lambda: pipeline.snapshot().lanes[0].state is LaneState.RUNNING)
        assert pipeline.drain(20.0)
    assert all(accounted(account) for account in pipeline.snapshot().cameras)
    assert len(made) == MOST_LEFT + 1


def test_with_all_lanes_down_the_pipeline_lives_and_recovers(monkeypatch):
    monkeypatch.setattr(state_module, 'BACKOFF_NS', 20_000_000)
    published = Published()
    sick = threading.Event()
    detector = SleepingDetector(answer=lambda frames: 1 / 0 if sick.is_set() else None)
    with make_pipeline(['a'], {'cpu': detector}, published) as pipeline:
        sick.set()
        pipeline.offer(frame('a', 0))
        wait_until(lambda: pipeline.snapshot().lanes[0].state is not LaneState.RUNNING)
        wait_until(lambda: 'no lane is running' in pipeline.snapshot().placement_reason)
        for sequence in range(1, 6):
            pipeline.offer(frame('a', sequence))
        sick.clear()
        wait_until(lambda: published.sequences['a'] == [5])
    account = pipeline.snapshot().cameras[0]
    assert accounted(account) and account.published == 1


def test_start_reports_what_is_wrong_and_closes_what_was_built():
    def broken():
        raise ModelError('model.onnx: not a YOLOX detector')

    good = SleepingDetector()
    pipeline = make_pipeline(['a'], {'gpu': broken, 'cpu': good}, Published())
    with pytest.raises(ModelError, match='not a YOLOX detector'):
        pipeline.start()
    assert good.closed == 1
    with pytest.raises(RuntimeError, match='starts once'):
        pipeline.start()


def test_start_goes_on_with_the_lanes_that_came_up():
    def broken():
        raise OSError('the device is not there')

    published = Published()
    with make_pipeline(['a'], {'dla0': broken, 'cpu': SleepingDetector()}, published) as pipeline:
        pipeline.offer(frame('a', 0))
        assert pipeline.drain(20.0)
        assert pipeline.snapshot().lanes[0].note == 'OSError: the device is not there'
    assert published.sequences['a'] == [0]


def test_start_fails_if_no_lane_comes_up():
    def broken():
        raise OSError('the device is not there')

    with pytest.raises(LaneError, match=r'no lane came up: dla0: .*the device is not there'):
        make_pipeline(['a'], {'dla0': broken}, Published()).start()


def test_what_no_second_attempt_mends_is_not_announced_as_one():
    def missing():
        raise MissingDependencyError('it needs onnxruntime: pip install onnxruntime')

    published = Published()
    with pytest.raises(MissingDependencyError, match='pip install'):
        make_pipeline(['a'], {'cpu': missing}, published).start()
    (text,) = (message for _, message in published.events if 'failed' in message)
    assert 'pip install' in text and 'next attempt' not in text


@pytest.mark.parametrize('hangs_in', ['building', 'measuring'])
def test_a_lane_that_never_gets_ready_is_given_up_and_the_others_go_on(monkeypatch, hangs_in):
    monkeypatch.setattr(supervisor_module, 'PROGRESS_NS', 20_000_000)
    monkeypatch.setattr(state_module, 'BACKOFF_NS', 1_000_000)
    published = Published()
    gate = threading.Event()
    made = []

    def factory():
        made.append(SleepingDetector(answer=lambda frames: hang() if len(made) == 1 else None))
        if hangs_in == 'building':
            hang()
        return made[-1]

    def hang():
        if len(made) == 1:
            gate.wait(60)

    def good():
        wait_until(lambda: made)  # the sick lane is the first to be measured, if it is at all
        time.sleep(0.05)
        return SleepingDetector()

    pipeline = Pipeline(
        [camera('a')],
        [LaneSpec(lane('sick'), factory), LaneSpec(lane('good'), good)],
        published.sink,
        on_event=published.on_event,
        options=PipelineOptions(8, 8, build_timeout_s=0.4),
    )
    with pipeline:
        sick = pipeline.snapshot().lanes[0]
        assert sick.failures == 1
        pipeline.offer(frame('a', 0))
        assert pipeline.drain(20.0)
        assert published.sequences['a'] == [0]
        wait_until(lambda: pipeline.snapshot().lanes[0].state is LaneState.RUNNING)
        gate.set()
        wait_until(lambda: made[0].closed == 1 or hangs_in == 'building')
    messages = [message for _, message in published.events]
    assert any(f'lane sick: {hangs_in} its detector for 0 s, limit 0.4 s' in m for m in messages)
    assert any(f'still {hangs_in} its detector after 0 s, limit 0.4 s' in m for m in messages)


def test_start_does_not_wait_for_ever_for_the_only_lane():
    gate = threading.Event()

    def factory():
        gate.wait(60)
        return SleepingDetector()

    pipeline = Pipeline(
        [camera('a')],
        [LaneSpec(lane('sick'), factory)],
        Published().sink,
        options=PipelineOptions(8, 8, build_timeout_s=0.1),
    )
    seen = []
    watcher = threading.Thread(
        target=lambda: wait_until(
            lambda: seen.append(pipeline.snapshot().lanes[0].note) or seen[-1]
        )
    )
    watcher.start()
    try:
        with pytest.raises(
            LaneError, match=r'no lane came up: sick: TimeoutError.*build_timeout_s'
        ):
            pipeline.start()
    finally:
        gate.set()
        watcher.join()
    assert seen[-1] == 'building its detector for 0 s'


def test_a_detector_with_too_small_batches_is_refused():
    with pytest.raises(LaneError, match=r'lower lanes.gpu.max_batch'):
        make_pipeline(
            ['a'], {'gpu': SleepingDetector(max_batch=1)}, Published(), gpu={'max_batch': 4}
        ).start()


def test_a_lane_that_does_not_stop_is_left_behind_and_its_frame_counted():
    published = Published()
    gate = threading.Event()

    has_it = threading.Event()

    def answer(frames):
        if frames[0].camera == 'a':
            has_it.set()
            gate.wait(20)

    pipeline = make_pipeline(['a'], {'cpu': SleepingDetector(answer=answer)}, published)
    pipeline.start()
    pipeline.offer(frame('a', 0))
    assert has_it.wait(20)
    pipeline.stop(drain=False, timeout_s=0.1)
    account = pipeline.snapshot().cameras[0]
    assert account.dropped[DropReason.STOPPED] == 1 and accounted(account)
    assert any('left behind' in message for _, message in published.events)
    gate.set()


@pytest.mark.parametrize('fault', ['raises', 'hangs'])
def test_what_one_cameras_images_do_to_lanes_is_held_against_the_camera(monkeypatch, fault):
    """And a lane that it hangs again and again is still built for the others."""
    monkeypatch.setattr(state_module, 'HANG_NS', 100_000_000)
    monkeypatch.setattr(state_module, 'BACKOFF_NS', 1_000_000)
    monkeypatch.setattr(allowance_module, 'FIRST_PAUSE_NS', 50_000_000)
    published, gate = Published(), threading.Event()

    def answer(frames):
        if frames[0].camera == 'bad':
            if fault == 'raises':
                raise RuntimeError('inside the network')
            gate.wait(60)

    detectors = {name: lambda: SleepingDetector(0.001, answer=answer) for name in ('gpu', 'dla')}
    sequence = 0
    with make_pipeline(['good', 'bad'], detectors, published) as pipeline:

        def blamed_often() -> bool:
            nonlocal sequence
            pipeline.offer(frame('good', sequence))
            pipeline.offer(frame('bad', sequence))
            sequence += 1
            return pipeline.snapshot().cameras[1].dropped[DropReason.FAILED] >= 4

        wait_until(blamed_often, 60.0)
        wait_until(lambda: any(w.state is LaneState.RUNNING for w in pipeline.snapshot().lanes))
        before = len(published.sequences['good'])
        pipeline.offer(frame('good', sequence))
        wait_until(lambda: len(published.sequences['good']) > before)
        gate.set()
        assert pipeline.drain(20.0)
    good, bad = pipeline.snapshot().cameras
    assert accounted(good) and accounted(bad)
    assert bad.dropped[DropReason.SLOWED] > 0 and bad.published == 0
    assert not any('open' in message for _, message in published.events)
    assert any('lanes that run other images fail on its' in m for _, m in published.problems)
