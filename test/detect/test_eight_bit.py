"""Images of 16 bits a sample become ones of 8 by a rule that looks at nothing but the image."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pictures import frame_of, picture

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import FOUND, Frame
from yolox_trt_ros.detect.cpu.decode import eight_bit
from yolox_trt_ros.detect.cpu.preprocess import bgr_image

WIDE = [name for name, layout in RAW.items() if layout.narrow]


def grey(samples: np.ndarray, levels: tuple[int, int] = FOUND, big: bool = False) -> Frame:
    height, width = samples.shape
    data = samples.astype('>u2' if big else '<u2').reshape(-1).view(np.uint8)
    return Frame(
        'ir', 0, 0, 0, '', 'mono16', height, width, 2 * width, data, levels=levels, big_endian=big
    )


def eight(frame: Frame) -> np.ndarray:
    found = eight_bit(frame)
    assert found.encoding == 'mono8' and found.step == frame.width
    return found.data.reshape(frame.height, frame.width)


@pytest.mark.parametrize('encoding', WIDE)
def test_samples_of_all_bits_are_those_of_8_bits(encoding: str) -> None:
    wide = frame_of(picture(48, 70), encoding, 6)
    narrow = frame_of(picture(48, 70), RAW[encoding].narrow)
    assert eight_bit(wide).encoding == narrow.encoding
    assert np.array_equal(bgr_image(wide), bgr_image(narrow))
    if 'mono' not in encoding:
        assert np.array_equal(bgr_image(replace(wide, levels=FOUND)), bgr_image(narrow))


@pytest.mark.parametrize('bits', [10, 12, 14])
@pytest.mark.parametrize('big', [False, True])
def test_a_mosaic_of_fewer_bits_in_the_low_ones(bits: int, big: bool) -> None:
    narrow = frame_of(picture(48, 70), 'bayer_gbrg8')
    narrow.data[0] = 255  # the picture uses its bits
    wide = (narrow.data.astype(np.uint16) << bits - 8 | narrow.data >> 16 - bits).astype(
        '>u2' if big else '<u2'
    )
    frame = Frame(
        'front', 0, 0, 0, '', 'bayer_gbrg16', 48, 70, 140, wide.view(np.uint8), big_endian=big
    )
    for levels in (FOUND, (0, 2**bits - 1)):
        found = bgr_image(replace(frame, levels=levels)).astype(int)
        assert np.abs(found - bgr_image(narrow)).max() <= 1


def test_levels_of_a_camera() -> None:
    samples = np.array([[0, 999, 1000, 1500, 2000, 2001, 65535]], np.uint16)
    assert eight(grey(samples, (1000, 2000))).tolist() == [[0, 0, 0, 128, 255, 255, 255]]


def test_a_thermal_image_uses_all_greys() -> None:
    """20 to 40 °C of a sensor that counts hundredths of kelvins, with some pixels that are dead."""
    samples = np.linspace(29315, 31315, 512 * 640).astype(np.uint16).reshape(512, 640)
    samples[::100, ::100] = 0
    samples[5::100, ::100] = 65535
    found = eight(grey(samples)).astype(int)
    assert found[3, 0] == 0 and found[-1, -1] == 255
    assert abs(found[256].mean() - 128) < 3
    assert np.array_equal(found, eight(grey(samples, big=True)))


def test_noise_of_a_flat_image_is_not_made_a_picture() -> None:
    samples = np.random.default_rng(0).integers(30000, 30020, (200, 300), np.uint16)
    found = eight(grey(samples))
    assert int(found.max()) - int(found.min()) <= 20
    assert eight(grey(np.full((9, 9), 65535, np.uint16))).max() <= 255


@given(arrays(np.uint16, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_brighter_samples_are_never_darker(samples: np.ndarray) -> None:
    found = eight(grey(samples)).reshape(-1)
    order = np.argsort(samples.reshape(-1), kind='stable')
    assert (np.diff(found[order].astype(int)) >= 0).all()
    assert np.array_equal(found, eight(grey(samples)).reshape(-1)), 'another time'


@pytest.mark.parametrize('encoding', WIDE)
def test_rows_anywhere_in_memory(encoding: str) -> None:
    frame = frame_of(picture(10, 16), encoding)
    odd = np.concatenate((np.zeros(1, np.uint8), frame.data))[1:]
    expected = bgr_image(frame)
    assert np.array_equal(bgr_image(replace(frame, data=odd)), expected)
    assert np.array_equal(bgr_image(frame_of(picture(10, 16), encoding, 3)), expected)
    with pytest.raises(FrameError) as error:
        bgr_image(replace(frame, data=frame.data[:-1]))
    assert error.value.reason is DropReason.MALFORMED


def test_a_file_of_another_depth_than_its_head_said() -> None:
    data = cv2.imencode('.png', picture(10, 16)[:, :, 0])[1].reshape(-1)
    frame = Frame('ir', 0, 0, 0, '', 'png', 10, 16, 0, data, content='mono16')
    with pytest.raises(FrameError, match='expected mono16'):
        bgr_image(frame)
