"""A pipeline in a process of its own, to be stopped and continued: one slow frame on each lane."""

from __future__ import annotations

import time

from pipeline_helpers import Published, make_pipeline, wait_until
from schedule_helpers import SleepingDetector, accounted, frame


def slow(frames) -> None:
    if frames[0].camera != 'warm-up':
        for _ in range(20):  # not over at once when the process goes on
            time.sleep(0.05)


def main() -> None:
    published = Published()
    detectors = {name: SleepingDetector(0.001, answer=slow) for name in ('gpu', 'dla')}
    with make_pipeline(['a', 'b'], detectors, published) as pipeline:
        for name in 'ab':
            pipeline.offer(frame(name, 0))
        wait_until(lambda: all(lane.running for lane in pipeline.dispatcher.lanes.values()))
        print('running', flush=True)
        assert pipeline.drain(60.0)
    snapshot = pipeline.snapshot()
    assert all(accounted(account) for account in snapshot.cameras)
    print(*(lane.failures for lane in snapshot.lanes), dict(published.sequences), published.events)


if __name__ == '__main__':
    main()
