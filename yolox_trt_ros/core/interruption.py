"""End a process cleanly on SIGINT, SIGTERM or SIGHUP, and with its parent.

While it imports, nothing is to be cleaned up and native code may be anywhere: it leaves at once. A
node then waits for signals in its main thread and works in another one (:mod:`ros.process`); a
tool works in its main thread and is interrupted there by KeyboardInterrupt, as Python does it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

REPEAT_S = 1.0
"""A signal that follows another one sooner is the same wish: terminal and launch both send it."""
INTERRUPTED = 130
"""A tool's exit code, as a shell counts it. A node's is 0: that is how nodes end."""
LIFELINE = 'YOLOX_TRT_ROS_LIFELINE'
"""Environment variable with the number of the pipe's end that :mod:`core.children` opened."""
F_SETSIG = getattr(fcntl, 'F_SETSIG', 10)  # Python names it from 3.11 on


def begin(code: int) -> None:
    """Begin a program, before its imports: leave on signals, and end with the parent.

    Args:
        code: exit code on a signal that comes before the program takes signals itself.
    """
    leave_on_signals(code)
    end_with_parent()


def ending_signals() -> list[signal.Signals]:
    """Return the signals that ask this process to end.

    SIGINT even where a shell switched it off, as it does for background processes; SIGHUP not
    where ``nohup`` did.
    """
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


def leave_on_signals(code: int) -> None:
    """Let signals end the process at once: for the time of the imports.

    Args:
        code: the exit code.
    """
    for number in ending_signals():
        signal.signal(number, lambda *_: os._exit(code))


def end_with_parent() -> None:
    """Let this process get a SIGTERM when the one that started it is gone.

    Without effect if it was not started by :func:`core.children.start`.
    """
    with contextlib.suppress(
        ValueError, OverflowError, OSError
    ):  # no number, or of nothing that is open
        reader = int(os.environ.pop(LIFELINE, ''))
        if stat.S_ISFIFO(os.fstat(reader).st_mode):
            end_with(reader)


def end_with(reader: int) -> None:
    """Let this process get a SIGTERM when nobody can write to a pipe any more.

    Args:
        reader: its reading end; stays open, and is not handed on to children.
    """
    os.set_inheritable(reader, False)
    fcntl.fcntl(reader, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(reader, F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(reader, fcntl.F_SETFL, fcntl.fcntl(reader, fcntl.F_GETFL) | os.O_ASYNC)
    gone = select.poll()
    gone.register(reader, 0)
    if gone.poll(0):  # before it could be noticed
        os.kill(os.getpid(), signal.SIGTERM)


class _State:
    """What the handler of :func:`raise_on_signals` knows; signals are the process's, so is this."""

    last_s = -REPEAT_S
    held = 0
    waiting = False
    terminals: tuple[int, ...] = ()


@contextlib.contextmanager
def raise_on_signals(*, guest: bool = False) -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread on a signal; puts the old handlers back.

    Of signals within a second only the first counts, and :func:`held_back` makes them wait, so
    that a clean-up is not interrupted by another Ctrl-C. In another thread than the main one
    nothing changes.

    Args:
        guest: the process is somebody else's: a signal that it handles itself is left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = ending_signals()
    if guest:
        plain = (signal.SIG_DFL, signal.default_int_handler)
        numbers = [number for number in numbers if signal.getsignal(number) in plain]
    _State.terminals = tuple(fd for fd in (1, 2) if os.isatty(fd))
    old = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        _leave_terminal()
    if time.monotonic() < _State.last_s + REPEAT_S:
        return  # the clean-up that the first one began may be held back already
    if _State.held:
        _State.waiting = True
    else:
        _State.last_s = time.monotonic()
        raise KeyboardInterrupt


def _leave_terminal() -> None:
    """Write to nowhere from now on: the terminal is gone, and writing to it would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for fd in _State.terminals:
        os.dup2(nowhere, fd)
    os.close(nowhere)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait until the end of the block: a clean-up, which must not take long."""
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
    if _State.waiting and not _State.held:
        _State.waiting = False
        raise KeyboardInterrupt


def leave(code: int) -> NoReturn:
    """End the process; at once if threads are left.

    A thread that is still in native code when the interpreter ends makes it abort
    ("terminate called without an active exception").

    Args:
        code: the exit code.
    """
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN)  # it ends already
    if threading.enumerate() != [threading.main_thread()]:
        leave_at_once(code)
    sys.exit(code)


def leave_at_once(code: int) -> NoReturn:
    """End the process without the interpreter's own end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
