"""Publish results with whatever vision_msgs this process finds, and report what a reader gets."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import rclpy
import rclpy.serialization
import vision_msgs.msg
from rclpy.node import Node

if sys.argv[1] == 'moved':  # the same members in another order, and some more
    for name in ('Detection2D', 'Detection2DArray'):
        setattr(vision_msgs.msg, name, getattr(vision_msgs.msg, f'Moved{name}'))
    vision_msgs.msg.ObjectHypothesisWithPose = vision_msgs.msg.DoubleHypothesisWithPose

from rosidl_bytes import serialize_into
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.ros.output.messages import detections_message
from yolox_trt_ros.ros.output.publishers import ResultPublishers

FOUND = Detections(
    np.array([[1, 2, 5, 10], [3, 4, 5, 6]], np.float32),
    np.array([0.5, 0.25], np.float32),
    np.array([0, 1], np.int32),
)
FRAME = Frame('a', 0, 7 * 10**9, 0, 'optical', 'mono8', 1, 1, 1, np.zeros(1, np.uint8))
RULES = Rules.of_all(('car', 'bus'), 0.3)


def main() -> None:
    """Publish until it was heard."""
    rclpy.init()
    node = Node('altered')
    config = Config.from_parameters({'camera_names': ['a'], 'lane_names': ['lane']})
    results = ResultPublishers(node, config, RULES)
    heard: list[bytes] = []
    node.create_subscription(Detection2DArray, '~/a/detections', heard.append, 10, raw=True)
    end = time.monotonic() + 20
    while not heard and time.monotonic() < end:
        results.detections(FRAME, FOUND)
        rclpy.spin_once(node, timeout_sec=0.05)
    message: Any = rclpy.serialization.deserialize_message(heard[0], Detection2DArray)
    expected = detections_message(FRAME, FOUND, ['0', '1'])
    text = {
        'from': vision_msgs.__file__,
        'encoder': results.encoder,
        'scores': [item.results[0].hypothesis.score for item in message.detections],
        'same': message == expected,
        'same bytes': heard[0] == serialize_into(expected, 0),
    }
    print(json.dumps(text))
    results.close()
    node.destroy_node()
    rclpy.shutdown()


main()
