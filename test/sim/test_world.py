"""The rendered world: pictures, ground truth and geometry agree, and repeat."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.sim.world import dataset, scene, truth
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.sim.world.rig import PinholeCamera, default_rig
from yolox_trt_ros.sim.world.stage import number_colour, numbers
from yolox_trt_ros.sim.world.world import World

ANGLE = st.floats(-180, 180)
RIG = default_rig()


def camera(**changes: float) -> PinholeCamera:
    return dataclasses.replace(RIG['front_wide'], **changes)


@given(ANGLE, ANGLE, ANGLE)
def test_rotation_is_a_rotation(roll, pitch, yaw):
    r = camera(roll_deg=roll, pitch_deg=pitch, yaw_deg=yaw).rotation()
    assert np.allclose(r @ r.T, np.eye(3), atol=1e-9)
    assert np.isclose(np.linalg.det(r), 1.0)


@settings(max_examples=20)
@given(ANGLE, st.floats(-60, 60), st.integers(0, 959), st.integers(0, 639), st.floats(0.5, 100))
def test_a_point_on_a_pixels_ray_projects_into_that_pixel(yaw, pitch, u, v, distance):
    c = camera(yaw_deg=yaw, pitch_deg=pitch, cx=470.0, cy=333.0, fy=500.0)
    point = np.array([c.x_m, c.y_m, c.z_m]) + c.rays()[v, u].astype(float) * distance
    pixel, depth = c.project(point[None])
    assert np.allclose(pixel[0], (u + 0.5, v + 0.5), atol=0.05)
    assert np.isclose(depth[0], distance, rtol=1e-4)


def test_yaw_is_positive_to_the_left_and_pitch_looks_down():
    assert np.allclose(camera(yaw_deg=90, pitch_deg=0).rotation()[:, 0], (0, 1, 0))
    assert camera(pitch_deg=10).rotation()[2, 0] < 0


def test_bad_cameras_are_refused():
    with pytest.raises(ConfigError, match='fx is 0'):
        camera(fx=0)
    with pytest.raises(ConfigError, match='hfov_deg is 170'):
        PinholeCamera.from_fov('x', 640, 480, 170)


@given(st.integers(0, 32767), st.integers(-1, 1))
def test_object_numbers_survive_the_rasterisers_rounding(number, error):
    r, g, b, _ = (round(c * 255) + error for c in number_colour(number))
    pixel = np.array([[[b, g, r, 255]]], np.uint8)
    assert numbers(pixel)[0, 0] == number


def test_same_seed_same_pictures_and_truth():
    shots = []
    for _ in range(2):
        with World(11) as world:
            shots.append([world.render(t, RIG['front_left']) for t in (0.0, 1.3)])
    for (one, a), (two, b) in zip(*shots, strict=True):
        assert one.shape == (640, 960, 3)
        assert np.array_equal(one, two)
        assert np.array_equal(a.xyxy, b.xyxy)
    assert not np.array_equal(shots[0][0][0], shots[0][1][0]), 'nothing moves'


def test_other_seeds_are_other_worlds():
    one, two = scene.build(1), scene.build(2)
    assert [i.x for i in one.items] != [i.x for i in two.items]


def test_light_changes_the_picture_and_not_the_truth():
    with World(5) as drawn:
        _, expected = drawn.render(2.0, RIG['rear'])
    for light, least in {'day': 60, 'dusk': 30, 'night': 15}.items():
        with World(5, light, 'clear') as fixed:
            picture, found = fixed.render(2.0, RIG['rear'])
        assert np.array_equal(found.xyxy, expected.xyxy)
        assert np.array_equal(found.track_id, expected.track_id)
        assert least < picture.mean() < 200


def test_unknown_conditions_are_named():
    with pytest.raises(ConfigError, match='did you mean "fog"'):
        World(1, weather='foggy')


@pytest.mark.parametrize(
    'changes',
    [{}, {'roll_deg': 7.0, 'pitch_deg': -4.0}, {'cx': 420.0, 'cy': 350.0, 'fy': 520.0, 'z_m': 2.0}],
)
def test_boxes_are_where_the_pinhole_model_puts_them(changes):
    """The renderer's projection and :meth:`PinholeCamera.project` are the same camera."""
    c, compared = camera(**changes), 0
    for seed in (21, 22, 23):
        with World(seed, 'day', 'clear', samples=1) as world:
            _, found = world.render(1.0, c)
            candidates, _ = world._candidates(1.0, c)
        points = {k.number: k.points for k in candidates}
        for box, seen, track in zip(found.xyxy, found.visibility, found.track_id, strict=True):
            rigid = found.class_id[found.track_id == track][0] < 3
            inside = (box > 2).all() and box[2] < c.width - 2 and box[3] < c.height - 2
            if rigid and inside and seen > 0.98:
                pixel, depth = c.project(points[int(track)])
                if (depth > 1).all():
                    outline = np.concatenate([pixel.min(0), pixel.max(0)])
                    assert np.abs(outline - box).max() < max(3.0, 0.06 * (box[2] - box[0]))
                    compared += 1
    assert compared >= 5


