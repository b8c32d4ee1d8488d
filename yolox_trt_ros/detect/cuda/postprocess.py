"""Turn head outputs into detections on a CUDA device, by the rules of the CPU postprocessor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.detect.cuda.batch import MAX_IMAGES, RULES, THRESHOLDS, BatchTable
from yolox_trt_ros.detect.cuda.runtime import Device
from yolox_trt_ros.detect.merged_classes import merged_ids, without_rivals

MAX_CANDIDATES = 1024
"""Boxes that enter NMS, as on the CPU; kCandidates in decode.cuh."""
BLOCK, RANKED, HELPERS = 128, 64, 4
"""kBlock, kRanked and kHelpers in decode.cuh."""
LIKELY = 1024
"""Anchors above the threshold that are looked at all at once; more take turns."""

WORK = np.dtype(
    [
        (name, 'u8')
        for name in (
            'passed',
            'passed_count',
            'keys',
            'counts',
            'boxes',
            'best_boxes',
            'best_scores',
            'best_classes',
            'overlaps',
        )
    ]
)
RESULT = np.dtype(
    [
        ('box', 'f4', (MAX_CANDIDATES, 4)),
        ('score', 'f4', MAX_CANDIDATES),
        ('class_id', 'i4', MAX_CANDIDATES),
        ('count', 'i4'),
        ('padding', 'i4', 3),
    ]
)
_TYPES = {'float32': 'float', 'float16': 'Half'}


class RulesTable(NamedTuple):
    """What counts in the images of some cameras, as kernels read it.

    Attributes:
        record: ``RULES`` ().
        tables: on the device, that it points to.
        labels: names of the classes in the result.
        merged: of final boxes: numbers in the result that several classes share.
    """

    record: Any
    tables: list[Any]
    labels: tuple[str, ...]
    merged: np.ndarray


class CudaPostprocessor:
    """Threshold, compaction, top-k, NMS and mapping to source pixels, without a host round trip.

    Args:
        spec: the model.
        device: where the kernels run.
        outputs: addresses of the head outputs, [max_batch, …] each, in ``HeadSpec.outputs``'s
            order.
        dtype: their type, float32 or float16.
        max_batch: most images of one call.

    Raises:
        ConfigError: the head or the batch is larger than these kernels are made for.
    """

    def __init__(
        self, spec: ModelSpec, device: Device, outputs: Sequence[int], dtype: Any, max_batch: int
    ) -> None:
        kind = _TYPES.get(np.dtype(dtype).name)
        if max_batch > MAX_IMAGES or kind is None:
            raise ConfigError(
                f'expected batches of at most {MAX_IMAGES} and {" or ".join(_TYPES)} outputs, '
                f'got {max_batch} and {np.dtype(dtype).name}'
            )
        reader = spec.head.cuda_reader(spec.input, outputs)
        self._reader, self._classes, self._labels = reader, spec.head.classes, spec.labels
        self._suppressed = spec.head.suppressed
        self._device = device
        self._max_batch = max_batch
        self._thresholds: Thresholds | None = None
        self._rules: dict[str, RulesTable] = {}
        names = [f'{name}<{reader.reader}<{kind}>>' for name in ('sift', 'candidates')]
        names += ['trim', 'rank', 'overlap', 'keep']
        # Without contraction: overlaps on the threshold are then decided as on the CPU.
        self._kernels = device.kernels(reader.file, names, ('--fmad=false',))
        self._arrays = self._allocate()
        self._work = np.zeros(1, WORK)
        for name, array in self._arrays.items():
            self._work[name] = device.address(array)

    def new_result(self) -> np.ndarray:
        """Return a place for the results of one batch, in host memory."""
        return self._device.pinned(self._max_batch, RESULT)

    def describe(self, thresholds: Thresholds, cameras: Sequence[str], batch: BatchTable) -> None:
        """Write down what counts as a detection in a batch.

        Args:
            thresholds: of all cameras.
            cameras: whose image each of the batch is.
            batch: where to.
        """
        if thresholds != self._thresholds:
            self._thresholds, self._limits, self._rules = thresholds, _limits(thresholds), {}
        if batch.limits is not self._limits:
            batch.record['thresholds'] = batch.limits = self._limits
            batch.changed = True
        for place, camera in enumerate(cameras):
            rules = self._rules.get(camera) or self._rules_of(camera)
            if batch.rules[place] is not rules:
                batch.rules[place] = rules
                batch.record['rules'][place] = rules.record
                batch.changed = True

    def enqueue(self, images: int, batch: int, result: int) -> None:
        """Decode images, on the current stream.

        Args:
            images: most that the batch may have; what it does not have gets no detections.
            batch: address of the batch, whose images and thresholds are described.
            result: address of a :meth:`new_result`; holds the detections once the stream has got
                there.
        """
        head, work, record = self._reader.head, self._work, np.uint64(batch)
        sift, candidates, trim, rank, overlap, keep = self._kernels
        anchors = self._reader.anchors
        sift((-(-anchors // BLOCK), images), (BLOCK,), (head, record, work))
        grid: tuple[int, ...] = (-(-min(anchors, LIKELY) * 32 // BLOCK), images)
        candidates(grid, (BLOCK,), (head, record, work))
        trim((images,), (MAX_CANDIDATES,), (head, work))
        rank((MAX_CANDIDATES // RANKED, images), (RANKED * HELPERS,), (head, record, work))
        if not self._suppressed:  # then no box overlaps another, as the memory is from the start
            grid = (MAX_CANDIDATES // BLOCK, MAX_CANDIDATES // 32, images)
            overlap(grid, (BLOCK,), (record, work))
        keep((images,), (MAX_CANDIDATES,), (record, work, np.uint64(result)))

    def close(self) -> None:
        """Free its memory; nothing may be enqueued any more."""
        self._arrays.clear()
        self._rules.clear()

    @staticmethod
    def detections(result: np.ndarray, batch: BatchTable, images: int) -> list[Detections]:
        """Return a copy of each image's detections, best first, in source-image pixels.

        Args:
            result: of the batch.
            batch: as it was described.
            images: how many it has.
        """
        counts = result['count'][:images].tolist()
        most = max(counts)
        boxes = result['box'][:images, :most].copy()
        scores = result['score'][:images, :most].copy()
        classes = result['class_id'][:images, :most].copy()
        found = []
        for i, (n, rules) in enumerate(zip(counts, batch.rules, strict=False)):
            one = Detections(boxes[i, :n], scores[i, :n], classes[i, :n], rules.labels)
            if len(rules.merged):
                one = without_rivals(one, rules.merged, float(batch.limits['iou']))
            found.append(one)
        return found

    def _rules_of(self, camera: str) -> RulesTable:
        """Return what counts in a camera's images; kept for those that have rules of their own."""
        assert self._thresholds
        if camera not in self._thresholds.cameras:
            if (common := self._rules.get('')) is not None:
                return common
            camera = ''
        thresholds = self._thresholds.of(camera)
        rules = thresholds.rules or Rules.of_all(self._labels, thresholds.score)
        tables = [self._device.array(t) for t in (rules.scores, rules.class_ids, rules.edges)]
        record = np.zeros((), RULES)
        record['scores'], record['class_ids'], record['edges'] = map(self._device.address, tables)
        record['edge_count'] = len(rules.edges)
        record['lowest'] = thresholds.score
        record['first'] = self._reader.bound(thresholds.score)
        merged = merged_ids(rules) if self._suppressed else np.empty(0, np.int32)
        self._rules[camera] = table = RulesTable(record[()], tables, rules.labels, merged)
        return table

    def _allocate(self) -> dict[str, Any]:
        anchors, batch, zeros = self._reader.anchors, self._max_batch, self._device.zeros
        best = (batch, MAX_CANDIDATES)
        return {
            'passed': zeros((batch, anchors), np.int32),
            'passed_count': zeros((batch,), np.uint32),
            'keys': zeros((batch, anchors * self._classes), np.uint64),
            'counts': zeros((batch,), np.uint32),
            'boxes': zeros((batch, anchors, 4), np.float32),
            'best_boxes': zeros((*best, 4), np.float32),
            'best_scores': zeros(best, np.float32),
            'best_classes': zeros(best, np.int32),
            'overlaps': zeros((*best, MAX_CANDIDATES // 32), np.uint32),
        }


def _limits(thresholds: Thresholds) -> Any:
    limits = np.zeros((), THRESHOLDS)
    limits['iou'] = thresholds.nms_iou
    limits['class_agnostic'] = thresholds.class_agnostic
    limits['max_detections'] = min(thresholds.max_detections, MAX_CANDIDATES)
    limits['clip'] = thresholds.clip_boxes
    return limits[()]
