"""The part of a camera's images that the network sees."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from yolox_trt_ros.core.errors import ConfigError, DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.printing import shown

_TEXT = re.compile(r'(\d{1,5})x(\d{1,5})(?:\+(\d{1,5})\+(\d{1,5}))?')


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of an image, pixels; without ``left`` and ``top`` the one in its centre."""

    width: int
    height: int
    left: int | None = None
    top: int | None = None

    @classmethod
    def read(cls, text: str) -> Crop:
        """Return what ``WIDTHxHEIGHT+LEFT+TOP``, or ``WIDTHxHEIGHT``, says.

        Raises:
            ConfigError: it is written otherwise, or is empty.
        """
        match = _TEXT.fullmatch(text)
        if match is None or not (int(match[1]) and int(match[2])):
            raise ConfigError(
                'expected WIDTHxHEIGHT+LEFT+TOP in pixels, such as 960x608+480+300, or 960x608 for '
                f'the centre, got {shown(text)}'
            )
        place = (None, None) if match[3] is None else (int(match[3]), int(match[4]))
        return cls(int(match[1]), int(match[2]), *place)

    def of(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return left, top, width and height in an image of this size, pixels.

        Raises:
            FrameError: ``unsupported``: it does not lie inside.
        """
        left = (width - self.width) // 2 if self.left is None else self.left
        top = (height - self.height) // 2 if self.top is None else self.top
        if min(left, top) < 0 or left + self.width > width or top + self.height > height:
            raise FrameError(
                DropReason.UNSUPPORTED,
                f'crop {self} does not lie inside an image of {width}x{height}: expected a larger '
                'image, or another crop of its camera',
            )
        return left, top, self.width, self.height

    def __str__(self) -> str:
        place = '' if self.left is None else f'+{self.left}+{self.top}'
        return f'{self.width}x{self.height}{place}'


def cropped(frame: Frame, crop: Crop | None) -> Frame:
    """Return a frame of whose image the network sees a part; pixels are not copied.

    Raises:
        FrameError: see :meth:`Crop.of`.
    """
    return frame if crop is None else replace(frame, part=crop.of(frame.height, frame.width))
