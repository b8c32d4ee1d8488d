"""Every encoding becomes the picture it was made of, and the letterbox is YOLOX's."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import frame_of, luma_chroma, picture

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import InputSpec, Letterbox
from yolox_trt_ros.detect.cpu.preprocess import CpuPreprocessor, bgr_image


def spec(**changes: Any) -> InputSpec:
    return InputSpec(**{'name': 'images', 'batch': 0, 'height': 64, 'width': 96, **changes})


@pytest.mark.parametrize('padding', [0, 1, 6, 64])
@pytest.mark.parametrize('encoding', RAW)
def test_encoding_becomes_its_picture(encoding: str, padding: int) -> None:
    bgr = picture(48, 70)
    if encoding in ('i420', 'yv12'):
        padding *= 2
    got = bgr_image(frame_of(bgr, encoding, padding)).astype(int)
    if encoding in ('mono8', 'mono16'):
        assert np.array_equal(got, np.repeat(luma_chroma(bgr)[0][:, :, None], 3, axis=2))
    elif RAW[encoding].bytes_per_pixel >= 3:
        assert np.array_equal(got, bgr)
    else:
        # Subsampled colour cannot come back exactly; swapped channels or planes are far off.
        inner = np.abs(got - bgr)[2:-2, 2:-2]
        assert inner.max() <= 8
        assert inner.mean() < 2.5


SIZES = [(37, 53), (1, 1), (3, 500), (500, 3), (64, 96), (480, 640), (20, 30)]


@pytest.mark.parametrize('colour', ['bgr', 'rgb'])
@pytest.mark.parametrize(('height', 'width'), SIZES)
@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8', 'bgra8', 'rgba8', 'mono8', 'rgb16'])
def test_input_of_the_network(encoding: str, height: int, width: int, colour: str) -> None:
    model = spec(colour=colour, pad=100, scale=1 / 255)
    frame = frame_of(picture(height, width), encoding, 5)
    target = CpuPreprocessor(model).new_input(1)[0]
    target[:] = np.nan
    box = CpuPreprocessor(model).write(frame, target)

    ratio = min(64 / height, 96 / width)
    size = (max(1, int(width * ratio)), max(1, int(height * ratio)))
    canvas = np.full((64, 96, 3), 100, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(bgr_image(frame), size)
    if colour == 'rgb':
        canvas = canvas[:, :, ::-1]
    assert box == Letterbox(ratio, size[1], size[0], height, width)
    np.testing.assert_allclose(target, canvas.transpose(2, 0, 1) / 255, rtol=1e-6)


@pytest.mark.parametrize(
    'encoding', ['yuv422', 'nv12', 'nv24', 'yv12', 'bayer_grbg8', 'bayer_gbrg16']
)
def test_input_of_the_network_from_subsampled_colour(encoding: str) -> None:
    frame = frame_of(picture(46, 70), encoding, 4)
    target = CpuPreprocessor(spec()).new_input(1)[0]
    box = CpuPreprocessor(spec()).write(frame, target)
    resized = cv2.resize(bgr_image(frame), (box.width, box.height))
    assert np.array_equal(target[:, : box.height, : box.width], resized.transpose(2, 0, 1))


@pytest.mark.parametrize('colour', ['bgr', 'rgb'])
def test_mean_and_deviation_of_each_channel(colour: str) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    model = spec(colour=colour, scale=1 / 255, mean=mean, std=std)
    plain = spec(colour=colour, scale=1 / 255)
    frame = frame_of(picture(40, 96), 'bgr8')
    got, before = CpuPreprocessor(model).new_input(1)[0], CpuPreprocessor(plain).new_input(1)[0]
    for _ in range(2):  # the empty input, then with an image
        for channel in range(3):
            want = (before[channel] - mean[channel]) / std[channel]
            np.testing.assert_allclose(got[channel], want, atol=1e-6)
        CpuPreprocessor(model).write(frame, got)
        CpuPreprocessor(plain).write(frame, before)
    assert model.largest == pytest.approx(0.6 / 0.2)
    assert plain.largest == 1.0


@pytest.mark.parametrize('encoding', ['bgr8', 'mono8', 'nv12'])
def test_antialiasing_averages_what_shrinks_by_more_than_two(encoding: str) -> None:
    fine = np.zeros((256, 384, 3), np.uint8)
    fine[::4] = fine[1::4] = 255  # stripes of two rows, of which interpolation sees one row
    frame = frame_of(fine, encoding)
    inputs = {}
    for antialias in (False, True):
        model = spec(antialias=antialias)
        inputs[antialias] = CpuPreprocessor(model).new_input(1)[0]
        box = CpuPreprocessor(model).write(frame, inputs[antialias])
    assert box.shrinks
    mean = bgr_image(frame).mean()
    assert np.abs(inputs[True] - mean).max() <= 1
    frame = frame_of(fine[:128, :192], encoding)  # by two exactly: interpolation sees all pixels
    for antialias, target in inputs.items():
        assert not CpuPreprocessor(spec(antialias=antialias)).write(frame, target).shrinks
    assert np.array_equal(inputs[False], inputs[True])


def test_a_smaller_image_leaves_nothing_of_the_one_before() -> None:
    preprocessor = CpuPreprocessor(spec())
    target = preprocessor.new_input(1)[0]
    preprocessor.write(frame_of(picture(64, 96), 'bgr8'), target)
    preprocessor.write(frame_of(picture(64, 40), 'bgr8'), target)
    assert (target[:, :, 40:] == 114).all()
    preprocessor.write(frame_of(picture(20, 96), 'bgr8'), target)
    assert (target[:, 20:] == 114).all()


SIDE = st.integers(1, 16384)


@given(SIDE, SIDE, st.integers(1, 40), st.integers(1, 40))
def test_letterbox(height: int, width: int, rows: int, columns: int) -> None:
    model = spec(height=32 * rows, width=32 * columns)
    box = Letterbox.fit(height, width, model)
    assert 1 <= box.height <= model.height and 1 <= box.width <= model.width
    # One side fills the input, up to the pixel that rounding down takes.
    assert box.height >= model.height - 1 or box.width >= model.width - 1
    # No source pixel beyond the resized image is farther than one input pixel.
    assert box.height + 1 > height * box.scale * (1 - 1e-9) or box.height == 1
    assert box.width + 1 > width * box.scale * (1 - 1e-9) or box.width == 1


PLACINGS = ('top_left', 'centre', 'stretch')


@given(SIDE, SIDE, st.integers(1, 40), st.integers(1, 40), st.sampled_from(PLACINGS), st.data())
def test_boxes_return_to_where_they_were(
    height: int, width: int, rows: int, columns: int, placing: str, data: st.DataObject
) -> None:
    model = spec(height=32 * rows, width=32 * columns, letterbox=placing)
    box = Letterbox.fit(height, width, model)
    assert box.left >= 0 and box.left + box.width <= model.width
    assert box.top >= 0 and box.top + box.height <= model.height
    rests = model.width - box.width - 2 * box.left, model.height - box.height - 2 * box.top
    assert placing != 'centre' or max(rests) <= 1  # what is odd is at the right and the bottom
    assert placing != 'stretch' or (box.width, box.height) == (model.width, model.height)
    # Every corner of the image lies at a corner of what it covers, up to the rounding of that.
    corners = np.array([[0, 0, width, height]], np.float32)
    within = corners * (box.scales * 2) + (box.left, box.top) * 2
    end = box.left + box.width, box.top + box.height
    assert np.abs(within[0, 2:] - end).max() <= 1 + 1e-3
    xyxy = np.array(data.draw(st.lists(st.floats(-9, 9, width=32), min_size=4, max_size=4)))
    xyxy = (xyxy * ([width, height] * 2)).astype('f4')
    there = (xyxy * (box.scales * 2) + (box.left, box.top) * 2).astype(np.float32)
    back = box.to_source(there[None])[0]
    tolerance = 4e-6 * np.abs(there).max() / np.array(box.scales * 2) + 1e-3
    assert (np.abs(back - xyxy) <= tolerance).all()


@pytest.mark.parametrize('interpolation', ['bilinear', 'nearest', 'area'])
@pytest.mark.parametrize('placing', PLACINGS)
@pytest.mark.parametrize('size', [(30, 41), (200, 90), (64, 96), (129, 33)])
def test_every_place_and_interpolation(
    placing: str, interpolation: str, size: tuple[int, int]
) -> None:
    model = spec(letterbox=placing, interpolation=interpolation, pad=7)
    image = picture(*size)
    target = CpuPreprocessor(model).new_input(1)[0]
    target[:] = np.nan
    box = CpuPreprocessor(model).write(frame_of(image, 'bgr8'), target)
    kind = cv2.INTER_NEAREST if interpolation == 'nearest' else cv2.INTER_LINEAR
    if interpolation == 'area' and box.shrinks:
        kind = cv2.INTER_AREA
    canvas = np.full((64, 96, 3), 7, np.uint8)
    canvas[box.top : box.top + box.height, box.left : box.left + box.width] = cv2.resize(
        image, (box.width, box.height), interpolation=kind
    )
    assert np.array_equal(target, canvas.transpose(2, 0, 1))


def jpeg(bgr: np.ndarray) -> np.ndarray:
    return cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].reshape(-1)


def compressed(data: np.ndarray, kind: str, height: int, width: int) -> Frame:
    return Frame('front', 0, 0, 0, '', kind, height, width, 0, data)


def test_jpeg_and_png_become_their_picture() -> None:
    bgr = picture(48, 70)
    assert np.abs(bgr_image(compressed(jpeg(bgr), 'jpeg', 48, 70)).astype(int) - bgr).max() <= 8
    png = cv2.imencode('.png', bgr)[1].reshape(-1)
    assert np.array_equal(bgr_image(compressed(png, 'png', 48, 70)), bgr)


def test_exif_does_not_rotate_the_image() -> None:
    # Orientation 6 (turn right): boxes must fit the pixels as every other node sees them.
    exif = bytes.fromhex('457869660000 4d4d002a00000008 0001 0112 0003 00000001 00060000 00000000')
    data = jpeg(picture(48, 70)).tobytes()
    turned = data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]
    array = np.frombuffer(turned, np.uint8)
    assert cv2.imdecode(array, cv2.IMREAD_COLOR).shape == (70, 48, 3), 'the tag is not read at all'
    assert bgr_image(compressed(array, 'jpeg', 48, 70)).shape == (48, 70, 3)


@pytest.mark.parametrize(
    'frame',
    [
        compressed(jpeg(picture(48, 70))[:-300], 'jpeg', 48, 70),
        compressed(jpeg(picture(48, 70)), 'jpeg', 48, 71),
        compressed(np.frombuffer(b'\xff\xd8\xff\xd9', np.uint8), 'jpeg', 48, 70),
        compressed(np.zeros(50, np.uint8), 'png', 48, 70),
    ],
    ids=['truncated', 'another size', 'no picture', 'zeros'],
)
def test_damaged_file(frame: Frame) -> None:
    with pytest.raises(FrameError) as error:
        CpuPreprocessor(spec()).write(frame, np.zeros((3, 64, 96), np.float32))
    assert error.value.reason is DropReason.UNDECODABLE
