"""A node's log that is safe for terminals, whatever strings somebody sends."""

from __future__ import annotations

import os
from typing import Any

from rclpy.impl import rcutils_logger
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node

from yolox_trt_ros.core.printing import printable

# Lines are distinguished by who logs them: that is not this file.
rcutils_logger._internal_callers.append(os.path.realpath(__file__))


class PrintableLogger(RcutilsLogger):
    """Writes out control characters, which move a terminal's cursor or set its title."""

    def log(self, message: str, *args: Any, **options: Any) -> bool:
        """Log a message; see rclpy's own."""
        return bool(super().log(printable(message), *args, **options))


def log_printably(node: Node) -> None:
    """Have everything that a node logs pass through :class:`PrintableLogger`."""
    node._logger = PrintableLogger(node.get_logger().name)
