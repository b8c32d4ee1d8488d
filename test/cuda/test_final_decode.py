"""Final boxes on the device: what the CPU reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_dense_decode import IMAGE, check

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.heads.final.head import Column, FinalHead

ROWS, CLASSES = 300, 80
ONE = FinalHead(('rows',), CLASSES, ROWS, (6,), Column(0), Column(0, 4), Column(0, 5))
NMS = FinalHead(
    ('num', 'boxes', 'scores', 'classes'), CLASSES, ROWS, (0, 4, 1, 1),
    Column(1), Column(2), Column(3), count=0, types=('int32', '', '', 'int32'),
    squeezed=(False, False, True, True),
)  # fmt: skip
DETS = FinalHead(
    ('dets', 'labels'), CLASSES, ROWS, (5, 1), Column(0), Column(0, 4), Column(1),
    unit=(160.0, 96.0), types=('', 'int64'), squeezed=(False, True),
)  # fmt: skip


def rows(head: FinalHead, seed: int, batch: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return corners, scores and classes, some of which are none."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(-5, 90, (batch, ROWS, 2))
    boxes = np.concatenate((first, first + rng.uniform(1, 60, first.shape)), axis=2)
    scores = np.sort(rng.uniform(0, 1, (batch, ROWS)))[:, ::-1]
    classes = rng.integers(-1, CLASSES + 2, (batch, ROWS))
    return boxes / (head.unit * 2), scores, classes


def outputs_of(head: FinalHead, seed: int, dtype: type = np.float32) -> list[np.ndarray]:
    boxes, scores, classes = rows(head, seed)
    if head is ONE:
        return [np.concatenate((boxes, scores[..., None], classes[..., None]), 2).astype(dtype)]
    if head is NMS:
        valid = np.array([[ROWS], [7], [0]], np.int32)
        return [valid, boxes.astype(dtype), scores.astype(dtype), classes.astype(np.int32)]
    dets = np.concatenate((boxes, scores[..., None]), axis=2).astype(dtype)
    return [dets, classes.astype(np.int64)]


@pytest.mark.parametrize('class_agnostic', [False, True])
@pytest.mark.parametrize('dtype', [np.float32, np.float16])
@pytest.mark.parametrize('head', [ONE, NMS, DETS], ids=['rows', 'count', 'labels'])
def test_random_boxes(head: FinalHead, dtype: type, class_agnostic: bool, device: Any) -> None:
    limits = Thresholds(class_agnostic=class_agnostic, max_detections=1000)
    found = check(device, head, outputs_of(head, 1, dtype), limits)
    expected = [True, head is not NMS, head is not NMS]
    assert [len(one) > 100 for one in found] == expected


@pytest.mark.parametrize('head', [ONE, NMS, DETS], ids=['rows', 'count', 'labels'])
def test_undefined_and_infinite_numbers(head: FinalHead, device: Any) -> None:
    outputs = outputs_of(head, 2)
    rng = np.random.default_rng(3)
    for output in outputs:
        if output.dtype.kind == 'f':
            for value in (np.nan, -np.inf):
                output.reshape(-1)[rng.integers(0, output.size, output.size // 40)] = value
    found = check(device, head, outputs)
    assert len(found[0]) > 50 and all(np.isfinite(one.xyxy).all() for one in found)


def test_an_open_number_of_boxes_is_for_the_cpu(device: Any) -> None:
    head = FinalHead(('rows',), CLASSES, -1, (6,), Column(0), Column(0, 4), Column(0, 5))
    with pytest.raises(ConfigError, match='leaves open how many boxes it gives'):
        head.cuda_reader(IMAGE, [0])
    assert head.batched(IMAGE, 2) == [(2, -1, 6)]
