"""The part of a camera's images that the network sees."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from yolox_trt_ros.core.errors import ConfigError, DropReason, FrameError
from yolox_trt_ros.core.frame import Frame, Part
from yolox_trt_ros.core.printing import shown

_SHARE = r'(\d{1,3}(?:\.\d{1,6})?)%'
_TEXT = re.compile(rf'(\d{{1,5}})x(\d{{1,5}})(?:\+(\d{{1,5}})\+(\d{{1,5}})|@{_SHARE},{_SHARE})?')


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of an image, pixels; without ``left`` and ``top`` the one around a point.

    Attributes:
        width, height, left, top: pixels.
        centre: that point, % of the image's width and height. Near the border the rectangle is
            moved as far as it has to be.
    """

    width: int
    height: int
    left: int | None = None
    top: int | None = None
    centre: tuple[float, float] = (50.0, 50.0)

    @classmethod
    def read(cls, text: str) -> Crop:
        """Return what ``WIDTHxHEIGHT+LEFT+TOP``, ``WIDTHxHEIGHT`` or ``WIDTHxHEIGHT@X%,Y%`` says.

        Raises:
            ConfigError: it is written otherwise, or is empty.
        """
        match = _TEXT.fullmatch(text)
        if match is None or not (int(match[1]) and int(match[2])):
            raise ConfigError(
                'expected WIDTHxHEIGHT+LEFT+TOP in pixels, such as 960x608+480+300, or 960x608 for '
                f'the centre, or 960x608@50%,40% around a point, got {shown(text)}'
            )
        size = int(match[1]), int(match[2])
        if match[3] is not None:
            return cls(*size, int(match[3]), int(match[4]))
        return cls(*size) if match[5] is None else cls(*size, None, None, _inside(text, match))

    def of(self, height: int, width: int) -> Part:
        """Return left, top, width and height in an image of this size, pixels.

        Raises:
            FrameError: ``unsupported``: it does not lie inside.
        """
        left, top = self.left, self.top
        if left is None or top is None:
            left = _around(self.centre[0], width, self.width)
            top = _around(self.centre[1], height, self.height)
        if min(left, top) < 0 or left + self.width > width or top + self.height > height:
            raise FrameError(
                DropReason.UNSUPPORTED,
                f'crop {self} does not lie inside an image of {width}x{height}: expected a larger '
                'image, or another crop of its camera',
            )
        return left, top, self.width, self.height

    def __str__(self) -> str:
        place = '' if self.left is None else f'+{self.left}+{self.top}'
        if self.left is None and self.centre != Crop(1, 1).centre:
            place = '@{:g}%,{:g}%'.format(*self.centre)
        return f'{self.width}x{self.height}{place}'


def _inside(text: str, match: re.Match[str]) -> tuple[float, float]:
    x, y = float(match[5]), float(match[6])
    if max(x, y) > 100:
        raise ConfigError(f'{shown(text)}: expected a centre of 0 to 100 %')
    return x, y


def _around(share: float, size: int, part: int) -> int:
    """Return where a part of a side begins whose centre is at so many % of the side."""
    return max(0, min(math.floor(size * share / 100 - part / 2), size - part))


def cropped(frame: Frame, crop: Crop | None) -> Frame:
    """Return a frame of whose image the network sees a part; pixels are not copied.

    Raises:
        FrameError: see :meth:`Crop.of`.
    """
    return frame if crop is None else replace(frame, part=crop.of(frame.height, frame.width))
