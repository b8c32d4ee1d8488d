"""Masks on their topics, and nothing of them while nobody listens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from edge_rig import DOMAIN
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from tiny_models import write_yolox

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.messages import mask_of
from yolox_trt_ros.core.segmentation import Segmentation
from yolox_trt_ros.loaded_model import load_models
from yolox_trt_ros.ros.output.masks import MaskOutputs

pytestmark = pytest.mark.ros
CELLS = np.repeat(np.arange(4, dtype=np.uint8), 30).reshape(10, 12)
FRAME = Frame('front', 0, 5_000_000_007, 0, 'cam', 'bgr8', 100, 120, 360, np.zeros(36000, np.uint8))


def config_of(folder: Path, **given: Any) -> Config:
    path = write_yolox(folder / 'm.onnx', segmentation='scores')
    return Config.from_parameters(
        {
            'camera_names': ['front'],
            'lane_names': ['cpu'],
            'model.path': str(path),
            'outputs': ['detections', 'mask', 'color_mask'],
            **given,
        }
    )


@pytest.fixture
def node() -> Iterator[Node]:
    context = rclpy.Context()
    context.init(domain_id=DOMAIN)
    made = rclpy.create_node('detector', context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


def spin(node: Node, until: Any, patience_s: float = 20.0) -> None:
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    end = time.monotonic() + patience_s
    while not until() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.05)
    executor.remove_node(node)
    assert until()


def found() -> Detections:
    return Detections.empty().segmented(Segmentation(CELLS, (0, 0, 120, 100)))


def test_masks_are_published_and_wanted_while_somebody_listens(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, **{'cameras.front.mask_topic': '/mask0', 'mask_format': 'rle'})
    models = load_models(config)
    outputs = MaskOutputs(node, config, models)
    model = models.first
    got: dict[str, list[Image]] = {'mask': [], 'color': []}
    # Nobody listens: no lane is asked for masks, and nothing is encoded.
    assert not model.masks('front')
    monkeypatch.setattr('yolox_trt_ros.ros.output.masks.runs_of', None)
    outputs.publish(FRAME, found())
    monkeypatch.undo()
    plain = node.create_subscription(Image, '/mask0', got['mask'].append, 1)
    spin(node, lambda: model.masks('front'))
    outputs.publish(FRAME, found())
    spin(node, lambda: got['mask'])
    (message,) = got['mask']
    assert (message.encoding, message.height, message.width, message.step) == ('mono8', 10, 12, 12)
    assert (message.header.frame_id, message.header.stamp.nanosec) == ('cam', 7)
    assert len(message.data) == 4 * 5
    assert (mask_of(message, runs=True).class_id == CELLS).all()
    node.destroy_subscription(plain)
    spin(node, lambda: not model.masks('front'))
    node.create_subscription(Image, '/detector/front/color_mask', got['color'].append, 1)
    spin(node, lambda: model.masks('front'))
    outputs.publish(FRAME, found())
    spin(node, lambda: got['color'])
    (message,) = got['color']
    assert (message.encoding, message.step, len(message.data)) == ('bgr8', 36, 360)
    assert len(got['mask']) == 1 and not model.masks('rear')
    outputs.close()
    assert not model.masks('front')


def test_a_plain_mask_is_a_picture(tmp_path: Path) -> None:
    from yolox_trt_ros.ros.output.masks import mask_message

    message = mask_message(FRAME, found().segmentation, runs=False)  # type: ignore[arg-type]
    assert (mask_of(message, runs=False).class_id == CELLS).all()


def test_a_vehicle_whose_models_give_none_says_so(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(type(node.get_logger()), 'warning', lambda self, text: said.append(text))
    path = write_yolox(tmp_path / 'plain.onnx')
    config = config_of(tmp_path, **{'model.path': str(path)})
    outputs = MaskOutputs(node, config, load_models(config))
    outputs.publish(FRAME, found())
    assert said == ['outputs: mask, color_mask: no model of this vehicle gives class masks']
