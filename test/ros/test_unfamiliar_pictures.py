"""A packaged model on photographs: the node says that it has never seen such pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from peer import Peer, compressed_message, detector
from sensor_msgs.msg import CompressedImage
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.telemetry.score_watch import LEAST

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]


def test_a_camera_gets_a_hint(peer: Peer, tmp_path: Path, real: Path) -> None:
    photographs = sorted((real / 'images').glob('*.jpg'))
    parameters = {
        'camera_names': ['front'],
        'lane_names': ['cpu0'],
        'cameras.front.transport': 'compressed',
        'cameras.front.timeout_ms': 3600000.0,
        'model.path': 'edge_n',
    }
    with detector(peer, tmp_path, 'strange', parameters) as node:
        assert 'edge_n has only seen the rendered world' in node.log
        assert 'models pull yolox_s' in node.log
        camera = peer.camera(CompressedImage, '/front/image_raw/compressed')
        answers = peer.listen(Detection2DArray, f'{node.name}/front/detections')
        found = 0
        for number, file in enumerate(photographs):
            data = cv2.imencode('.jpg', cv2.imread(str(file)))[1].tobytes()
            camera.publish(compressed_message(data, 10**18 + number))
            peer.until(lambda n=number: len(answers) > n, 'detections')
            found += len(answers[-1].detections)
        assert found > LEAST, 'the photographs are enough for a hint'
        status = peer.diagnosis('front', DiagnosticStatus.WARN, 'do not look like those')
        assert 'models pull yolox_s' in status.message
