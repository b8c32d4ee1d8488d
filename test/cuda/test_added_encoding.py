"""An encoding that is added from outside, as docs/extending.md says: two rows and nothing else."""

from __future__ import annotations

import runpy
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from test_letterbox import expected, noise, run, spec

from yolox_trt_ros import pixel_formats
from yolox_trt_ros.core.encodings import RAW, Encoding
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.layouts import raw_layout
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.pixel_formats import BGR, FORMATS, PixelFormat, planes, rows_of
from yolox_trt_ros.sim.encode import encode

NAME = 'nv42'


def read_nv42(frame: Frame) -> np.ndarray:
    """Return BGR of a luma plane, and of V and U of each pixel behind it."""
    height, width, step = frame.height, frame.width, frame.step
    luma = rows_of(frame.data, height, width, step)
    chroma = rows_of(frame.data[height * step :], height, 2 * width, 2 * step)
    nv24 = replace(
        frame,
        encoding='nv24',
        step=width,
        data=np.concatenate([luma, chroma.reshape(height, width, 2)[..., ::-1]], None),
    )
    return FORMATS['nv24'].read(nv24)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RAW, NAME, Encoding(NAME, 1, 3.0, last_row=2.0))
    monkeypatch.setitem(
        FORMATS, NAME, PixelFormat(read_nv42, BGR, planes(1, 1, v_first=True), 'kNv24', 1)
    )


def test_the_cpu_reads_what_the_simulator_writes() -> None:
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[:, :12], picture[:, 12:] = (200, 60, 30), (40, 90, 220)
    image = encode(picture, NAME)
    assert raw_layout(NAME, 16, 24, image.step, len(image.data))[0] == NAME
    frame = Frame('front', 0, 0, 0, '', NAME, 16, 24, image.step, image.data)
    assert np.abs(bgr_image(frame).astype(int) - picture).max() <= 3
    swapped = bgr_image(replace(frame, encoding='nv24'))
    assert np.abs(swapped.astype(int) - picture).max() > 100, 'U and V are distinguished'


@pytest.mark.parametrize(('height', 'width', 'padding'), [(64, 96, 0), (41, 57, 3)])
def test_the_kernel_writes_what_the_cpu_writes(
    height: int, width: int, padding: int, device: Any
) -> None:
    frame = noise(NAME, height, width, padding)
    wanted, _ = expected(spec(), frame)
    assert np.abs(run(device, spec(), [frame])[0] - wanted).max() <= 1


def test_a_half_added_encoding_ends_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RAW, 'half8', Encoding('half8', 3))
    with pytest.raises(TypeError, match='half8'):
        runpy.run_module(pixel_formats.__name__)
    with pytest.raises(TypeError, match="'kernel'"):
        PixelFormat(read_nv42, BGR, lambda bgr: cv2.flip(bgr, 0))  # type: ignore[call-arg]


def test_a_kernel_without_its_pixel_reader_ends_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, NAME, replace(FORMATS[NAME], kernel='kNv42'))
    with pytest.raises(TypeError, match='kNv42'):
        runpy.run_module('yolox_trt_ros.detect.cuda.preprocess')
