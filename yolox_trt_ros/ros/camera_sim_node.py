"""The camera_sim node: image streams like those of real drivers."""

from __future__ import annotations

if __name__ == '__main__':
    from yolox_trt_ros.core.interruption import begin

    begin(0)

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.config import CameraConfig, Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.ros.dds.settings import shortcomings
from yolox_trt_ros.ros.input.subscribe import message_type
from yolox_trt_ros.ros.output.messages import detections_message
from yolox_trt_ros.ros.output.serialize_images import SerializedImage, camera_info, write_stamp
from yolox_trt_ros.ros.output.serialized_publisher import SerializedPublisher
from yolox_trt_ros.ros.process import Stopping, run_node
from yolox_trt_ros.ros.vehicle_node import VehicleNode
from yolox_trt_ros.sim.loops import Loop
from yolox_trt_ros.sim.sources import WORLD, played, source_name
from yolox_trt_ros.sim.streams import CameraStreams, Shot, StreamCount, optical_frame, to_frame
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.sim.world.truth import GroundTruth

SHORT_OF_TIME_S = 5.0
"""Shortest time between two warnings that the machine cannot keep the rates."""


class SimulatedOutput:
    """The topics of one camera.

    A benchmark's camera sends best effort, as camera drivers do: a slow reader then loses
    images, which it can count, instead of slowing the camera down.
    """

    def __init__(self, node: Node, camera: CameraConfig, config: Config) -> None:
        self._camera = camera
        self._calibrated = source_name(config, camera) == WORLD
        self._frame_id = optical_frame(camera.name)
        kind = message_type(camera.transport)
        self._images = SerializedPublisher(self._publisher(node, kind, camera.image_topic))
        self._message = SerializedImage(self._frame_id)
        self._truths: Publisher[Any] | None = None
        if config.sim.ground_truth and self._calibrated:
            self._truths = self._publisher(
                node, Detection2DArray, camera.sibling_topic('ground_truth')
            )
        self._names = CLASSES if config.class_id_format == 'name' else _indices(CLASSES)
        self._info_of_size: dict[tuple[int, int], np.ndarray] = {}
        self._infos: SerializedPublisher | None = None
        if config.sim.camera_info:
            self._infos = SerializedPublisher(
                self._publisher(node, CameraInfo, camera.sibling_topic('camera_info'))
            )

    def _publisher(self, node: Node, kind: type, topic: str) -> Publisher[Any]:
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self._camera.depth,
            reliability=ReliabilityPolicy.BEST_EFFORT,
        )
        overriding = QoSOverridingOptions.with_default_policies()
        return node.create_publisher(kind, topic, qos, qos_overriding_options=overriding)

    def publish(self, shot: Shot, stamp_ns: int) -> None:
        """Publish an image and its CameraInfo under one stamp, nanoseconds of the ROS clock."""
        image = shot.image
        if self._infos is not None and self._infos.wanted:
            size = (image.height, image.width)
            if size not in self._info_of_size:
                self._info_of_size[size] = self._info(*size)
            info = self._info_of_size[size]
            write_stamp(info, stamp_ns)
            self._infos.publish(info)
        if self._images.wanted:
            self._images.publish(self._message.write(image, stamp_ns))

    def publish_truth(self, shot: Shot, stamp_ns: int, loop: Loop) -> None:
        """Publish what is to be seen in an image, if anybody wants to know.

        ``score`` is 1, or 0 for what is too small or hidden to be asked for; ``id`` names the
        same road user in every image.
        """
        if self._truths is None or not self._truths.get_subscription_count():
            return
        truth = loop.truth(shot.index)
        if truth is not None:
            self._truths.publish(truth_message(shot, stamp_ns, truth, self._camera, self._names))

    def _info(self, height: int, width: int) -> np.ndarray:
        rig = self._camera.rig
        focal = focal_px(self._camera)
        scaled = (focal * width / rig.width, focal * height / rig.height)
        message = camera_info(self._frame_id, height, width, scaled if self._calibrated else None)
        return np.frombuffer(bytearray(serialize_message(message)), np.uint8)


