"""Serialised messages in, frames out: byte for byte, and nothing but FrameError for nonsense."""

import runpy
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from pictures import mosaic
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.layouts import MAX_SIDE
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE, TRANSPORTS, Transport
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.ros.input import readers
from yolox_trt_ros.ros.input.codecs import Arrival, read_compressed_image, read_image
from yolox_trt_ros.ros.input.readers import READERS
from yolox_trt_ros.ros.output.messages import header_of

ARRIVAL = Arrival('front', 7, 123)
HEADER = Header(stamp=Time(sec=1_700_000_000, nanosec=999_999_999), frame_id='cam_ö')


def raw_message(**changes: Any) -> Image:
    """Return a 5 x 4 bgr8 image whose rows carry three bytes of padding."""
    data = np.arange(4 * 18, dtype=np.uint8).tobytes()
    values = {'encoding': 'bgr8', 'height': 4, 'width': 5, 'step': 18, 'data': data}
    return Image(**{'header': HEADER, **values, **changes})


def photo(height: int = 24, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack((x * 7 % 256, y * 5 % 256, (x + y) * 3 % 256), axis=2).astype(np.uint8)


def encode(suffix: str, image: np.ndarray, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, image, options)[1])


def compressed_message(data: bytes) -> CompressedImage:
    return CompressedImage(header=HEADER, format='bgr8; jpeg compressed bgr8', data=data)


def big_endian(message: Image | CompressedImage) -> bytes:
    """Return what a big-endian robot would send: CDR written by hand."""
    out = bytearray(b'\x00\x00\x00\x00')

    def number(code: str, value: int) -> None:
        size = struct.calcsize(code)
        out.extend(b'\x00' * (-(len(out) - 4) % size))
        out.extend(struct.pack('>' + code, value))

    def text(value: str) -> None:
        raw = value.encode() + b'\x00'
        number('I', len(raw))
        out.extend(raw)

    number('i', message.header.stamp.sec)
    number('I', message.header.stamp.nanosec)
    text(message.header.frame_id)
    if isinstance(message, Image):
        number('I', message.height)
        number('I', message.width)
        text(message.encoding)
        number('B', message.is_bigendian)
        number('I', message.step)
    else:
        text(message.format)
    number('I', len(message.data))
    out.extend(message.data)
    return bytes(out)


@pytest.mark.parametrize('serialise', [serialize_message, big_endian])
@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'cam_ö'])
def test_image_round_trip(serialise: Any, frame_id: str) -> None:
    message = raw_message(header=Header(stamp=HEADER.stamp, frame_id=frame_id))
    cdr = serialise(message)
    frame = read_image(cdr, ARRIVAL)
    assert (frame.camera, frame.sequence, frame.received_ns) == ('front', 7, 123)
    assert (frame.encoding, frame.height, frame.width, frame.step) == ('bgr8', 4, 5, 18)
    assert header_of(frame) == message.header
    assert frame.data.tobytes() == bytes(message.data)
    assert np.shares_memory(frame.data, np.frombuffer(cdr, np.uint8)), 'pixels were copied'


@pytest.mark.parametrize('serialise', [serialize_message, big_endian])
@pytest.mark.parametrize(('suffix', 'kind'), [('.jpg', 'jpeg'), ('.png', 'png')])
def test_compressed_round_trip(serialise: Any, suffix: str, kind: str) -> None:
    message = compressed_message(encode(suffix, photo()))
    cdr = serialise(message)
    frame = read_compressed_image(cdr, ARRIVAL)
    assert (frame.encoding, frame.height, frame.width, frame.step) == (kind, 24, 32, 0)
    assert header_of(frame) == message.header
    assert np.shares_memory(frame.data, np.frombuffer(cdr, np.uint8))
    assert np.array_equal(bgr_image(frame), cv2.imdecode(frame.data, cv2.IMREAD_COLOR))


@pytest.mark.parametrize('sec', [-(2**31), -1, 0, 2**31 - 1])
def test_header_of_any_time_comes_back(sec: int) -> None:
    message = raw_message(header=Header(stamp=Time(sec=sec, nanosec=5)))
    assert header_of(read_image(serialize_message(message), ARRIVAL)) == message.header


