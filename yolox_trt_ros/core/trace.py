"""The times of one frame's steps, and the stages between them."""

from __future__ import annotations

from dataclasses import dataclass

STAGES = ('video', 'queue', 'submit', 'preprocess', 'infer', 'decode', 'publish')
"""Stages in the order a frame passes them; their durations add up to ``total_ns``."""


@dataclass(frozen=True, slots=True)
class FrameTrace:
    """One monotonic time (nanoseconds) per step of a frame, and who did it.

    Attributes:
        camera, sequence: which frame.
        lane: name of the lane that ran it.
        batch_size: images in the same batch: frames and their crops.
        drops: frames of this camera dropped since its last published result.
        received_ns: the message had arrived.
        ready_ns: of video, the picture was decoded; of other images, the same as ``received_ns``.
        taken_ns: a lane took the frame out of its mailbox.
        begun_ns: the lane's executor began with the frame's batch: on the CPU when the detector was
            called, on a GPU when the images had been copied there and the batch before was done.
        preprocessed_ns, inferred_ns, decoded_ns: the detector's stages ended.
        published_ns: the result had been handed to the middleware.
    """

    camera: str
    sequence: int
    lane: str
    batch_size: int
    drops: int
    received_ns: int
    ready_ns: int
    taken_ns: int
    begun_ns: int
    preprocessed_ns: int
    inferred_ns: int
    decoded_ns: int
    published_ns: int

    @property
    def total_ns(self) -> int:
        """Return the time from arrival to publication."""
        return self.published_ns - self.received_ns

    def stages_ns(self) -> dict[str, int]:
        """Return the duration of each of :data:`STAGES`, nanoseconds."""
        times = (
            self.received_ns,
            self.ready_ns,
            self.taken_ns,
            self.begun_ns,
            self.preprocessed_ns,
            self.inferred_ns,
            self.decoded_ns,
            self.published_ns,
        )
        return {
            stage: after - before
            for stage, before, after in zip(STAGES, times[:-1], times[1:], strict=True)
        }
