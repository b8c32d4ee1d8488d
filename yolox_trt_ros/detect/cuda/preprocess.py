"""Turn camera images into the network's input on a CUDA device, a batch in one launch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import InputSpec, Letterbox
from yolox_trt_ros.detect.cuda.batch import IMAGE, BatchTable, Pixels, Source
from yolox_trt_ros.detect.cuda.runtime import KERNELS, Device
from yolox_trt_ros.pixel_formats import FORMATS

BLOCK = (32, 4)
COLUMNS, ROWS = 2, 2
"""Output pixels of a thread; kRows in letterbox.cu."""

TAP = np.dtype([('first', 'i4'), ('weight', 'i4')])
TARGET = np.dtype(
    [
        ('data', 'u8'),
        ('width', 'i4'),
        ('height', 'i4'),
        ('pad', 'i4'),
        ('multiply', 'f4', 3),
        ('add', 'f4', 3),
    ],
    align=True,
)

# The pixel readers of the kernels in the order of their numbers.
_READERS = re.findall(r'USE\((k\w+)\)', (KERNELS / 'image.cuh').read_text(encoding='utf-8'))
if _unknown := {form.kernel for form in FORMATS.values()} - set(_READERS):
    raise TypeError(f'image.cuh has no pixel reader {sorted(_unknown)}: it has {_READERS}')

MAX_TEMPLATES = 256
"""Sizes and encodings of images that are remembered; cameras have fewer, folders may have more."""

Layout = Literal['nchw', 'chw16', 'chw32', 'hwc4']
_LAYOUTS = {
    'nchw': ('kPlanar', 0),
    'chw16': ('kBlocks16', 16),
    'chw32': ('kBlocks32', 32),
    'hwc4': ('kInterleaved4', 4),
}
_TYPES = {'float32': 'float', 'float16': 'Half', 'int8': 'signed char'}


class ImageTemplate(NamedTuple):
    """What images of one size and encoding share.

    Attributes:
        image: ``IMAGE`` (), without an address.
        tables: on the device, that it points to.
    """

    image: Any
    tables: list[Any]


@dataclass(frozen=True, slots=True)
class InputFormat:
    """How an engine wants its input.

    Attributes:
        dtype: float32, float16 or int8.
        layout: ``nchw`` [n, 3, h, w]; ``chw16`` [n, 1, h, w, 16], ``chw32`` [n, 1, h, w, 32] and
            ``hwc4`` [n, h, w, 4] as a DLA reads them, channels behind the third zero.
        quantum: for int8, the value that one step stands for.
    """

    dtype: Any = np.float32
    layout: Layout = 'nchw'
    quantum: float = 1.0

    def shape(self, batch: int, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of the input tensor."""
        if self.layout == 'nchw':
            return batch, 3, height, width
        if self.layout == 'hwc4':
            return batch, height, width, 4
        return batch, 1, height, width, _LAYOUTS[self.layout][1]


