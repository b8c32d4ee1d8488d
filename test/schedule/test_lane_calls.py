"""What a lane's threads do with the calls of a device that runs two at a time."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import replace

import numpy as np
from damaged import no_collector
from pipeline_helpers import Published, make_pipeline, wait_until
from schedule_helpers import SleepingDetector, SleepingTicket, frame

from yolox_trt_ros.schedule import state as state_module

TWO = {'in_flight': 2}


def test_a_lane_that_failed_keeps_no_frames(monkeypatch):
    """Not until it is built again either, which may be in minutes: cameras have a few buffers."""
    monkeypatch.setattr(state_module, 'BACKOFF_NS', 60_000_000_000)
    published, gate, behind = Published(), threading.Event(), threading.Event()

    class Breaks(SleepingDetector):
        def submit(self, frames):
            ticket = super().submit(frames)
            if frames[0].camera == 'b':
                behind.set()
            return ticket

        def close(self):
            time.sleep(0.1)  # the next life looks first whether this one has ended
            super().close()

    def answer(frames):
        if frames[0].camera == 'a':
            behind.wait(20)
            gate.wait(20)
            raise RuntimeError('the device is lost')

    class Watched(SleepingTicket):
        def sleep(self):
            if self._frames[0].camera == 'a':
                behind.wait(20)

    monkeypatch.setattr('schedule_helpers.SleepingTicket', Watched)
    with (
        no_collector(),
        make_pipeline(['a', 'b'], {'gpu': Breaks(answer=answer)}, published, gpu=TWO) as pipeline,
    ):
        memories = []
        for name in 'ab':
            data = np.zeros(12, np.uint8)
            memories.append(weakref.ref(data))
            pipeline.offer(replace(frame(name, 0), data=data))
            del data
        assert behind.wait(20)
        for name in 'ab':
            pipeline.offer(frame(name, 1))  # in the place of what the lane gives back
        gate.set()
        wait_until(lambda: pipeline.snapshot().lanes[0].failures == 1)
        wait_until(lambda: all(memory() is None for memory in memories), 5.0)
        pipeline.stop(drain=False)


def test_what_comes_while_a_lane_submits_stays_the_newest():
    published, inside, gate = Published(), threading.Event(), threading.Event()

    class Slow(SleepingDetector):
        def submit(self, frames):
            if frames[0].camera == 'a':
                inside.set()
                gate.wait(20)
            return super().submit(frames)

    with make_pipeline(['a', 'b'], {'gpu': Slow()}, published, gpu=TWO) as pipeline:
        pipeline.offer(frame('a', 0))
        assert inside.wait(20)
        with pipeline.lock:  # as if the call took long
            pipeline.dispatcher.lanes['gpu'].busy_until_ns += 60_000_000_000
        for sequence in range(2):
            pipeline.offer(frame('b', sequence))
        gate.set()
        assert pipeline.drain(20.0)
    assert published.sequences == {'a': [0], 'b': [1]}


def test_a_watcher_that_is_late_does_not_wait_for_what_is_over(monkeypatch):
    """The device may have something newer in the place of that call."""
    published, gate = Published(), threading.Event()
    slept = []

    class Watched(SleepingTicket):
        def sleep(self):
            if threading.current_thread().name.startswith('watch'):
                slept.append((self._frames[0].camera, self._frames[0].sequence))
                gate.wait(20)

    monkeypatch.setattr('schedule_helpers.SleepingTicket', Watched)
    with make_pipeline(['a', 'b'], {'gpu': SleepingDetector()}, published, gpu=TWO) as pipeline:
        pipeline.offer(frame('a', 0))
        wait_until(lambda: slept == [('a', 0)])
        pipeline.offer(frame('b', 0))
        wait_until(lambda: published.sequences['a'] == [0])
        pipeline.offer(frame('a', 1))
        wait_until(lambda: published.sequences['b'] == [0])
        gate.set()
        assert pipeline.drain(20.0)
    assert slept == [('a', 0), ('a', 1)]
