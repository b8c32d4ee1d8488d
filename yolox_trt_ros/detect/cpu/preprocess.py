"""Turn frames into the network's input on the CPU, with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame, Part
from yolox_trt_ros.core.model import InputSpec, Letterbox
from yolox_trt_ros.detect.cpu.decode import eight_bit
from yolox_trt_ros.pixel_formats import BGR, FORMATS, RGB, Channels


def pixels(frame: Frame) -> tuple[np.ndarray, Channels]:
    """Return the image, and which of its channels are blue, green and red.

    Formats that are interleaved colour already stay as they are, so that the swap costs nothing
    when the resized planes are written.

    Args:
        frame: any encoding; see :func:`eight_bit` for files and for samples of 16 bits.

    Returns:
        uint8 (height, width, channels) or (height, width), and three channel indices.

    Raises:
        FrameError: ``undecodable``: a damaged file; ``malformed``: fewer bytes than it says;
            ``unsupported``: no such encoding.
    """
    if frame.encoding not in FORMATS:
        frame = eight_bit(frame)
    form = FORMATS.get(frame.encoding)
    if form is None:
        raise FrameError(
            DropReason.UNSUPPORTED, f'encoding "{frame.encoding[:40]}" is not supported'
        )
    if len(frame.data) < RAW[frame.encoding].size(frame.height, frame.width, frame.step):
        raise FrameError(
            DropReason.MALFORMED, f'{frame.encoding} frame with {len(frame.data)} bytes'
        )
    return form.read(frame), form.channels


def bgr_image(frame: Frame) -> np.ndarray:
    """Return any frame as uint8 (height, width, 3) in BGR order, for drawing."""
    image, channels = pixels(frame)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[:, :, channels])


class CpuPreprocessor:
    """Letterbox, colour order and layout of one model's input."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._order = BGR if spec.colour == 'bgr' else RGB
        factors = spec.normalisation()
        self._multiply, self._add = (factor.astype(np.float32) for factor in factors)
        nearest = spec.interpolation == 'nearest'
        self._interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        self._plain = spec.dtype == 'uint8'
        self._pad = (spec.pad * factors[0] + factors[1]).astype(np.float32)[:, None, None]

    def new_input(self, batch: int) -> np.ndarray:
        """Return a padded input tensor (batch, 3, height, width) of the model's type."""
        inputs = np.empty((batch, 3, self._spec.height, self._spec.width), self._spec.dtype)
        inputs[:] = self._pad
        return inputs

    def write(self, frame: Frame, target: np.ndarray) -> Letterbox:
        """Write one frame, without its crops, into its place in the input tensor.

        Args:
            frame: any size and encoding.
            target: (3, height, width) of the model's type; pixels outside the image become the pad
                value.

        Returns:
            The letterbox, to map boxes back to source pixels.

        Raises:
            FrameError: the frame cannot be decoded.
        """
        return self._write(pixels(frame), frame, frame.part, target)

    def write_parts(self, frame: Frame, targets: np.ndarray) -> list[Letterbox]:
        """Write one frame and its crops, each into a place; it is decoded once.

        Args:
            frame: any size and encoding.
            targets: (``frame.places``, 3, height, width); see :meth:`write`.

        Raises:
            FrameError: the frame cannot be decoded.
        """
        image = pixels(frame)
        return [
            self._write(image, frame, part, target)
            for part, target in zip((frame.part, *frame.crops), targets, strict=True)
        ]

    def _write(
        self,
        pixels: tuple[np.ndarray, Channels],
        frame: Frame,
        part: Part | None,
        target: np.ndarray,
    ) -> Letterbox:
        image, channels = pixels
        box = Letterbox.fit(frame.height, frame.width, self._spec, part)
        if part is not None:
            left, top, width, height = part
            image = image[top : top + height, left : left + width]
        average = self._spec.averages and box.shrinks
        interpolation = cv2.INTER_AREA if average else self._interpolation
        small = cv2.resize(image, (box.width, box.height), interpolation=interpolation)
        bottom, right = box.top + box.height, box.left + box.width
        planes = cv2.split(small) if small.ndim == 3 else (small,)
        for channel, position in enumerate(self._order):
            inside = target[channel, box.top : bottom, box.left : right]
            plane = planes[channels[position]]
            if self._plain:
                inside[:] = plane
                continue
            np.multiply(plane, self._multiply[channel], out=inside)
            if self._add[channel]:
                inside += self._add[channel]
        target[:, : box.top] = target[:, bottom:] = self._pad
        target[:, box.top : bottom, : box.left] = self._pad
        target[:, box.top : bottom, right:] = self._pad
        return box
