"""The reference photographs: how YOLOX's own way of counting widths changes NMS there."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from matching import differences
from test_postprocess import suppress

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.detect.nms import nms
from yolox_trt_ros.detector import Detector

SCORE, IOU = 0.3, 0.45


@pytest.fixture(scope='module')
def unsuppressed(real: Path) -> dict[str, dict[str, Detections]]:
    """Return every photograph's boxes above the score threshold, before NMS."""
    results: dict[str, dict[str, Detections]] = {}
    for kind in ('class_agnostic', 'class_aware'):
        with Detector(
            real / 'yolox_nano_coco.onnx',
            labels=real / 'coco_classes.txt',
            score_threshold=SCORE,
            nms_iou=1.0,
            class_agnostic=kind == 'class_agnostic',
            max_detections=10_000,
        ) as detect:
            for file in sorted((real / 'images').iterdir()):
                results.setdefault(file.name, {})[kind] = detect(cv2.imread(str(file)))
    return results


@pytest.mark.parametrize('kind', ['class_agnostic', 'class_aware'])
def test_widths_counted_plus_one_change_nothing_here(
    unsuppressed: dict[str, dict[str, Detections]], real: Path, kind: str
) -> None:
    reference = json.loads((real / 'reference_detections.json').read_text())['images']
    suppressed = 0
    for name, kinds in unsuppressed.items():
        found = kinds[kind]
        groups = np.zeros(len(found), int) if kind == 'class_agnostic' else found.class_id
        rows = np.column_stack((found.xyxy, found.score, found.class_id)).tolist()
        plain = nms(found.xyxy, IOU, groups).tolist()
        plus_one = suppress(rows, IOU, groups.tolist(), extra=1)
        assert plain == plus_one, name
        assert not differences([rows[i] for i in plus_one], reference[name][kind]), name
        suppressed += len(rows) - len(plain)
    assert len(unsuppressed) == 50
    assert suppressed > 100, 'NMS had nothing to decide'