def test_last_row_may_lack_its_padding() -> None:
    frame = read_image(serialize_message(raw_message(data=bytes(range(69)))), ARRIVAL)
    assert bgr_image(frame)[3].tobytes() == bytes(range(54, 69))


BAD_IMAGES = {
    'unknown encoding': ({'encoding': 'bgr99'}, DropReason.UNSUPPORTED, 'did you mean "bgr8"'),
    'no encoding': ({'encoding': ''}, DropReason.UNSUPPORTED, 'encoding ""'),
    '32 bits': ({'encoding': '32FC1', 'step': 20}, DropReason.UNSUPPORTED, '32FC1'),
    'no height': ({'height': 0}, DropReason.MALFORMED, '5x0'),
    'no width': ({'width': 0}, DropReason.MALFORMED, '0x4'),
    'too high': ({'height': MAX_SIDE + 1}, DropReason.MALFORMED, str(MAX_SIDE)),
    'short step': ({'step': 14}, DropReason.MALFORMED, 'expected at least 15'),
    'no step': ({'step': 0}, DropReason.MALFORMED, 'step 0'),
    'largest step': ({'step': 2**32 - 1}, DropReason.MALFORMED, 'carries 72 bytes'),
    'far too large a payload': (
        {'data': bytes(80_000)},
        DropReason.MALFORMED,
        'carries 80000 bytes: expected 69, at most 65608',
    ),
    'short payload': ({'data': bytes(68)}, DropReason.MALFORMED, 'carries 68 bytes: expected 69'),
    'no payload': ({'data': b''}, DropReason.MALFORMED, 'carries 0 bytes'),
    'overfull stamp': (
        {'header': Header(stamp=Time(nanosec=10**9))},
        DropReason.MALFORMED,
        'less than a second',
    ),
    'odd width': ({'encoding': 'yuv422'}, DropReason.MALFORMED, 'multiple of 2'),
}


