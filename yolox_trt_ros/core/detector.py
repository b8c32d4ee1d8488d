"""The interface between the scheduler and a lane's detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.frame import Frame


class Detected(NamedTuple):
    """One frame's result.

    Attributes:
        detections: in source-image pixels.
        begun_ns: monotonic time at which the executor turned to the batch that held the frame: it
            was done with the batch before, and the images had been copied to where it reads them.
            Nanoseconds.
        preprocessed_ns, inferred_ns, decoded_ns: likewise, at which each stage of it ended.
        prepare_ns: time that this frame alone took until its pixels could be read, which for a
            compressed one is its decoding; 0 where nobody knows. Nanoseconds.
    """

    detections: Detections
    begun_ns: int
    preprocessed_ns: int
    inferred_ns: int
    decoded_ns: int
    prepare_ns: int = 0


FrameResult = Detected | FrameError
"""A frame that turns out to be bad (a truncated JPEG) fails alone, not its batch.

The error is one that was never raised: a traceback would keep the frame's buffer in use."""


class Ticket(Protocol):
    """A submitted batch."""

    def sleep(self) -> None:
        """Block until :meth:`wait` would not, or the executor has failed.

        Any thread may call it, beside a ``wait`` on the lane's. Lanes with several batches in
        flight do: meanwhile their own thread submits what comes.
        """
        ...

    def wait(self) -> list[FrameResult]:
        """Block until the batch is done and return one result per frame, in submission order.

        Raises:
            Exception: the lane's executor failed; nothing of the batch can be trusted.
        """
        ...


class LaneDetector(Protocol):
    """Preprocessing, inference, decode and NMS on one device.

    Used by one lane thread only, but for ``Ticket.sleep``.
    """

    @property
    def max_batch(self) -> int:
        """Return how many places one call of ``submit`` has: one for a frame and for each crop."""
        ...

    @property
    def about(self) -> str:
        """Return which network runs, and how, in a few words."""
        ...

    def submit(self, frames: Sequence[Frame]) -> Ticket:
        """Start a batch of frames of any size and encoding that take 1 to ``max_batch`` places."""
        ...

    def close(self) -> None:
        """Free the device; calling it twice is allowed."""
        ...
