"""Outputs of every kind of head to detections on the GPU."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.support.gpu_timing import replayed_us
from yolox_trt_ros.core.head import HeadSpec
from yolox_trt_ros.core.model import InputSpec, ModelSpec, Thresholds
from yolox_trt_ros.detect.cuda.batch import BatchTable
from yolox_trt_ros.detect.cuda.postprocess import CudaPostprocessor
from yolox_trt_ros.detect.cuda.runtime import CudaDevice, require_cupy
from yolox_trt_ros.detect.heads.dense.head import AnchorSet, Boxes, OutputLayout, Place
from yolox_trt_ros.detect.heads.detr import DetrHead, RtDetrHead
from yolox_trt_ros.detect.heads.final.head import Column, FinalHead
from yolox_trt_ros.detect.heads.yolov8 import BINS, Yolov8Head

CLASSES, SIDE, STRIDES = 80, 640, (8, 16, 32)
OBJECTS, NEAR, SETS = 100, 9, 4
QUERIES = 300
IMAGE = InputSpec('images', 0, SIDE, SIDE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--device', type=int, default=0, help='the N of cuda:N')
    parser.add_argument('--batch', type=int, default=8)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return microseconds of one batch for each kind of head."""
    device, cupy = CudaDevice(args.device), require_cupy()
    stream = cupy.cuda.Stream(non_blocking=True)
    result: dict[str, Any] = {'gpu': device.name, 'batch': args.batch, 'objects': OBJECTS}
    for name, (make, dtype) in CASES.items():
        head = make()
        outputs = [_outputs(head, args.batch, seed, dtype) for seed in range(SETS)]
        result[name] = round(_timed(device, head, outputs, args.batch, stream), 2)
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    table = [('GPU', result['gpu']), ('batch', f'{result["batch"]}, {OBJECTS} objects each')]
    return table + [(name, f'{result[name]:.1f} µs') for name in CASES]


def _timed(
    device: CudaDevice, head: HeadSpec, outputs: list[list[np.ndarray]], batch: int, stream: Any
) -> float:
    cupy = require_cupy()
    there = [[cupy.asarray(o) for o in one] for one in outputs]
    spec = ModelSpec(IMAGE, head, tuple(f'class {i}' for i in range(CLASSES)))
    kind = next(o.dtype for o in outputs[0] if o.dtype.kind == 'f')
    decoders = [
        CudaPostprocessor(spec, device, [o.data.ptr for o in one], kind, batch) for one in there
    ]
    place, table = decoders[0].new_result(), BatchTable(device)
    table.record['images'] = batch
    table.images['letterbox'][:] = 0.5
    decoders[0].describe(Thresholds(), [''] * batch, table)
    cupy.cuda.Device().synchronize()
    table.upload(stream)

    def work(i: int) -> None:
        decoders[i % SETS].enqueue(batch, table.address, device.address(place))

    took = replayed_us(stream, work, 5 * SETS)
    found = [len(one) for one in decoders[0].detections(place, table, batch)]
    if not all(count > OBJECTS // 4 for count in found):
        raise RuntimeError(f'{head.family}: expected some {OBJECTS} objects an image, got {found}')
    return took


def _yolov8() -> Yolov8Head:
    anchors = sum((SIDE // s) ** 2 for s in STRIDES)
    level = AnchorSet(anchors, Place(0, 4 + CLASSES), Place(0, 4 + CLASSES, 4))
    layout = OutputLayout((4 + CLASSES, anchors), channels_last=False)
    return Yolov8Head(('output',), CLASSES, (layout,), (level,), Boxes('centre'), 'probability')


def _yolov8_maps() -> Yolov8Head:
    channels = 4 * BINS + CLASSES
    layouts = tuple(OutputLayout((channels, SIDE // s, SIDE // s), False) for s in STRIDES)
    levels = tuple(
        AnchorSet(
            (SIDE // s) ** 2, Place(i, channels), Place(i, channels, 4 * BINS),
            columns=SIDE // s, stride=(s, s),
        )
        for i, s in enumerate(STRIDES)
    )  # fmt: skip
    names = tuple(f'map {s}' for s in STRIDES)
    return Yolov8Head(names, CLASSES, layouts, levels, Boxes('distances', bins=BINS), 'logit')


def _queries(softmax: bool = False) -> RtDetrHead | DetrHead:
    numbers = CLASSES + softmax
    layouts = OutputLayout((QUERIES, 4), True), OutputLayout((QUERIES, numbers), True)
    level = AnchorSet(QUERIES, Place(0, 4), Place(1, numbers))
    kind = DetrHead if softmax else RtDetrHead
    boxes = Boxes('centre', (float(SIDE), float(SIDE)))
    scores: Any = 'softmax' if softmax else 'logit'
    return kind(('boxes', 'logits'), CLASSES, layouts, (level,), boxes, scores)


def _final() -> FinalHead:
    return FinalHead(('rows',), CLASSES, QUERIES, (6,), Column(0), Column(0, 4), Column(0, 5))


def _outputs(head: Any, batch: int, seed: int, dtype: Any) -> list[np.ndarray]:
    """Return outputs with objects that show in some anchors each, and nothing elsewhere."""
    rng = np.random.default_rng(seed)
    if isinstance(head, FinalHead):
        first = rng.uniform(0, 500, (batch, QUERIES, 2))
        last = first + rng.uniform(10, 90, first.shape)
        scores = np.sort(rng.uniform(0, 0.9, (batch, QUERIES, 1)), axis=1)[:, ::-1]
        classes = rng.integers(0, CLASSES, (batch, QUERIES, 1))
        return [np.concatenate((first, last, scores, classes), axis=2).astype(dtype)]
    outputs = [np.zeros(shape, dtype) for shape in head.batched(IMAGE, batch)]
    logits = head.scores != 'probability'
    for image in range(batch):
        for level in head.levels:
            boxes, scores = (_numbers(head, outputs, p, image) for p in (level.box, level.scores))
            scores = scores[:, level.scores.channel :]
            scores[:] = -6 if logits else 0.002
            if head.scores == 'softmax':
                scores[:, -1] = 2
            share = level.anchors / head.anchors
            sure = rng.integers(0, level.anchors, round(OBJECTS * share) or 1)
            sure = np.minimum(sure[:, None] + np.arange(NEAR), level.anchors - 1).ravel()
            scores[sure, rng.integers(0, 4, len(sure))] = 4 if logits else 0.8
            if head.boxes.coding == 'centre':
                side = 1 if head.boxes.unit[0] > 1 else SIDE
                boxes[:, :4] = rng.uniform(0.02, 0.9, (level.anchors, 4)) * side * [1, 1, 0.1, 0.1]
    return outputs


def _numbers(head: Any, outputs: list[np.ndarray], place: Place, image: int) -> np.ndarray:
    """Return a view (anchors, channels) of an output."""
    whole = outputs[place.output][image]
    if head.layouts[place.output].channels_last:
        return whole.reshape(-1, place.channels)
    return whole.reshape(place.channels, -1).T


CASES: dict[str, tuple[Callable[[], Any], Any]] = {
    'boxes and scores [84, 8400], fp16': (_yolov8, np.float16),
    'boxes and scores [84, 8400], fp32': (_yolov8, np.float32),
    'distributions and logits, 3 maps of 144, fp16': (_yolov8_maps, np.float16),
    'queries [300, 4] and [300, 80], fp16': (_queries, np.float16),
    'queries with softmax, fp16': (lambda: _queries(softmax=True), np.float16),
    'final boxes [300, 6], fp16': (_final, np.float16),
    'final boxes [300, 6], fp32': (_final, np.float32),
}
