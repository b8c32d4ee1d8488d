"""The part of an image that the network sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.crop import Crop, cropped
from yolox_trt_ros.core.errors import ConfigError, DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import InputSpec, Letterbox


def configured(**camera: Any) -> Config:
    flat = {f'cameras.a.{name}': value for name, value in camera.items()}
    return Config.from_parameters({'camera_names': ['a'], 'lane_names': ['b'], **flat})


@pytest.mark.parametrize(
    ('text', 'part'),
    [
        ('60x40+5+10', (5, 10, 60, 40)),
        ('60x40', (20, 20, 60, 40)),
        ('100x80', (0, 0, 100, 80)),
        ('1x1+99+79', (99, 79, 1, 1)),
        ('60x40@45%,37.5%', (15, 10, 60, 40)),
        ('60x40@5%,100%', (0, 40, 60, 40)),
    ],
)
def test_a_crop_of_an_image(text: str, part: tuple[int, ...]) -> None:
    assert Crop.read(text).of(height=80, width=100) == part
    assert str(Crop.read(text)) == text
    camera = configured(crop=text).cameras[0]
    frame = cropped(Frame.of(np.zeros((80, 100, 3), np.uint8)), camera.part)
    assert frame.part == part and (frame.height, frame.width) == (80, 100)


@pytest.mark.parametrize('text', ['101x80', '60x40+41+0', '60x40+0+41'])
def test_one_that_reaches_beyond_the_image_refuses_the_image(text: str) -> None:
    with pytest.raises(FrameError, match=r'does not lie inside an image of 100x80') as error:
        Crop.read(text).of(height=80, width=100)
    assert error.value.reason is DropReason.UNSUPPORTED and text in str(error.value)


@pytest.mark.parametrize(
    'text', ['60', '60x', '0x40', '60x40+5', '60x40-5+5', '1e3x4', ' ', '60x40@5,5']
)
def test_what_is_no_crop_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r'cameras\.a\.crop: expected WIDTHxHEIGHT'):
        configured(crop=text)


def test_without_one_the_frame_stays_what_it_is() -> None:
    frame = Frame.of(np.zeros((80, 100, 3), np.uint8))
    assert cropped(frame, configured().cameras[0].part) is frame


@pytest.mark.parametrize('letterbox', ['top_left', 'centre', 'stretch'])
def test_boxes_are_mapped_back_into_the_image(letterbox: Any) -> None:
    spec = InputSpec('images', 0, 64, 96, letterbox=letterbox)
    alone = Letterbox.fit(40, 60, spec)
    part = Letterbox.fit(80, 100, spec, (5, 10, 60, 40))
    boxes = np.array([[0, 0, 96, 64], [3, 4, 5, 6]], np.float32)
    shift = np.array([5, 10, 5, 10], np.float32)
    np.testing.assert_array_equal(part.to_source(boxes), alone.to_source(boxes) + shift)
    assert (part.source_height, part.source_width) == (80, 100)


def test_a_crop_in_the_models_size_is_not_scaled() -> None:
    box = Letterbox.fit(1280, 1920, InputSpec('images', 0, 608, 960), (480, 300, 960, 608))
    assert (box.scale, box.height, box.width, box.shrinks) == (1.0, 608, 960, False)
