"""Where a camera's frames wait for a lane."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from yolox_trt_ros.core.frame import Frame


class Mailbox(Protocol):
    """A camera's waiting frames, oldest first."""

    @property
    def head(self) -> Frame | None:
        """Return the frame that would be taken next."""
        ...

    def __len__(self) -> int:
        """Return how many frames wait."""
        ...

    def put(self, frame: Frame) -> Frame | None:
        """Add an arrived frame and return the one that it pushed out, if any."""
        ...

    def put_back(self, frame: Frame) -> Frame | None:
        """Return a taken frame to its place and get back the one that has no place, if any."""
        ...

    def take(self) -> Frame:
        """Remove and return the next frame."""
        ...


class NewestFrame:
    """The newest frame wins: live operation, where an older image is worth nothing."""

    __slots__ = ('head',)

    def __init__(self) -> None:
        self.head: Frame | None = None

    def __len__(self) -> int:
        return int(self.head is not None)

    def put(self, frame: Frame) -> Frame | None:
        """Keep ``frame`` and return the one it replaced."""
        replaced, self.head = self.head, frame
        return replaced

    def put_back(self, frame: Frame) -> Frame | None:
        """Keep ``frame`` unless a newer one waits; return the one that is not kept."""
        if self.head is not None:
            return frame
        self.head = frame
        return None

    def take(self) -> Frame:
        """Remove and return the frame."""
        frame, self.head = self.head, None
        if frame is None:
            raise LookupError('the mailbox is empty')
        return frame


class EveryFrame:
    """No frame is replaced: replay, where every image must be processed."""

    __slots__ = ('_frames',)

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def head(self) -> Frame | None:
        """Return the frame that would be taken next."""
        return self._frames[0] if self._frames else None

    def put(self, frame: Frame) -> Frame | None:
        """Append ``frame``; nothing is replaced."""
        self._frames.append(frame)
        return None

    def put_back(self, frame: Frame) -> Frame | None:
        """Return ``frame`` to the head of the queue."""
        self._frames.appendleft(frame)
        return None

    def take(self) -> Frame:
        """Remove and return the oldest frame."""
        return self._frames.popleft()
