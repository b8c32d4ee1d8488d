"""The pipeline on real threads; waits are bounded, no assertion depends on how long they take."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import replace

import numpy as np
from damaged import no_collector
from pipeline_helpers import SMALL, Published, make_pipeline, wait_until
from schedule_helpers import SleepingDetector, accounted, camera, frame, lane

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.order import LOSING
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions


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


def test_a_trace_has_each_step_and_the_drops_before_it():
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


class Gated:
    """A device that is done when it is told, but soon when it is measured."""

    max_batch, about = 2, 'gated'

    def __init__(self) -> None:
        self.submitted: list[list[int]] = []
        self.gate = threading.Event()

    def submit(self, frames):
        if frames[0].camera in 'ab':
            self.submitted.append([frame.sequence for frame in frames])
        return GatedTicket(self, frames)

    def close(self) -> None:
        self.gate.set()


class GatedTicket:
    def __init__(self, device, frames) -> None:
        self._device, self._frames = device, frames

    def sleep(self) -> None:
        measured = self._frames[0].camera not in 'ab'
        self._device.gate.wait(0.002 if measured else 20)

    def wait(self):
        self.sleep()
        now = time.monotonic_ns()
        return [Detected(Detections.empty(), now, now, now, now) for _ in self._frames]


def test_a_batch_that_fills_while_another_runs_is_submitted_meanwhile():
    """Its images are copied to the device before that would be idle."""
    published, device = Published(), Gated()
    with make_pipeline(
        'ab', {'gpu': device}, published, gpu={'max_batch': 2, 'in_flight': 2}
    ) as pipeline:
        pipeline.offer(frame('a', 0))
        wait_until(lambda: device.submitted == [[0]])
        for name, sequence in (('a', 1), ('b', 0)):
            pipeline.offer(frame(name, sequence))
        wait_until(lambda: len(device.submitted) == 2)
        assert sorted(device.submitted[1]) == [0, 1]
        assert not published.traces
        device.gate.set()
        assert pipeline.drain(20.0)
    assert {name: list(found) for name, found in published.sequences.items()} == {
        'a': [0, 1], 'b': [0],
    }  # fmt: skip


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


def test_what_a_detector_caught_keeps_no_frame():
    """Lanes remember their last batch, so that a frame may live until the next one."""
    kept = []

    def answer(frames):
        if frames[0].camera == 'bad':
            try:
                try:
                    int(frames[0].data[0:1].tobytes().decode('ascii') + 'no number')
                except ValueError as error:
                    raise FrameError(DropReason.UNDECODABLE, 'no number') from error
            except FrameError as error:
                kept.append(error)
                return [error]

    published = Published()
    with (
        no_collector(),
        make_pipeline(
            ['good', 'bad'], {'cpu': SleepingDetector(answer=answer)}, published
        ) as pipeline,
    ):
        memories = []
        for sequence in range(5):
            data = np.zeros(12, np.uint8)
            memories.append(weakref.ref(data))
            pipeline.offer(replace(frame('bad', sequence), data=data))
            del data
            wait_until(pipeline.drain)
        pipeline.offer(frame('good', 0))
        wait_until(lambda: published.sequences['good'] == [0])
        wait_until(lambda: [memory() for memory in memories] == [None] * 5)
    assert len(kept) == 5


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
    cameras = [camera('owed'), camera('other')]
    with make_pipeline(cameras, {'cpu': SleepingDetector(0.02)}, published) as pipeline:
        with pipeline.lock:
            owed = pipeline.dispatcher.cameras['owed']
            # One call is in time and two are not, however long calls take on a busy machine.
            owed.deadline_ns = pipeline.dispatcher.lanes['cpu'].costs[''].expect(1) * 3 // 2
            owed.losing, owed.arrived_ns, owed.gap_ns = LOSING, pipeline.clock(), (0, 400_000_000)
            everyone = list(pipeline.dispatcher.cameras.values())
            pipeline.dispatcher.queue.line(everyone, pipeline.clock())  # shares count from now on
            pipeline.dispatcher.cameras['other'].served = 5.0
            pipeline.offer(frame('other', 0))
            kept = pipeline.snapshot().cameras[1].waiting
        assert pipeline.drain(20.0)
    assert (kept, published.sequences['other']) == (1, [0])


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
        ['a'], {'quick': SleepingDetector(answer=hold), 'slow': SleepingDetector(0.02)}, published
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
