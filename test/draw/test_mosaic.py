"""Cameras stand in the mosaic where they look; pictures and captions end up in their tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.draw.captions import LEVELS, Line, draw_caption, draw_stale, draw_table
from yolox_trt_ros.draw.mosaic import BACKGROUND, Mosaic, fit_into, layout
from yolox_trt_ros.vehicle_files import load_vehicle


def cameras(*yaws_and_lefts: tuple[float, float]) -> tuple[CameraConfig, ...]:
    names = [f'c{i}' for i in range(len(yaws_and_lefts))]
    flat: dict[str, Any] = {'camera_names': names, 'lane_names': ['cpu0']}
    for name, (yaw, left) in zip(names, yaws_and_lefts, strict=True):
        flat |= {f'cameras.{name}.rig.yaw_deg': yaw, f'cameras.{name}.rig.y_m': left}
    return Config.from_parameters(flat).cameras


@pytest.mark.parametrize('vehicle', ['orin_8cam', 'laptop_8cam'])
def test_eight_cameras_stand_around_the_car(vehicle: str) -> None:
    grid = layout(load_vehicle(vehicle).cameras)
    names = {place: name for name, place in grid.places.items()}
    assert [[names.get((r, c), '') for c in range(3)] for r in range(3)] == [
        ['front_tele', 'front_wide', 'front_low'],
        ['front_left', '', 'front_right'],
        ['rear_left', 'rear', 'rear_right'],
    ]
    assert (grid.rows, grid.columns, grid.free) == (3, 3, (1, 1))


def test_without_a_rig_there_is_a_plain_grid() -> None:
    grid = layout(cameras(*[(0.0, 0.0)] * 5))
    assert list(grid.places.values()) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert grid.free == (1, 2)


def test_one_ahead_and_one_behind_stand_above_each_other() -> None:
    assert layout(cameras((0, 0), (180, 0))).places == {'c0': (0, 0), 'c1': (1, 0)}


@given(
    st.lists(st.tuples(st.floats(-360, 360), st.floats(-3, 3)), min_size=1, max_size=8),
)
def test_every_camera_has_a_place_of_its_own(rigs: list[tuple[float, float]]) -> None:
    grid = layout(cameras(*rigs))
    places = list(grid.places.values())
    assert len(set(places)) == len(places) == len(rigs)
    assert all(0 <= r < grid.rows and 0 <= c < grid.columns for r, c in places)
    assert grid.rows * grid.columns <= 30
    assert grid.free not in places
    for name, (yaw, _) in zip(grid.places.keys() & {'c0'}, rigs[:1], strict=True):
        turned = (yaw + 180) % 360 - 180
        if 30 < turned < 150:  # looks left: the left edge
            assert grid.places[name][1] == 0


def test_pictures_are_fitted_into_their_tiles() -> None:
    mosaic = Mosaic(load_vehicle('orin_8cam').cameras, 900)
    assert mosaic.tile == (300, 200)
    mosaic.put('rear_left', np.full((128, 192, 3), 255, np.uint8), '')
    tile = mosaic.picture[400:600, :300]
    assert (tile[50:150, 50:250] == 255).all()
    outside = mosaic.picture.copy()
    outside[400:600, :300] = BACKGROUND
    before = Mosaic(load_vehicle('orin_8cam').cameras, 900).picture
    before[400:600, :300] = BACKGROUND
    np.testing.assert_array_equal(outside, before)  # no other tile was touched
    mosaic.put('rear_left', None, '')
    assert (mosaic.picture[400:600, :300] == BACKGROUND).all()


@given(st.integers(1, 500), st.integers(1, 500), st.integers(8, 400), st.integers(8, 400))
def test_fitting_keeps_the_aspect(h: int, w: int, width: int, height: int) -> None:
    fitted = fit_into(np.zeros((h, w, 3), np.uint8), (width, height))
    assert fitted.shape[0] <= height and fitted.shape[1] <= width
    scale = min(width / w, height / h)
    assert abs(fitted.shape[0] - h * scale) <= 1 and abs(fitted.shape[1] - w * scale) <= 1


def test_a_stale_picture_is_dark_and_says_so() -> None:
    image = np.full((200, 300, 3), 200, np.uint8)
    draw_stale(image, 'STALE: no image for 3.2 s')
    assert (image[-20:] == 100).all()
    red = (image[..., 2] > 150) & (image[..., 0] < 100)
    assert red.sum() > 500


def test_a_caption_covers_the_upper_left_corner_only() -> None:
    image = np.full((200, 300, 3), 200, np.uint8)
    draw_caption(image, 'front')
    assert (image[40:] == 200).all() and (image[:10, :20] != 200).any()


@pytest.mark.parametrize('count', [0, 3, 40])
def test_a_table_shows_levels_in_their_colours(count: int) -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    draw_table(image, 'states', [Line(i % 4, f'camera {i} ' + 'x' * 30) for i in range(count)])
    for _, colour in LEVELS[: min(count, 4)]:
        assert (image == colour).all(axis=2).sum() > 10
    assert (image[:, -4:] == image[0, 0]).all()  # no line is cut off at the edge
