"""The node most people would write first, as a yardstick: one callback does everything.

Typed images in with the usual depth-5 sensor QoS, then OpenCV letterbox, ONNX Runtime on all cores
with its own defaults, NumPy decode and NMS, typed results out. It runs the same arithmetic as this
package's detector, so that a comparison shows the architecture and nothing else.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.compose import load_model
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.detect.cpu.postprocess import CpuPostprocessor
from yolox_trt_ros.detect.cpu.preprocess import CpuPreprocessor
from yolox_trt_ros.ros.output.messages import detections_message
from yolox_trt_ros.vehicle_files import chosen_model, load_vehicle


class PlainNode(Node):
    """Subscribes to every camera of a vehicle and detects inside the callback."""

    def __init__(self, vehicle: str, model_path: str, labels: str) -> None:
        super().__init__('plain')
        config = load_vehicle(vehicle)
        model = load_model(chosen_model(config, model_path, labels))
        self._spec, self._thresholds = model.spec, model.thresholds
        self._session = ort.InferenceSession(str(model.path), providers=['CPUExecutionProvider'])
        self._preprocessor = CpuPreprocessor(model.spec.input)
        self._postprocessor = CpuPostprocessor(model.spec)
        self._input = self._preprocessor.new_input(1)
        self._class_ids = [str(i) for i in range(len(model.spec.labels))]
        for camera in config.cameras:
            publisher = self.create_publisher(Detection2DArray, f'~/{camera.name}/detections', 10)
            self.create_subscription(
                Image,
                camera.image_topic,
                lambda message, publisher=publisher: self._detect(message, publisher),
                qos_profile_sensor_data,
            )

    def _detect(self, message: Image, publisher: object) -> None:
        stamp = message.header.stamp
        frame = Frame(
            '', 0, stamp.sec * 1_000_000_000 + stamp.nanosec, time.monotonic_ns(),
            message.header.frame_id, message.encoding, message.height, message.width,
            message.step, np.frombuffer(message.data, np.uint8),
        )  # fmt: skip
        box = self._preprocessor.write(frame, self._input[0])
        outputs = self._session.run(
            list(self._spec.head.outputs), {self._spec.input.name: self._input}
        )
        found = self._postprocessor.detections(outputs, 0, box, self._thresholds)
        publisher.publish(detections_message(frame, found, self._class_ids))  # type: ignore[attr-defined]


def main() -> int:
    """Run the node until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--vehicle', required=True)
    parser.add_argument('--model', default='')
    parser.add_argument('--labels', default='')
    args = parser.parse_args()
    rclpy.init()
    node = PlainNode(str(Path(args.vehicle)), args.model, args.labels)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
