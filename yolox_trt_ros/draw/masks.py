"""Lay class masks over a picture, for people."""

from __future__ import annotations

import cv2
import numpy as np

from yolox_trt_ros.core.colours import class_colours
from yolox_trt_ros.core.segmentation import MOST_CLASSES, Segmentation

SHARE = 0.45
"""Of the mask's colour in each pixel that it covers."""


def draw_mask(drawn: np.ndarray, mask: Segmentation, bgr: np.ndarray | None = None) -> None:
    """Colour a picture by the classes of its pixels, in place.

    Args:
        drawn: uint8 (height, width, 3) BGR; the mask's source image, in any size.
        mask: of that image; what lies outside its region stays as it is.
        bgr: uint8 (256, 3), colours of the classes; None: :func:`class_colours`.
    """
    colours = class_colours(MOST_CLASSES) if bgr is None else bgr
    left, top, width, height = mask.region
    part = drawn[top : top + height, left : left + width]
    if not part.size:
        return
    wide = cv2.resize(
        mask.class_id, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_NEAREST
    )
    cv2.addWeighted(part, 1 - SHARE, colours[wide], SHARE, 0.0, dst=part)
