"""Publishing CDR bytes out of a buffer of our own, without rclpy's copy of them."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.qos import DurabilityPolicy

from yolox_trt_ros.core.errors import MissingDependencyError, YoloxTrtRosError

if TYPE_CHECKING:
    from rclpy.publisher import Publisher


class _SerializedMessage(ctypes.Structure):
    """``rcl_serialized_message_t``, that is ``rcutils_uint8_array_t``."""

    _fields_ = [
        ('buffer', ctypes.c_void_p),
        ('buffer_length', ctypes.c_size_t),
        ('buffer_capacity', ctypes.c_size_t),
        ('allocator', ctypes.c_void_p * 5),
    ]


class SerializedPublisher:
    """Publishes serialised messages straight from a buffer.

    ``rclpy`` takes ``bytes`` and copies them once more; of a 7 MB image that copy is a quarter of
    the price. This calls the same ``rcl`` function with the buffer's own address, and without
    the interpreter's lock.

    Args:
        publisher: an rclpy publisher of the message's type; stays the owner.

    Attributes:
        latched: whether those who come later are given the last messages.

    Raises:
        MissingDependencyError: the ``rcl`` library that rclpy uses cannot be found.
    """

    def __init__(self, publisher: Publisher[Any]) -> None:
        try:
            self._send = ctypes.CDLL('librcl.so').rcl_publish_serialized_message
        except OSError as error:
            raise MissingDependencyError(
                f'librcl.so of ROS 2 is not on the library path ({error}): source the '
                'setup file of the ROS 2 installation'
            ) from error
        self._send.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        self._send.restype = ctypes.c_int
        self._publisher = publisher
        durability = publisher.qos_profile.durability
        self.latched = durability is DurabilityPolicy.TRANSIENT_LOCAL

    @property
    def wanted(self) -> bool:
        """Whether the topic has a reader; the middleware copies a message even without one."""
        return bool(self._publisher.get_subscription_count())

    def publish(self, cdr: np.ndarray) -> None:
        """Publish a message; the buffer is free again when this returns.

        Args:
            cdr: uint8 (n,), contiguous: encapsulation header and body.

        Raises:
            YoloxTrtRosError: the middleware refused it.
        """
        size = cdr.nbytes
        message = _SerializedMessage(cdr.ctypes.data, size, size)
        with self._publisher.handle:
            code = self._send(self._publisher.handle.pointer, ctypes.byref(message), None)
        if code:
            topic = self._publisher.topic_name
            raise YoloxTrtRosError(f'{topic}: the middleware refused {size} bytes, rcl code {code}')
