"""IoU of class masks, against a plain count of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.segmentation import Segmentation
from yolox_trt_ros.evaluation.mask_metrics import IGNORED, MaskScore

CLASSES = ('sky', 'ground', 'car')
CELLS = arrays(np.uint8, (4, 6), elements=st.sampled_from([0, 1, 2, IGNORED]))
MASKS = arrays(np.uint8, (2, 3), elements=st.integers(0, 3))


def whole(cells: np.ndarray) -> Segmentation:
    return Segmentation(cells, (0, 0, 6, 4))


@settings(max_examples=25)
@given(st.lists(st.tuples(CELLS, MASKS), min_size=1, max_size=3))
def test_figures_are_those_of_all_pixels_together(pictures: list) -> None:
    score = MaskScore(CLASSES, ('sky', 'Ground', 'car', 'wall'))
    for truth, cells in pictures:
        score.add(truth, whole(cells))
    true = np.concatenate([truth.ravel() for truth, _ in pictures])
    said = np.concatenate([cells.repeat(2, 0).repeat(2, 1).ravel() for _, cells in pictures])
    true, said = true[true != IGNORED], said[true != IGNORED]
    found, ious = score.figures(), []
    for number, name in enumerate(CLASSES):
        both = ((true == number) & (said == number)).sum()
        either = ((true == number) | (said == number)).sum()
        iou = found['per_class'][name]['iou']
        assert (iou is None) == (either == 0)
        if either:
            assert iou == pytest.approx(both / either)
            ious.append(iou)
    assert found['miou'] == (pytest.approx(np.mean(ious)) if ious else None)
    assert found['pixel_accuracy'] == (pytest.approx((true == said).mean()) if len(true) else None)


def test_only_the_part_that_the_network_saw_counts() -> None:
    score = MaskScore(CLASSES, CLASSES)
    truth = np.ones((4, 6), np.uint8)
    score.add(truth, Segmentation(np.full((1, 1), 1, np.uint8), (2, 1, 3, 2)))
    assert score.counts.sum() == 6 and score.figures()['miou'] == 1.0


def test_masks_without_names_or_of_other_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match='segmentation_labels'):
        MaskScore(CLASSES, ())
    with pytest.raises(ConfigError, match='masks have wall; none of these is labelled'):
        MaskScore(CLASSES, ('wall',))
