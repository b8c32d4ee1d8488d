"""What a lane that is built says of where it is."""

from __future__ import annotations

import threading

from pipeline_helpers import Published, make_pipeline, wait_until
from schedule_helpers import SleepingDetector, camera

from yolox_trt_ros.core.steps import report_step


def test_the_note_says_which_step_a_starting_lane_is_at():
    release = threading.Event()

    def factory():
        report_step('looking for convolutions, 2 of 4')
        release.wait(20.0)
        return SleepingDetector()

    pipeline = make_pipeline([camera('a')], {'gpu': factory}, Published())
    starting = threading.Thread(target=pipeline.start)
    starting.start()
    note = 'building its detector for 0 s: looking for convolutions, 2 of 4'
    wait_until(lambda: pipeline.snapshot().lanes[0].note == note)
    assert pipeline.snapshot().lanes[0].runs == ''
    release.set()
    starting.join()
    (lane,) = pipeline.snapshot().lanes
    assert (lane.note, lane.runs) == ('', 'sleep')
    pipeline.stop()
    report_step('nobody listens to this thread')
