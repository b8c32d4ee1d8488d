"""Class masks as data: their windows in the network's map, and what they say of an image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.model import InputSpec, Letterbox
from yolox_trt_ros.core.segmentation import Segmentation, SegmentationSpec

IMAGE = InputSpec('images', 0, 608, 960)
SIDES = st.integers(16, 4000)


@given(SIDES, SIDES, st.sampled_from([1, 4, 8]))
def test_the_window_is_the_one_that_autoware_crops(width: int, height: int, stride: int) -> None:
    spec = SegmentationSpec('masks', (16, 608 // stride, 960 // stride), stride)
    window = spec.window(Letterbox.fit(height, width, IMAGE), IMAGE)
    scale = min(spec.width / width, spec.height / height)
    assert window == (0, 0, max(1, int(width * scale)), max(1, int(height * scale)))


@given(SIDES, SIDES, st.sampled_from(['centre', 'stretch']))
def test_windows_lie_in_the_map(width: int, height: int, letterbox: str) -> None:
    image = InputSpec('images', 0, 608, 960, letterbox=letterbox)  # type: ignore[arg-type]
    spec = SegmentationSpec('masks', (3, 152, 240), 4)
    left, top, columns, rows = spec.window(Letterbox.fit(height, width, image), image)
    assert left >= 0 and top >= 0 and columns >= 1 and rows >= 1
    assert left + columns <= 240 and top + rows <= 152
    if letterbox == 'stretch':
        assert (columns, rows) == (240, 152)


def test_a_mask_has_the_classes_of_the_image() -> None:
    cells = np.array([[0, 1], [2, 1]], np.uint8)
    mask = Segmentation(cells, (0, 0, 4, 4), ('road', 'car', 'sky'))
    assert mask.at(4, 4).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 1, 1], [2, 2, 1, 1]]
    assert mask.mask('car', 'sky').tolist() == [[False, True], [True, True]]
    assert (mask.label(2), mask.label(7)) == ('sky', '7')
    with pytest.raises(ValueError, match='did you mean "road"'):
        mask.mask('roads')


def test_what_the_network_did_not_see_has_no_class() -> None:
    cells = np.array([[1, 2]], np.uint8)
    seen = Segmentation(cells, (2, 1, 2, 2)).at(4, 6, outside=255)
    assert (seen[1:3, 2:4] == [[1, 2], [1, 2]]).all()
    assert (seen == 255).sum() == 20


def test_arrays_that_are_no_masks_are_refused() -> None:
    with pytest.raises(ValueError, match='expected uint8'):
        Segmentation(np.zeros((2, 2), np.int32), (0, 0, 2, 2))
