"""Publish drawn pictures, raw and compressed, each only while it has subscribers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from yolox_trt_ros.draw.captions import LEVELS, Line
from yolox_trt_ros.ros.output.serialize_images import SerializedImage
from yolox_trt_ros.ros.output.serialized_publisher import SerializedPublisher
from yolox_trt_ros.sim.encode import HEAD_ROOM, EncodedImage

JPEG_QUALITY = 80
# Reliable, so that viewers find it whatever they ask for; one picture, the newest.
_QOS = QoSProfile(depth=1)


class Canvas:
    """A BGR picture to draw on that is published without being moved.

    Attributes:
        image: uint8 (height, width, 3), blue first.
        encoded: the same pixels, with room for a message's head before them.
    """

    def __init__(self, height: int, width: int) -> None:
        buffer = np.zeros(HEAD_ROOM + height * width * 3, np.uint8)
        self.image = buffer[HEAD_ROOM:].reshape(height, width, 3)
        self.encoded = EncodedImage('bgr8', height, width, width * 3, buffer)


class PictureTopic:
    """Publishes pictures as Image on a topic and as CompressedImage on ``<topic>/compressed``.

    Args:
        node: owner of the publishers.
        topic: of the plain images.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._plain = SerializedPublisher(node.create_publisher(Image, topic, _QOS))
        self._compressed = SerializedPublisher(
            node.create_publisher(CompressedImage, f'{topic}/compressed', _QOS)
        )
        self._frame_id: str | None = None
        self._message = SerializedImage('')

    @property
    def wanted(self) -> bool:
        """Whether one of the two has a reader."""
        return self._plain.wanted or self._compressed.wanted

    def publish(self, canvas: Canvas, frame_id: str, stamp_ns: int) -> None:
        """Publish a picture on whichever topic is read.

        Args:
            canvas: free again when this returns.
            frame_id: of the header.
            stamp_ns: of the header, nanoseconds.
        """
        if frame_id != self._frame_id:
            self._frame_id, self._message = frame_id, SerializedImage(frame_id)
        if self._plain.wanted:
            self._plain.publish(self._message.write(canvas.encoded, stamp_ns))
        if self._compressed.wanted:
            _, jpeg = cv2.imencode('.jpg', canvas.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            height, width = canvas.image.shape[:2]
            buffer = np.concatenate((np.empty(HEAD_ROOM, np.uint8), jpeg.reshape(-1)))
            encoded = EncodedImage('jpeg', height, width, 0, buffer)
            self._compressed.publish(self._message.write(encoded, stamp_ns))


@dataclass(slots=True)
class Drawn:
    """What was drawn last of a camera, for when nothing newer comes."""

    canvas: Canvas | None = None
    tile: np.ndarray | None = None
    frame_id: str = ''
    stamp_ns: int = 0

    def canvas_like(self, picture: np.ndarray) -> Canvas:
        """Return the canvas, a new one if the picture has another size."""
        if self.canvas is None or self.canvas.image.shape != picture.shape:
            self.canvas = Canvas(*picture.shape[:2])
        return self.canvas


def status_lines(message: Any) -> list[Line]:
    """Return a PipelineStatus as lines with levels of diagnostic_msgs."""
    lines = []
    for c in message.cameras:
        # The two sequences are of one length, unless another program sent them.
        total = dict(zip(c.stages, c.p95_ns, strict=False)).get('total')
        p95 = '' if total is None else f'  p95 {total / 1e6:.0f} ms'
        rates = f'{c.rate_out_hz:.1f} of {c.rate_in_hz:.1f} Hz'
        level = min(c.level, len(LEVELS) - 1)
        lines.append(Line(level, f'{c.name}  {rates}{p95}  {sum(c.drop_counts)} dropped'))
    for lane in message.lanes:
        level = 0 if lane.state == 'running' else 1 if lane.state == 'starting' else 2
        busy = f'{lane.utilisation:.0%} busy' if lane.state == 'running' else lane.state
        lines.append(Line(level, f'lane {lane.name}  {lane.device}  {busy}'))
    return lines
