"""Small bags as other people's drivers record them: names, types, encodings and habits."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolox_trt_ros.bags.writer import BagWriter

T0 = 1_700_000_000_000_000_000
SECOND = 10**9
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO, CLOUD, IMU = (f'sensor_msgs/msg/{n}' for n in ('CameraInfo', 'PointCloud2', 'Imu'))
SIZE = (120, 160)
EIGHT = ('FRONT', 'FRONT_LEFT', 'FRONT_RIGHT', 'LEFT', 'RIGHT', 'BACK', 'BACK_LEFT', 'BACK_RIGHT')
Row = tuple[int, str, str, bytes]
"""Recording time, topic, type, message."""


def picture(seed: int, channels: int = 3) -> np.ndarray:
    """Return uint8 (height, width, channels): blocks of random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, channels), np.uint8)
    return small.repeat(20, axis=0).repeat(20, axis=1)


def image(pixels: np.ndarray, encoding: str, stamp: int) -> bytes:
    """Return a serialised sensor_msgs/Image."""
    height, width = pixels.shape[:2]
    body = header(stamp) + aligned_struct('II', height, width) + text(encoding)
    body = pad(body + b'\0', 4) + struct.pack('<II', pixels.nbytes // height, pixels.nbytes)
    return b'\0\1\0\0' + body + pixels.tobytes()


def compressed(data: bytes, label: str, stamp: int) -> bytes:
    """Return a serialised sensor_msgs/CompressedImage."""
    return b'\0\1\0\0' + pad(header(stamp) + text(label), 4) + struct.pack('<I', len(data)) + data


def header(stamp: int, frame_id: str = 'optic') -> bytes:
    return pad(struct.pack('<iI', *divmod(stamp, SECOND)) + text(frame_id), 4)


def text(value: str) -> bytes:
    raw = value.encode() + b'\0'
    return struct.pack('<I', len(raw)) + raw


def aligned_struct(codes: str, *values: int) -> bytes:
    return struct.pack('<' + codes, *values)


def pad(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def jpeg(pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode('.jpg', pixels)[1])


def png(pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode('.png', pixels)[1])


def stamps(hz: float, seconds: float, after_s: float = 0.0) -> Iterable[tuple[int, int]]:
    """Yield number and header stamp of a camera that starts some time after the recording."""
    for n in range(round(hz * seconds)):
        yield n, T0 + round((after_s + n / hz) * SECOND)


def write(path: Path, rows: list[Row], own_types: dict[str, str] | None = None) -> Path:
    """Write a bag; ``own_types`` are types that are installed nowhere, with their definitions."""
    with BagWriter(path) as bag:
        for t_ns, topic, msgtype, cdr in sorted(rows, key=lambda row: row[0]):
            if own_types and msgtype in own_types and topic not in bag._connections:
                bag._connections[topic] = bag._writer.add_connection(
                    topic, msgtype, msgdef=own_types[msgtype], rihs01='RIHS01_' + '0' * 64
                )
            bag.add_topic(topic, msgtype)
            bag.write(topic, t_ns, cdr)
    return path


def made(msgtype: str, **fields: Any) -> bytes:
    """Return a serialised message of a type that only its header and little else matters of."""
    from rclpy.serialization import serialize_message

    from yolox_trt_ros.ros.message_types import message_class

    return bytes(serialize_message(message_class(msgtype)(**fields)))


def realsense(path: Path, seconds: float = 2.0) -> Path:
    """Record as realsense2_camera does: colour with its twin, infrared, depth in four ways."""
    base, rows = '/camera/camera', []
    depth = np.random.default_rng(1).integers(300, 6000, SIZE).astype(np.uint16)
    pictures = [picture(n) for n in range(3)]
    packed = [jpeg(p) for p in pictures]
    packed_depth = png(depth)
    for n, stamp in stamps(10, seconds):
        at, colour = stamp + 20_000_000, f'{base}/color/image_raw'
        rows += [
            (at, colour, IMAGE, image(pictures[n % 3], 'rgb8', stamp)),
            (at, f'{colour}/compressed', COMPRESSED, compressed(
                packed[n % 3], 'rgb8; jpeg compressed bgr8', stamp)),
            (at, f'{base}/color/camera_info', INFO, made(INFO, height=120, width=160)),
            (at, f'{base}/depth/image_rect_raw', IMAGE, image(depth, '16UC1', stamp)),
            (at, f'{base}/depth/image_rect_raw/compressedDepth', COMPRESSED, compressed(
                bytes(12) + packed_depth, '16UC1; compressedDepth png', stamp)),
            (at, f'{base}/depth/image_rect_raw/compressed', COMPRESSED, compressed(
                packed_depth, '16UC1; png compressed ', stamp)),
            (at, f'{base}/aligned_depth_to_color/image_raw', IMAGE, image(depth, '16UC1', stamp)),
            (at, f'{base}/imu', IMU, made(IMU)),
            (at, f'{base}/color/metadata', METADATA, b'\0\1\0\0' + header(stamp) + text('{}')),
        ]  # fmt: skip
    for k in (1, 2):
        for n, stamp in stamps(15, seconds / 2, after_s=seconds / 2):  # switched on later
            pixels = picture(10 * k + n % 3, 1)[:, :, 0]
            topic = f'{base}/infra{k}/image_rect_raw'
            rows.append((stamp + 20_000_000, topic, IMAGE, image(pixels, 'mono8', stamp)))
    return write(path, rows, {METADATA: 'std_msgs/Header header\nstring json_data\n' + HEADER})


METADATA = 'realsense2_camera_msgs/msg/Metadata'
HEADER = """================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""


def zed(path: Path, seconds: float = 2.0) -> Path:
    """Record as zed_wrapper does: colour, left and right, raw ones, depth in floats, a cloud."""
    base, rows = '/zed/zed_node', []
    depth = np.random.default_rng(1).random(SIZE, np.float32)
    for n, stamp in stamps(10, seconds):
        at = stamp + 30_000_000
        pixels = picture(n % 3, 4)
        for name in ('rgb', 'left', 'right'):
            topic = f'{base}/{name}/image_rect_color'
            rows.append((at, topic, IMAGE, image(pixels, 'bgra8', stamp)))
        rows += [
            (at, f'{base}/left_raw/image_raw_color', IMAGE, image(pixels, 'bgra8', stamp)),
            (at, f'{base}/left/image_rect_color/compressed', COMPRESSED, compressed(
                jpeg(pixels[:, :, :3]), 'bgra8; jpeg compressed bgr8', stamp)),
            (at, f'{base}/depth/depth_registered', IMAGE, image(depth, '32FC1', stamp)),
            (at, f'{base}/confidence/confidence_map', IMAGE, image(depth, '32FC1', stamp)),
            (at, f'{base}/point_cloud/cloud_registered', CLOUD, made(CLOUD)),
        ]  # fmt: skip
    return write(path, rows)


def eight(path: Path, seconds: float = 2.0) -> Path:
    """Record eight compressed cameras of names that do not end in /compressed."""
    packed = [jpeg(picture(n)) for n in range(3)]
    rows = [
        (stamp + k * 1_000_000, f'/CAM_{name}/image_rect_compressed', COMPRESSED,
         compressed(packed[n % 3], 'jpeg', stamp + k * 1_000_000))
        for k, name in enumerate(EIGHT)
        for n, stamp in stamps(5, seconds)
    ]  # fmt: skip
    return write(path, rows)


def shared_stamps(path: Path, seconds: float = 2.0) -> Path:
    """Record a camera whose stamps stay zero, and one that sends three images under each."""
    rows: list[Row] = []
    for n, stamp in stamps(10, seconds):
        for name, message in (('zero', 0), ('three', stamp - n % 3 * SECOND // 10)):
            topic = f'/{name}/image_raw'
            rows.append((stamp, topic, IMAGE, image(picture(n), 'bgr8', message)))
    return write(path, rows)


WHOLE = jpeg(picture(7))
TEN_DAMAGES: tuple[tuple[str, Callable[[int], bytes]], ...] = (
    ('cut JPEG', lambda t: compressed(WHOLE[: len(WHOLE) // 2], 'jpeg', t)),
    ('JPEG without a picture', lambda t: compressed(WHOLE[:20], 'jpeg', t)),
    ('JPEG of no size', lambda t: compressed(WHOLE[:2] + bytes(500), 'jpeg', t)),
    ('no bytes', lambda t: compressed(b'', 'jpeg', t)),
    ('words', lambda t: compressed(b'camera not ready', 'jpeg', t)),
    ('cut PNG', lambda t: compressed(png(picture(7))[:-40], 'png', t)),
    ('PNG of no size', lambda t: compressed(png(picture(7))[:12], 'png', t)),
    ('cut message', lambda t: compressed(WHOLE, 'jpeg', t)[:-100]),
    ('message of a header', lambda t: b'\0\1\0\0' + header(t)),
    ('empty message', lambda t: b'\0\1\0\0'),
)
"""Ways in which every third image is damaged."""


def damaged(path: Path, images: int = 30) -> Path:
    """Record one camera that is whole, and one with every third image damaged in another way."""
    rows: list[Row] = []
    for n, stamp in stamps(10, images / 10):
        bad = TEN_DAMAGES[n // 3 % len(TEN_DAMAGES)][1](stamp) if n % 3 == 0 else None
        cdr = bad or compressed(WHOLE, 'jpeg', stamp)
        rows.append((stamp, '/worn/image_raw/compressed', COMPRESSED, cdr))
        rows.append((stamp, '/good/image_raw', IMAGE, image(picture(n), 'bgr8', stamp)))
    return write(path, rows)
