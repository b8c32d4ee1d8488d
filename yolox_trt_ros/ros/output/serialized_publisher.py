"""Publish CDR bytes from a buffer of this package, without rclpy's copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.qos import DurabilityPolicy

from yolox_trt_ros.core.errors import MissingDependencyError, YoloxTrtRosError
from yolox_trt_ros.ros.native import load_native

if TYPE_CHECKING:
    from rclpy.publisher import Publisher


class SerializedPublisher:
    """Publishes serialised messages straight from a buffer, where the C++ part was built.

    ``rclpy`` takes ``bytes`` and copies them once more; of a 7 MB image that copy is a quarter of
    the price.

    Args:
        publisher: an rclpy publisher of the message's type; stays the owner.

    Attributes:
        latched: whether those who come later are given the last messages.
    """

    def __init__(self, publisher: Publisher[Any]) -> None:
        self._publisher = publisher
        try:
            self._native = load_native()
        except MissingDependencyError:
            self._native = None
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
        try:
            if self._native is None:
                self._publisher.publish(cdr.tobytes())
                return
            with self._publisher.handle:
                self._native.publish(self._publisher.handle.pointer, cdr)
        except RuntimeError as error:
            topic = self._publisher.topic_name
            raise YoloxTrtRosError(f'{topic}: {cdr.nbytes} bytes: {error}') from error
