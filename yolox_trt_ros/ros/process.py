"""A node's process: allocator, signals, and the loop from start to a clean end."""

from __future__ import annotations

import argparse
import ctypes
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import rclpy
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.ros.dds import apply
from yolox_trt_ros.ros.executor import SteadyExecutor

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE_BUFFER = 32 << 20
MOST_KEPT = 2_000_000_000
REPEAT_S = 1.0
DDS_HELP = 'middleware settings: auto, none or an XML file, see docs/dds.md (default: auto)'


def keep_large_buffers() -> bool:
    """Make the C allocator keep image-sized blocks instead of returning each to the kernel.

    Below some 10 Hz glibc otherwise maps and unmaps every image, and faulting its pages in costs
    more than copying it. Call once, before the first message.

    Returns:
        Whether the allocator took the settings; other C libraries than glibc have none.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BUFFER) and mallopt(M_TRIM_THRESHOLD, MOST_KEPT))


def interrupt_on_signals() -> Callable[[], bool]:
    """Make SIGTERM end the process as Ctrl-C does: by KeyboardInterrupt in the main thread.

    Of a Ctrl-C that comes twice at once, as from a terminal and from ``ros2 launch``, the second
    does not interrupt the clean-up that the first began.

    Returns:
        Whether a signal came: native code that calls back into Python may swallow the exception.
    """
    last_s = -REPEAT_S

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal last_s
        if time.monotonic() >= last_s + REPEAT_S:
            last_s = time.monotonic()
            raise KeyboardInterrupt

    # SIGINT too: a shell starts background processes with it switched off.
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    return lambda: last_s >= 0


def ignore_interrupts() -> None:
    """Let a clean-up finish, however often Ctrl-C is pressed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Closable(Protocol):
    """What :func:`run_node` asks of a node beyond being one."""

    def keep_running(self) -> bool:
        """Return whether the node has more to do; raise what ended it."""
        ...

    def close(self) -> None:
        """Stop the node's threads."""
        ...


def run_node(
    parser: argparse.ArgumentParser, make: Callable[[], Closable], args: list[str] | None
) -> int:
    """Run one node until it is interrupted or done.

    Args:
        parser: describes the program; everything else is set by ROS arguments.
        make: creates the node, a :class:`rclpy.node.Node`.
        args: the command line, program name first; None: that of the process.

    Returns:
        The process's exit code: 0 done or interrupted, 1 it could not start or go on.
    """
    keep_large_buffers()
    try:
        parser.add_argument('--dds', default='auto', help=DDS_HELP)
        settings = apply(parser.parse_args(remove_ros_args(args)[1:]).dds)
        # rclpy's own handlers would shut the context down while other threads still publish.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        get_logger(parser.prog).info(settings)
    except (RuntimeError, ConfigError) as error:  # an argument or parameter file nobody can read
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 1
    interrupted = interrupt_on_signals()
    node: Closable | None = None
    executor = SteadyExecutor()
    try:
        node = make()
        assert isinstance(node, Node)
        executor.add_node(node)
        while not interrupted() and node.keep_running():
            executor.spin_once(timeout_sec=0.2)
    except KeyboardInterrupt:
        return 0
    except YoloxTrtRosError as error:
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 1
    except Exception:
        if not interrupted():  # otherwise it is what native code made of the interruption
            raise
    finally:
        ignore_interrupts()
        if node is not None:
            node.close()
        executor.shutdown()
        if isinstance(node, Node):
            node.destroy_node()
        rclpy.shutdown()
    return 0
