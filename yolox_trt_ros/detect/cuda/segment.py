"""Turn a model's segmentation map into class masks on a CUDA device, by the rules of the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.model import InputSpec, Letterbox, ModelSpec
from yolox_trt_ros.core.segmentation import Segmentation, SegmentationSpec, region_of
from yolox_trt_ros.detect.cuda.batch import Source
from yolox_trt_ros.detect.cuda.runtime import Device

WINDOW = np.dtype([('left', 'i4'), ('top', 'i4'), ('width', 'i4'), ('height', 'i4')])
CELLS, BLOCK = 4, 128
"""kCells in segment.cu; threads of a block."""

_TYPES = {
    'float32': 'float',
    'float16': 'Half',
    'int32': 'int',
    'int64': 'long long',
    'uint8': 'unsigned char',
}


@dataclass(slots=True)
class BatchMasks:
    """The masks of one batch in flight.

    Attributes:
        windows: ``WINDOW`` (max_batch,), pinned.
        masks: uint8 (max_batch, height × width of the map), pinned.
        boxes: how each image whose mask is wanted sits in the network's input, by its place.
    """

    windows: np.ndarray
    masks: np.ndarray
    boxes: dict[int, Letterbox] = field(default_factory=dict)


class CudaSegmenter:
    """Chooses classes where somebody wants them; what goes to the host is a byte for each cell.

    It is no part of a batch's CUDA graph: mostly nobody wants masks, and then nothing is enqueued.

    Args:
        image: how the model is fed.
        spec: what its segmentation output means.
        device: where the kernels run.
        maps: device array of that output, (max_batch, …).
        max_batch: most images of one call.
    """

    def __init__(
        self, image: InputSpec, spec: SegmentationSpec, device: Device, maps: Any, max_batch: int
    ) -> None:
        self._image, self._spec, self._device, self._maps = image, spec, device, maps
        self._max_batch, self._cells = max_batch, spec.height * spec.width
        kind = _TYPES[np.dtype(maps.dtype).name]
        flag = str(spec.numbers).lower()
        (self._kernel,) = device.kernels('segment.cu', [f'segment<{kind}, {flag}>'], ())
        # A GPU that shares the host's memory writes there at once.
        shape = max_batch * self._cells
        self._chosen = None if device.integrated else device.zeros((shape,), np.uint8)

    @classmethod
    def of(cls, spec: ModelSpec, device: Device, maps: Any, max_batch: int) -> CudaSegmenter | None:
        """Return that of a model; None: it gives no masks."""
        masks = spec.segmentation
        return cls(spec.input, masks, device, maps, max_batch) if masks else None

    def new_masks(self) -> BatchMasks:
        """Return a place for the masks of one batch, in host memory."""
        pinned = self._device.pinned
        masks = pinned(self._max_batch * self._cells, np.uint8)
        return BatchMasks(
            pinned(self._max_batch, WINDOW), masks.reshape(self._max_batch, self._cells)
        )

    def enqueue(
        self,
        sources: Sequence[Source | None],
        wanted: Sequence[bool],
        batch: BatchMasks,
        stream: Any,
    ) -> None:
        """Choose the classes of those images whose masks are wanted; without any, do nothing.

        Args:
            sources: of the batch, as the preprocessor got them.
            wanted: whose masks are wanted.
            batch: where to; holds them once the stream has got there.
            stream: the current one, on which the network has been enqueued.
        """
        batch.boxes = boxes = {}
        for place, (source, asked) in enumerate(zip(sources, wanted, strict=True)):
            window = (0, 0, 0, 0)
            if asked and source is not None:
                pixels = source[0]
                box = Letterbox.fit(pixels.height, pixels.width, self._image, pixels.part)
                boxes[place], window = box, self._spec.window(box, self._image)
            batch.windows[place] = window
        if not boxes:
            return
        device, windows = self._device, batch.windows[: len(sources)]
        host = device.address(batch.masks)
        chosen = host if self._chosen is None else device.address(self._chosen)
        cells = max(int(w['width']) * int(w['height']) for w in windows)
        self._kernel(
            (-(-cells // (CELLS * BLOCK)), len(windows)),
            (BLOCK,),
            (
                np.uint64(device.address(batch.windows)),
                np.uint64(device.address(self._maps)),
                np.int32(self._spec.shape[0]),
                np.int32(self._spec.height),
                np.int32(self._spec.width),
                np.uint64(chosen),
            ),
        )
        for place in boxes if self._chosen is not None else ():
            at, size = place * self._cells, int(windows[place]['width'] * windows[place]['height'])
            device.upload(host + at, chosen + at, size, stream)

    def add(self, found: Sequence[Detections], batch: BatchMasks) -> list[Detections]:
        """Return a batch's detections, each with its mask if that was wanted."""
        results = list(found)
        for place, box in batch.boxes.items():
            _, _, width, height = batch.windows[place].tolist()
            chosen = batch.masks[place, : width * height].reshape(height, width).copy()
            mask = Segmentation(chosen, region_of(box), self._spec.labels)
            results[place] = results[place].segmented(mask)
        return results

    def close(self) -> None:
        """Free its memory; nothing may be enqueued any more."""
        self._maps = self._chosen = None
