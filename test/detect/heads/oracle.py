"""Detections by other programs: ONNX Runtime's numbers, and ONNX's own NonMaxSuppression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from onnx import helper
from onnx.reference import ReferenceEvaluator

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import ModelSpec, Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.model import load_model_spec


def run(path: Path, fed: np.ndarray) -> list[np.ndarray]:
    """Return a model's outputs."""
    session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return list(session.run(None, {session.get_inputs()[0].name: fed}))


def centred(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, float, int, int]:
    """Return RGB / 255 [1, 3, height, width], the scale, and the left and top border."""
    scale = min(height / image.shape[0], width / image.shape[1])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    small = cv2.resize(image, size)
    whole = cv2.copyMakeBorder(
        small, top, height - size[1] - top, left, width - size[0] - left,
        cv2.BORDER_CONSTANT, value=(114, 114, 114),
    )  # fmt: skip
    fed = whole[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    return fed, scale, left, top


def suppressed(
    boxes: np.ndarray, scores: np.ndarray, limits: Thresholds, centre: bool
) -> np.ndarray:
    """Return rows of class, score and corners by ONNX's NonMaxSuppression, class by class.

    Args:
        boxes: (anchors, 4).
        scores: (anchors, classes).
        limits: thresholds.
        centre: whether boxes are centre and size.
    """
    node = helper.make_node(
        'NonMaxSuppression', ['b', 's', 'most', 'iou', 'score'], ['kept'],
        center_point_box=int(centre),
    )  # fmt: skip
    (kept,) = ReferenceEvaluator(node).run(
        None,
        {
            'b': boxes[None].astype(np.float32),
            's': scores.T[None].astype(np.float32),
            'most': np.array([1000], np.int64),
            'iou': np.array([limits.nms_iou], np.float32),
            'score': np.array([limits.score], np.float32),
        },
    )
    _, class_id, anchor = np.asarray(kept).T
    rows = boxes[anchor].astype(np.float64)
    if centre:
        half = rows[:, 2:] / 2
        rows = np.concatenate((rows[:, :2] - half, rows[:, :2] + half), axis=1)
    return np.column_stack((class_id, scores[anchor, class_id], rows))


def detected(
    path: Path, images: Sequence[np.ndarray], limits: Thresholds, spec: ModelSpec | None = None
) -> list[Detections]:
    """Return what the CPU's detector finds, in as large batches as the model takes."""
    spec = spec or load_model_spec(path)
    batch = spec.input.batch or len(images)
    detector = cpu_detector(path, spec, lambda: limits, batch, 1)
    frames = [Frame.of(image) for image in images]
    groups = [frames[i : i + batch] for i in range(0, len(frames), batch)]
    results = [one for group in groups for one in detector.submit(group).wait()]
    assert all(isinstance(one, Detected) for one in results), results
    return [one.detections for one in results if isinstance(one, Detected)]


def assert_same(found: Detections, rows: np.ndarray, at_least: int = 5) -> None:
    """Compare detections with rows of class, score and corners: IoU ≥ 0.99, score within 0.005."""
    assert len(found) == len(rows) >= at_least
    waiting = rows.tolist()
    for box, score, class_id in zip(found.xyxy, found.score, found.class_id, strict=True):
        best = max(
            (row for row in waiting if row[0] == class_id and abs(row[1] - score) < 5e-3),
            key=lambda row: iou(box, row[2:]),
            default=None,
        )
        assert best is not None and iou(box, best[2:]) >= 0.99, (box, score, class_id)
        waiting.remove(best)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the overlap of two boxes."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(across, 0) * max(down, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return float(both / (area - both))
