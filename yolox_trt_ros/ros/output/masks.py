"""Publish class masks, as numbers and in colours, while somebody listens."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.core.run_length import runs_of
from yolox_trt_ros.core.segmentation import Segmentation
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.detect.mask_style import MaskStyle
from yolox_trt_ros.loaded_model import Model, Models
from yolox_trt_ros.ros.output.message_kinds import header_of

TOPICS = ('mask', 'color_mask')
DEPTH = 1
"""As Autoware's: who is late gets the newest."""


def mask_message(frame: Frame, mask: Segmentation, runs: bool) -> Image:
    """Return a mask in the form of ``mono8``, or with Autoware's runs in place of the pixels.

    Args:
        frame: the image that it is of; its header is the message's.
        mask: what is in it.
        runs: whether ``data`` holds runs, see :func:`core.run_length.runs_of`. Width, height and
            step are then still those of the mask, as Autoware has it.
    """
    data = runs_of(mask.class_id) if runs else mask.class_id
    return _image(frame, data, mask, 1, 'mono8')


def color_mask_message(frame: Frame, mask: Segmentation, style: MaskStyle) -> Image:
    """Return a mask in colours, ``bgr8``."""
    return _image(frame, style.coloured(mask), mask, 3, 'bgr8')


def _image(
    frame: Frame, data: np.ndarray, mask: Segmentation, channels: int, encoding: str
) -> Image:
    height, width = mask.class_id.shape
    message = Image(header=header_of(frame), height=height, width=width, step=width * channels)
    message.encoding = encoding
    message.data = array('B', np.ascontiguousarray(data).tobytes())
    return message


class CameraMasks:
    """Publishers of one camera's masks.

    Args:
        node: owner of the publishers.
        camera: whose masks.
        config: the vehicle.
        model: the camera's, which gives masks.
        style: of that model's masks.
    """

    def __init__(
        self, node: Node, camera: CameraConfig, config: Config, model: Model, style: MaskStyle
    ) -> None:
        self._node, self._model, self._style = node, model, style
        self._runs = config.mask_format == 'rle'
        self._numbers: tuple[Rules, np.ndarray] | None = None
        self._publishers = {
            name: node.create_publisher(Image, RESULTS[name].named(camera), DEPTH)
            for name in TOPICS
            if name in config.outputs
        }

    @property
    def wanted(self) -> bool:
        """Whether somebody listens to one of them."""
        return any(p.get_subscription_count() > 0 for p in self._publishers.values())

    def publish(self, frame: Frame, found: Detections) -> None:
        """Publish the mask of an image, if it has one, to whoever listens."""
        mask = found.segmentation
        if mask is None:
            return
        if self._style.boxes:
            size = frame.width, frame.height
            mask = self._style.painted(mask, found, self._classes(), size)
        build: dict[str, Callable[[], Image]] = {
            'mask': lambda: mask_message(frame, mask, self._runs),
            'color_mask': lambda: color_mask_message(frame, mask, self._style),
        }
        for name, publisher in self._publishers.items():
            if publisher.get_subscription_count() > 0:
                publisher.publish(build[name]())

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)

    def _classes(self) -> np.ndarray:
        rules = self._model.rules
        if self._numbers is None or self._numbers[0] is not rules:
            self._numbers = rules, self._style.numbers(self._model.spec, rules)
        return self._numbers[1]


class MaskOutputs:
    """The masks of all cameras of a vehicle whose models give some.

    Lanes compute masks for whom :meth:`wanted` says that somebody listens, and for nobody else.

    Args:
        node: owner of the publishers.
        config: the vehicle.
        models: of its cameras; they get :meth:`wanted`.

    Raises:
        ConfigError: a file of the masks is none, or does not fit its model.
    """

    def __init__(self, node: Node, config: Config, models: Models) -> None:
        self._cameras: dict[str, CameraMasks] = {}
        asked = [name for name in TOPICS if name in config.outputs]
        styles: dict[str, Any] = {
            name: MaskStyle.of(config.used_models[name], model.spec)
            for name, model in models.by_name.items()
            if asked and model.spec.segmentation
        }
        for name, style in styles.items():
            models.by_name[name].masks = self.wanted
            style.numbers(models.by_name[name].spec, models.by_name[name].rules)
        if asked and not styles:
            node.get_logger().warning(
                f'outputs: {", ".join(asked)}: no model of this vehicle gives class masks'
            )
        for camera in config.cameras:
            if camera.model in styles:
                model, style = models.of(camera.name), styles[camera.model]
                self._cameras[camera.name] = CameraMasks(node, camera, config, model, style)

    def wanted(self, camera: str) -> bool:
        """Return whether somebody listens to a camera's masks."""
        masks = self._cameras.get(camera)
        return masks is not None and masks.wanted

    def publish(self, frame: Frame, found: Detections) -> None:
        """Publish the mask of an image, if it has one, to whoever listens."""
        if found.segmentation is not None and frame.camera in self._cameras:
            self._cameras[frame.camera].publish(frame, found)

    def close(self) -> None:
        """Destroy the publishers; nobody is heard any more."""
        cameras, self._cameras = self._cameras, {}
        for masks in cameras.values():
            masks.close()
