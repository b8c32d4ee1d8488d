"""ROS 1 bags, as the rosbags library writes them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from bag_files import T0
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS1_NOETIC)
TYPES = STORE.types
IMAGE, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
COUNT = 20


def header(i: int) -> object:
    stamp = TYPES['builtin_interfaces/msg/Time'](sec=T0 // 10**9 + i, nanosec=7)
    return TYPES['std_msgs/msg/Header'](seq=i, stamp=stamp, frame_id='eye')


def pixels(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, 40 * 60 * 3, np.uint8)


def image(i: int) -> bytes:
    message = TYPES[IMAGE](
        header=header(i), height=40, width=60, encoding='bgr8', is_bigendian=0, step=180,
        data=pixels(i),
    )  # fmt: skip
    return bytes(STORE.serialize_ros1(message, IMAGE))


def info(i: int) -> bytes:
    roi = TYPES['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    message = TYPES[INFO](
        header=header(i), height=4, width=6, distortion_model='plumb_bob', D=np.zeros(5),
        K=np.arange(9.0), R=np.zeros(9), P=np.zeros(12), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip
    return bytes(STORE.serialize_ros1(message, INFO))


def write(path: Path, codec: str = 'none', chunk_bytes: int = 20_000) -> Path:
    """Write :data:`COUNT` images and infos in several chunks."""
    writer = Writer(path)
    if codec != 'none':
        writer.set_compression(Writer.CompressionFormat[codec.upper()])
    writer.chunk_threshold = chunk_bytes
    with writer:
        images = writer.add_connection('/cam/image_raw', IMAGE, typestore=STORE)
        infos = writer.add_connection('/cam/camera_info', INFO, typestore=STORE, latching=1)
        for i in range(COUNT):
            writer.write(images, T0 + i * 10**9, image(i))
            writer.write(infos, T0 + i * 10**9 + 1, info(i))
    return path


def bag(codec: str = 'none') -> bytes:
    """Return the bytes of such a bag."""
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder, 'a.bag'), codec).read_bytes()
