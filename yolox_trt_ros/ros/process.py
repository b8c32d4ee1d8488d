"""The process of a node: allocator, signals, and the loop from start to a clean end."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Protocol

import rclpy
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.core.interruption import ending_signals, leave_at_once
from yolox_trt_ros.ros.dds import segments
from yolox_trt_ros.ros.dds.settings import apply
from yolox_trt_ros.ros.executor import SteadyExecutor

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE_BUFFER = 32 << 20
MOST_KEPT = 2_000_000_000
DDS_HELP = 'middleware settings: auto, none or an XML file, see docs/dds.md (default: auto)'
GRACE_S = 5.0
"""Time in which a node must have ended; ``ros2 launch`` kills what takes 10 s."""
SPIN_S = 0.2
"""Longest time until the node's thread sees that it shall end."""


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


class Closable(Protocol):
    """What :func:`run_node` asks of a node beyond being one."""

    def keep_running(self) -> bool:
        """Return whether the node has more to do; raise what ended it."""
        ...

    def close(self) -> None:
        """Stop the node's threads."""
        ...


Stopping = Callable[[], bool]
"""Whether the process ends: whoever takes long asks now and then."""


def run_node(
    parser: argparse.ArgumentParser, make: Callable[[Stopping], Closable], args: list[str] | None
) -> int:
    """Run one node until a signal comes or it is done; call it in the main thread.

    The node is made, spun and closed in a thread of its own. The main thread waits for signals,
    which therefore interrupt nothing halfway, and leaves the process without waiting further for
    a thread that is still busy :data:`GRACE_S` later.

    Args:
        parser: describes the program; everything else is set by ROS arguments.
        make: creates the node, a :class:`rclpy.node.Node`.
        args: the command line, program name first; None: that of the process.

    Returns:
        The process's exit code: 0 done or interrupted, 1 it could not start or go on.
    """
    keep_large_buffers()
    parser.add_argument('--dds', default='auto', help=DDS_HELP)
    try:
        dds = parser.parse_args(remove_ros_args(args)[1:]).dds
    except RuntimeError as error:  # an argument or a parameter file that ROS cannot read
        print(f'{parser.prog}: {error}', file=sys.stderr)
        return 1
    before = set(threading.enumerate())
    with _Signals() as signals:
        node = _NodeThread(parser.prog, make, args, dds, signals.wake)
        node.start()
        signals.wait()
        node.stopping.set()
        node.join(GRACE_S)
        left = sorted(thread.name for thread in set(threading.enumerate()) - before)
        kept = segments.remove_own()
    if left:
        message = f'{", ".join(left)} did not end within {GRACE_S:g} s: left behind'
    elif kept:
        message = f'the middleware did not end: removed {", ".join(kept)} from shared memory'
    else:
        return node.code
    print(f'{parser.prog}: {message}', file=sys.stderr)
    # The interpreter's end would abort in native code that outlives it. It would also close ports
    # that are removed already; others then remove, by name, those of the next process.
    leave_at_once(node.code)


class _NodeThread(threading.Thread):
    """Makes, spins and closes a node.

    Args:
        program: its name, for what it says.
        make: creates the node.
        args: the command line.
        dds: the middleware's settings, see :func:`ros.dds.apply`.
        wake: called when the node begins to end.

    Attributes:
        stopping: set to end it.
        code: the exit code.
    """

    def __init__(
        self,
        program: str,
        make: Callable[[Stopping], Closable],
        args: list[str] | None,
        dds: str,
        wake: Callable[[], None],
    ) -> None:
        super().__init__(name='node', daemon=True)
        self.stopping = threading.Event()
        self.code = 0
        self._program, self._make, self._args, self._dds = program, make, args, dds
        self._wake = wake
        self._judged: BaseException | None = None

    def run(self) -> None:
        """Do it all; see :func:`run_node`."""
        try:
            settings = apply(self._dds)
            removed = segments.reclaim()
            # rclpy's own handlers would shut the context down while other threads still publish.
            rclpy.init(args=self._args, signal_handler_options=SignalHandlerOptions.NO)
            get_logger(self._program).info(settings)
        except (RuntimeError, ConfigError) as error:  # an argument or file that nobody can read
            self._fail(str(error))
            self._wake()
            return
        if removed:
            message = f'removed {removed} bytes of shared memory that killed processes had left'
            get_logger(self._program).info(message)
        try:
            self._spin()
        except BaseException as error:
            self._judge(error)
        segments.reclaim()  # what a killed peer kept the middleware from removing

    def _end(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Note what ended the node, before the process begins to end: then nothing counts."""
        if error is not None:
            self._judge(error)
        self._wake()

    def _judge(self, error: BaseException) -> None:
        """Fail of an error, once."""
        if error is self._judged:
            return
        self._judged = error
        if not isinstance(error, YoloxTrtRosError):
            traceback.print_exception(error)
            self._fail()
            return
        self._fail(str(error))

    def _fail(self, message: str = '') -> None:
        """Fail, unless this is what the end of the process made of it."""
        if not self.stopping.is_set():
            self.code = 1
            if message:
                print(f'{self._program}: {message}', file=sys.stderr)

    def _spin(self) -> None:
        executor = SteadyExecutor()
        with contextlib.ExitStack() as ending:
            ending.callback(rclpy.shutdown)
            ending.callback(executor.shutdown)
            ending.push(self._end)
            if self.stopping.is_set():
                return
            node = self._make(self.stopping.is_set)
            assert isinstance(node, Node)
            ending.callback(node.destroy_node)
            ending.callback(node.close)
            ending.push(self._end)
            executor.add_node(node)
            while not self.stopping.is_set() and node.keep_running():
                executor.spin_once(timeout_sec=SPIN_S)


class _Signals:
    """Takes the signals that ask the process to end, and never lets go of them."""

    def __enter__(self) -> _Signals:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Not an Event: a handler that comes while its own thread holds the lock would hang.
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._numbers = ending_signals()
        for number in self._numbers:
            signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)  # until the interpreter has ended, too
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)

    def wake(self) -> None:
        """End :meth:`wait`; any thread may call this."""
        with contextlib.suppress(OSError):
            os.write(self._writer, b'\0')

    def wait(self) -> None:
        """Wait for a signal or for :meth:`wake`."""
        wanted = {0, *self._numbers}
        while True:
            select.select([self._reader], [], [])
            with contextlib.suppress(BlockingIOError):
                if wanted.intersection(os.read(self._reader, 64)):
                    return
