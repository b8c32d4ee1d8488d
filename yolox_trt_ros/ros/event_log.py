"""Events of a pipeline in a node's log."""

from __future__ import annotations

from typing import Any


def log_event(logger: Any, level: str, message: str) -> None:
    """Log an event.

    Args:
        logger: the node's.
        level: ``error``, ``warn`` or ``info``.
        message: what happened.
    """
    # rclpy refuses two severities from one line of code, hence one line each.
    if level == 'error':
        logger.error(message)
    elif level == 'warn':
        logger.warning(message)
    else:
        logger.info(message)
