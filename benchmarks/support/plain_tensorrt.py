"""A TensorRT program as people write it: one image, resize, decode and NMS on the CPU.

It follows YOLOX's own demos (``demo_utils.py``, Apache-2.0, read for the formulas): the image is
letterboxed by OpenCV, copied to the GPU, inferred, copied back, decoded and thinned out by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from yolox_trt_ros.core.model import InputSpec

Infer = Callable[[np.ndarray], np.ndarray]
"""Turns float32 (1, 3, height, width) into the head's rows (1, anchors, 5 + classes)."""


class PlainProgram:
    """Detects on one image after the other.

    Args:
        infer: runs the network, whose head is whole, with probabilities and boxes on the grid.
        image: how it is fed; letterboxed to the top left.
        strides: of the head's levels.
        score, iou: thresholds.
    """

    def __init__(
        self, infer: Infer, image: InputSpec, strides: tuple[int, ...], score: float, iou: float
    ) -> None:
        self._infer, self._image, self._score, self._iou = infer, image, score, iou
        grids, scales = [], []
        for stride in strides:
            x, y = np.meshgrid(np.arange(image.width // stride), np.arange(image.height // stride))
            grids.append(np.stack((x, y), 2).reshape(-1, 2))
            scales.append(np.full((grids[-1].shape[0], 1), stride))
        self._grid, self._stride = np.concatenate(grids), np.concatenate(scales)

    def detect(self, pixels: np.ndarray) -> np.ndarray:
        """Return rows (x1, y1, x2, y2, score, class) in pixels of a bgr8 image."""
        ratio = min(self._image.height / pixels.shape[0], self._image.width / pixels.shape[1])
        rows = self._infer(self._letterboxed(pixels, ratio))[0]
        centre = (rows[:, :2] + self._grid) * self._stride
        half = np.exp(rows[:, 2:4]) * self._stride / 2
        boxes = np.concatenate((centre - half, centre + half), 1) / ratio
        scores = rows[:, 4:5] * rows[:, 5:]
        found = [self._of_class(boxes, scores[:, c], c) for c in range(scores.shape[1])]
        return np.concatenate(found)

    def _letterboxed(self, pixels: np.ndarray, ratio: float) -> np.ndarray:
        image = self._image
        padded = np.full((image.height, image.width, 3), image.pad, np.uint8)
        size = int(pixels.shape[1] * ratio), int(pixels.shape[0] * ratio)
        padded[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)

    def _of_class(self, boxes: np.ndarray, scores: np.ndarray, number: int) -> np.ndarray:
        good = scores > self._score
        boxes, scores = boxes[good], scores[good]
        kept, order = [], scores.argsort()[::-1]
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        while order.size:
            first, rest = order[0], order[1:]
            kept.append(first)
            low = np.maximum(boxes[first, :2], boxes[rest, :2])
            high = np.minimum(boxes[first, 2:], boxes[rest, 2:])
            inner = np.prod(np.maximum(0.0, high - low), 1)
            order = rest[inner / (areas[first] + areas[rest] - inner) <= self._iou]
        classes = np.full((len(kept), 1), number)
        return np.concatenate((boxes[kept], scores[kept, None], classes), 1)


def tensorrt_infer(engine: Any, arrays: Any) -> Infer:
    """Return what runs an engine for one pageable image, and waits for it.

    Args:
        engine: ``ICudaEngine`` of batch 1 with one input and one output.
        arrays: CuPy.
    """
    context, stream = engine.create_execution_context(), arrays.cuda.Stream(non_blocking=True)
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    names.sort(key=lambda name: engine.get_tensor_mode(name).name != 'INPUT')
    types = {'FLOAT': np.float32, 'HALF': np.float16}
    kinds = [types[engine.get_tensor_dtype(name).name] for name in names]
    shapes = [tuple(context.get_tensor_shape(name)) for name in names]
    device = [arrays.empty(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
    for name, array in zip(names, device, strict=True):
        context.set_tensor_address(name, array.data.ptr)

    def infer(image: np.ndarray) -> np.ndarray:
        with stream:
            device[0].set(image.astype(kinds[0], copy=False))
            context.execute_async_v3(stream.ptr)
            rows: np.ndarray = device[1].get(stream=stream).astype(np.float32)
        stream.synchronize()
        return rows

    return infer
