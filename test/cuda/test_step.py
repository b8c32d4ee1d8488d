"""How work is recorded, with a stream that notes what CUDA would get."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
from damaged import no_collector

from yolox_trt_ros.detect.cuda.step import CaptureError, Step


class Stream:
    def __init__(self, failures: int = 0) -> None:
        self.calls: list[str] = []
        self._failures = failures
        self._broken = False

    def enqueue(self, size: int) -> None:
        self.calls.append(f'run {size}')

    def synchronize(self) -> None:
        self.calls.append('wait')

    def begin_capture(self) -> None:
        assert self.calls[-1] == 'wait', 'first runs have to be over before a recording'
        self.calls.append('begin')
        self._broken = self._failures > 0
        self._failures -= 1

    def end_capture(self) -> Graph:
        self.calls.append('end')
        if self._broken:
            raise RuntimeError('no such luck')
        return Graph(self)


class Graph:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def launch(self, stream: Any) -> None:
        assert stream is self._stream
        stream.calls.append('launch')


def test_every_size_is_recorded() -> None:
    stream = Stream()
    step = Step(stream, [1, 4], stream.enqueue)
    assert step.recorded
    assert stream.calls.count('begin') == 2
    stream.calls.clear()
    for images in (1, 3, 4):
        step.launch(images)
    assert stream.calls == ['launch'] * 3


def test_what_cannot_be_recorded_is_not_tried() -> None:
    stream = Stream()
    step = Step(stream, [2], stream.enqueue, recordable=False)
    assert not step.recorded and 'begin' not in stream.calls
    stream.calls.clear()
    step.launch(1)
    assert stream.calls == ['run 2']


def test_a_recording_that_another_thread_broke_is_tried_again() -> None:
    stream = Stream(failures=2)
    assert Step(stream, [1], stream.enqueue).recorded
    assert stream.calls.count('begin') == 3


def test_what_refuses_to_be_recorded_is_launched_anew(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream(failures=100)
    step = Step(stream, [1, 2], stream.enqueue)
    assert not step.recorded and 'no such luck' in caplog.text
    assert stream.calls.count('begin') == 3, 'the second size is not tried'
    stream.calls.clear()
    step.launch(2)
    assert stream.calls == ['run 2']


def test_what_a_failed_recording_broke_is_to_be_made_anew() -> None:
    stream = Stream(failures=100)

    def enqueue(size: int) -> None:
        if 'end' in stream.calls:
            raise RuntimeError('every run fails now')
        stream.enqueue(size)

    with pytest.raises(CaptureError, match='can hold this network: no such luck'):
        Step(stream, [1, 2], enqueue)
    assert stream.calls.count('begin') == 1


def test_the_reason_is_kept() -> None:
    assert Step(Stream(), [1], lambda size: None, recordable=False).reason
    stream = Stream(failures=100)
    assert Step(stream, [1], stream.enqueue).reason == 'no such luck'
    stream = Stream()
    assert Step(stream, [1], stream.enqueue).reason == ''


def test_a_recording_that_failed_keeps_nothing() -> None:
    with no_collector():
        stream = Stream(failures=100)
        memory = weakref.ref(stream)
        Step(stream, [1], stream.enqueue)
        del stream
        assert memory() is None
