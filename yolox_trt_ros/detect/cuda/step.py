"""Capture the work of a batch as one CUDA graph, and launch it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from yolox_trt_ros.core.errors import LaneError

_UNRECORDED_RUNS = 2
_ATTEMPTS = 3
"""Recording fails while another thread of the process waits for the whole device."""

_log = logging.getLogger(__name__)


class CaptureError(LaneError):
    """What was to be recorded does not run any more since that failed.

    A library may keep the state in which the failure left it: what it runs with is made anew, on a
    new stream, and not recorded.
    """


class Step:
    """Work on a stream, recorded for each batch size and then replayed with a single call.

    What recorded work reads and writes stays where it is; what changes from batch to batch, it
    finds in memory. Make it while holding ``runtime.SETUP_LOCK``, with the stream current.

    Args:
        stream: ``cupy.cuda.Stream``.
        sizes: of batches, ascending.
        enqueue: called with one of the sizes, enqueues the work; only called here if that could be
            recorded. Its first runs may allocate, compile, and wait for the device.
        recordable: whether CUDA graphs can hold the work; a DLA's they cannot.

    Attributes:
        recorded: whether :meth:`launch` replays graphs. If not, each launch calls ``enqueue``, and
            the log has said why.
        reason: why it is not recorded; empty if it is.

    Raises:
        CaptureError: it cannot be recorded, and since that was tried it cannot be run either.
    """

    def __init__(
        self,
        stream: Any,
        sizes: Sequence[int],
        enqueue: Callable[[int], None],
        recordable: bool = True,
    ) -> None:
        self._stream, self._sizes, self._enqueue = stream, sizes, enqueue
        self._graphs: dict[int, Any] = {}
        self.recorded = recordable
        self.reason = '' if recordable else 'no CUDA graph can hold this network'
        if not recordable:
            _log.info('%s: kernels are launched one by one', self.reason)
        for size in sizes:
            self._warm_up(size)
            if self.recorded:
                self._record(size)
        stream.synchronize()

    def launch(self, images: int) -> None:
        """Enqueue the work for a batch of the smallest size that holds so many images."""
        size = next(size for size in self._sizes if size >= images)
        if self.recorded:
            self._graphs[size].launch(self._stream)
        else:
            self._enqueue(size)

    def _warm_up(self, size: int) -> None:
        for _ in range(_UNRECORDED_RUNS):
            self._enqueue(size)
        self._stream.synchronize()

    def _record(self, size: int) -> None:
        for attempt in range(_ATTEMPTS):
            self._stream.begin_capture()
            try:
                self._enqueue(size)
                graph = self._graphs[size] = self._stream.end_capture()
            except Exception as error:
                self._abandon_capture()
                reason = str(error)  # the error would keep what its calls refer to, and itself
                _log.debug('attempt %d to record a CUDA graph: %s', attempt + 1, reason)
                self._run_after_all(size, reason)
            else:
                graph.launch(self._stream)  # the first launch takes it to the device
                return
        self.recorded, self.reason = False, reason
        self._graphs.clear()
        _log.warning('no CUDA graph, kernels are launched one by one: %s', reason)

    def _run_after_all(self, size: int, reason: str) -> None:
        try:
            self._warm_up(size)
        except Exception as error:
            _log.debug('after a failed capture: %s', str(error))
            raise CaptureError(f'no CUDA graph can hold this network: {reason}') from None

    def _abandon_capture(self) -> None:
        try:
            self._stream.end_capture()
        except Exception as error:  # it is invalid, or ended already, and reports just that
            _log.debug('capture ended: %s', str(error))