class CudaPreprocessor:
    """Colour, resize, letterbox, layout and type conversion of one model's input, fused.

    Pixel arithmetic is OpenCV's (8-bit bilinear with half-pixel centres); see ``image.cuh``. Each
    size and encoding of image gets small tables on the device when it is first seen; the
    ``MAX_TEMPLATES`` last ones are kept. With ``spec.averages``, a kernel of its own reads every
    source pixel of images that shrink by more than two, and converts its colour.

    Args:
        spec: the model's input; its width must be even.
        device: where the kernels run.
        form: how the engine wants its input.

    Raises:
        ConfigError: the model's input cannot be written by these kernels.
    """

    def __init__(self, spec: InputSpec, device: Device, form: InputFormat | None = None) -> None:
        form = form or InputFormat()
        dtype = np.dtype(form.dtype)
        if spec.width % 2 or dtype.name not in _TYPES:
            raise ConfigError(
                f'expected a model input of even width and of type {", ".join(_TYPES)}, '
                f'got {spec.width} pixels of {dtype.name}'
            )
        self._spec = spec
        self._device = device
        self._templates: dict[Pixels, ImageTemplate] = {}
        self._nothing = ImageTemplate(np.zeros((), IMAGE)[()], [])
        self._nothing.image['letterbox'] = 1, 1
        kind, layout = _TYPES[dtype.name], _LAYOUTS[form.layout][0]
        name = f'letterbox<{kind}, {layout}, {str(spec.averages).lower()}>'
        (self._kernel,) = device.kernels('letterbox.cu', [name], ())
        self._target = np.zeros(1, TARGET)
        self._target['width'], self._target['height'] = spec.width, spec.height
        self._target['pad'] = spec.pad
        quantum = form.quantum if dtype == np.int8 else 1.0
        multiply, add = spec.normalisation()
        self._target['multiply'], self._target['add'] = multiply / quantum, add / quantum

    def describe(self, sources: Sequence[Source | None], batch: BatchTable) -> None:
        """Write down which images a batch has.

        Args:
            sources: raw images and the addresses at which the device reads them, a list of its
                own for each call; ``None`` leaves its place empty: all border.
            batch: where to; its images are then read by :meth:`enqueue`'s kernel.
        """
        if sources == batch.sources:  # mostly so, where images are copied to the same places again
            return
        images = batch.images
        addresses = []
        for place, source in enumerate(sources):
            pixels, address = source or (None, 0)
            kind = self._template(pixels) if pixels else self._nothing
            if batch.kinds[place] is not kind:  # nor is that often
                batch.kinds[place] = kind
                images[place] = kind.image
            addresses.append(address)
        images['data'][: len(addresses)] = addresses
        batch.record['images'] = len(addresses)
        batch.sources, batch.changed = sources, True

    def enqueue(self, images: int, batch: int, target: int) -> None:
        """Write images into the input tensor, on the current stream.

        Args:
            images: most that the batch may have; what it does not have is not written.
            batch: address of the batch.
            target: address of the input tensor.
        """
        self._target['data'] = target
        columns, rows = BLOCK[0] * COLUMNS, BLOCK[1] * ROWS
        grid = (-(-self._spec.width // columns), -(-self._spec.height // rows), images)
        self._kernel(grid, BLOCK, (np.uint64(batch), self._target))

    def close(self) -> None:
        """Free its tables, but for those of batches that still exist."""
        self._templates.clear()

    def _template(self, pixels: Pixels) -> ImageTemplate:
        found = self._templates.get(pixels)
        if found is None:
            if len(self._templates) == MAX_TEMPLATES:  # batches keep those that they point to
                del self._templates[next(iter(self._templates))]
            found = self._templates[pixels] = self._new_template(pixels)
        return found

    def _new_template(self, pixels: Pixels) -> ImageTemplate:
        encoding, height, width, step, part = pixels
        box = Letterbox.fit(height, width, self._spec, part)
        first_column, first_row, columns, rows = part or (0, 0, width, height)
        image = np.zeros((), IMAGE)
        form = FORMATS[encoding]
        image['format'], image['order'] = _READERS.index(form.kernel), form.order
        image['swap'] = form.red_first != (self._spec.colour == 'rgb')
        image['step'], image['width'], image['height'] = step, width, height
        image['out_width'], image['out_height'] = box.width, box.height
        image['left'], image['top'] = box.left, box.top
        image['letterbox'] = box.scales
        image['part'] = first_column, first_row, columns, rows
        sizes = (columns, box.width), (rows, box.height)
        image['scale'] = [round(size / out * 2**32) for size, out in sizes]
        table = nearest if self._spec.interpolation == 'nearest' else taps
        across, down = (table(size, out) for size, out in sizes)
        across = pairs(across, columns)
        across['first'] += first_column
        down['first'] += first_row
        tables = [self._device.array(table) for table in (across, down)]
        image['across'], image['down'] = map(self._device.address, tables)
        return ImageTemplate(image[()], tables)


def taps(size: int, out: int) -> np.ndarray:
    """Return the two source pixels behind each output pixel, and the second one's weight.

    Rounded as in OpenCV's ``resize`` with INTER_LINEAR: positions to float32, weights to 1/2048.

    Args:
        size: source pixels of a row or column.
        out: output pixels.

    Returns:
        ``TAP`` (``out``,): ``first`` is -1 to ``size`` - 1, so that one of ``first`` and
        ``first`` + 1 may lie beyond an end and then stands for the pixel there.
    """
    ratio = 1 / (out / size)
    at = ((np.arange(out) + 0.5) * ratio - 0.5).astype(np.float32)
    table = np.empty(out, TAP)
    table['first'] = first = np.floor(at)
    table['weight'] = np.rint((at - first) * np.float32(2048))
    return table


def nearest(size: int, out: int) -> np.ndarray:
    """Return the one source pixel behind each output pixel, as OpenCV's INTER_NEAREST has it.

    Args:
        size: source pixels of a row or column.
        out: output pixels.

    Returns:
        ``TAP`` (``out``,), without weight.
    """
    table = np.zeros(out, TAP)
    at = np.floor(np.arange(out) * (1 / (out / size)))
    table['first'] = np.minimum(at, size - 1)
    return table


def pairs(table: np.ndarray, size: int) -> np.ndarray:
    """Return taps whose two pixels both lie in a row of ``size``, if that is more than one.

    The row gets an even number of them, as kernels take two columns at a time.
    """
    first, last = table['first'], max(size - 2, 0)
    inside = np.zeros(len(table) + len(table) % 2, TAP)
    inside['first'][: len(table)] = np.clip(first, 0, last)
    weight = np.where(first > last, 2048, table['weight'])
    inside['weight'][: len(table)] = np.where((first < 0) | (size == 1), 0, weight)
    return inside
