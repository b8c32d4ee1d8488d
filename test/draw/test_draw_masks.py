"""Masks over pictures."""

import numpy as np

from yolox_trt_ros.core.segmentation import Segmentation
from yolox_trt_ros.draw.masks import draw_mask


def test_a_mask_colours_what_it_covers_and_nothing_else() -> None:
    picture = np.full((8, 12, 3), 100, np.uint8)
    bgr = np.zeros((256, 3), np.uint8)
    bgr[1], bgr[2] = (0, 0, 200), (200, 0, 0)
    draw_mask(picture, Segmentation(np.array([[1, 2]], np.uint8), (2, 2, 4, 4)), bgr)
    assert (picture[2:6, 2:4] == picture[2, 2]).all() and picture[2, 2, 2] > 100 > picture[2, 2, 0]
    assert picture[2, 4, 0] > 100 > picture[2, 4, 2]
    picture[2:6, 2:6] = 100
    assert (picture == 100).all()
