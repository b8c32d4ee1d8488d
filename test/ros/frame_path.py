"""Takes an image through a detector node in this process, and prints the files on its path."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tiny_models import write_yolox
from vision_msgs.msg import Detection2DArray

import yolox_trt_ros
from yolox_trt_ros.msg import CameraLatency
from yolox_trt_ros.ros.detector_node import DetectorNode
from yolox_trt_ros.ros.output.messages import time_message
from yolox_trt_ros.ros.output.publishers import ResultPublishers

PACKAGE = Path(yolox_trt_ros.__file__).parent
WARM, TRACED = 5, 5
"""Images before it is noted where they pass, and images of which it is noted."""
passed: dict[str, None] = {}
noting = threading.Event()


def note(frame: FrameType, event: str, _argument: Any) -> None:
    """Note the file of a function that is called, until detections have been published."""
    if event == 'call' and noting.is_set():
        passed[frame.f_code.co_filename] = None
    elif event == 'return' and frame.f_code is ResultPublishers.detections.__code__:
        noting.clear()


def main() -> None:
    """Send images one by one, each after the results of the last one."""
    model = write_yolox(Path(sys.argv[1]) / 'tiny.onnx')
    rclpy.init()
    # Of all threads, those that the status, the supervisor and the parameters have are left out.
    start = threading.Thread.run

    def run(self: threading.Thread) -> None:
        if self.name.startswith('lane'):
            sys.setprofile(note)
        start(self)

    threading.Thread.run = run  # type: ignore[method-assign]
    parameters = {
        'camera_names': ['front'], 'lane_names': ['cpu0'], 'ingest': 'plain', 'autostart': False,
        'model.path': str(model), 'cameras.front.reliability': 'reliable',
    }  # fmt: skip
    node = DetectorNode(parameter_overrides=[Parameter(k, value=v) for k, v in parameters.items()])
    node.trigger_configure()
    node.trigger_activate()
    other = Node('other')
    answers: list[Any] = []
    for kind, name in ((Detection2DArray, 'detections'), (CameraLatency, 'latency')):
        other.create_subscription(kind, f'/detector/front/{name}', answers.append, 10)
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    camera = other.create_publisher(Image, '/front/image_raw', qos)
    executors = [SingleThreadedExecutor(), SingleThreadedExecutor()]
    for executor, spun in zip(executors, (node, other), strict=True):
        executor.add_node(spun)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    image = Image(encoding='bgr8', height=90, width=120, step=360, data=pixels.tobytes())
    end = time.monotonic() + 60
    sys.setprofile(note)
    for number in range(WARM + TRACED):
        image.header = Header(stamp=time_message(10**18 + number * 10**8), frame_id='optical')
        answers.clear()
        if number >= WARM:
            noting.set()
        while len(answers) < 2 and time.monotonic() < end:
            if not answers:
                camera.publish(image)
            for executor in executors:
                executor.spin_once(timeout_sec=0.05)
    files = [Path(name) for name in passed]
    inside = [str(file.relative_to(PACKAGE)) for file in files if file.is_relative_to(PACKAGE)]
    print(json.dumps({'answered': len(answers), 'files': inside}), flush=True)
    node.close()
    rclpy.shutdown()


if __name__ == '__main__':
    main()
