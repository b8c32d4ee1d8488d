"""Read a bag ahead of its use, so that decompression and disk never delay a message."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from yolox_trt_ros.core.threads import named_thread

Item = TypeVar('Item')
AHEAD = 24
"""Messages held: of 7 MB images some 180 MB."""


class ReadAhead(Generic[Item]):
    """Iterates over ``items`` in a thread of its own; a context manager that ends the thread.

    Args:
        items: what it raises is raised to the reader, in its place.
        ahead: how many items are held at most.
    """

    def __init__(self, items: Iterable[Item], ahead: int = AHEAD) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._ready = threading.Event()
        self._thread = named_thread(self._run, 'read_ahead')

    def __enter__(self) -> ReadAhead[Item]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        while not self._queue.empty():  # whoever waits for room sees that it is over
            self._queue.get_nowait()
        self._thread.join()

    def fill(self) -> None:
        """Wait until as many items are held as may be, or all there are."""
        self._ready.wait()

    def __iter__(self) -> Iterator[Item]:
        while (found := self._queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found[0]

    def _run(self) -> None:
        try:
            for item in self._items:
                self._put((item,))
                if self._stopped.is_set():
                    return
        except BaseException as error:  # raised where the items are used
            self._put(error)
        else:
            self._put(None)

    def _put(self, what: tuple[Item] | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(what, timeout=0.1)
            except queue.Full:
                continue
            if self._queue.full() or not isinstance(what, tuple):
                self._ready.set()
            return