class CameraSim(VehicleNode, Node):
    """Publishes every camera of a vehicle's YAML.

    Args:
        stopping: whether the process ends; then rendering and reading ahead are given up.
        options: passed on to the node, such as ``parameter_overrides``.

    Raises:
        ConfigError: a parameter is wrong, or a source cannot be read.
        StoppedError: the process ends.
    """

    def __init__(self, stopping: Stopping = lambda: False, **options: Any) -> None:
        super().__init__('camera_sim', **options)
        config = self.settle()
        sent = replace(config, cameras=tuple(played(config, c) for c in config.cameras))
        for shortcoming in shortcomings(sent):
            self.get_logger().warning(shortcoming)
        self._outputs = {c.name: SimulatedOutput(self, c, config) for c in config.cameras}
        self.streams = CameraStreams(
            config, self._publish, on_progress=self.get_logger().info, stopping=stopping
        )
        self._skipped = 0
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.streams.start()
        total = sum(c.rate_hz for c in config.cameras)
        self.get_logger().info(f'{len(config.cameras)} cameras, {total:g} images/s in total')

    def keep_running(self) -> bool:
        """Return whether the streams go on; raise what ended them."""
        if self.streams.running:
            return True
        self.streams.stop()
        return False

    def close(self) -> None:
        """Stop the streams and say what they sent."""
        self.streams.stop()
        self.get_logger().info(summary(self.streams.counts))

    def _publish(self, shot: Shot) -> None:
        late_ns = time.monotonic_ns() - shot.due_ns
        stamp_ns = max(0, self.get_clock().now().nanoseconds - late_ns)
        output = self._outputs[shot.camera]
        output.publish_truth(shot, stamp_ns, self.streams.loop(shot.camera))
        output.publish(shot, stamp_ns)

    def _report(self) -> None:
        counts = self.streams.counts
        skipped = sum(c.skipped for c in counts.values())
        if skipped > self._skipped:
            self.get_logger().warning(
                f'this machine is too busy for the rates: {skipped - self._skipped} images skipped',
                throttle_duration_sec=SHORT_OF_TIME_S,
            )
        self._skipped = skipped
        self.get_logger().debug(summary(counts))


def truth_message(
    shot: Shot, stamp_ns: int, truth: GroundTruth, camera: CameraConfig, names: Sequence[str]
) -> Detection2DArray:
    """Return the world's own boxes of one image as a detector would publish them.

    Args:
        shot: the image; boxes are scaled from the rendered size to its size.
        stamp_ns: its header stamp, nanoseconds.
        truth: what is to be seen, in pixels of the rendered picture.
        camera: its configuration.
        names: what ``class_id`` says for each class.
    """
    scale = (shot.image.width / camera.rig.width, shot.image.height / camera.rig.height)
    xyxy = (truth.xyxy * np.tile(scale, 2)).astype(np.float32)
    found = Detections(xyxy, np.where(truth.ignored, 0, 1).astype(np.float32), truth.class_id)
    message = detections_message(to_frame(shot, shot.tick, stamp_ns, shot.due_ns), found, names)
    places = _places(truth, camera)
    for item, track, place in zip(message.detections, truth.track_id, places, strict=True):
        item.id = str(track)
        position = item.results[0].pose.pose.position
        position.x, position.y, position.z = place
    return message


def _places(truth: GroundTruth, camera: CameraConfig) -> list[list[float]]:
    """Return x, y, z in metres: at each road user's distance, behind the centre of its box.

    The frame is the camera's optical one: x right, y down, z forward.
    """
    rig = camera.rig
    centre = (truth.xyxy[:, :2] + truth.xyxy[:, 2:]) / 2 - (rig.width / 2, rig.height / 2)
    focal = np.full((len(truth), 1), focal_px(camera))
    ray = np.hstack([centre, focal])
    places = ray * (truth.distance_m / np.linalg.norm(ray, axis=1))[:, None]
    return [[float(v) for v in place] for place in places]


def focal_px(camera: CameraConfig) -> float:
    """Return the focal length of a camera's rig in pixels of the rendered picture."""
    return camera.rig.width / 2 / math.tan(math.radians(camera.rig.hfov_deg) / 2)


def _indices(labels: Sequence[str]) -> list[str]:
    return [str(index) for index in range(len(labels))]


def summary(counts: dict[str, StreamCount]) -> str:
    """Return what was sent, camera by camera, in one line."""
    return 'sent ' + ', '.join(
        f'{name} {c.sent} (late {c.late}, worst {c.worst_late_ns / 1e6:.1f} ms, '
        f'skipped {c.skipped})'
        for name, c in counts.items()
    )


def main(args: list[str] | None = None) -> int:
    """Run camera_sim until it is interrupted; return the process's exit code."""
    parser = argparse.ArgumentParser(
        prog='camera_sim',
        description='Publish the cameras of a vehicle file as their drivers would, from a folder '
        'of images, a video or the rendered world. Everything is set by ROS parameters.',
        epilog='example: ros2 run yolox_trt_ros camera_sim --ros-args '
        '--params-file laptop_8cam.param.yaml -p sim.source:=/path/to/images',
    )
    return run_node(parser, lambda stopping: CameraSim(stopping=stopping), args)


if __name__ == '__main__':
    sys.exit(main())
