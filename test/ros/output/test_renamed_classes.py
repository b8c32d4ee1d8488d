"""Classes that get other names while the node runs, in messages written from templates."""

from __future__ import annotations

import numpy as np
from rclpy.serialization import deserialize_message
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.ros.output.cdr_templates import FoundWriter, check
from yolox_trt_ros.ros.output.messages import FOUND

LABELS = ('car', 'bus')
RULES = Rules.of_all(LABELS, 0.3)
IMAGE = Frame('front', 0, 7, 0, 'optical', 'mono8', 20, 30, 30, np.zeros(600, np.uint8))
BY_NAME = Config.from_parameters(
    {'camera_names': ['front'], 'lane_names': ['lane'], 'class_id_format': 'name'}
)


def found(labels: tuple[str, ...], *class_ids: int) -> Detections:
    n = len(class_ids)
    return Detections(
        np.ones((n, 4), np.float32), np.ones(n, np.float32), np.array(class_ids, np.int32), labels
    )


def test_names_are_those_of_the_detections() -> None:
    message = FOUND['detections'](BY_NAME, RULES)
    check(message)
    writer = FoundWriter(message)

    def names(of: Detections) -> list[str]:
        read = deserialize_message(bytes(writer.write(IMAGE, of)), Detection2DArray)
        return [item.results[0].hypothesis.class_id for item in read.detections]

    other = ('vehicle', 'a class of another length', 'third')
    assert names(found(LABELS, 0, 1, 0)) == ['car', 'bus', 'car']
    assert names(found(other, 2, 1)) == ['third', 'a class of another length']
    assert names(found((), *())) == [], 'a simulated lane knows no names'
    assert names(found(other, 0)) == ['vehicle']
    assert names(found(LABELS, 1)) == ['bus'], 'a result that was under way'


def test_numbers_go_as_far_as_autowares() -> None:
    by_number = Config.from_parameters({'camera_names': ['front'], 'lane_names': ['lane']})
    writer = FoundWriter(FOUND['detections'](by_number, RULES))
    labels = tuple(f'class {i}' for i in range(12))
    read = deserialize_message(bytes(writer.write(IMAGE, found(labels, 11))), Detection2DArray)
    assert read.detections[0].results[0].hypothesis.class_id == '11'
