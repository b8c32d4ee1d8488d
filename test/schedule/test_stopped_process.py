"""A process that is stopped for a while (SIGSTOP, a debugger, a laptop's lid) blames no lane."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from schedule_helpers import camera, frame, lane

from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.state import HANG_NS

HERE = Path(__file__).parent
MS = 1_000_000
SECOND = 1_000 * MS


def test_a_stop_of_the_whole_process_is_no_lanes_fault() -> None:
    child = subprocess.Popen(
        [sys.executable, str(HERE / 'stopped_pipeline.py')], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout and child.stdout.readline() == 'running\n'
        child.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * HANG_NS / 1e9)
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate(timeout=90)
    finally:
        child.kill()
    assert child.returncode == 0
    assert said.startswith(("0 0 {'a': [0], 'b': [0]}", "0 0 {'b': [0], 'a': [0]}")), said


def test_lost_time_does_not_count_and_no_other_does() -> None:
    dispatcher = Dispatcher([camera('a'), camera('b')], [lane('gpu'), lane('dla')])
    for name in ('gpu', 'dla'):
        dispatcher.lanes[name].costs[''].observe(1, 0, MS)
        dispatcher.lane_up(name, 0)
    dispatcher.lanes['dla'].doing, dispatcher.lanes['dla'].doing_since_ns = 'x', 3 * SECOND
    dispatcher.offer(frame('a', 0, 0))
    (batch,) = dispatcher.dispatch(0)
    dispatcher.time_lost(SECOND, 61 * SECOND)
    assert dispatcher.lanes['dla'].doing_since_ns == 61 * SECOND
    assert dispatcher.overdue(62 * SECOND) == []
    assert [name for name, _ in dispatcher.overdue(62 * SECOND + MS)] == [batch.lane]
    assert dispatcher.collect(batch, 61 * SECOND + 500 * MS)
    assert dispatcher.lanes[batch.lane].busy_ns == 1_500 * MS


def test_what_began_after_the_stop_began_then() -> None:
    dispatcher = Dispatcher([camera('a')], [lane('gpu')])
    dispatcher.lanes['gpu'].costs[''].observe(1, 0, MS)
    dispatcher.lane_up('gpu', 0)
    dispatcher.offer(frame('a', 0, 60 * SECOND))
    (batch,) = dispatcher.dispatch(60 * SECOND)
    dispatcher.time_lost(SECOND, 60 * SECOND + 5 * MS)
    assert batch.started_ns == 60 * SECOND + 5 * MS
    assert dispatcher.collect(batch, 60 * SECOND + 5 * MS)
