"""Image files as cameras send them: what is whole becomes its picture, what is cut is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from image_bombs import many_scans
from pictures import picture

from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.jpeg import read_head
from yolox_trt_ros.detect.cpu.decode import decode_compressed


def jpeg(image: np.ndarray, *options: int) -> bytes:
    return bytes(cv2.imencode('.jpg', image, options)[1])


def decoded(data: bytes, kind: str = 'jpeg', height: int = 48, width: int = 70) -> np.ndarray:
    array = np.frombuffer(data, np.uint8)
    return decode_compressed(Frame('front', 0, 0, 0, '', kind, height, width, 0, array))


PICTURE = picture(48, 70)
NOISE = np.random.default_rng(0).integers(0, 256, (48, 70, 3), np.uint8)
PLAIN, NOISY = jpeg(PICTURE), jpeg(NOISE)
TRAILERS = {
    'zeros': bytes(70_000),
    'ones': b'\xff' * 512,
    'a film': b'\0\0\0\x18ftypmp42' + np.random.default_rng(0).bytes(100_000),
    'another picture': NOISY,
    'half a picture': NOISY[: len(NOISY) // 2],
}


@pytest.mark.parametrize('trailer', TRAILERS.values(), ids=TRAILERS)
def test_what_stands_behind_a_jpeg_does_not_matter(trailer: bytes) -> None:
    assert np.array_equal(decoded(PLAIN + trailer), decoded(PLAIN))


@pytest.mark.parametrize('padding', [0, 1, 2, 511, 9000])
@pytest.mark.parametrize('options', [(), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)], ids=['', 'restarts'])
@pytest.mark.parametrize('image', [PICTURE, NOISE], ids=['picture', 'noise'])
def test_a_jpeg_without_its_end_marker_is_whole(
    image: np.ndarray, options: tuple[int, ...], padding: int
) -> None:
    data = jpeg(image, *options)
    assert np.array_equal(decoded(data[:-2] + bytes(padding)), decoded(data))


@pytest.mark.parametrize('padding', [0, 9000])
@pytest.mark.parametrize('data', [PLAIN, NOISY], ids=['picture', 'noise'])
def test_a_jpeg_that_is_cut_anywhere_is_not(data: bytes, padding: int) -> None:
    scan = read_head(np.frombuffer(data, np.uint8)).end
    for at in [*range(len(data) - 40, len(data) - 2), *range(scan, len(data) - 40, 37)]:
        with pytest.raises(FrameError, match='truncated') as error:
            decoded(data[:at] + bytes(padding))
        assert error.value.reason is DropReason.UNDECODABLE


def test_a_progressive_jpeg_that_is_cut() -> None:
    data = jpeg(PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    for at in (len(data) - 2, len(data) - 100, data.rindex(b'\xff\xda')):
        with pytest.raises(FrameError, match='truncated'):
            decoded(data[:at])


def test_the_end_of_the_last_frame_and_then_a_whole_one() -> None:
    assert np.array_equal(decoded(NOISY[:-500] + PLAIN), decoded(PLAIN))
    with pytest.raises(FrameError):
        decoded(NOISY[:-500] + PLAIN[:-50])


def test_motion_jpeg_without_huffman_tables() -> None:
    bare = PLAIN.replace(PLAIN[PLAIN.index(b'\xff\xc4') : PLAIN.index(b'\xff\xda')], b'')
    assert np.array_equal(decoded(bare), decoded(PLAIN))


@pytest.mark.parametrize('cut', [1, 4, 12, 13, 100, 2000])
def test_a_png_that_is_cut(cut: int) -> None:
    data = bytes(cv2.imencode('.png', NOISE)[1])
    assert np.array_equal(decoded(data + bytes(5000), 'png'), NOISE)
    with pytest.raises(FrameError) as error:
        decoded(data[:-cut], 'png')
    assert error.value.reason is DropReason.UNDECODABLE


def test_a_jpeg_of_very_many_scans_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError('it was decoded')

    content = np.frombuffer(many_scans(320, 240, 10_000), np.uint8)
    frame = Frame('front', 0, 0, 0, '', 'jpeg', 240, 320, 0, content)
    monkeypatch.setattr('yolox_trt_ros.detect.cpu.decode.cv2.imdecode', decoded)
    with pytest.raises(FrameError, match=r'scans of .* expected at most 100') as caught:
        decode_compressed(frame)
    assert caught.value.reason is DropReason.OVERSIZED


def test_a_jpeg_of_many_scans_is_decoded() -> None:
    content = np.frombuffer(many_scans(320, 240, 60), np.uint8)
    frame = Frame('front', 0, 0, 0, '', 'jpeg', 240, 320, 0, content)
    assert decode_compressed(frame).shape == (240, 320, 3)
