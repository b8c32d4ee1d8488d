"""The pipeline on real threads; waits are bounded, no assertion depends on how long they take."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import pytest
from schedule_helpers import SleepingDetector, accounted, camera, frame, lane

from yolox_trt_ros.core.errors import DropReason, FrameError, LaneError, ModelError
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule import dispatcher as dispatcher_module
from yolox_trt_ros.schedule import supervisor as supervisor_module
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions
from yolox_trt_ros.schedule.rhythm import NEVER_NS

SMALL = PipelineOptions(warmup_height=8, warmup_width=8)


class Published:
    """A sink that remembers what it was given and fails where it is told to."""

    def __init__(self) -> None:
        self.sequences: dict[str, list[int]] = defaultdict(list)
        self.traces = []
        self.events: list[tuple[str, str]] = []
        self.problems: list[tuple[str, str]] = []
        self.fails_for: set[str] = set()

    def sink(self, frame, detections, trace) -> None:
        if frame.camera in self.fails_for:
            raise RuntimeError('the middleware is gone')
        assert trace.published_ns == trace.decoded_ns
        self.sequences[frame.camera].append(frame.sequence)

    def on_trace(self, frame, trace) -> None:
        self.traces.append(trace)

    def on_event(self, level: str, message: str) -> None:
        self.events.append((level, message))

    def on_problem(self, camera: str, message: str) -> None:
        self.problems.append((camera, message))


def make_pipeline(cameras, detectors, published, **lane_values) -> Pipeline:
    lanes = [
        LaneSpec(
            lane(name, **lane_values.get(name, {})),
            made if callable(made) else lambda made=made: made,
        )
        for name, made in detectors.items()
    ]
    return Pipeline(
        [camera(name) if isinstance(name, str) else name for name in cameras],
        lanes,
        published.sink,
        on_trace=published.on_trace,
        on_event=published.on_event,
        on_problem=published.on_problem,
        options=SMALL,
    )


def wait_until(condition, timeout_s: float = 20.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, 'waited in vain'
        time.sleep(0.002)


def test_every_frame_is_accounted_for_while_threads_race():
    published = Published()
    names = [f'c{index}' for index in range(8)]
    detectors = {
        'gpu': SleepingDetector(0.001, max_batch=4),
        'dla0': SleepingDetector(0.003),
        'dla1': SleepingDetector(0.003),
    }
    pipeline = make_pipeline(names, detectors, published, gpu={'max_batch': 4, 'in_flight': 2})
    pipeline.start()
    stop = threading.Event()
    bad = []

    def watch():
        while not stop.is_set():
            bad.extend(c for c in pipeline.snapshot().cameras if not accounted(c))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(1600):
        name = names[number % 8]
        pipeline.offer(frame(name, pipeline.next_sequence(name)))
        if number % 97 == 0:
            pipeline.reject(name, DropReason.UNSUPPORTED)
        if number % 3 == 0:
            time.sleep(0.001)
    assert pipeline.drain(20.0)
    pipeline.stop()
    stop.set()
    watcher.join()
    assert bad == []
    accounts = {account.name: account for account in pipeline.snapshot().cameras}
    for name in names:
        assert accounted(accounts[name])
        assert accounts[name].waiting == accounts[name].in_flight == 0
        assert accounts[name].published == len(published.sequences[name]) > 0
        assert published.sequences[name] == sorted(published.sequences[name])
    assert sum(account.received for account in accounts.values()) == 1600 + 17
    assert all(detector.closed == 1 for detector in detectors.values())
    for name, detector in detectors.items():
        assert detector.threads == {f'lane {name}'}


def test_a_trace_tells_each_step_and_the_drops_before_it():
    published = Published()
    gate = threading.Event()

    def answer(frames):
        if frames[0].camera == 'a':
            gate.wait(20)

    pipeline = make_pipeline(['a'], {'gpu': SleepingDetector(answer=answer)}, published)
    with pipeline:
        for sequence in range(4):
            pipeline.offer(frame('a', sequence))
            if sequence == 0:
                wait_until(lambda: pipeline.snapshot().cameras[0].in_flight == 1)
        gate.set()
        assert pipeline.drain(20.0)
    first, last = published.traces
    assert (first.sequence, first.drops, last.sequence, last.drops) == (0, 2, 3, 0)
    for trace in published.traces:
        assert min(trace.stages_ns().values()) >= 0
        assert sum(trace.stages_ns().values()) == trace.total_ns
        assert (trace.lane, trace.batch_size) == ('gpu', 1)
    assert pipeline.snapshot().cameras[0].dropped[DropReason.REPLACED] == 2


def test_a_bad_frame_fails_alone():
    published = Published()

    def answer(frames):
        if frames[0].camera == 'bad':
            return [FrameError(DropReason.UNDECODABLE, 'truncated JPEG') for _ in frames]

    pipeline = make_pipeline(['good', 'bad'], {'cpu': SleepingDetector(answer=answer)}, published)
    with pipeline:
        pipeline.offer(frame('bad', 0))
        pipeline.offer(frame('good', 0))
        assert pipeline.drain(20.0)
    good, bad = pipeline.snapshot().cameras
    assert (good.published, bad.dropped[DropReason.UNDECODABLE]) == (1, 1)
    assert ('warn', 'bad: truncated JPEG') in published.events
    assert published.problems == [('bad', 'truncated JPEG')]
    assert pipeline.snapshot().lanes[0].failures == 0


def test_a_failing_sink_costs_its_frame_and_nothing_else():
    published = Published()
    published.fails_for = {'a'}
    pipeline = make_pipeline(['a', 'b'], {'cpu': SleepingDetector()}, published)
    with pipeline:
        pipeline.offer(frame('a', 0))
        pipeline.offer(frame('b', 0))
        assert pipeline.drain(20.0)
    a, b = pipeline.snapshot().cameras
    assert (a.dropped[DropReason.UNPUBLISHED], a.published, b.published) == (1, 0, 1)
    assert any('the middleware is gone' in message for _, message in published.events)


@pytest.mark.parametrize(
    ('fault', 'told'),
    [
        (lambda frames: 1 / 0, 'ZeroDivisionError: division by zero'),
        (lambda frames: [], 'expected 1 results for its batch, got 0'),
        (lambda frames: ['box'], 'expected Detected or FrameError, got str'),
    ],
)
def test_a_failed_lane_gives_its_frame_to_another_and_comes_back(monkeypatch, fault, told):
    monkeypatch.setattr(dispatcher_module, 'BACKOFF_NS', 1_000_000)
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
    assert any(level == 'error' and told in message for level, message in published.events)
    assert accounted(pipeline.snapshot().cameras[0])


def test_a_submission_that_fails_while_results_wait_loses_none_of_them(monkeypatch):
    monkeypatch.setattr(dispatcher_module, 'BACKOFF_NS', 1_000_000)
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


def test_a_failing_event_callback_takes_no_lane_with_it():
    published = Published()

    def on_event(level, message):
        raise RuntimeError('no logger')

    with Pipeline(
        [camera('a')],
        [LaneSpec(lane('cpu'), SleepingDetector)],
        published.sink,
        on_event=on_event,
        options=SMALL,
    ) as pipeline:
        pipeline.offer(frame('a', 0))
        assert pipeline.drain(20.0)
    assert published.sequences['a'] == [0]


def test_a_hanging_lane_is_given_up_and_its_late_answer_is_worth_nothing(monkeypatch):
    monkeypatch.setattr(dispatcher_module, 'HANG_NS', 50_000_000)
    monkeypatch.setattr(dispatcher_module, 'BACKOFF_NS', 1_000_000)
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


def test_with_all_lanes_down_the_pipeline_lives_and_recovers(monkeypatch):
    monkeypatch.setattr(dispatcher_module, 'BACKOFF_NS', 20_000_000)
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


def test_start_tells_what_is_wrong_and_closes_what_was_built():
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


@pytest.mark.parametrize('hangs_in', ['building', 'measuring'])
def test_a_lane_that_never_gets_ready_is_given_up_and_the_others_go_on(monkeypatch, hangs_in):
    monkeypatch.setattr(supervisor_module, 'PROGRESS_NS', 20_000_000)
    monkeypatch.setattr(dispatcher_module, 'BACKOFF_NS', 1_000_000)
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
    told = [message for _, message in published.events]
    assert any(f'lane sick: {hangs_in} its detector for 0 s, limit 0.4 s' in m for m in told)
    assert any(f'still {hangs_in} its detector after 0 s, limit 0.4 s' in m for m in told)


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


def test_stop_drops_what_was_not_run_and_counts_what_comes_later():
    published = Published()
    gate = threading.Event()

    has_it = threading.Event()

    def answer(frames):
        if frames[0].camera != 'warm-up':
            has_it.set()
            gate.wait(20)

    pipeline = make_pipeline(['a', 'b'], {'cpu': SleepingDetector(answer=answer)}, published)
    pipeline.start()
    pipeline.offer(frame('a', 0))
    assert has_it.wait(20)
    pipeline.offer(frame('b', 0))
    stopper = threading.Thread(target=lambda: pipeline.stop(drain=False))
    stopper.start()
    wait_until(lambda: pipeline.snapshot().cameras[1].dropped[DropReason.STOPPED] == 1)
    gate.set()
    stopper.join()
    pipeline.offer(frame('a', 1))
    a, b = pipeline.snapshot().cameras
    assert (a.published, a.dropped[DropReason.STOPPED], b.published) == (1, 1, 0)
    assert accounted(a) and accounted(b)
    assert pipeline.snapshot().lanes[0].state is LaneState.STOPPED
    pipeline.stop()


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


def test_priorities_and_deadlines_change_while_it_runs():
    with make_pipeline(['a'], {'cpu': SleepingDetector(0.002)}, Published()) as pipeline:
        pipeline.update_camera('a', priority=5.0, deadline_ms=0.001)
        pipeline.offer(frame('a', 0))
        assert pipeline.drain(20.0)
        account = pipeline.snapshot().cameras[0]
    assert (account.priority, account.deadline_ms) == (5.0, 0.001)
    assert account.dropped[DropReason.HOPELESS] == 1


def test_a_lane_kept_for_a_frame_that_does_not_come_is_used_after_a_moment():
    published = Published()
    cameras = [camera('small'), camera('big', priority=100.0)]
    with make_pipeline(cameras, {'cpu': SleepingDetector(0.02)}, published) as pipeline:
        pipeline.offer(frame('big', 0))
        assert pipeline.drain(20.0)
        with pipeline.lock:
            pipeline.dispatcher.cameras['big'].rhythm.next_ns = pipeline.clock() + 15_000_000
            pipeline.offer(frame('small', 0))
            kept = pipeline.snapshot().cameras[0].waiting
        assert pipeline.drain(20.0)
    assert (kept, published.sequences['small']) == (1, [0])
    assert pipeline.dispatcher.ask_ns == NEVER_NS


def test_a_slow_frame_is_not_published_after_a_newer_one():
    published = Published()
    gate = threading.Event()
    slow_has_it = threading.Event()

    def hold(frames):
        if frames[0].camera == 'a':
            slow_has_it.set()
            gate.wait(20)

    # The first frame is held on the quick lane; by its cost it is overdue, so the next one may go.
    pipeline = make_pipeline(
        ['a'], {'quick': SleepingDetector(answer=hold), 'slow': SleepingDetector(0.002)}, published
    )
    with pipeline:
        pipeline.offer(frame('a', 0))
        assert slow_has_it.wait(20)
        wait_until(lambda: pipeline.dispatcher.cameras['a'].running_until_ns < pipeline.clock())
        pipeline.offer(frame('a', 1))
        wait_until(lambda: published.sequences['a'] == [1])
        gate.set()
        assert pipeline.drain(20.0)
    account = pipeline.snapshot().cameras[0]
    assert account.dropped[DropReason.OVERTAKEN] == 1
    assert published.sequences['a'] == [1]


def test_lockstep_gives_the_same_results_whatever_the_lanes_timing():
    def replay(gpu_s: float, cpu_s: float) -> list[tuple[str, int, str]]:
        published = Published()
        pipeline = Pipeline(
            [camera('a'), camera('b')],
            [
                LaneSpec(lane('gpu', max_batch=4), lambda: SleepingDetector(gpu_s, max_batch=4)),
                LaneSpec(lane('cpu'), lambda: SleepingDetector(cpu_s)),
            ],
            published.sink,
            on_trace=published.on_trace,
            options=PipelineOptions(8, 8, lockstep=True),
        )
        with pipeline:
            for sequence in range(12):
                for name in 'ab':
                    pipeline.offer(frame(name, sequence))
            assert pipeline.drain(20.0)
        return sorted((t.camera, t.sequence, t.lane) for t in published.traces)

    expected = [(n, s, {'a': 'gpu', 'b': 'cpu'}[n]) for n in 'ab' for s in range(12)]
    assert replay(0.0, 0.003) == replay(0.003, 0.0) == expected
