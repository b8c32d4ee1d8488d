"""Images in memory as frames: every layout, and what is no image of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pictures import array_of, picture

from yolox_trt_ros.core.encodings import ALIASES, RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame

HEIGHT, WIDTH = 46, 70


@pytest.mark.parametrize('encoding', RAW)
def test_an_array_has_the_layout_of_its_encoding(encoding: str) -> None:
    image, sent = array_of(picture(HEIGHT, WIDTH), encoding)
    frame = Frame.of(image, encoding, camera='front', sequence=3, stamp_ns=5, frame_id='optical')
    assert (frame.encoding, frame.height, frame.width, frame.step) == (
        encoding, HEIGHT, WIDTH, sent.step,
    )  # fmt: skip
    assert np.array_equal(frame.data, sent.data)
    assert np.shares_memory(frame.data, image)
    assert (frame.camera, frame.sequence, frame.stamp_ns, frame.frame_id) == (
        'front', 3, 5, 'optical',
    )  # fmt: skip


def test_what_does_not_lie_in_one_piece_is_copied() -> None:
    image, _ = array_of(picture(HEIGHT, WIDTH), 'bgr8')
    assert np.array_equal(Frame.of(image[:, :, ::-1], 'rgb8').data, image[:, :, ::-1].reshape(-1))
    grey, _ = array_of(picture(HEIGHT, WIDTH), 'mono16')
    frame = Frame.of(grey.astype('>u2'), 'mono16')
    assert np.array_equal(frame.data, Frame.of(grey, 'mono16').data) and not frame.big_endian


def test_other_names_of_an_encoding() -> None:
    image, _ = array_of(picture(HEIGHT, WIDTH), 'yuv422')
    assert Frame.of(image, 'UYVY').encoding == ALIASES['uyvy'] == 'yuv422'


@pytest.mark.parametrize('kind', ['jpeg', 'png', 'webp'])
@pytest.mark.parametrize('as_type', [bytes, bytearray, memoryview, np.asarray])
def test_bytes_of_a_file(kind: str, as_type) -> None:
    data = cv2.imencode(f'.{kind}', picture(HEIGHT, WIDTH))[1]
    frame = Frame.of(as_type(data), kind)
    assert (frame.encoding, frame.height, frame.width, frame.step) == (kind, HEIGHT, WIDTH, 0)
    assert np.array_equal(frame.data, data)


BGR = picture(HEIGHT, WIDTH)
PNG = cv2.imencode('.png', BGR)[1].tobytes()
BAD = {
    'floats': (BGR / 255, 'bgr8', r'expected an array of uint8 \(height, width, 3\), got float64'),
    'grey': (BGR[:, :, 0], 'bgr8', rf'got uint8 \({HEIGHT}, {WIDTH}\)'),
    'with alpha': (np.dstack((BGR, BGR[:, :, 0])), 'rgb8', rf'rgb8.*got uint8 \({HEIGHT}.*4\)'),
    'a batch': (BGR[None], 'bgr8', 'give several images as a list'),
    'eight of sixteen bits': (BGR, 'bgr16', r'array of uint16 \(height, width, 3\), got uint8'),
    'rows of no nv12': (BGR[:40, :, 0], 'nv12', r'\(1.5 × height, width\), got uint8 \(40'),
    'odd nv12': (BGR[:45, :31, 0], 'nv12', 'width must be a multiple of 2'),
    'no pixels': (BGR[:0], 'bgr8', f'image size {WIDTH}x0: expected 1 to'),
    'a file without its kind': (PNG, 'bgr8', 'got bytes; give the encoding of a file: jpeg, png'),
    'a file of another kind': (PNG, 'jpeg', 'kind jpeg, got png: give encoding="png"'),
    'pixels as a file': (BGR, 'jpeg', r'expected the bytes of a file .*got uint8 \(46, 70, 3\)'),
    'a name': ('photo.jpg', 'bgr8', 'got str'),
}


@pytest.mark.parametrize(('image', 'encoding', 'message'), BAD.values(), ids=BAD)
def test_what_is_no_image_of_the_encoding(image: object, encoding: str, message: str) -> None:
    with pytest.raises(FrameError, match=message) as error:
        Frame.of(image, encoding)
    assert error.value.reason is DropReason.MALFORMED


@pytest.mark.parametrize(
    ('encoding', 'hint'), [('rgb9', 'did you mean "rgb8"'), ('jpg', 'files: jpeg, png, webp')]
)
def test_an_encoding_that_is_not_read(encoding: str, hint: str) -> None:
    with pytest.raises(FrameError, match=f'"{encoding}" is not supported.*{hint}') as error:
        Frame.of(BGR, encoding)
    assert error.value.reason is DropReason.UNSUPPORTED
