"""Parts of a camera's images that the network sees besides the whole, each as often as it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from yolox_trt_ros.core.crop import Crop
from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.frame import Frame, Part
from yolox_trt_ros.core.printing import shown

MOST_CROPS = 8
"""Of a camera."""
_SIZES = 16
"""So many sizes of images a camera's rectangles are remembered for."""
_ALMOST = 1e-6
"""Sums of parts of an image may miss a whole one by this."""
_NUMBER = r'(\d{1,4}(?:\.\d{1,6})?)'
_TEXT = re.compile(rf'(\S+)(?: every (\d{{1,4}})| at {_NUMBER} ?Hz)?(?: priority {_NUMBER})?')
_EXAMPLES = '"960x608", "960x608+480+300 every 3" or "640x400 at 5 Hz priority 0.5"'


@dataclass(frozen=True, slots=True)
class ExtraCrop:
    """A part of a camera's images that the network sees besides the whole.

    Attributes:
        crop: which part.
        every: it is seen with each so-many-th image that a lane takes …
        rate_hz: … or so many times a second, by header stamps; 0: see ``every``.
        priority: its weight when lanes are short of time; 0: its camera's.
    """

    crop: Crop
    every: int = 1
    rate_hz: float = 0.0
    priority: float = 0.0

    @classmethod
    def read(cls, text: str) -> ExtraCrop:
        """Return what ``WIDTHxHEIGHT+LEFT+TOP every N priority P`` says, ``at R Hz`` for ``every``.

        Raises:
            ConfigError: it is written otherwise.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ConfigError(f'{shown(text)}: expected a part of the image such as {_EXAMPLES}')
        every, rate_hz, priority = match[2], match[3], match[4]
        found = cls(Crop.read(match[1]), int(every or 1), float(rate_hz or 0), float(priority or 0))
        if not found.every or (rate_hz and not found.rate_hz) or (priority and not found.priority):
            raise ConfigError(f'{shown(text)}: expected numbers above 0')
        return found

    def share(self, rate_hz: float) -> float:
        """Return which part of a camera's images it is seen with while there is time for all."""
        return min(1.0, self.rate_hz / rate_hz) if self.rate_hz else 1 / self.every

    def thinned(self, priority: float) -> float:
        """Return how many times more seldom it is seen where lanes are short of time.

        Args:
            priority: its camera's.
        """
        return max(1.0, priority / self.priority) if self.priority else 1.0


def read_crops(texts: Iterable[str]) -> tuple[ExtraCrop, ...]:
    """Return a camera's extra crops.

    Raises:
        ConfigError: one is written otherwise, there are too many, or two are the same part.
    """
    crops = tuple(map(ExtraCrop.read, texts))
    if len(crops) > MOST_CROPS:
        raise ConfigError(f'expected at most {MOST_CROPS} crops, got {len(crops)}')
    parts = [crop.crop for crop in crops]
    if twice := next((part for part in parts if parts.count(part) > 1), None):
        raise ConfigError(f'{twice} is there twice')
    return crops


class CropPace:
    """Which extra crops a camera's next image has.

    Each image adds to a crop's credit its part of a period; a crop is due when it has a whole one,
    and it stays due until an image has taken it. Crops of one period begin one after the other, so
    that no image has all of them where that can be avoided.

    Args:
        crops: of the camera.
    """

    def __init__(self, crops: Sequence[ExtraCrop]) -> None:
        self.crops = crops
        before = [[c.every for c in crops[:i]].count(c.every) for i, c in enumerate(crops)]
        self._credit = [
            1 - (1 + n % crop.every) / crop.every for n, crop in zip(before, crops, strict=True)
        ]
        self._now = self._credit
        self._stamp_ns: int | None = None
        self._before: tuple[list[float], int | None] = self._credit, None
        self._parts: dict[tuple[int, int], tuple[Part, ...]] = {}

    def refusal(self, frame: Frame) -> FrameError | None:
        """Return what is wrong with an image in which a crop does not lie; None: nothing."""
        try:
            self._parts_of(frame)
        except FrameError as error:
            return FrameError(error.reason, str(error))  # one that was raised would keep the frame
        return None

    def due(self, frame: Frame, priority: float = 1.0, *, short: bool = False) -> list[int]:
        """Return which crops are due with a frame, the most important first.

        Args:
            frame: the camera's next one.
            priority: the camera's.
            short: whether lanes are short of time.
        """
        passed_s = None
        if self._stamp_ns is not None and frame.stamp_ns >= self._stamp_ns:
            passed_s = (frame.stamp_ns - self._stamp_ns) / 1e9
        self._now = []
        for crop, credit in zip(self.crops, self._credit, strict=True):
            if not crop.rate_hz:
                gain = 1 / crop.every
            elif passed_s is None:  # it begins, or begins again
                gain = 1.0
            else:
                gain = passed_s * crop.rate_hz
            self._now.append(min(2.0, credit + gain / (crop.thinned(priority) if short else 1)))
        due = [i for i, credit in enumerate(self._now) if credit >= 1 - _ALMOST]
        due.sort(key=lambda i: self.crops[i].priority or priority, reverse=True)
        return due

    def take(self, frame: Frame, chosen: Sequence[int]) -> Frame:
        """Return a frame that was asked about last, with crops of those that are due."""
        self._before = self._credit, self._stamp_ns
        self._credit, self._stamp_ns = self._now, frame.stamp_ns
        for i in chosen:
            self._credit[i] -= 1
        parts = self._parts_of(frame)
        crops = tuple([parts[i] for i in chosen])
        return frame if frame.crops == crops else replace(frame, crops=crops)

    def give_back(self) -> None:
        """Let the frame that was taken last be asked about again: it has not been run."""
        self._credit, self._stamp_ns = self._before

    def _parts_of(self, frame: Frame) -> tuple[Part, ...]:
        size = frame.height, frame.width
        parts = self._parts.get(size)
        if parts is None:
            parts = tuple([crop.crop.of(*size) for crop in self.crops])
            if len(self._parts) == _SIZES:
                self._parts.clear()
            self._parts[size] = parts
        return parts


def least_size(crops: Iterable[ExtraCrop]) -> tuple[int, int]:
    """Return height and width of the smallest image in which all crops lie, pixels."""
    parts = [crop.crop for crop in crops]
    height = max(((c.top or 0) + c.height for c in parts), default=0)
    return height, max(((c.left or 0) + c.width for c in parts), default=0)
