"""A drive of two cameras as messages and as a bag: every number in it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionClass

from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.msg import CameraLatency, CameraStatus, LaneStatus, PipelineStatus
from yolox_trt_ros.ros.output.messages import LATENCY, detections_message, time_message

T0 = 1_700_000_000 * 10**9
MS, SECOND = 10**6, 10**9
RESULTS, PERIOD = 40, 100 * MS
CAMERAS = ('front', 'rear')
BOX = (10.0, 10.0, 50.0, 40.0)
Stamped = tuple[int, str, Any]


def frame(camera: str, stamp_ns: int) -> Frame:
    pixels = np.full(60 * 80 * 3, 90 if camera == 'front' else 160, np.uint8)
    return Frame(camera, 0, stamp_ns, 0, 'optical', 'bgr8', 60, 80, 240, pixels)


def latency(camera: str, stamp_ns: int, infer_ms: int, lane: str = 'gpu') -> CameraLatency:
    """Return 2 ms in the queue, ``infer_ms`` of inference, 1 ms in every other stage."""
    steps = np.cumsum([0, 0, 2, 1, 1, infer_ms, 1, 1]) * MS
    trace = FrameTrace(camera, 0, lane, 1, 0, *map(int, steps))
    return LATENCY.build(frame(camera, stamp_ns), trace, stamp_ns + int(steps[-1]) + 5 * MS)


def found(camera: str, stamp_ns: int, *rows: tuple[Any, ...]) -> Detection2DArray:
    """Return detections of rows (box, score, class)."""
    boxes = Detections(
        np.array([r[0] for r in rows], np.float32).reshape(-1, 4),
        np.array([r[1] for r in rows], np.float32),
        np.array([r[2] for r in rows], np.int32),
    )
    return detections_message(frame(camera, stamp_ns), boxes, ['0', '1'])


def truth(camera: str, stamp_ns: int, metres: float, box: tuple[float, ...] = BOX) -> Any:
    message = found(camera, stamp_ns, (box, 1.0, 0))
    message.detections[0].results[0].pose.pose.position.z = metres
    return message


def status(time_ns: int, received: int, replaced: int, **more: Any) -> PipelineStatus:
    """Return both cameras with the same counts; ``more`` is about the lane and the front camera."""
    message = PipelineStatus(placement_reason='all on the GPU')
    message.header.stamp = time_message(time_ns)
    for name in CAMERAS:
        camera = CameraStatus(name=name, lane='gpu', received=received, message='fine')
        camera.published = received - replaced
        camera.drop_reasons, camera.drop_counts = ['replaced', 'hopeless'], [replaced, 0]
        camera.stages, zeros = ['total'], [0]
        camera.p50_ns = camera.p95_ns = camera.p99_ns = camera.max_ns = zeros
        message.cameras.append(camera)
    lane = LaneStatus(name='gpu', device='cuda:0', state=more.get('state', 'running'))
    lane.cost_batch_sizes, lane.cost_ns = [0], [0]
    lane.utilisation, lane.failures, lane.note = 0.5, more.get('failures', 0), more.get('note', '')
    message.lanes.append(lane)
    message.cameras[0].level = more.get('level', 0)
    message.cameras[0].message = more.get('message', 'fine')
    message.cameras[0].lane = more.get('lane', 'gpu')
    return message


def drive() -> list[Stamped]:
    """Return (time, topic, message) of four seconds: the rear camera is slow, the lane fails once.

    The front camera finds its object in every image, the rear one in every second one. Objects
    are 5 m away from the front camera and 25 m from the rear one.
    """
    labels = LabelInfo(class_map=[VisionClass(class_id=0, class_name='car')])
    labels.class_map.append(VisionClass(class_id=1, class_name='bus'))
    messages: list[Stamped] = [(T0, '/detector/label_info', labels)]
    for i in range(RESULTS):
        for camera, infer_ms, metres in (('front', 10, 5.0), ('rear', 300, 25.0)):
            stamp = T0 + i * PERIOD
            seen = camera == 'front' or i % 2 == 0
            base = f'/detector/{camera}'
            rows = [(BOX, 0.9, 0)] if seen else [((60.0, 5.0, 70.0, 20.0), 0.8, 0)]
            messages += [
                (stamp, f'/{camera}/image_raw', image(camera, stamp)),
                (stamp, f'/{camera}/ground_truth', truth(camera, stamp, metres)),
                (stamp, f'{base}/detections', found(camera, stamp, *rows)),
                (stamp, f'{base}/latency', latency(camera, stamp, infer_ms)),
            ]
    failing: dict[str, Any] = {'state': 'quarantined', 'failures': 1, 'note': 'CUDA error'}
    failing |= {'level': 2, 'message': 'no lane runs it; 9 Hz', 'lane': ''}
    for i, more in enumerate([{}, {}, failing, {'failures': 1, 'note': 'CUDA error'}]):
        received = 100 + 20 * i
        one = status(T0 + i * SECOND, received, 5 * i, **more)
        messages.append((T0 + i * SECOND, '/detector/status', one))
    return sorted(messages, key=lambda message: message[0])


def image(camera: str, stamp_ns: int) -> Image:
    one = frame(camera, stamp_ns)
    message = Image(height=60, width=80, step=240, encoding='bgr8', data=one.data.tobytes())
    message.header.stamp = time_message(stamp_ns)
    return message


def write_bag(path: Path, messages: list[Stamped]) -> Path:
    with BagWriter(path) as bag:
        for t_ns, topic, message in messages:
            package = type(message).__module__.partition('.')[0]
            bag.add_topic(topic, f'{package}/msg/{type(message).__name__}')
            bag.write(topic, t_ns, serialize_message(message))
    return path
