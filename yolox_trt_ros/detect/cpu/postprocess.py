"""Turn a head's candidates into detections on the CPU, with NumPy.

Overlap is the plain continuous IoU, without the pixel that YOLOX's demo adds to widths and heights;
that changes the verdict only for pairs of boxes a few pixels large. Boxes are clipped to the image
only if the thresholds ask for it, and then after suppression, so that the same objects are found
either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import LaneError
from yolox_trt_ros.core.head import Candidates
from yolox_trt_ros.core.model import Letterbox, ModelSpec, Thresholds
from yolox_trt_ros.core.regions import inside
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.detect.merged_classes import merged_ids, without_rivals
from yolox_trt_ros.detect.nms import nms

MAX_CANDIDATES = 1024
"""Boxes that enter NMS, best scores first; bounds its cost when a model fires everywhere."""


class CpuPostprocessor:
    """Turns head outputs of one model into detections."""

    def __init__(self, spec: ModelSpec) -> None:
        self._shapes = partial(spec.head.batched, spec.input)
        self._decode = spec.head.decoder(spec.input)
        self._suppressed = spec.head.suppressed
        self._labels = spec.labels

    def check(self, outputs: Sequence[np.ndarray], batch: int) -> None:
        """Refuse outputs whose shapes are not those of the model.

        Raises:
            LaneError: with the expected and the actual shape.
        """
        expected = self._shapes(batch)
        got = [output.shape for output in outputs]
        if len(got) != len(expected) or not all(map(_fits, got, expected)):
            raise LaneError(f'model output: expected shapes {expected}, got {got}')

    def detections(
        self,
        outputs: Sequence[np.ndarray],
        index: int,
        box: Letterbox,
        thresholds: Thresholds,
    ) -> Detections:
        """Return one image's detections, best first.

        Args:
            outputs: head outputs of the batch, in the order of ``HeadSpec.outputs``.
            index: which image of the batch.
            box: the letterbox it was fed with.
            thresholds: what counts as a detection in it.
        """
        found = self._decode(outputs, index, thresholds)
        found = replace(found, xyxy=box.to_source(found.xyxy))
        labels = self._labels
        if rules := thresholds.rules:
            found, labels = _wanted(found, rules, box), rules.labels
        order = np.argsort(-found.score, kind='stable')[:MAX_CANDIDATES]
        xyxy, score, class_id = found.xyxy[order], found.score[order], found.class_id[order]
        keep: np.ndarray | slice = slice(thresholds.max_detections)
        if not self._suppressed:
            groups = None if thresholds.class_agnostic else class_id
            keep = nms(xyxy, thresholds.nms_iou, groups)[: thresholds.max_detections]
        if thresholds.clip_boxes:
            size = (box.source_width, box.source_height)
            xyxy = np.clip(xyxy, 0, np.array(size * 2, np.float32))
        result = Detections(xyxy[keep], score[keep], class_id[keep].astype(np.int32), labels)
        if self._suppressed and rules and len(merged := merged_ids(rules)):
            return without_rivals(result, merged, thresholds.nms_iou)
        return result


def _fits(got: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Return whether a shape is the expected one, in which -1 stands for any number."""
    return len(got) == len(expected) and all(
        want in (-1, have) for have, want in zip(got, expected, strict=True)
    )


def _wanted(found: Candidates, rules: Rules, box: Letterbox) -> Candidates:
    """Return the candidates that count, boxes in source pixels, classes as they are published."""
    counts = found.score > rules.scores[found.class_id]
    if len(rules.edges):
        x, y = ((found.xyxy[:, k] + found.xyxy[:, k + 2]) / 2 for k in (0, 1))
        counts &= ~inside(rules.edges, x, y, box.source_width, box.source_height)
    class_id = rules.class_ids[found.class_id[counts]]
    return Candidates(found.xyxy[counts], found.score[counts], class_id)