def test_ground_truth_keeps_its_rules():
    with World(31) as world:
        for c in RIG.values():
            _, found = world.render(4.0, c)
            assert (found.xyxy[:, :2] >= 0).all()
            assert (found.xyxy[:, 2] <= c.width).all() and (found.xyxy[:, 3] <= c.height).all()
            assert len(set(found.track_id)) == len(found)
            asked = found.labelled()
            height = asked.xyxy[:, 3] - asked.xyxy[:, 1]
            assert (height >= truth.MIN_HEIGHT * c.height).all()
            assert (asked.visibility >= truth.MIN_VISIBILITY).all()
            assert (asked.xyxy[:, 2:] > asked.xyxy[:, :2]).all()


def test_an_occluder_shrinks_the_visible_extent():
    c = camera()
    front, back = (
        truth.Candidate(
            n, 0, np.array([[x, y, z] for x in (d, d + 4) for y in (-1, 1) for z in (0, 1.5)]), d
        )
        for n, d in ((2, 10.0), (3, 20.0))
    )
    picture = np.ones((c.height, c.width), np.uint16)
    boxes = {}
    for k in (back, front):
        pixel, _ = c.project(k.points)
        (x0, y0), (x1, y1) = pixel.min(0).astype(int), pixel.max(0).astype(int)
        boxes[k.number] = (x0, y0, x1, y1)
        picture[y0:y1, x0:x1] = k.number
    found = truth.extract(picture, c, [front, back], 500.0)
    by_number = dict(zip(found.track_id.tolist(), range(len(found)), strict=True))
    assert tuple(found.xyxy[by_number[2]]) == boxes[2]
    assert 3 not in by_number or found.visibility[by_number[3]] < 0.5


@pytest.mark.parametrize('name', CLASSES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_bodies_stand_on_the_ground_and_fill_their_size(name, seed):
    body = scene.MAKERS[name](np.random.default_rng(seed))
    points = body.corners()
    assert CLASSES[body.class_id] == name
    assert -0.06 < points[:, 2].min() < 0.1
    length, width, height = np.ptp(points, axis=0)
    assert abs(length - body.size[0]) < 0.45 and abs(height - body.size[2]) < 0.5
    assert width < body.size[1] + 0.7


def test_splits_never_meet():
    first = sorted(dataset.FIRST_SEED.values())
    assert all(b - a >= 100_000 for a, b in pairwise(first))
    with pytest.raises(ConfigError, match='split "tset" is unknown'):
        next(dataset.render_world('tset', 0))
    with pytest.raises(ConfigError, match='expected 0 to 99999'):
        next(dataset.render_world('test', 100_000))


def test_training_sees_disturbed_rigs_and_testing_the_default_one():
    seen = {split: next(dataset.render_world(split, 0))[0] for split in ('train', 'test')}
    assert seen['test'] == RIG['front_wide']
    assert seen['train'] != RIG['front_wide']