@pytest.mark.parametrize(('changes', 'reason', 'text'), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_image(changes: dict[str, Any], reason: DropReason, text: str) -> None:
    with pytest.raises(FrameError, match=text) as error:
        read_image(serialize_message(raw_message(**changes)), ARRIVAL)
    assert error.value.reason is reason


JPEG = encode('.jpg', photo())
PNG = encode('.png', photo())
BAD_FILES = {
    'empty': (b'', DropReason.UNSUPPORTED),
    'gif': (b'GIF89a' + bytes(40), DropReason.UNSUPPORTED),
    'only the start of a JPEG': (JPEG[:2], DropReason.UNDECODABLE),
    'JPEG cut before its size': (JPEG[:100], DropReason.UNDECODABLE),
    'JPEG with an endless segment': (b'\xff\xd8\xff\xe0\xff\xff' + bytes(99), 'undecodable'),
    'JPEG of no size': (JPEG.replace(struct.pack('>HH', 24, 32), bytes(4), 1), 'undecodable'),
    'PNG cut before its size': (PNG[:20], DropReason.UNDECODABLE),
    'PNG of no size': (PNG[:16] + bytes(8) + PNG[24:], DropReason.UNDECODABLE),
    'JPEG with a long tail': (JPEG + bytes(17 << 20), DropReason.MALFORMED),
    'JPEG of 12 bits': (JPEG.replace(b'\xff\xc0\0\x11\x08', b'\xff\xc1\0\x11\x0c'), 'unsupported'),
    'huge PNG': (PNG[:16] + b'\xff' * 8 + PNG[24:], DropReason.UNDECODABLE),
}


@pytest.mark.parametrize(('data', 'reason'), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file(data: bytes, reason: str) -> None:
    with pytest.raises(FrameError) as error:
        read_compressed_image(serialize_message(compressed_message(data)), ARRIVAL)
    assert error.value.reason == reason


@pytest.mark.parametrize('kind', [JPEG, PNG], ids=['jpeg', 'png'])
@pytest.mark.parametrize('share', [0.5, 0.9, 0.999])
def test_truncated_file_is_undecodable(kind: bytes, share: float) -> None:
    cut = kind[: int(len(kind) * share)]
    frame = read_compressed_image(serialize_message(compressed_message(cut)), ARRIVAL)
    with pytest.raises(FrameError) as error:
        bgr_image(frame)
    assert error.value.reason is DropReason.UNDECODABLE


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack('>BBH', 0xFF, marker, len(payload) + 2) + payload


FILES = {
    'baseline': JPEG,
    'progressive': encode('.jpg', photo(33, 17), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    'optimised, with restarts': encode(
        '.jpg', photo(64, 65), cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2
    ),
    'grey': encode('.jpg', photo(9, 200)[:, :, 0]),
    'with a thumbnail inside': JPEG[:2]
    + segment(0xE1, b'Exif\0\0' + encode('.jpg', photo(8, 8)))
    + JPEG[2:],
    'with fill bytes': JPEG[:2] + b'\xff\xff\xff' + JPEG[2:],
    'padded by the driver': JPEG + bytes(1000),
    'with a film behind it': JPEG + b'\0\0\0\x18ftypmp42' + bytes(range(256)) * 900,
    'webp': encode('.webp', photo(), cv2.IMWRITE_WEBP_QUALITY, 80),
    'webp without losses': encode('.webp', photo(31, 17), cv2.IMWRITE_WEBP_QUALITY, 101),
    'webp with alpha': encode('.webp', np.dstack((photo(), photo()[:, :, 0]))),
    'png': PNG,
    'grey png': encode('.png', photo(3, 5)[:, :, 0]),
    'png with alpha': encode('.png', np.dstack((photo(), photo()[:, :, 0]))),
}


@pytest.mark.parametrize('data', FILES.values(), ids=FILES)
def test_size_is_the_one_opencv_decodes(data: bytes) -> None:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    frame = compressed_frame(data, '')
    assert (frame.height, frame.width) == decoded.shape[:2]
    assert np.array_equal(bgr_image(frame), decoded)


def compressed_frame(data: bytes, label: str) -> Frame:
    message = CompressedImage(header=HEADER, format=label, data=data)
    return read_compressed_image(serialize_message(message), ARRIVAL)


COLOUR = photo()
MOSAIC = mosaic(COLOUR, 'rggb')
WIDE, WIDE_COLOUR = MOSAIC.astype(np.uint16) * 16, COLOUR.astype(np.uint16) * 257
GREY = COLOUR[:, :, 0]


@pytest.mark.parametrize(
    ('label', 'suffix', 'stored', 'content'),
    [
        # As image_transport's compressed publisher writes them.
        ('bayer_rggb8; png compressed ', '.png', MOSAIC, 'bayer_rggb8'),
        ('bayer_rggb8; jpeg compressed ', '.jpg', MOSAIC, 'bayer_rggb8'),
        ('bayer_grbg8; jpeg compressed', '.jpg', MOSAIC, 'bayer_grbg8'),
        ('bayer_rggb8; jpeg compressed mono8', '.jpg', GREY, ''),
        ('bayer_rggb8; jpeg compressed bgr8', '.jpg', COLOUR, ''),
        ('bayer_rggb16; png compressed ', '.png', WIDE, 'bayer_rggb16'),
        ('rgb8; jpeg compressed bgr8', '.jpg', COLOUR, ''),
        ('rgba8; png compressed bgr8', '.png', COLOUR, ''),
        ('rgb16; png compressed bgr16', '.png', WIDE_COLOUR, 'bgr16'),
        ('bgr16; jpeg compressed bgr8', '.jpg', COLOUR, ''),
        ('mono8; jpeg compressed ', '.jpg', GREY, ''),
        ('mono16; png compressed ', '.png', WIDE, 'mono16'),
        ('16UC1; png compressed mono16', '.png', WIDE, 'mono16'),
        ('mono16; jpeg compressed mono8', '.jpg', GREY, ''),
        # And as drivers do.
        ('jpeg', '.jpg', COLOUR, ''),
        ('JPG', '.jpg', COLOUR, ''),
        ('image/jpeg', '.jpg', COLOUR, ''),
        ('mjpeg', '.jpg', COLOUR, ''),
        ('', '.png', COLOUR, ''),
        ('png', '.jpg', COLOUR, ''),
        ('rgb8; jpeg compressed bgr8', '.png', COLOUR, ''),
        ('webp', '.webp', COLOUR, ''),
        ('BayerRG8; PNG compressed', '.png', MOSAIC, 'bayer_rggb8'),
        ('RGGB', '.png', MOSAIC, 'bayer_rggb8'),
        ('bayer_rggb8; png', '.png', MOSAIC, 'bayer_rggb8'),
    ],
)
def test_what_a_files_samples_are(
    label: str, suffix: str, stored: np.ndarray, content: str
) -> None:
    frame = compressed_frame(encode(suffix, stored), label)
    assert frame.content == content
    image = bgr_image(frame)
    assert image.shape == COLOUR.shape
    if content.startswith('bayer_rggb'):
        raw = Image(height=24, width=32, encoding=content, step=stored.strides[0])
        raw.data = (stored if suffix == '.png' else cv2.imdecode(frame.data, 0)).tobytes()
        assert np.array_equal(image, bgr_image(read_image(serialize_message(raw), ARRIVAL)))
    elif suffix == '.png' and stored.ndim == 3:
        assert np.array_equal(image, COLOUR)


@pytest.mark.parametrize(
    'label', ['16UC1; compressedDepth png', '32FC1; compressedDepth rvl', '16UC1; compressedDepth']
)
def test_depth_is_refused_as_depth(label: str) -> None:
    png = encode('.png', WIDE)
    for data in (bytes(12) + png, png):
        with pytest.raises(FrameError, match='a depth image') as error:
            compressed_frame(data, label)
        assert error.value.reason is DropReason.UNSUPPORTED


def test_a_mosaic_of_odd_size_in_a_file() -> None:
    with pytest.raises(FrameError, match='width must be a multiple') as error:
        compressed_frame(encode('.png', MOSAIC[:, :31]), 'bayer_rggb8; png compressed ')
    assert error.value.reason is DropReason.MALFORMED


@pytest.mark.parametrize('label', ['', 'jpeg', 'bgr8; jpeg compressed bgr8'])
def test_the_rest_of_one_picture_and_then_a_whole_one(label: str) -> None:
    frame = compressed_frame(JPEG[300:] + JPEG, label)
    assert np.array_equal(bgr_image(frame), bgr_image(compressed_frame(JPEG, label)))


def test_levels_go_with_the_frame() -> None:
    arrival = Arrival('front', 7, 123, (100, 4095))
    raw = raw_message(encoding='mono16', is_bigendian=1)
    frame = read_image(serialize_message(raw), arrival)
    assert (frame.levels, frame.big_endian) == ((100, 4095), True)
    message = CompressedImage(format='mono16; png compressed ', data=encode('.png', WIDE))
    assert read_compressed_image(serialize_message(message), arrival).levels == (100, 4095)


def test_every_raw_encoding_is_read() -> None:
    for name, layout in RAW.items():
        step = layout.min_step(4)
        data = bytes(layout.rows(4) * step)
        for written in (name, name.upper()):
            message = raw_message(encoding=written, width=4, step=step, data=data)
            assert read_image(serialize_message(message), ARRIVAL).encoding == name


def test_a_transport_without_a_reader_ends_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    assert READERS.keys() == TRANSPORTS.keys() == set(TRANSPORT_OF_TYPE.values())
    theora = Transport('theora', 'theora_image_transport/msg/Packet', '/theora', ('theora',))
    assert 'needs one of theora, got "jpeg"' in theora.refusal('jpeg')
    monkeypatch.setitem(TRANSPORTS, 'theora', theora)
    with pytest.raises(TypeError, match='theora'):
        runpy.run_module(readers.__name__)
