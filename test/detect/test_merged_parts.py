"""Detections in an image and in parts of it become those of the image, each object once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame, Part
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.merged_parts import merged_images, merged_parts
from yolox_trt_ros.detect.nms import nms

LIMITS = Thresholds()
LEFT, RIGHT = (200, 100, 200, 100), (340, 100, 200, 100)


def boxes(*rows: tuple[float, ...]) -> Detections:
    """Return detections of rows: left, top, right, bottom, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32), ('car', 'person'))


def image(*crops: Part, part: Part | None = None) -> Frame:
    data = np.zeros(0, np.uint8)
    return Frame('a', 0, 0, 0, '', 'mono8', 400, 800, 800, data, part=part, crops=crops)


def merged(frame: Frame, *found: Detections, limits: Thresholds = LIMITS) -> list[Any]:
    result = merged_parts(found, frame, limits)
    assert result.labels == ('car', 'person') and list(result.score) == sorted(result.score)[::-1]
    rows = zip(result.xyxy.tolist(), result.score.tolist(), result.class_id.tolist(), strict=True)
    return [(*map(round, box), round(score, 2), number) for box, score, number in rows]


def test_an_object_that_image_and_crop_see_is_one() -> None:
    seen = boxes((250, 120, 290, 150, 0.5, 0)), boxes((252, 121, 291, 150, 0.9, 0))
    assert merged(image(LEFT), *seen) == [(252, 121, 291, 150, 0.9, 0)]


def test_what_only_one_of_them_sees_stays() -> None:
    seen = boxes((20, 20, 80, 90, 0.8, 0)), boxes((250, 120, 262, 130, 0.7, 0))
    assert len(merged(image(LEFT), *seen)) == 2


@pytest.mark.parametrize('cut', [(300, 110, 399, 190), (201, 110, 290, 190), (250, 150, 350, 200)])
def test_a_box_that_the_border_of_a_crop_has_cut_yields_to_the_whole(cut: Any) -> None:
    whole = (150, 105, 480, 240)  # so large that the cut one does not overlap enough of it
    seen = boxes((*whole, 0.5, 0)), boxes((*cut, 0.9, 0))
    assert merged(image(LEFT), *seen) == [(*whole, 0.5, 0)]


def test_it_yields_to_the_part_beside_it() -> None:
    seen = boxes(), boxes((360, 120, 400, 150, 0.9, 0)), boxes((362, 121, 430, 151, 0.5, 0))
    assert merged(image(LEFT, RIGHT), *seen) == [(362, 121, 430, 151, 0.5, 0)]


def test_it_stays_where_nobody_sees_the_rest_or_another_class_is_there() -> None:
    cut = (300, 110, 399, 190, 0.9, 0)
    assert merged(image(LEFT), boxes(), boxes(cut)) == [cut]
    other = (150, 105, 480, 240, 0.5, 1)
    assert merged(image(LEFT), boxes(other), boxes(cut)) == [cut, other]
    agnostic = Thresholds(class_agnostic=True)
    assert merged(image(LEFT), boxes(other), boxes(cut), limits=agnostic) == [other]


def test_the_border_of_the_image_cuts_nothing() -> None:
    corner = (0, 0, 200, 100)
    seen = boxes((0, 0, 190, 95, 0.5, 0)), boxes((0, 0, 60, 50, 0.9, 0))
    assert len(merged(image(corner), *seen)) == 2  # a small car before a large one


def test_a_crop_beside_the_part_that_the_camera_shows() -> None:
    part = (0, 0, 400, 400)
    seen = boxes((300, 110, 400, 190, 0.9, 0)), boxes((301, 112, 480, 191, 0.4, 0))
    assert merged(image((200, 0, 600, 400), part=part), *seen) == [(301, 112, 480, 191, 0.4, 0)]


def test_what_overlaps_within_one_part_is_left_to_the_model() -> None:
    """Heads of final boxes suppress nothing, and nobody does it for them here either."""
    pair = boxes((20, 20, 80, 90, 0.8, 0), (22, 20, 82, 90, 0.7, 0))
    assert len(merged(image(LEFT), pair, boxes())) == 2


def test_the_best_stay_where_there_are_too_many() -> None:
    seen = boxes((20, 20, 80, 90, 0.3, 0)), boxes((250, 120, 262, 130, 0.7, 0))
    assert merged(image(LEFT), *seen, limits=Thresholds(max_detections=1))[0][4] == 0.7


def test_images_without_crops_stay_as_they_are() -> None:
    found = [boxes((1, 2, 3, 4, 0.5, 0)), boxes((5, 5, 9, 9, 0.5, 1)), boxes()]
    alone, some = merged_images(found, [image(), image(LEFT)], LIMITS)
    assert alone is found[0] and len(some) == 1


box = st.tuples(
    st.integers(0, 700), st.integers(0, 300), st.integers(4, 90), st.integers(4, 90),
    st.integers(1, 1000), st.integers(0, 1),
)  # fmt: skip


@given(st.lists(st.lists(box, max_size=8), min_size=3, max_size=3))
def test_nothing_is_found_twice_and_nothing_is_made_up(rows: list[Any]) -> None:
    found = [boxes(*[(x, y, x + w, y + h, s / 1000, c) for x, y, w, h, s, c in part])
             for part in rows]  # fmt: skip
    alone = [one[nms(one.xyxy, LIMITS.nms_iou, one.class_id)] for one in found]
    result = merged_parts(alone, image(LEFT, RIGHT), LIMITS)
    given_rows = {(*b, s, c) for one in alone for b, s, c in
                  zip(map(tuple, one.xyxy.tolist()), one.score.tolist(), one.class_id.tolist(),
                      strict=True)}  # fmt: skip
    kept = {(*b, s, c) for b, s, c in
            zip(map(tuple, result.xyxy.tolist()), result.score.tolist(), result.class_id.tolist(),
                strict=True)}  # fmt: skip
    assert kept <= given_rows
    assert len(nms(result.xyxy, LIMITS.nms_iou + 1e-6, result.class_id)) == len(result)
