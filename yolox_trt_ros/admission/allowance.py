"""What one camera's images may cost the lanes that all cameras share."""

from __future__ import annotations

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.medians import RollingMedian

MOST_PIXELS = 36_000_000
"""Largest image of a camera whose ``max_megapixels`` says nothing else …"""
TIMES = 4
"""… and so many times what its first image had; also the time that one image may take, against
what the camera's images usually take."""
FEW_PIXELS = 4_000_000
"""A camera may always send images of this size: it may have begun with its smallest one."""
LITTLE_NS = 20_000_000
"""Decoding an image may always take this long, however quick the camera's others are."""
USUAL = 3
"""After so many images it is known what a camera's images usually take."""
REPAID = 25
"""For each second too much that a camera took, its images are refused for so many seconds: then it
takes at most one lane's 4 % from the others, whatever it sends."""
FIRST_PAUSE_NS = 5_000_000_000
"""Images are refused for this long when lanes have failed on one; it doubles each time …"""
LONGEST_PAUSE_NS = 60_000_000_000
"""… up to this."""


class Allowance:
    """One camera's allowance: pixels of an image, and time that its decoding takes.

    Decoding has to be done by the lane that takes the frame, while others' frames wait. So an image
    that is too large is refused before, from what its header says. One that still takes too long
    has its result, or its error, but what was too much is repaid: the camera's next images are
    refused for a while. Images on which lanes fail are treated alike.

    Args:
        config: its ``max_megapixels`` and ``max_decode_ms``.
        live: whether the camera may be slowed down; in a replay every image counts, and none is
            late.

    Attributes:
        why: what was too much, for people; empty if the camera is not slowed down.
    """

    def __init__(self, config: CameraConfig, *, live: bool = True) -> None:
        self._name = config.name
        self._live = live
        self._first_pixels = 0
        self._usual: dict[str, RollingMedian] = {}
        self._until_ns = 0
        self._failures = 0
        self.why = ''
        self.update(config.max_megapixels, config.max_decode_ms)

    def update(self, max_megapixels: float, max_decode_ms: float) -> None:
        """Change the limits; they hold for the next image."""
        self._max_pixels = round(max_megapixels * 1e6)
        self._max_decode_ns = round(max_decode_ms * 1e6)

    def refusal(self, frame: Frame) -> FrameError | None:
        """Return why an arrived frame must not get to a lane, if it must not."""
        slowed = self.slowed(frame.received_ns)
        if slowed:
            return FrameError(DropReason.SLOWED, slowed)
        self.why = ''
        pixels, most = frame.width * frame.height, self._most_pixels()
        if pixels <= most:
            return None
        return FrameError(
            DropReason.OVERSIZED,
            f'image of {frame.width}x{frame.height}, {pixels / 1e6:.1f} megapixels: expected at '
            f'most {most / 1e6:g}{self._because()}; cameras.{self._name}.max_megapixels is the '
            'limit',
        )

    def succeeded(self, frame: Frame) -> None:
        """Take in that a frame has its result: it is what the camera's images are like."""
        self._failures = 0
        self._first_pixels = self._first_pixels or frame.width * frame.height

    def spent(self, lane: str, took_ns: int, good: bool, now_ns: int) -> int:
        """Take in how long a lane took until an image's pixels could be read.

        Returns:
            How much of it was too much, nanoseconds.
        """
        usual = self._usual.setdefault(lane, RollingMedian())
        allowed_ns = self._max_decode_ns
        if len(usual) >= USUAL:
            allowed_ns = min(allowed_ns, max(LITTLE_NS, TIMES * usual.value))
        if good:
            usual.add(min(took_ns, allowed_ns))
        excess_ns = max(0, took_ns - allowed_ns)
        if excess_ns and self._live:
            self._slow_down(
                REPAID * excess_ns,
                f'an image took {took_ns / 1e6:.0f} ms to decode, expected at most '
                f'{allowed_ns / 1e6:.0f} ms (cameras.{self._name}.max_decode_ms is '
                f'{self._max_decode_ns / 1e6:g})',
                now_ns,
            )
        return excess_ns

    def failed(self, now_ns: int) -> None:
        """Take in that lanes fail on the camera's images while they run those of others."""
        pause_ns = min(LONGEST_PAUSE_NS, FIRST_PAUSE_NS << min(self._failures, 8))
        self._failures += 1
        if self._live:
            self._slow_down(pause_ns, 'lanes that run other images fail on its images', now_ns)

    def slowed(self, now_ns: int) -> str:
        """Return for how long the camera is slowed down and why, or an empty string."""
        if now_ns >= self._until_ns:
            return ''
        return f'slowed down for {(self._until_ns - now_ns) / 1e9:.0f} s more: {self.why}'

    def _slow_down(self, pause_ns: int, why: str, now_ns: int) -> None:
        self._until_ns = max(self._until_ns, now_ns) + pause_ns
        self.why = why

    def _most_pixels(self) -> int:
        if self._max_pixels:
            return self._max_pixels
        if not (self._first_pixels and self._live):
            return MOST_PIXELS
        return max(FEW_PIXELS, min(TIMES * self._first_pixels, MOST_PIXELS))

    def _because(self) -> str:
        known = self._live and self._first_pixels and not self._max_pixels
        return f', {TIMES} times what the camera showed first' if known else ''
