"""Serialise image messages in place: only the bytes before the pixels are written.

The bytes before the pixels come from the installed message definitions themselves: ROS serialises
the message once without pixels, and only the stamp and the payload's length are then replaced.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.messages import seconds_and_rest
from yolox_trt_ros.sim.encode import HEAD_ROOM, EncodedImage

STAMP_AT = 4
"""Where header.stamp begins: it is the first member, behind the encapsulation header."""


class SerializedImage:
    """Image (or CompressedImage) messages of one camera.

    Args:
        frame_id: coordinate frame of the header.
    """

    def __init__(self, frame_id: str) -> None:
        self._frame_id = frame_id
        self._heads: dict[tuple[str, int, int, int], bytes] = {}

    def write(self, image: EncodedImage, stamp_ns: int) -> np.ndarray:
        """Return a picture as a serialised message.

        Args:
            image: its head room is overwritten; its pixels are not touched.
            stamp_ns: header stamp in the ROS clock, nanoseconds.

        Returns:
            uint8 (n,): a view on the picture's buffer, good until the picture is written again.

        Raises:
            ConfigError: the frame_id is too long for the head room.
        """
        layout = (image.encoding, image.height, image.width, image.step)
        head = self._heads.get(layout)
        if head is None:
            head = self._heads.setdefault(layout, self._head(image))
        size = image.buffer.nbytes - HEAD_ROOM
        first = HEAD_ROOM - len(head) - 4
        if first < 0:
            raise ConfigError(f'frame_id "{self._frame_id}" is too long: shorten the camera’s name')
        message = image.buffer[first:]
        message[: len(head)] = np.frombuffer(head, np.uint8)
        write_stamp(message, stamp_ns)
        struct.pack_into('=I', message.data, len(head), size)
        return message

    def _head(self, image: EncodedImage) -> bytes:
        """Return a message of this layout up to the length of its payload, without stamp."""
        message: Any
        if image.step:
            message = Image(height=image.height, width=image.width, step=image.step)
            message.encoding = image.encoding
        else:
            message = CompressedImage(format=image.encoding)
        message.header.frame_id = self._frame_id
        return bytes(serialize_message(message))[:-4]


def write_stamp(message: np.ndarray, stamp_ns: int) -> None:
    """Replace the header stamp of a serialised message.

    Args:
        message: uint8 (n,), of a type whose first member is the header.
        stamp_ns: nanoseconds.
    """
    struct.pack_into('=iI', message.data, STAMP_AT, *seconds_and_rest(stamp_ns))


def camera_info(
    frame_id: str, height: int, width: int, focal_px: tuple[float, float] | None
) -> CameraInfo:
    """Return the CameraInfo of a camera without distortion.

    Args:
        frame_id: coordinate frame of the images.
        height, width: pixels.
        focal_px: horizontal and vertical focal length in pixels, the axis through the image's
            centre; ``None`` for a camera nobody calibrated, whose matrices then are zero, as
            sensor_msgs has it.
    """
    info = CameraInfo(height=height, width=width)
    info.header.frame_id = frame_id
    if focal_px is not None:
        (fx, fy), cx, cy = focal_px, width / 2, height / 2
        info.distortion_model = 'plumb_bob'
        info.d = [0.0] * 5
        info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info
