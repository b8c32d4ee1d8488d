"""Small recorded drives: through the rendered world, and of real photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.ros.output.serialize_images import STAMP_AT, SerializedImage
from yolox_trt_ros.sim.encode import encode, fit
from yolox_trt_ros.sim.world_source import WorldSource
from yolox_trt_ros.vehicle_files import load_vehicle, vehicle_parameters

T0 = 1_700_000_000_000_000_000
PERIOD_NS = 200_000_000
CAMERAS = {'front_wide': 'bgr8', 'rear_left': 'yuv422', 'rear': 'jpeg'}
KIND = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}
Picture = Callable[[str, int], np.ndarray]


def vehicle(path: Path, model: Path, cameras: Sequence[str] = tuple(CAMERAS), **more: Any) -> Path:
    """Write a vehicle with some of the cameras and one lane."""
    flat = vehicle_parameters(find_resource('config/vehicles', 'laptop_8cam', '.param.yaml'))
    kept = {
        key: value
        for key, value in flat.items()
        if key.partition('.')[0] not in ('camera_names', 'cameras', 'lanes', 'lane_names')
        or key.startswith(tuple(f'cameras.{name}.' for name in cameras))
    }
    kept |= {
        'camera_names': list(cameras),
        'lane_names': ['cpu0'],
        'lanes.cpu0.threads': 1,
        'model.path': str(model),
        **more,
    }
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': kept}}))
    return path


def world(name: str, index: int) -> np.ndarray:
    """Return a picture of the rendered street as a camera of the car sees it."""
    config = load_vehicle('laptop_8cam')
    (camera,) = (c for c in config.cameras if c.name == name)
    return WorldSource(config.sim.seed, camera).picture(2 * index)


def photographs(folder: Path) -> Picture:
    """Return what shows real photographs, another one for every camera and time."""
    files = sorted(folder.glob('*.jpg'))

    def picture(name: str, index: int) -> np.ndarray:
        return cv2.imread(str(files[list(CAMERAS).index(name) + len(CAMERAS) * index]))

    return picture


def record(path: Path, picture: Picture, frames: int, width: int = 0, height: int = 0) -> Path:
    """Record some pictures of every camera as its driver would have sent them."""
    topics = {c.name: c for c in load_vehicle('laptop_8cam').cameras if c.name in CAMERAS}
    with BagWriter(path) as bag:
        for camera in topics.values():
            bag.add_topic(camera.image_topic, KIND[camera.transport])
        for index in range(frames):
            for k, (name, encoding) in enumerate(CAMERAS.items()):
                stamp = T0 + index * PERIOD_NS + k * 10_000_000
                image = encode(fit(picture(name, index), encoding, width, height), encoding)
                cdr = SerializedImage(name).write(image, stamp).tobytes()
                bag.write(topics[name].image_topic, stamp + 3_000_000, cdr)
    return path


def rewrite(
    source: Path,
    path: Path,
    change: Callable[[str, int, bytes], bytes | None] = lambda topic, number, cdr: cdr,
    **how: Any,
) -> Path:
    """Copy a bag, each message changed, or left out where ``change`` returns None."""
    numbers: dict[str, int] = {}
    with Bag(source) as old, BagWriter(path, definitions=old.definitions, **how) as new:
        for message in old.messages():
            number = numbers[message.topic] = numbers.get(message.topic, -1) + 1
            cdr = change(message.topic, number, message.cdr)
            if cdr is not None:
                new.add_topic(message.topic, message.type)
                new.write(message.topic, message.t_ns, cdr)
    return path


def late(cdr: bytes, by_ns: int) -> bytes:
    """Return a message whose header stamp is later."""
    seconds, nanoseconds = np.frombuffer(cdr, '<i4', 2, STAMP_AT).tolist()
    stamp = seconds * 10**9 + nanoseconds + by_ns
    changed = np.array(divmod(stamp, 10**9), '<i4').tobytes()
    return cdr[:STAMP_AT] + changed + cdr[STAMP_AT + 8 :]


def sidecar(model: Path, folder: Path, described: Mapping[str, Any]) -> Path:
    """Return a copy of a model that is described otherwise."""
    folder.mkdir()
    copy = folder / model.name
    copy.write_bytes(model.read_bytes())
    labels = model.parent / 'labels.txt'
    if labels.is_file():
        (folder / 'labels.txt').write_text(labels.read_text())
    copy.with_suffix('.yaml').write_text(yaml.safe_dump(dict(described)))
    return copy
