"""In lockstep images wait in the middleware while no lane takes any, and nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from edge_rig import Rig, image, open_rig
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import Image

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.ros.input.ingest import open_ingest
from yolox_trt_ros.schedule.pipeline import (
    LOCKSTEP_BACKLOG,
    LaneSpec,
    Pipeline,
    PipelineOptions,
)

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]

IMAGES = 30


@pytest.fixture(params=['auto', 'plain'])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with open_rig('plain') as opened:
        opened.ingest.close()
        opened.pipeline.stop()
        opened.config = config = Config.from_parameters(
            {
                'camera_names': ['a', 'b'],
                'lane_names': ['lane'],
                'lockstep': True,
                'ingest': request.param,
                'cameras.b.transport': 'compressed',
                'cameras.a.reliability': 'reliable',
                'cameras.a.topic': '/fresh',  # whose queue is not yet as the rig made it
                'cameras.a.depth': 2 * IMAGES,
            }
        )
        opened.keeper.go.set()
        opened.pipeline = Pipeline(
            config.cameras,
            [LaneSpec(config.lanes[0], lambda: opened.keeper)],
            lambda *_: None,
            options=PipelineOptions(lockstep=True),
        )
        opened.pipeline.start()
        opened.keeper.frames.clear()
        opened.ingest = open_ingest(opened.node, config, opened.pipeline)
        opened.front = opened.camera(Image, '/fresh')
        opened.front.publish(image(0))
        opened.until(lambda: opened.account().published == 1)
        yield opened


def test_the_executor_goes_on_while_the_lanes_stand_still(rig: Rig) -> None:
    ticked = threading.Event()
    rig.node.create_timer(0.01, ticked.set, clock=Clock(clock_type=ClockType.STEADY_TIME))
    rig.executor.wake()
    rig.keeper.go.clear()
    for number in range(1, IMAGES):
        rig.front.publish(image(number))
    rig.until(lambda: rig.account().waiting == LOCKSTEP_BACKLOG)
    for _ in range(20):
        ticked.clear()
        assert ticked.wait(10), 'the executor waits for the pipeline'
    assert rig.account().received == LOCKSTEP_BACKLOG + 2
    rig.keeper.go.set()
    rig.until(lambda: rig.account().published == IMAGES)
    assert [f.sequence for f in rig.keeper.frames] == list(range(IMAGES))


def test_an_ingest_that_is_closed_while_images_wait_asks_for_none_any_more(rig: Rig) -> None:
    rig.keeper.go.clear()
    for number in range(1, IMAGES):
        rig.front.publish(image(number))
    rig.until(lambda: rig.account().waiting == LOCKSTEP_BACKLOG)
    rig.ingest.close()
    rig.keeper.go.set()
    rig.until(lambda: rig.account().published == LOCKSTEP_BACKLOG + 2)
