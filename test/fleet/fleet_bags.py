"""Bags of a drive for the fleet: pictures with ground truth, in all storages, whole and damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.ros.output.serialize_images import SerializedImage
from yolox_trt_ros.sim.encode import encode

T0 = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
HEIGHT, WIDTH = 120, 160
KINDS = (
    ('mcap', 'none'), ('mcap', 'chunk'), ('mcap', 'message'), ('mcap', 'file'),
    ('sqlite3', 'none'), ('sqlite3', 'message'), ('sqlite3', 'file'),
)  # fmt: skip
BOX = (10.0, 20.0, 60.0, 90.0)


def picture(seed: int) -> np.ndarray:
    """Return coarse noise, in which a random network finds something."""
    small = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    return np.ascontiguousarray(small.repeat(8, axis=0).repeat(8, axis=1))


def write_bag(
    path: Path,
    kind: tuple[str, str] = ('mcap', 'none'),
    *,
    images: int = 12,
    cameras: Sequence[str] = ('front', 'rear'),
    encodings: Sequence[str] = ('bgr8', 'jpeg'),
    truth: bool = False,
    seed: int = 0,
    t0: int = T0,
    make: Callable[[int], np.ndarray] = picture,
) -> Path:
    """Write a bag with so many images of each camera, 0.1 s apart."""
    storage, compression = kind
    with BagWriter(path, storage, compression) as bag:
        heads = {}
        for camera, encoding in zip(cameras, encodings, strict=True):
            compressed = encoding == 'jpeg'
            topic = f'/{camera}/image_raw{"/compressed" * compressed}'
            type_name = 'CompressedImage' if compressed else 'Image'
            bag.add_topic(topic, f'sensor_msgs/msg/{type_name}')
            heads[camera] = topic, encoding, SerializedImage(f'{camera}_optical')
            if truth:
                bag.add_topic(f'/{camera}/ground_truth', 'vision_msgs/msg/Detection2DArray')
        for i in range(images):
            for number, camera in enumerate(cameras):
                topic, encoding, head = heads[camera]
                stamp = t0 + i * PERIOD_NS + number * 1000
                image = encode(make(seed + 100 * i + number), encoding)
                bag.write(topic, stamp, bytes(head.write(image, stamp)))
                if truth:
                    bag.write(f'/{camera}/ground_truth', stamp + 500, labelled(stamp))
    return path


def labelled(stamp_ns: int) -> bytes:
    """Return ground truth of one car, serialised by ROS; all else here needs no ROS."""
    from rclpy.serialization import serialize_message
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    from yolox_trt_ros.ros.output.message_kinds import time_message

    item = Detection2D()
    x1, y1, x2, y2 = BOX
    item.bbox.center.position.x, item.bbox.center.position.y = (x1 + x2) / 2, (y1 + y2) / 2
    item.bbox.size_x, item.bbox.size_y = x2 - x1, y2 - y1
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id, result.hypothesis.score = '0', 1.0
    result.pose.pose.position.z = 7.0
    item.results.append(result)
    message = Detection2DArray(detections=[item])
    message.header.stamp = time_message(stamp_ns)
    return bytes(serialize_message(message))


def _file(bag: Path) -> Path:
    return next(file for file in sorted(bag.iterdir()) if file.name != 'metadata.yaml')


def _cut(bag: Path, part: float) -> None:
    file = _file(bag)
    with file.open('r+b') as stream:
        stream.truncate(int(file.stat().st_size * part))


def _fill(bag: Path, begin: float, count: int) -> None:
    file = _file(bag)
    with file.open('r+b') as stream:
        stream.seek(int(file.stat().st_size * begin))
        stream.write(b'\xa5' * count)


def _write(bag: Path, content: bytes) -> None:
    _file(bag).write_bytes(content)


def _folder(bag: Path) -> None:
    file = _file(bag)
    file.unlink()
    file.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    'empty file': lambda bag: _write(bag, b''),
    'cut in half': lambda bag: _cut(bag, 0.5),
    'cut in its header': lambda bag: _cut(bag, 0.0001),
    'zeros': lambda bag: _write(bag, bytes(5000)),
    'a pointer': lambda bag: _write(bag, b'version https://git-lfs'),
    'middle overwritten': lambda bag: _fill(bag, 0.4, 3000),
    'begin overwritten': lambda bag: _fill(bag, 0.0, 64),
    'end overwritten': lambda bag: _fill(bag, 0.97, 200),
    'no files': lambda bag: _file(bag).unlink(),
    'a folder for its file': _folder,
}
"""Ten ways in which bags get damaged."""


def damaged_bag(path: Path, damage: str) -> Path:
    """Write a bag that is damaged in one of the ways."""
    write_bag(path, images=6)
    DAMAGES[damage](path)
    return path
