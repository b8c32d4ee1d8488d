"""Counting right, missed and wrong detections."""

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.evaluation.matching import SharedClasses, Tally, iou


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(
        np.ascontiguousarray(table[:, :4]), table[:, 4].copy(), table[:, 5].astype(np.int32)
    )


TRUTH = boxes((0, 0, 10, 10, 1, 0), (20, 20, 30, 30, 1, 1), (40, 40, 50, 50, 0, 0))


def tallied(*rows):
    tally = Tally()
    tally.add(boxes(*rows), TRUTH)
    return tally.right, tally.missed, tally.wrong


def test_tally():
    assert tallied() == (0, 2, 0)
    assert tallied((0, 0, 10, 9, 0.9, 0)) == (1, 1, 0)
    assert tallied((0, 0, 10, 9, 0.9, 1)) == (0, 2, 1), 'wrong class'
    assert tallied((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0)) == (1, 1, 1), 'found twice'
    assert tallied((40, 40, 50, 50, 0.9, 0)) == (0, 2, 0), 'ignored'
    assert tallied((60, 60, 70, 70, 0.9, 0)) == (0, 2, 1)


def test_nothing_labelled_has_no_recall():
    tally = Tally()
    tally.add(boxes(), boxes())
    assert tally.report() == {'images': 1, 'labelled': 0, 'recall': None, 'precision': None}


def test_classes_are_compared_by_name_and_only_those_both_know():
    classes = SharedClasses(('person', 'bus', 'car'), ('car', 'truck', 'bus'))
    assert classes.names == ['car', 'bus']
    found = classes.found(boxes((0, 0, 9, 9, 0.9, 0), (1, 1, 9, 9, 0.8, 2), (2, 2, 9, 9, 0.7, 1)))
    assert found.class_id.tolist() == [0, 1] and found.xyxy[:, 0].tolist() == [1, 2]
    truth = classes.truth(boxes((0, 0, 9, 9, 1, 0), (1, 1, 9, 9, 1, 1), (2, 2, 9, 9, 0, 2)))
    assert truth.score.tolist() == [1, 0, 0], 'a truck is not asked of a model that knows none'
    assert truth.class_id[[0, 2]].tolist() == [0, 1]


def test_iou_of_touching_and_equal_boxes():
    a = np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 2, 2], [2, 0, 4, 2], [1, 0, 3, 2]], np.float32)
    np.testing.assert_allclose(iou(a, b), [[1, 0, 1 / 3], [0, 0, 0]], atol=1e-6)
