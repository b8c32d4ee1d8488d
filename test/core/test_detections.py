"""Detections as their users hold them: objects, parts, classes, other libraries."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from yolox_trt_ros import Detection, Detections, MissingDependencyError

LABELS = ('car', 'person', 'bus')
FOUND = Detections(
    np.arange(16, dtype=np.float32).reshape(4, 4),
    np.array([0.75, 0.5, 0.25, 0.125], np.float32),
    np.array([2, 0, 2, 1], np.int32),
    LABELS,
)


def test_each_detection() -> None:
    assert list(FOUND)[1] == FOUND[1] == FOUND[-3] == Detection('car', 0.5, (4, 5, 6, 7), 0)
    assert [one.label for one in FOUND] == ['bus', 'car', 'bus', 'person']
    assert len(FOUND) == 4 and FOUND and not Detections.empty() and list(Detections.empty()) == []
    with pytest.raises(IndexError):
        FOUND[4]


def test_parts() -> None:
    for index in (
        FOUND.mask('bus'),
        slice(0, 3, 2),
        [0, 2],
        np.array([0, 2]),
        FOUND.mask('bus', 'car') & (FOUND.score != 0.5),
    ):
        part = FOUND[index]
        assert part.score.tolist() == [0.75, 0.25] and part.xyxy[1, 0] == 8
        assert part.labels is LABELS and part[1].label == 'bus'
    assert not FOUND.mask().any()


def test_a_class_that_the_model_does_not_have() -> None:
    with pytest.raises(ValueError, match=r'got "buss" — did you mean "bus"\?'):
        FOUND.mask('buss')


def test_without_labels_a_class_is_its_number() -> None:
    bare = Detections(FOUND.xyxy, FOUND.score, FOUND.class_id)
    assert [one.label for one in bare] == ['2', '0', '2', '1']


def test_as_supervision_has_them() -> None:
    supervision = pytest.importorskip('supervision')
    for found in (FOUND, Detections.empty()):
        theirs = found.to_supervision()
        assert isinstance(theirs, supervision.Detections) and len(theirs) == len(found)
        assert np.array_equal(theirs.xyxy, found.xyxy)
        assert np.array_equal(theirs.confidence, found.score)
        assert theirs.class_id.tolist() == found.class_id.tolist()
        assert list(theirs.data['class_name']) == [one.label for one in found]


def test_supervision_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'supervision', None)
    with pytest.raises(MissingDependencyError, match='pip install supervision'):
        FOUND.to_supervision()
