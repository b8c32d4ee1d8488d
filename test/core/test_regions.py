"""Ignored parts of images, against another point-in-polygon test."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.regions import MOST_EDGES, edges_of, inside

WIDTH, HEIGHT = 64, 48


def covered(regions: list[str], x: float, y: float) -> bool:
    point = (np.array([v], np.float32) for v in (x, y))
    return bool(inside(edges_of(regions), *point, WIDTH, HEIGHT)[0])


def pixels(regions: list[str]) -> np.ndarray:
    """Return which pixel centres are covered, bool (HEIGHT, WIDTH)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32) + np.float32(0.5)
    found = inside(edges_of(regions), x.ravel(), y.ravel(), WIDTH, HEIGHT)
    return found.reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ('region', 'first', 'last'),
    [
        ('rows 10-20', 10, 20),
        ('rows 40-', 40, HEIGHT),
        ('rows -5', 0, 5),
        ('rows 75%-', 36, HEIGHT),
        ('rows 25%-50%', 12, 24),
    ],
)
def test_rows(region: str, first: int, last: int) -> None:
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[first:last] = True
    assert np.array_equal(pixels([region]), expected)


def test_rows_reach_beyond_the_border_as_boxes_do() -> None:
    assert covered(['rows 40-'], -30, 45)
    assert covered(['rows 40-'], 10, 500)
    assert covered(['rows -5'], WIDTH + 30, -20)


def test_no_region_covers_nothing() -> None:
    assert not pixels([]).any()


CORNER = st.tuples(st.integers(-10, WIDTH + 10), st.integers(-10, HEIGHT + 10))


@given(st.lists(CORNER, min_size=3, max_size=3, unique=True), CORNER)
def test_a_triangle_covers_what_opencv_says(
    corners: list[tuple[int, int]], at: tuple[int, int]
) -> None:
    x, y = at[0] + 0.25, at[1] + 0.4  # on no line between whole corners that is near
    contour = np.array(corners, np.float32)
    distance = cv2.pointPolygonTest(contour, (x, y), True)
    if abs(distance) < 1e-3 or abs(cv2.contourArea(contour)) < 1e-3:
        return
    polygon = 'polygon ' + ' '.join(f'{a},{b}' for a, b in corners)
    assert covered([polygon], x, y) == (distance > 0)


def test_regions_add_up_whatever_their_direction() -> None:
    square, same = 'polygon 5,5 30,5 30,30 5,30', 'polygon 5,30 30,30 30,5 5,5'
    assert np.array_equal(pixels([square]), pixels([same]))
    assert np.array_equal(pixels([square, same]), pixels([square]))
    both = pixels(['polygon 20,20 60,20 60,40 20,40', square])
    assert both[22, 22] and both[10, 10] and both[35, 50] and not both[10, 50]


def test_shares_follow_the_size_of_the_image() -> None:
    edges = edges_of(['polygon 50%,50% 100%,50% 100%,100% 50%,100%'])
    x, y = np.array([90], np.float32), np.array([60], np.float32)
    assert inside(edges, x, y, 100, 80).all()
    assert not inside(edges, x, y, 200, 80).any()


@pytest.mark.parametrize(
    ('region', 'message'),
    [
        ('row 1-2', 'did you mean "rows"'),
        ('rows 5', 'expected rows FIRST-LAST'),
        ('rows -', 'expected rows FIRST-LAST'),
        ('rows 9-3', 'first row above the last'),
        ('rows 90%-3%', 'first row above the last'),
        ('rows a-b', 'expected a number of pixels'),
        ('polygon 1,2 3,4', 'at least 3 corners, got 2'),
        ('polygon 1,2 3,4 5', 'expected X,Y, got "5"'),
        ('polygon 1,2 3,4 5,6e9', 'expected a number of pixels'),
        ('', 'no kind of region'),
    ],
)
def test_what_is_no_region_is_refused(region: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        edges_of([region])


def test_more_corners_than_kernels_should_look_at_are_refused() -> None:
    corners = ' '.join(f'{i},{i * i}' for i in range(MOST_EDGES + 1))
    with pytest.raises(ConfigError, match=f'at most {MOST_EDGES} corners'):
        edges_of([f'polygon {corners}'])
