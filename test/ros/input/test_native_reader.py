"""The C++ reader and the Python reader agree on every message, sound or damaged."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.input import codecs
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.native import load_native

native = load_native()
ARRIVAL = Arrival('front', 3, 99)

names = st.text(max_size=20)
numbers = st.integers(0, 2**32 - 1)


@st.composite
def image_messages(draw: st.DrawFn) -> bytes:
    message = Image(
        height=draw(st.one_of(st.integers(1, 4), numbers)),
        width=draw(st.one_of(st.integers(1, 4), numbers)),
        encoding=draw(st.one_of(st.sampled_from(['bgr8', 'mono8', 'nv12', '8UC3']), names)),
        step=draw(st.one_of(st.integers(0, 12), numbers)),
        data=draw(st.binary(max_size=60)),
    )
    message.header.frame_id = draw(names)
    message.header.stamp.sec = draw(st.integers(-(2**31), 2**31 - 1))
    message.header.stamp.nanosec = draw(st.one_of(st.integers(0, 10**9), numbers))
    return bytes(serialize_message(message))


@st.composite
def compressed_messages(draw: st.DrawFn) -> bytes:
    start = draw(st.sampled_from([b'', b'\xff\xd8\xff\xc0\0\x11\x08\0\x02\0\x03', b'\x89PNG']))
    message = CompressedImage(format=draw(names), data=start + draw(st.binary(max_size=40)))
    message.header.frame_id = draw(names)
    return bytes(serialize_message(message))


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """Return a message some of whose bytes or 32-bit numbers are replaced, cut off or doubled."""
    raw = bytearray(draw(messages))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 4)))
        change = draw(st.sampled_from(['byte', 'number', 'cut', 'double', 'order']))
        if change == 'byte':
            raw[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif change == 'number':
            edge = st.sampled_from([0, 1, len(raw), 4096, 4097, 2**31, 2**32 - 1])
            at -= at % 4
            raw[at : at + 4] = struct.pack('=I', draw(edge))
        elif change == 'cut':
            del raw[at:]
        elif change == 'double':
            raw += raw[at:]
        else:
            raw[:4] = bytes([0, draw(st.integers(0, 3)), 0, draw(st.integers(0, 3))])
    return bytes(raw)


def outcome(read: Callable[[], Frame]) -> tuple[object, ...]:
    try:
        f = read()
    except FrameError as error:
        return (error.reason,)
    look = f.stamp_ns, f.frame_id, f.encoding, f.height, f.width, f.step, f.data.tobytes()
    return f.camera, f.sequence, f.received_ns, *look


def agree(message: bytes, compressed: bool) -> tuple[object, ...]:
    image = native.read_serialized(message, compressed)
    if compressed:
        found = outcome(lambda: codecs.read_native_compressed_image(image, ARRIVAL))
        assert found == outcome(lambda: codecs.read_compressed_image(message, ARRIVAL))
    else:
        found = outcome(lambda: codecs.read_native_image(image, ARRIVAL))
        assert found == outcome(lambda: codecs.read_image(message, ARRIVAL))
    return found


@settings(max_examples=400)
@given(damaged(image_messages()))
def test_images(message: bytes) -> None:
    agree(message, compressed=False)


@settings(max_examples=400)
@given(damaged(compressed_messages()))
def test_compressed_images(message: bytes) -> None:
    agree(message, compressed=True)


@pytest.mark.parametrize('compressed', [False, True])
@given(message=st.binary(max_size=100))
def test_any_bytes(compressed: bool, message: bytes) -> None:
    agree(message, compressed)


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('message', [b'\0\1\0\1', b'\0\1\0\2', b'\0\0\0\3'])
def test_more_padding_than_message(message: bytes, compressed: bool) -> None:
    assert agree(message, compressed) == (DropReason.MALFORMED,)


def test_padding_is_not_payload() -> None:
    message = Image(height=2, width=2, step=6, encoding='bgr8', data=bytes(range(14)))
    filled = bytearray(serialize_message(message)) + b'\0\0'
    assert len(filled) % 4 == 0
    filled[3] = 2
    assert agree(bytes(filled), compressed=False)[-1] == bytes(range(14))
    filled[3] = 3
    assert agree(bytes(filled), compressed=False) == (DropReason.MALFORMED,)


@pytest.mark.parametrize('order', ['<', '>'])
def test_both_byte_orders(order: str) -> None:
    pixels = bytes(range(12))
    head = struct.pack(
        f'{order}iII4sIII5sB2xII', 5, 6, 4, b'cam\0', 2, 2, 5, b'bgr8\0', 0, 6, len(pixels)
    )
    message = bytes((0, order == '<', 0, 0)) + head + pixels
    expected = ('front', 3, 99, 5 * 10**9 + 6, 'cam', 'bgr8', 2, 2, 6, pixels)
    assert agree(message, compressed=False) == expected


def test_a_payload_far_beyond_its_image_is_not_copied() -> None:
    message = Image(height=1, width=1, step=3, encoding='bgr8', data=bytes(30_000_000))
    found = native.read_serialized(bytes(serialize_message(message)), False)
    assert 'carries 30000000 bytes: expected at most' in found.problem
    assert len(found) == 0
    assert agree(bytes(serialize_message(message)), compressed=False) == (DropReason.MALFORMED,)


def test_payload_is_a_view_that_keeps_its_buffer() -> None:
    message = Image(height=2, width=2, step=6, encoding='bgr8', data=bytes(range(12)))
    image = native.read_serialized(bytes(serialize_message(message)), False)
    data = codecs.read_native_image(image, ARRIVAL).data
    del image
    other = native.read_serialized(bytes(serialize_message(message)), False)
    assert data.tobytes() == bytes(range(12))
    assert not data.flags.writeable
    assert not np.shares_memory(data, np.frombuffer(other, np.uint8))
