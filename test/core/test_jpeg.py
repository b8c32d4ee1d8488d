"""Where a JPEG ends and whether it is whole, read from its markers alone."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolox_trt_ros.core.jpeg import Jpeg, read_head, read_jpeg, with_tables
from yolox_trt_ros.core.jpeg_tables import STANDARD_TABLES

END = b'\xff\xd9'


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(image: np.ndarray, *options: int) -> bytes:
    return bytes(cv2.imencode('.jpg', image, options)[1])


def segment(code: int, payload: bytes) -> bytes:
    return struct.pack('>BBH', 0xFF, code, len(payload) + 2) + payload


def read(data: bytes) -> Jpeg:
    return read_jpeg(np.frombuffer(data, np.uint8))


PLAIN = jpeg(picture(120, 160))
RESTARTS = jpeg(picture(120, 160), cv2.IMWRITE_JPEG_RST_INTERVAL, 3)
PROGRESSIVE = jpeg(picture(120, 160), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
GREY = jpeg(picture(120, 160)[:, :, 0])
FLAT = np.full((999, 1000, 3), 7, np.uint8)
KINDS = {
    'plain': PLAIN,
    'restarts': RESTARTS,
    'progressive': PROGRESSIVE,
    'grey': GREY,
    'other sampling': jpeg(picture(119, 161), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x411111),
    'one pixel': jpeg(picture(1, 1)),
    'a single colour': jpeg(np.full((1000, 1000, 3), 7, np.uint8), cv2.IMWRITE_JPEG_QUALITY, 1),
    'a flat progressive': jpeg(
        np.full((999, 999, 3), 7, np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1
    ),
    'no tables': PLAIN.replace(PLAIN[PLAIN.index(b'\xff\xc4') : PLAIN.index(b'\xff\xda')], b''),
    'a thumbnail': PLAIN[:2] + segment(0xE1, b'Exif\0\0' + jpeg(picture(8, 8))) + PLAIN[2:],
    'fill bytes': PLAIN[:2] + b'\xff\xff\xff' + PLAIN[2:-2] + b'\xff\xff' + END,
    'bytes between segments': PLAIN[:20] + b'\x01\x02' + PLAIN[20:],
    'a comment behind the scan': PLAIN[:-2] + segment(0xFE, b'made by \xff\xd9 hand') + END,
}
TRAILERS = {
    'nothing': b'',
    'zeros': bytes(5000),
    'ones': b'\xff' * 5000,
    'a film': b'\0\0\0\x18ftypmp42' + np.random.default_rng(0).bytes(300_000),
    'another picture': jpeg(picture(60, 80)),
    'half a picture': PLAIN[: len(PLAIN) // 2],
    "a maker's trailer": b'SEFH' + bytes(range(256)) * 9 + b'SEFT',
}


@pytest.mark.parametrize('trailer', TRAILERS.values(), ids=TRAILERS)
@pytest.mark.parametrize('data', KINDS.values(), ids=KINDS)
def test_a_whole_picture_is_whole_whatever_follows(data: bytes, trailer: bytes) -> None:
    found = read(data + trailer)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found.problem == ''
    assert (found.begin, found.end) == (0, len(data))
    assert (found.height, found.width) == decoded.shape[:2]
    assert found.precision == 8
    assert found.components == (1 if decoded.ndim == 2 else 3)
    head = read_head(np.frombuffer(data, np.uint8))
    assert not head.problem and head.scans == 0
    assert (head.height, head.width) == (found.height, found.width)


def test_scans_are_counted() -> None:
    assert (read(PLAIN).progressive, read(PLAIN).scans) == (False, 1)
    assert read(PROGRESSIVE).progressive
    assert read(PROGRESSIVE).scans == PROGRESSIVE.count(b'\xff\xda') > 1


@settings(deadline=None)
@given(st.sampled_from([*KINDS.values()]), st.data())
def test_a_cut_picture_is_never_whole(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(2, len(data) - 1))
    assert read(data[:at]).problem
    # Nor is it with an end marker behind a head alone.
    scan = data.index(b'\xff\xda')
    assert read(data[: min(at, scan)] + END).problem


SMALL = picture(40, 56)
SMALL_FILES = {
    'plain': jpeg(SMALL),
    'grey': jpeg(SMALL[:, :, 0]),
    'restarts': jpeg(SMALL, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
}


@pytest.mark.parametrize('data', SMALL_FILES.values(), ids=SMALL_FILES)
def test_what_is_cut_at_every_single_byte(data: bytes) -> None:
    head = read_head(np.frombuffer(data, np.uint8)).end
    for at in range(2, len(data)):
        found = read(data[:at])
        assert found.problem, at
        assert at > head or not found.lacks_only_its_end


@given(st.binary(max_size=3000))
def test_any_trailer(trailer: bytes) -> None:
    assert not read(GREY + trailer).problem


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b'', b'\xff\xda', PLAIN[:700], PROGRESSIVE[:700]]))
def test_any_bytes(data: bytes, front: bytes) -> None:
    found = read(b'\xff\xd8' + front + data)
    assert 0 <= found.begin <= found.end <= len(front) + len(data) + 2
    assert isinstance(found.problem, str)


def test_restarts_that_are_missing() -> None:
    lost = RESTARTS.index(b'\xff\xd3') - 200, RESTARTS.index(b'\xff\xd5')
    assert 'restart markers' in read(RESTARTS[: lost[0]] + RESTARTS[lost[1] :]).problem


def test_a_head_that_claims_more_than_its_scan_can_hold() -> None:
    size = PLAIN.index(b'\xff\xc0') + 5
    assert 'takes at least' in read(PLAIN[:size] + b'\x40\0\x40\0' + PLAIN[size + 4 :]).problem


def test_the_end_of_one_picture_and_then_a_whole_one() -> None:
    cut = PLAIN[:-900]
    found = read(cut + RESTARTS + PLAIN)
    assert not found.problem
    assert (found.begin, found.end) == (len(cut), len(cut) + len(RESTARTS))
    # A thumbnail is whole and yet not the picture.
    thumbnail = KINDS['a thumbnail']
    assert read(thumbnail[: thumbnail.index(b'\xff\xda')]).problem
    assert read(PLAIN[:-900] + RESTARTS[:-900]).begin == 0


def test_only_the_end_may_be_missing() -> None:
    assert read(PLAIN[:-2]).lacks_only_its_end
    assert read(PLAIN[:-2] + bytes(100)).lacks_only_its_end
    assert not read(PLAIN[:-1]).lacks_only_its_end, 'cut within the marker'
    assert not read(PLAIN).lacks_only_its_end
    assert not read(PROGRESSIVE[:-2]).lacks_only_its_end
    assert not read(PLAIN[:300]).lacks_only_its_end


def test_tables_are_those_that_encoders_write() -> None:
    bare = KINDS['no tables']
    assert read(PLAIN).tables == 0
    filled = with_tables(np.frombuffer(bare, np.uint8), read(bare)).tobytes()
    assert STANDARD_TABLES in filled
    assert np.array_equal(
        cv2.imdecode(np.frombuffer(filled, np.uint8), cv2.IMREAD_COLOR),
        cv2.imdecode(np.frombuffer(PLAIN, np.uint8), cv2.IMREAD_COLOR),
    )
    tables = b''.join(
        PLAIN[at + 4 : at + 2 + int.from_bytes(PLAIN[at + 2 : at + 4], 'big')]
        for at in range(len(PLAIN))
        if PLAIN[at : at + 2] == b'\xff\xc4'
    )
    assert tables == STANDARD_TABLES[4:]


HOSTILE = {
    'starts': b'\xff\xd8' * 2_000_000,
    'ends of scans': (b'\xff\xda\0\x02' * 1_000_000),
    'empty segments': b'\xff\xfe\0\x02' * 1_000_000,
    'restarts': PLAIN[:700] + b'\xff\xd0' * 2_000_000,
    'fill bytes': b'\xff' * 4_000_000,
    'scans': PROGRESSIVE[: PROGRESSIVE.index(b'\xff\xda')]
    + PROGRESSIVE[PROGRESSIVE.index(b'\xff\xda') :][:14] * 300_000,
}


@pytest.mark.parametrize('data', HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_take_no_time(data: bytes) -> None:
    """Milliseconds; what grows with a square would take hours."""
    assert read(b'\xff\xd8' + data).problem


def test_a_scan_of_no_components_is_no_picture():
    begin = PLAIN.index(b'\xff\xda')
    length = int.from_bytes(PLAIN[begin + 2 : begin + 4], 'big')
    none = PLAIN[:begin] + segment(0xDA, b'\0\0\x3f\0') + PLAIN[begin + 2 + length :]
    assert 'names no components' in read(none).problem
