"""Threads whose names the operating system knows: ``top -H``, ``htop``, gdb and perf show them."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

PR_SET_NAME = 15
LONGEST = 15
"""Bytes that Linux keeps of a name."""


def named_thread(
    target: Callable[..., Any], name: str, args: tuple[Any, ...] = ()
) -> threading.Thread:
    """Return a daemon thread, not started, whose name the operating system learns too.

    Python sets it only from 3.14 on.

    Args:
        target: what it runs.
        name: the first 15 bytes are shown by the system.
        args: of ``target``.
    """

    def run() -> None:
        name_this_thread(name)
        target(*args)

    return threading.Thread(target=run, name=name, daemon=True)


def name_this_thread(name: str) -> None:
    """Tell the operating system the calling thread’s name, where it has a call for that."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return
    prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()[:LONGEST]), 0, 0, 0)
