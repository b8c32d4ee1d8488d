"""Where a camera's frames wait for a lane."""

from __future__ import annotations

from collections import deque

from yolox_trt_ros.core.frame import Frame


class Mailbox:
    """A camera's waiting frames.

    Args:
        every: keep every frame, as a replay needs it; otherwise the newest one wins: live, an older
            image is worth nothing.

    Attributes:
        head: the frame that would be taken next.
    """

    __slots__ = ('_every', '_frames', 'head')

    def __init__(self, *, every: bool = False) -> None:
        self.head: Frame | None = None
        self._every = every
        self._frames: deque[Frame] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> Frame | None:
        """Add an arrived frame and return the one that it pushed out, if any."""
        replaced = None if self._every or self.head is None else self._frames.pop()
        self._frames.append(frame)
        self.head = self._frames[0]
        return replaced

    def put_back(self, frame: Frame) -> Frame | None:
        """Return a taken frame to its place and get back the one that has no place, if any."""
        if self.head is not None and not self._every:
            return frame
        self._frames.appendleft(frame)
        self.head = frame
        return None

    def take(self) -> Frame:
        """Remove and return the next frame, or raise IndexError."""
        frame = self._frames.popleft()
        self.head = self._frames[0] if self._frames else None
        return frame
