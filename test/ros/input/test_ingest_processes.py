"""Processes that take images survive what goes wrong, and end when they are asked to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_rig import DOMAIN, PATIENCE_S, Rig, image, open_rig

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]


@pytest.fixture(params=['direct', 'serialised'])
def native_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with open_rig(request.param) as opened:
        yield opened


REFUSED = """
import sys, threading, time
from edge_rig import Node, image, open_rig
from rclpy.parameter import Parameter
from yolox_trt_ros.core.errors import ConfigError

with open_rig(sys.argv[1]) as rig:
    rig.ingest.close()
    sound, stop = rig.node, threading.Event()
    wrong = Parameter(
        'qos_overrides./b/image_raw/compressed.subscription.reliability', value='no_such'
    )
    rig.node = Node('refused', context=rig.context, parameter_overrides=[wrong])

    def drive():
        while not stop.is_set():
            rig.front.publish(image(1, 240, 320))
            time.sleep(0.001)

    driver = threading.Thread(target=drive)
    driver.start()
    for _ in range(5):
        try:
            rig.open()
        except ConfigError as error:
            print(error)
        assert not [*rig.node.subscriptions], 'that of the other camera is left'
        time.sleep(0.05)
    stop.set()
    driver.join()
    rig.node.destroy_node()
    rig.node = sound
    rig.ingest = rig.open()
    print('survived')
"""


def run_alone(code: str, *arguments: str) -> list[str]:
    """Return what a process of its own says; it must end by itself and well."""
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments],
        env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return done.stdout.splitlines()


@pytest.mark.parametrize('mode', ['serialised', 'plain'])
def test_the_process_survives_a_camera_that_cannot_be_subscribed(mode: str) -> None:
    *refusals, last = run_alone(REFUSED, mode)
    assert last == 'survived'
    assert len(refusals) == 5
    assert all('b: /b/image_raw/compressed cannot be' in refusal for refusal in refusals)
    assert all('no_such' in refusal for refusal in refusals)


FORGOTTEN = """
import time
import rclpy
from edge_rig import BUFFERS, Config, NativeIngest, Node

class Sink:
    taken = 0

    def next_sequence(self, camera):
        self.taken += 1
        return self.taken

    def offer(self, frame):
        pass

    def reject(self, camera, reason, n=1):
        pass

rclpy.init()
node, sink = Node('forgetful'), Sink()
cameras = Config.from_parameters({'camera_names': ['a'], 'lane_names': ['lane']}).cameras
ingest = NativeIngest(node, cameras, sink, print, BUFFERS)
while not sink.taken:
    time.sleep(0.01)
print('end')
"""


def test_a_process_may_end_without_closing(native_rig: Rig) -> None:
    stop = threading.Event()

    def drive() -> None:
        while not stop.is_set():
            native_rig.front.publish(image(1))
            native_rig.keeper.frames.clear()
            time.sleep(0.001)

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        assert run_alone(FORGOTTEN) == ['end']
    finally:
        stop.set()
        driver.join()
