"""A small robot around a detector node: two cameras, and ears on all its topics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matching import differences
from peer import Detector, Peer, compressed_message, detector, image_message, rows
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from tiny_models import write_yolox
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.msg import CameraLatency, CameraStatus, PipelineStatus
from yolox_trt_ros.ros.input.codecs import Arrival, read_image

SECOND = 10**9


def noise(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class Rig:
    """A tiny model's node with a raw and a compressed camera, and ears on all its topics."""

    def __init__(self, peer: Peer, node: Detector, model: Path) -> None:
        self.peer, self.node, self.model = peer, node, model
        self.front = peer.camera(Image, '/front/image_raw')
        self.packed = peer.camera(CompressedImage, '/packed/image_raw/compressed')
        self.found = peer.listen(Detection2DArray, f'{node.name}/front/detections')
        self.packed_found = peer.listen(Detection2DArray, f'{node.name}/packed/detections')
        self.latency = peer.listen(CameraLatency, f'{node.name}/front/latency')
        self.status = peer.listen(PipelineStatus, f'{node.name}/status')
        self._local = cpu_detector(model, load_model_spec(model), lambda: Thresholds(0.3))
        self._stamp = 1_700_000_000 * SECOND

    def next_stamp(self) -> int:
        self._stamp += SECOND // 10
        return self._stamp

    def answer(self, message: Image, found: list[Any] | None = None) -> Detection2DArray:
        """Publish an image and return the detections with its header."""
        found = self.found if found is None else found
        publisher = self.front if isinstance(message, Image) else self.packed
        publisher.publish(message)
        return self.peer.until(
            lambda: next((m for m in found if m.header == message.header), None), 'detections'
        )

    def expected(self, message: Image) -> list[list[float]]:
        """Return what the same detector finds in this process."""
        frame = read_image(serialize_message(message), Arrival('front', 0, 0))
        (result,) = self._local.submit([frame]).wait()
        assert isinstance(result, Detected)
        found = result.detections
        return np.column_stack((found.xyxy, found.score, found.class_id)).tolist()

    def camera_status(self, name: str = 'front') -> CameraStatus:
        """Return a camera's part of the next status."""
        self.status.clear()
        message = self.peer.until(lambda: self.status and self.status[-1], 'status')
        (status,) = (c for c in message.cameras if c.name == name)
        return status


@contextmanager
def open_rig(peer: Peer, folder: Path, namespace: str, **parameters: Any) -> Iterator[Rig]:
    """Start a node with a tiny model and connect to it."""
    model = write_yolox(folder / 'tiny.onnx')
    always = {
        'camera_names': ['front', 'packed'],
        'lane_names': ['cpu0'],
        'cameras.front.timeout_ms': 500.0,
        'cameras.front.reliability': 'reliable',
        'cameras.front.depth': 100,
        'cameras.packed.reliability': 'reliable',
        'cameras.packed.transport': 'compressed',
        'model.path': str(model),
        'limits.rate_ratio_warn': 0.0,
        'limits.latency_warn_ms': 10_000.0,
        'limits.latency_error_ms': 20_000.0,
        'limits.drop_ratio_warn': 1.0,
        'limits.drop_ratio_error': 1.0,
    }
    with detector(peer, folder, namespace, {**always, **parameters}) as node:
        yield Rig(peer, node, model)


def jpeg(data: bytes) -> CompressedImage:
    return compressed_message(data, SECOND)


JPEG = cv2.imencode('.jpg', noise(1))[1].tobytes()
BAD: dict[str, tuple[Any, str, str]] = {
    'unknown encoding': (image_message(noise(0), 1, 'bgr99'), 'unsupported', 'mean "bgr8"'),
    'zero size': (Image(encoding='bgr8'), 'malformed', 'image size 0x0'),
    'short payload': (
        Image(encoding='bgr8', height=9, width=9, step=27, data=b'123'),
        'malformed',
        '3 bytes',
    ),
    'rubbish': (b'\x00\x01\x00\x00' + bytes(range(200)), 'malformed', 'string of'),
    'no bytes to speak of': (b'\x00\x01\x00\x00', 'malformed', 'ends early'),
    'no picture': (jpeg(b'hello'), 'unsupported', 'expected one of jpeg, png'),
    'JPEG without a size': (jpeg(JPEG[:60]), 'undecodable', 'expected an image size'),
    'truncated JPEG': (jpeg(JPEG[:-500]), 'undecodable', 'truncated'),
}


def dropped(status: CameraStatus) -> Counter[str]:
    return Counter(dict(zip(status.drop_reasons, status.drop_counts, strict=True)))


def diagnostics_of(rig: Rig, name: str) -> dict[str, str]:
    """Return the numbers behind a camera's diagnostics."""
    return {v.key: v.value for v in rig.peer.diagnostics[name].values}


def check_bad_messages(rig: Rig, cases: Iterable[tuple[Any, str, str]]) -> None:
    """See that each message is counted under its reason and told, and that the node lives."""
    names = ('front', 'packed')
    before = {name: rig.camera_status(name) for name in names}
    sent = {name: Counter[str]() for name in names}
    for message, reason, text in cases:
        packed = isinstance(message, CompressedImage)
        (rig.packed if packed else rig.front).publish(message)
        sent['packed' if packed else 'front'][reason] += 1
        rig.peer.until(lambda t=text: t in rig.node.log, f'"{text}" in the log')
    good = image_message(noise(5), rig.next_stamp())
    assert not differences(rows(rig.answer(good)), rig.expected(good), 0.999, 1e-4)

    rig.peer.diagnostics.clear()
    after = {name: rig.camera_status(name) for name in names}
    rig.peer.until(lambda: rig.peer.diagnostics.keys() >= set(names), 'diagnostics')
    for name in names:
        assert dropped(after[name]) - dropped(before[name]) == sent[name]
        answered = after[name].published - before[name].published
        assert answered == (name == 'front')
        assert after[name].received - before[name].received == sent[name].total() + answered
        messages = diagnostics_of(rig, name)
        for reason, count in dropped(after[name]).items():
            assert messages[f'dropped, {reason}'] == str(count)
    assert 'ends early' in diagnostics_of(rig, 'front')['last problem']
