"""Messages of any bytes, cut anywhere: read or refused, never worse."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from test_codecs import ARRIVAL, JPEG, PNG, compressed_message, raw_message

from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.ros.input.codecs import read_compressed_image, read_image
from yolox_trt_ros.ros.output.messages import header_of


def read_or_refuse(cdr: bytes) -> list[Frame]:
    frames = []
    for read in (read_image, read_compressed_image):
        try:
            frames.append(read(cdr, ARRIVAL))
        except FrameError as error:
            assert str(error)
    return frames


@given(st.binary(max_size=300), st.sampled_from([b'', b'\0\0\0\0', b'\0\1\0\0']))
def test_any_bytes(body: bytes, start: bytes) -> None:
    read_or_refuse(start + body)


@given(st.sampled_from(['\xff\xd8\xff', '\x89PNG\r\n\x1a\n']), st.binary(max_size=100))
def test_any_bytes_after_a_magic_number(magic: str, rest: bytes) -> None:
    message = compressed_message(magic.encode('latin-1') + rest)
    for frame in read_or_refuse(serialize_message(message)):
        try:
            bgr_image(frame)
        except FrameError as error:
            assert error.reason is DropReason.UNDECODABLE


WHOLE = [
    serialize_message(m)
    for m in (
        raw_message(),
        raw_message(encoding='nv12', width=18, data=bytes(6 * 18)),
        compressed_message(JPEG),
        compressed_message(PNG),
    )
]


@given(st.sampled_from(WHOLE[:2]), st.data())
def test_every_truncation_is_malformed(cdr: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(cdr) - 1))
    with pytest.raises(FrameError) as error:
        read_image(cdr[:cut], ARRIVAL)
    assert error.value.reason is DropReason.MALFORMED


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(WHOLE), st.data())
def test_what_is_read_from_a_damaged_message_is_safe_to_use(
    cdr: bytes, data: st.DataObject
) -> None:
    # Four bytes at a time, because a length, a side or a step has four; of a file its first header.
    damaged = bytearray(cdr)
    place = data.draw(st.integers(0, 84))
    damaged[place : place + 4] = data.draw(
        st.binary(min_size=4, max_size=4)
        | st.integers(0, 2**32 - 1).map(lambda n: struct.pack('<I', n))
    )
    for frame in read_or_refuse(bytes(damaged)):
        header_of(frame)
        if frame.height * frame.width > 10**6:
            continue  # a damaged size; OpenCV takes long to find that the rest is missing
        try:
            image = bgr_image(frame)
        except FrameError as error:
            assert error.reason is DropReason.UNDECODABLE
        else:
            assert image.shape == (frame.height, frame.width, 3)
