"""Steps of long work on a thread, for whoever listens there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[str], None] | None] = ContextVar('listener', default=None)


@contextmanager
def steps_heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Let a listener hear what the calling thread reports by :func:`report_step`."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def report_step(what: str) -> None:
    """Say what comes next in work that takes long, such as the making of a detector."""
    listener = _listener.get()
    if listener is not None:
        listener(what)
