"""Child processes that end with the process that started them, even if that is killed.

The parent holds the writing end of a pipe, the child the reading end. When the parent is gone,
killed too, the kernel closes its end, and sends the child the SIGTERM that it asked for. Not
``PR_SET_PDEATHSIG``: that one also comes when only the thread that started the child ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import weakref
from collections.abc import Sequence
from typing import Any

from yolox_trt_ros.core.interruption import LIFELINE, held_back

STOP_S = 15.0
"""Time that a child gets to end by itself; a node takes a third of it at most."""


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a process that is asked to end when this one, or the returned object, is gone.

    Args:
        command: a program that calls :func:`core.interruption.end_with_parent`.
        options: those of :class:`subprocess.Popen`, but ``pass_fds``.
    """
    reader, writer = os.pipe()
    environ = {**(options.pop('env', None) or os.environ), LIFELINE: str(reader)}
    try:
        process = subprocess.Popen(command, env=environ, pass_fds=(reader,), **options)
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    weakref.finalize(process, os.close, writer)
    return process


def stop(process: subprocess.Popen[Any], how: signal.Signals = signal.SIGTERM) -> int:
    """Ask a process to end, insist after a while, and return its exit code."""
    with held_back():
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()


def run(command: Sequence[str], timeout_s: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a process to its end; an exception asks it to end instead of killing it.

    Returns:
        With exit code and what it wrote.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            out, errors = process.communicate(timeout=timeout_s)
        except BaseException:
            stop(process)
            raise
    return subprocess.CompletedProcess(list(command), process.returncode, out, errors)
