"""A recording keeps what publishers offer, and plays back to listeners who come late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from peer import DOMAIN, LATCHED, Peer
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosDurability, QosReliability
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String
from vision_msgs.msg import LabelInfo, VisionClass

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.ros.dds.settings import environment
from yolox_trt_ros.ros.replay.options import ReplayOptions
from yolox_trt_ros.ros.replay.player import Replay
from yolox_trt_ros.tools.record import wanted_topics

pytestmark = pytest.mark.ros
CAR = {'camera_names': ['front'], 'lane_names': ['cpu0']}
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_qos_is_kept_and_latched_topics_play_as_such(
    peer: Peer, tmp_path: Path, storage: str
) -> None:
    car, output = tmp_path / 'car.param.yaml', tmp_path / 'bag'
    car.write_text(yaml.safe_dump({'/**': {'ros__parameters': CAR}}))
    node, name = peer.node, f'/recorded_{storage}'
    labels = node.create_publisher(LabelInfo, f'{name}/label_info', LATCHED)
    info = node.create_publisher(CameraInfo, '/front/camera_info', BEST_EFFORT)
    words = node.create_publisher(String, f'{name}/lidar/words', BEST_EFFORT)
    maps = [node.create_publisher(String, f'{name}/lidar/map', LATCHED) for _ in range(12)]
    other = node.create_publisher(String, '/elsewhere', 10)
    labels.publish(LabelInfo(class_map=[VisionClass(class_id=0, class_name='car')]))
    for number, publisher in enumerate(maps):
        publisher.publish(String(data=f'map {number}'))
    command = [sys.executable, '-m', 'yolox_trt_ros', 'record', '--vehicle', str(car)]
    command += ['--output', str(output), '--storage', storage, '--detector', name]
    command += ['--topics', f'{name}/lidar/*', '/nowhere/*', '--keep-free-mb', '1']
    tool = subprocess.Popen(
        command,
        env={**os.environ, **environment(), 'ROS_DOMAIN_ID': str(DOMAIN)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    publishers = [labels, info, words, *maps]
    try:
        peer.until(lambda: all(p.get_subscription_count() for p in publishers), 'the recorder')
        for n in range(50):  # what comes before both sides have matched is not recorded
            for publisher in (info, words, other):
                kind = CameraInfo() if publisher is info else String(data=f'word {n}')
                publisher.publish(kind)
            peer.spin(0.05)
        tool.send_signal(signal.SIGINT)
        message, _ = tool.communicate(timeout=60)
    finally:
        tool.kill()
        for publisher in [*publishers, other]:
            node.destroy_publisher(publisher)
    assert tool.returncode == 0, message
    assert (
        'not recorded: /nowhere/*: the topic never appeared' in message and str(output) in message
    )
    with Bag(output) as bag:
        check_qos(bag, name)
        late = ReplayOptions(topics=(f'{name}/label_info', f'{name}/lidar/map'))
        assert len(list(Replay(node, bag, late).play())) == 13
    names: list[LabelInfo] = []
    heard: list[String] = []
    all_of_them = QoSProfile(depth=50, durability=LATCHED.durability)
    node.create_subscription(LabelInfo, f'{name}/label_info', names.append, LATCHED)
    node.create_subscription(String, f'{name}/lidar/map', heard.append, all_of_them)
    peer.until(lambda: names and len(heard) == 12, 'what is latched')
    assert names[0].class_map[0].class_name == 'car'


def check_qos(bag: Bag, name: str) -> None:
    topics = bag.topics
    assert '/elsewhere' not in topics
    assert (topics[f'{name}/label_info'].count, topics[f'{name}/lidar/map'].count) == (1, 12)
    assert topics['/front/camera_info'].count > 5 and topics[f'{name}/lidar/words'].count > 5
    (latched,) = topics[f'{name}/label_info'].qos
    assert latched.durability == QosDurability.TRANSIENT_LOCAL
    assert latched.reliability == QosReliability.RELIABLE
    (best_effort,) = topics[f'{name}/lidar/words'].qos
    assert best_effort.reliability == QosReliability.BEST_EFFORT
    assert best_effort.durability == QosDurability.VOLATILE


def test_what_is_recorded_of_a_vehicle() -> None:
    config = Config.from_parameters({**CAR, 'cameras.front.topic': 'cam/image'})
    topics = {topic.name: topic.type_name for topic in wanted_topics(config, '/car/detector', True)}
    assert topics['/car/cam/image'] == 'sensor_msgs/msg/Image'
    assert topics['/car/cam/camera_info'] == 'sensor_msgs/msg/CameraInfo'
    assert topics['/tf'] == topics['/tf_static'] == 'tf2_msgs/msg/TFMessage'
    assert '/car/cam/image' not in {t.name for t in wanted_topics(config, '/car/detector', False)}
