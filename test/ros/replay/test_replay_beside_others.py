"""A replay beside a running robot: what is lost is reported, and what is live is left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from peer import PATIENCE_S, Peer, image_message
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rig import SECOND
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tiny_models import write_yolox
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.msg import CameraStatus, PipelineStatus
from yolox_trt_ros.ros.replay.arrivals import Arrivals
from yolox_trt_ros.ros.replay.options import ReplayOptions
from yolox_trt_ros.ros.replay.player import Replay

T0 = 1_700_000_000 * SECOND
IMAGE = 'sensor_msgs/msg/Image'
CAR = {
    'camera_names': ['front'],
    'lane_names': ['cpu0'],
    'lanes.cpu0.threads': 1,
    'cameras.front.depth': 50,
}


def drive(path: Path, frames: int, height: int, width: int) -> Path:
    pixels = np.zeros((height, width, 3), np.uint8)
    with BagWriter(path) as bag:
        bag.add_topic('/front/image_raw', IMAGE)
        for n in range(frames):
            t_ns = T0 + n * SECOND // 10
            bag.write('/front/image_raw', t_ns, serialize_message(image_message(pixels, t_ns)))
    return path


def finished(peer: Peer, replay: Replay, busy: Callable[[], Any] = lambda: None) -> None:
    """Play to the end while the peer's node is spun."""
    thread = threading.Thread(target=lambda: [None for _ in replay.play()])
    thread.start()
    peer.until(lambda: (busy(), not thread.is_alive())[1], 'the end', 2 * PATIENCE_S)


def test_arrivals_count_from_the_beginning() -> None:
    arrivals = Arrivals(['a', 'b'])
    arrivals.account({'a': 5}, sending=False)
    assert not arrivals.begun
    arrivals.account({'a': 7, 'b': 1}, sending=False)
    assert arrivals.begun and arrivals.received('a') == 0
    arrivals.account({'a': 17, 'b': 0}, sending=True)
    assert arrivals.received('a') == 10
    assert arrivals.received('b') is None, 'the detector was started again'
    assert arrivals.accounts == 3


@pytest.mark.ros
def test_by_hand_everything_arrives_with_the_settings_of_launch(tmp_path: Path) -> None:
    """Neither process has DDS variables in its environment; images are larger than a segment."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(('FASTDDS', 'FASTRTPS'))}
    environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    car, message = tmp_path / 'car.param.yaml', tmp_path / 'told.json'
    parameters = {**CAR, 'model.path': str(write_yolox(tmp_path / 'tiny.onnx'))}
    car.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    bag = drive(tmp_path / 'bag', 28, 960, 1280)
    node = [sys.executable, '-m', 'yolox_trt_ros.ros.detector_node']
    detector = subprocess.Popen([*node, '--ros-args', '--params-file', str(car)], env=environ)
    try:
        player = [sys.executable, '-m', 'yolox_trt_ros', 'replay', str(bag), '--vehicle', str(car)]
        done = subprocess.run(
            [*player, '--json', str(message)],
            env=environ, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
    finally:
        detector.terminate()
        detector.wait(60)
    assert done.returncode == 0, done.stderr
    assert json.loads(message.read_text())['cameras'] == {'front': {'sent': 28, 'received': 28}}
    assert 'config/dds/fastdds_8cam.xml' in ''.join(done.stderr.split())


@pytest.mark.ros
def test_images_that_do_not_arrive_are_counted(peer: Peer, tmp_path: Path) -> None:
    """The detector here says that it got every second image."""
    came: list[Image] = []
    qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
    peer.node.create_subscription(Image, '/front/image_raw', came.append, qos)
    status = peer.node.create_publisher(PipelineStatus, '/halving/status', 1)

    said_s = 0.0

    def say() -> None:
        nonlocal said_s
        if time.monotonic() < said_s + 0.5:
            return
        said_s = time.monotonic()
        camera = CameraStatus(name='front', received=100 + len(came) // 2)
        camera.stages, camera.drop_reasons, camera.drop_counts = ['total'], ['replaced'], [0]
        camera.p50_ns = camera.p95_ns = camera.p99_ns = camera.max_ns = [0]
        status.publish(PipelineStatus(cameras=[camera]))

    with Bag(drive(tmp_path / 'bag', 10, 9, 16)) as bag:
        options = ReplayOptions(detector='/halving', rate=4.0)
        replay = Replay(peer.node, bag, options, Config.from_parameters(CAR))
        finished(peer, replay, say)
        lost: list[dict[str, tuple[int, int]]] = []
        thread = threading.Thread(target=lambda: lost.append(replay.lost()))
        thread.start()
        peer.until(lambda: (say(), lost)[1], 'the account')
    assert len(came) == 10 and lost == [{'front': (10, 5)}]


@pytest.mark.ros
def test_recorded_results_are_not_played_onto_live_ones_unless_they_are_named(
    peer: Peer, tmp_path: Path
) -> None:
    topics = {
        '/live/front/detections': Detection2DArray(),
        '/live/status': PipelineStatus(),
        '/live/front/overlay': String(data='recorded'),  # whatever lies below the detector's name
        '/words': String(data='recorded'),
    }
    with BagWriter(tmp_path / 'bag') as bag:
        for topic, message in topics.items():
            package = type(message).__module__.partition('.')[0]
            bag.add_topic(topic, f'{package}/msg/{type(message).__name__}')
            for n in range(3):
                bag.write(topic, T0 + n * SECOND // 10, serialize_message(message))
    heard: Counter[str] = Counter()
    live = []
    for topic, message in topics.items():
        node, kind = peer.node, type(message)
        node.create_subscription(kind, topic, lambda m, t=topic: heard.update([t]), 50)
        if topic != '/live/status':  # not every live detector is one of this package
            live.append(node.create_publisher(kind, topic, 10))
    messages: list[str] = []
    with Bag(tmp_path / 'bag') as opened:
        replay = Replay(peer.node, opened, ReplayOptions(), warn=messages.append)
        finished(peer, replay)
        assert replay.sent.left_out == {'/live/front/detections': 3, '/live/front/overlay': 3}
        assert replay.sent.messages == {'/live/status': 3, '/words': 3}
        peer.until(lambda: heard == replay.sent.messages, 'what is played')
        assert sorted(messages) == [
            '/live/front/detections is published by somebody else now: these results are not '
            'played, unless --topics names them',
            '/live/front/overlay is published by somebody else now: these results are not played, '
            'unless --topics names them',
            '/words is published by somebody else now: recorded and live messages mix',
        ]
        named = ReplayOptions(topics=('/live/front/detections',))
        finished(peer, Replay(peer.node, opened, named, warn=messages.append))
    peer.until(lambda: heard['/live/front/detections'] == 3, 'what was asked for')
    assert messages[-1].endswith('recorded and live messages mix')
    for publisher in live:
        peer.node.destroy_publisher(publisher)
