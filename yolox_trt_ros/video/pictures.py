"""Turn a decoded picture into an image in memory, in an encoding that detectors read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

BT601 = (2, 5, 6)
"""Values of a stream's colour matrix that mean ITU-R BT.601, or that nothing is said (H.273)."""
LIMITED = (0, 1)
"""Ranges of samples that mean 16 to 235, or that nothing is said."""


class VideoPicture(NamedTuple):
    """One decoded picture.

    Attributes:
        encoding: ``i420`` or ``bgr8``.
        image: uint8 (1.5 × height, width) of ``i420``, (height, width, 3) of ``bgr8``.
    """

    encoding: str
    image: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width in pixels."""
        height, width = self.image.shape[:2]
        return (height * 2 // 3 if self.encoding == 'i420' else height), width


def picture_of(frame: Any) -> VideoPicture:
    """Return PyAV's ``VideoFrame`` as a picture that owns its memory.

    Planes of 4:2:0 in the colours that ``i420`` has everywhere in this package (BT.601, limited
    range) stay as they are, bit for bit. libswscale turns everything else into BGR by what the
    stream says of its colours: BT.709, full range, 10 bits, 4:2:2, odd sizes.
    """
    even = frame.width % 2 == 0 and frame.height % 2 == 0
    plain = frame.color_range in LIMITED and frame.colorspace in BT601
    if frame.format.name == 'yuv420p' and even and plain:
        return VideoPicture('i420', frame.to_ndarray())
    return VideoPicture('bgr8', frame.to_ndarray(format='bgr24'))
