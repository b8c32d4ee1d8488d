"""Closes a node's publishers while other threads publish to them; a process that may crash."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.output.messages import detection_array
from yolox_trt_ros.ros.output.publishers import TemplateOutput

BOXES = 200
ROUNDS = 40
KIND = 'vision_msgs/msg/Detection2DArray'


def main() -> int:
    context = Context()
    rclpy.init(context=context, domain_id=int(sys.argv[1]))
    node = Node('closing', context=context)
    data = np.zeros(12, np.uint8)
    frame = Frame('a', 0, 0, 0, 'optical', 'bgr8', 2, 2, 6, data)
    corners = np.tile(np.float32([1, 2, 3, 4]), (BOXES, 1))
    found = Detections(corners, np.full(BOXES, 0.5, np.float32), np.zeros(BOXES, np.int32))
    refused = 0
    for number in range(ROUNDS):
        node.create_subscription(Detection2DArray, '~/a/detections', lambda _: None, 1)
        output = TemplateOutput(node, KIND, '~/a/detections', detection_array(['car']))
        while not output.heard:
            time.sleep(0.001)
        published = threading.Event()

        def publish(output=output, published=published) -> None:
            nonlocal refused
            while True:
                try:
                    output.publish(frame, found)
                except Exception:
                    refused += 1
                    return
                published.set()

        lane = threading.Thread(target=publish)
        lane.start()
        published.wait(10)
        time.sleep(number % 20 * 1e-4)
        output.close()
        lane.join(10)
        assert not lane.is_alive()
        for subscription in list(node.subscriptions):
            node.destroy_subscription(subscription)
    node.destroy_node()
    rclpy.shutdown(context=context)
    print(refused)
    return 0


if __name__ == '__main__':
    sys.exit(main())
