"""The image encodings this package reads, and the memory layout each one promises.

Names are those of ``sensor_msgs/image_encodings``; ``jpeg`` and ``png`` stand for a
``CompressedImage`` payload that a detector decodes when, and only when, it takes the frame.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Encoding:
    """Memory layout of one encoding.

    Attributes:
        name: canonical name.
        bytes_per_pixel: bytes of one pixel in the first plane.
        planes: 1, or 1.5 for NV12 (a luma plane, then a half-height interleaved chroma plane).
        width_multiple, height_multiple: what chroma subsampling or a Bayer mosaic asks for.
    """

    name: str
    bytes_per_pixel: int
    planes: float = 1.0
    width_multiple: int = 1
    height_multiple: int = 1

    def min_step(self, width: int) -> int:
        """Return the fewest bytes a row of ``width`` pixels takes."""
        return width * self.bytes_per_pixel

    def rows(self, height: int) -> int:
        """Return how many rows of ``step`` bytes an image of ``height`` pixel rows has."""
        return int(height * self.planes)


RAW = {
    e.name: e
    for e in (
        Encoding('bgr8', 3),
        Encoding('rgb8', 3),
        Encoding('bgra8', 4),
        Encoding('rgba8', 4),
        Encoding('mono8', 1),
        Encoding('yuv422', 2, width_multiple=2),
        Encoding('yuv422_yuy2', 2, width_multiple=2),
        Encoding('nv12', 1, 1.5, 2, 2),
        Encoding('bayer_rggb8', 1, width_multiple=2, height_multiple=2),
        Encoding('bayer_bggr8', 1, width_multiple=2, height_multiple=2),
        Encoding('bayer_gbrg8', 1, width_multiple=2, height_multiple=2),
        Encoding('bayer_grbg8', 1, width_multiple=2, height_multiple=2),
    )
}
"""Raw encodings by canonical name."""

ALIASES = {
    '8UC1': 'mono8',
    '8UC3': 'bgr8',
    '8UC4': 'bgra8',
    'uyvy': 'yuv422',
    'yuyv': 'yuv422_yuy2',
}
"""Other names for the same layouts, as cv_bridge and recent camera drivers write them."""

COMPRESSED = ('jpeg', 'png')
"""Payload formats of ``CompressedImage`` that this package decodes."""
