"""Cameras of a node have two models: each finds with its own, one table names the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matching import differences
from peer import LATCHED, Peer, detector, image_message, rows
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from tiny_models import write_yolox
from vision_msgs.msg import Detection2DArray, LabelInfo

from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.ros.input.codecs import Arrival, read_image

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]
CLASSES = {'front': ('car', 'person', 'bus'), 'rear': ('person', 'kerb')}


def expected(model: Path, message: Image, numbers: list[int]) -> list[list[float]]:
    """Return what the model alone finds, with the classes' numbers in the common table."""
    frame = read_image(serialize_message(message), Arrival('front', 0, 0))
    detector = cpu_detector(model, load_model_spec(model), lambda: Thresholds(0.3))
    (result,) = detector.submit([frame]).wait()
    found = result.detections
    class_ids = np.array(numbers)[found.class_id]
    return np.column_stack((found.xyxy, found.score, class_ids)).tolist()


def test_each_camera_has_its_model(peer: Peer, tmp_path: Path) -> None:
    paths = {}
    for name, labels in CLASSES.items():
        (tmp_path / name).mkdir()
        paths[name] = write_yolox(tmp_path / name / 'm.onnx', labels=labels, seed=len(labels))
    given = {
        'camera_names': [*CLASSES],
        'lane_names': ['cpu0'],
        'model_names': ['small'],
        'model.path': str(paths['front']),
        'models.small.path': str(paths['rear']),
        'cameras.rear.model': 'small',
    }
    numbers = {'front': [0, 1, 2], 'rear': [1, 3]}
    image = np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)
    with detector(peer, tmp_path, 'two_models', given) as node:
        infos = {
            topic: peer.listen(LabelInfo, f'{node.name}/{topic}', LATCHED)
            for topic in ('label_info', 'front/label_info', 'rear/label_info')
        }
        for stamp, (camera, path) in enumerate(paths.items(), start=1):
            found = peer.listen(Detection2DArray, f'{node.name}/{camera}/detections')
            message = image_message(image, stamp)
            peer.camera(Image, f'/{camera}/image_raw').publish(message)
            answer = peer.until(lambda got=found: got and got[-1], 'detections')
            want = expected(path, message, numbers[camera])
            assert want and not differences(rows(answer), want)
        peer.until(lambda: all(infos.values()), 'label_info of all and of each')
        tables = {t: {c.class_id: c.class_name for c in i[-1].class_map} for t, i in infos.items()}
        assert tables == {
            'label_info': {0: 'car', 1: 'person', 2: 'bus', 3: 'kerb'},
            'front/label_info': {0: 'car', 1: 'person', 2: 'bus'},
            'rear/label_info': {1: 'person', 3: 'kerb'},
        }
        refused = peer.set_parameter(node.name, 'models.small.classes', ['kreb'])
        assert 'models.small.classes' in refused and 'did you mean "kerb"' in refused
        infos['rear/label_info'].clear()
        assert peer.set_parameter(node.name, 'models.small.classes', ['kerb']) == ''
        (last,) = peer.until(lambda: infos['rear/label_info'], 'label_info')
        assert [c.class_id for c in last.class_map] == [3]
