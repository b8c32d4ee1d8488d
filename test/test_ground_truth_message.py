"""Ground truth as camera_sim publishes it: boxes at the image's size, objects in metres."""

import numpy as np
import pytest

from yolox_trt_ros.core.config import CameraConfig, CameraSimConfig, RigConfig
from yolox_trt_ros.ros.camera_sim_node import truth_message
from yolox_trt_ros.sim.encode import encode
from yolox_trt_ros.sim.streams import Shot
from yolox_trt_ros.sim.world.rig import PinholeCamera
from yolox_trt_ros.sim.world.truth import GroundTruth


def test_objects_lie_at_their_distance_on_the_ray_through_their_box() -> None:
    rig = RigConfig(width=960, height=640, hfov_deg=80.0)
    xyxy = np.array([[100, 200, 300, 400], [470, 310, 490, 330]], np.float32)
    truth = GroundTruth(
        xyxy,
        np.array([0, 2], np.int32),
        np.ones(2, np.float32),
        np.array([12.5, 60.0], np.float32),
        np.array([False, True]),
        np.array([7, 8], np.int32),
    )
    image = encode(np.zeros((320, 480, 3), np.uint8), 'bgr8')
    camera = CameraConfig('a', rig, CameraSimConfig())
    message = truth_message(Shot('a', 0, 0, 0, image), 5, truth, camera, ['0', '1', '2'])

    lens = PinholeCamera.from_fov('a', 960, 640, 80.0)
    for item, box, metres in zip(message.detections, xyxy, truth.distance_m, strict=True):
        p = item.results[0].pose.pose.position
        assert np.linalg.norm([p.x, p.y, p.z]) == pytest.approx(metres)
        pixel = (lens.fx * p.x / p.z + lens.cx, lens.fy * p.y / p.z + lens.cy)
        assert pixel == pytest.approx((box[:2] + box[2:]) / 2, abs=1e-3)
        centre = item.bbox.center.position
        assert (centre.x, centre.y) == pytest.approx(np.array(pixel) / 2, abs=1e-3)
    assert [item.id for item in message.detections] == ['7', '8']
    assert [item.results[0].hypothesis.score for item in message.detections] == [1.0, 0.0]
