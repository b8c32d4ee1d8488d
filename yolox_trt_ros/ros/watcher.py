"""A ROS node for a tool, spun by a thread beside the tool's work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.interruption import held_back
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.ros.dds import segments
from yolox_trt_ros.ros.node_process import NodeProcess

Self = TypeVar('Self', bound='Watcher')


class Watcher:
    """Owns a node in a context of its own, spun within a ``with`` block.

    An error in a callback ends the spinning, and is raised at the end of the block.
    """

    def __init__(self, name: str) -> None:
        segments.reclaim()
        self._context = rclpy.Context()
        self._context.init()
        # No parameters, and no services on which a request could fail.
        self.node = Node(name, context=self._context, start_parameter_services=False)
        self.executor = SingleThreadedExecutor(context=self._context)
        self.executor.add_node(self.node)
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._thread = named_thread(self._spin, name)

    def __enter__(self: Self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with held_back():
            self._stopped.set()
            self._thread.join()
            self.executor.shutdown()
            self.node.destroy_node()
            self._context.try_shutdown()
        if self._error and kind is None:
            raise self._error

    def _spin(self) -> None:
        try:
            while not self._stopped.is_set():
                self.executor.spin_once(timeout_sec=0.2)
        except Exception as error:  # of a callback; told when the block ends
            self._error = error


def wait_for(
    what: Callable[[], object], processes: Sequence[NodeProcess], timeout_s: float, name: str
) -> None:
    """Wait until ``what`` returns something true.

    Raises:
        YoloxTrtRosError: a process ended, or the time is over; with the last lines they wrote.
    """
    end = time.monotonic() + timeout_s
    while not what():
        for process in processes:
            process.check()
        if time.monotonic() > end:
            logs = '\n'.join(process.tail() for process in processes)
            raise YoloxTrtRosError(f'{name} did not come within {timeout_s:g} s:\n{logs}')
        time.sleep(0.1)
