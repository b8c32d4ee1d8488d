"""The parts of a camera's images that the network sees besides the whole, and how often."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.crop import Crop
from yolox_trt_ros.core.errors import ConfigError, DropReason
from yolox_trt_ros.core.extra_crops import CropPace, ExtraCrop, least_size, read_crops
from yolox_trt_ros.core.frame import Frame

SECOND = 1_000_000_000


def frame(number: int, hz: float = 10.0) -> Frame:
    image = Frame.of(np.zeros((80, 100, 3), np.uint8), sequence=number)
    return replace(image, stamp_ns=round(number * SECOND / hz))


def seen(pace: CropPace, frames: int, *, hz: float = 10.0, **load: Any) -> list[Any]:
    """Return the crops of so many images in a row."""
    found = []
    for number in range(frames):
        one = frame(number, hz)
        found.append(pace.take(one, pace.due(one, **load)).crops)
    return found


def configured(lane: Any = (), **camera: Any) -> Config:
    flat = {f'cameras.a.{name}': value for name, value in camera.items()}
    lanes = {'lanes.b.max_batch': 2, **dict(lane)}
    return Config.from_parameters({'camera_names': ['a'], 'lane_names': ['b'], **lanes, **flat})


@pytest.mark.parametrize(
    ('text', 'crop'),
    [
        ('60x40', ExtraCrop(Crop(60, 40))),
        ('60x40+5+10 every 3', ExtraCrop(Crop(60, 40, 5, 10), every=3)),
        ('60x40 at 2.5 Hz priority 0.5', ExtraCrop(Crop(60, 40), rate_hz=2.5, priority=0.5)),
        ('60x40 at 5Hz', ExtraCrop(Crop(60, 40), rate_hz=5.0)),
        ('60x40 priority 2', ExtraCrop(Crop(60, 40), priority=2.0)),
    ],
)
def test_what_a_crop_says(text: str, crop: ExtraCrop) -> None:
    assert configured(crops=[text]).cameras[0].extra_crops == (crop,)


@pytest.mark.parametrize(
    ('crops', 'message'),
    [
        (['60x40 each 3'], 'expected a part of the image such as "960x608"'),
        (['60x'], 'expected WIDTHxHEIGHT'),
        (['60x40 every 0'], 'expected numbers above 0'),
        (['60x40 at 0 Hz'], 'expected numbers above 0'),
        (['60x40', '60x40 every 2'], '60x40 is there twice'),
        ([f'60x4{i}' for i in range(9)], 'expected at most 8 crops, got 9'),
    ],
)
def test_what_is_no_crop_is_refused(crops: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf'cameras\.a\.crops: .*{message}'):
        configured(crops=crops)


def test_crops_need_room_in_a_batch_and_in_the_image() -> None:
    with pytest.raises(ConfigError, match=r'cameras\.a\.crops: expected a lane .* max_batch of 2'):
        configured({'lanes.b.max_batch': 1}, crops=['60x40'])
    with pytest.raises(ConfigError, match=r'crops: crop 60x40\+50\+0 does not lie inside an im'):
        configured(width=100, height=80, crops=['60x40+50+0'])
    refusal = CropPace(read_crops(['101x80'])).refusal(frame(0))
    assert refusal is not None and refusal.reason is DropReason.UNSUPPORTED
    assert refusal.__traceback__ is None  # it would keep the image in memory


def test_each_crop_has_its_own_period_and_those_of_one_period_take_different_images() -> None:
    pace = CropPace(read_crops(['60x40', '50x30 every 3', '50x30+0+0 every 3', '40x20 at 5 Hz']))
    found = seen(pace, 300, hz=15.0)
    a, b, c, d = (20, 20, 60, 40), (25, 25, 50, 30), (0, 0, 50, 30), (30, 30, 40, 20)
    assert [crops.count(a) for crops in found] == [1] * 300
    assert [i for i, crops in enumerate(found) if b in crops] == list(range(0, 300, 3))
    assert [i for i, crops in enumerate(found) if c in crops] == list(range(1, 300, 3))
    assert sum(d in crops for crops in found) == 100


def test_under_overload_a_crop_of_less_priority_is_seen_more_seldom() -> None:
    texts = ['60x40 priority 0.5', '50x30', '40x20 every 2 priority 4']
    found = seen(CropPace(read_crops(texts)), 80, priority=2.0, short=True)
    counts = [sum(part[2] == width for crops in found for part in crops) for width in (60, 50, 40)]
    assert counts == [20, 80, 40]  # a fourth of the weight; the camera's own; more than that


@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.integers(1, 5),
)
def test_what_finds_no_room_or_comes_back_stays_due(given_room: list[bool], every: int) -> None:
    pace = CropPace(read_crops([f'60x40 every {every}']))
    waited = 0
    for number, room in enumerate(given_room):
        one = frame(number)
        due = pace.due(one)
        pace.take(one, due)
        pace.give_back()  # the lane failed with it: as if it had never been asked
        assert pace.due(one) == due
        pace.take(one, due if room else [])
        waited = 0 if due and room else waited + 1
        assert due or waited < every


def test_stamps_that_go_back_begin_anew() -> None:
    pace = CropPace(read_crops(['60x40 at 1 Hz']))
    stamps = [0.0, 0.5, 1.0, 0.0, 0.5]
    frames = [replace(frame(i), stamp_ns=round(t * SECOND)) for i, t in enumerate(stamps)]
    assert [bool(pace.take(f, pace.due(f)).crops) for f in frames] == [1, 0, 1, 1, 0]


def test_the_smallest_image_that_holds_them() -> None:
    assert least_size(read_crops(['60x40+50+5', '70x60'])) == (60, 110)
    assert least_size(()) == (0, 0)
