"""The overlay node: draws detections for people, in a process of its own."""

from __future__ import annotations

if __name__ == '__main__':
    from yolox_trt_ros.core.interruption import begin

    begin(0)

import argparse
import os
import sys
import threading
import time
import traceback
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from yolox_trt_ros.core.errors import FrameError
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.detect.mask_style import mask_colours
from yolox_trt_ros.draw.boxes import draw_on
from yolox_trt_ros.draw.captions import draw_caption, draw_stale, draw_table
from yolox_trt_ros.draw.masks import draw_mask
from yolox_trt_ros.draw.mosaic import Mosaic
from yolox_trt_ros.msg import PipelineStatus
from yolox_trt_ros.ros.counted_log import CountedLog
from yolox_trt_ros.ros.overlay.camera import CameraOverlay, OverlayNames, Parts, caption_of
from yolox_trt_ros.ros.overlay.output import Canvas, Drawn, PictureTopic, status_lines
from yolox_trt_ros.ros.process import run_node
from yolox_trt_ros.ros.results import ResultSubscriptions
from yolox_trt_ros.ros.vehicle_node import VehicleNode

DETECTOR = 'detector'
"""Name of the detector, beside which this node runs; remap its topics where it has another."""
CHECK_S = 0.5
"""How often readers are counted and stale cameras looked for."""
MOSAIC_S = 0.1
"""Shortest time between two mosaics."""
NICENESS = 15


class OverlayNode(VehicleNode, Node):
    """Publishes every camera's overlay, the mosaic of all of them, and a table of their states.

    Topics are ``<detector>/<camera>/overlay``, ``<detector>/overlay`` and
    ``<detector>/overlay/status``, each with its ``/compressed`` twin.
    Images, detections and latencies are subscribed to while one of the topics that need them has
    a reader. They are joined by header stamp on the threads that take them; one further thread
    draws, the newest image of each camera first come first served, and publishes.

    Args:
        options: passed on to the node, such as ``parameter_overrides``.

    Raises:
        ConfigError: a parameter is wrong, or the vehicle publishes no detections.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('overlay', **options)
        config = self.settle()
        config.need_detections('the overlay')
        if config.ingest == 'simulated':
            self.get_logger().warning(
                'ingest is "simulated": the cameras play inside the detector, without messages to '
                'draw on; set it to "auto" and start camera_sim'
            )
        self._names = OverlayNames()
        self._unusable = CountedLog(self.get_logger().warning)
        self._cameras = {
            c.name: CameraOverlay(
                self,
                c,
                DETECTOR,
                self._names,
                self._on_ready,
                self.get_logger().warning,
                self._unusable.log,
                config.mask_format if 'mask' in config.outputs else '',
            )
            for c in config.cameras
        }
        colours = {name: mask_colours(model) for name, model in config.used_models.items()}
        self._colours = {camera.name: colours[camera.model] for camera in config.cameras}
        self._topics = {
            name: PictureTopic(self, f'{DETECTOR}/{name}/overlay') for name in self._cameras
        }
        self._mosaic_topic = PictureTopic(self, f'{DETECTOR}/overlay')
        self._status_topic = PictureTopic(self, f'{DETECTOR}/overlay/status')
        self._mosaic = Mosaic(config.cameras)
        self._mosaic_canvas = Canvas(*self._mosaic.picture.shape[:2])
        self._mosaic_s = 0.0  # when it was published
        self._status_canvas = Canvas(*self._mosaic.tile[::-1])
        self._drawn = {name: Drawn() for name in self._cameras}
        self._shared = ResultSubscriptions(self, DETECTOR, self._unusable.log)
        self._listening = False  # to what all pictures need
        self._mosaic_new = True
        self._todo: dict[str, Parts | str] = {}
        self._work = threading.Condition()
        self._stopping = False
        self._error: BaseException | None = None
        self._thread = named_thread(self._run, 'draw')
        self._thread.start()
        self.create_timer(CHECK_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def keep_running(self) -> bool:
        """Return True; raise what ended the drawing."""
        if self._error:
            raise self._error
        return True

    def close(self) -> None:
        """Stop drawing and unsubscribe."""
        with self._work:
            self._stopping = True
            self._work.notify()
        self._thread.join()
        for camera in self._cameras.values():
            camera.ignore()

    # -- who looks, and what is missing --------------------------------------------------------

    def _check(self) -> None:
        mosaic = self._mosaic_topic.wanted
        self._watch_shared(mosaic or self._status_topic.wanted)
        now_s = time.monotonic()
        for name, camera in self._cameras.items():
            wanted = mosaic or self._topics[name].wanted
            if wanted and not camera.watching:
                camera.watch()
            elif camera.watching and not wanted:
                self._log_unmatched(camera)
                camera.ignore()
            elif wanted and (missing := camera.missing(now_s)):
                self._put(name, missing)

    def _watch_shared(self, status: bool) -> None:
        """Subscribe to what all pictures need, or let it go."""
        wanted = status or any(topic.wanted for topic in self._topics.values())
        if wanted and not self._listening:
            self._shared.add_names(self._names.learn)
            self._shared.add('status', self._on_status, depth=1)
        elif self._listening and not wanted:
            self._shared.close()
        self._listening = wanted

    def _log_unmatched(self, camera: CameraOverlay) -> None:
        alone = ', '.join(f'{n} {stream}' for stream, n in camera.alone.items() if n)
        if alone:
            self.get_logger().debug(f'{camera.camera.name}: unmatched: {alone}')

    # -- what comes in -------------------------------------------------------------------------

    def _on_ready(self, camera: str, parts: Parts) -> None:
        self._put(camera, parts)

    def _on_status(self, message: PipelineStatus) -> None:
        self._put('', {'status': message})

    def _put(self, key: str, what: Parts | str) -> None:
        with self._work:
            if isinstance(what, str):  # a result that waits to be drawn is no older than this
                self._todo.setdefault(key, what)
            else:
                self._todo[key] = what
            self._work.notify()

    # -- drawing, on its own thread ------------------------------------------------------------

    def _run(self) -> None:
        # Under load, people can wait; detection cannot.
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, nice + NICENESS))
        try:
            while not self._stopping:
                with self._work:
                    self._work.wait_for(lambda: self._stopping or self._todo, timeout=MOSAIC_S)
                    todo, self._todo = self._todo, {}
                for key, what in todo.items():
                    self._draw(key, what)
                self._publish_mosaic()
        except BaseException as error:  # raised by keep_running
            self._error = error if not self._stopping else None

    def _draw(self, key: str, what: Parts | str) -> None:
        """Draw one thing; what cannot be drawn is counted, and the others go on."""
        try:
            self._draw_one(key, what)
        except Exception as error:
            if self._stopping:
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._unusable.log(
                key or 'status', f'not drawn: {error!r} in {place.name}, line {place.lineno}'
            )

    def _draw_one(self, key: str, what: Parts | str) -> None:
        if isinstance(what, str):
            self._draw_stale(key, what)
        elif not key:
            self._draw_status(what['status'])
        else:
            try:
                self._draw_result(self._cameras[key], what)
            except FrameError as error:
                self.get_logger().debug(f'{key}: {error}')

    def _draw_result(self, camera: CameraOverlay, parts: Parts) -> None:
        name, frame, found = camera.camera.name, parts['image'], parts['detections']
        caption = caption_of(parts['latency'])
        picture, drawn = bgr_image(frame), self._drawn[name]
        if self._topics[name].wanted:
            canvas = drawn.canvas_like(picture)
            np.copyto(canvas.image, picture)
            if mask := camera.mask(frame):
                draw_mask(canvas.image, mask, self._colours[name])
            draw_on(canvas.image, found, self._names)
            draw_caption(canvas.image, caption)
            self._topics[name].publish(canvas, frame.frame_id, frame.stamp_ns)
            drawn.frame_id, drawn.stamp_ns = frame.frame_id, frame.stamp_ns
        if self._mosaic_topic.wanted:
            drawn.tile = self._mosaic.tile_of(picture, found, self._names)
            self._put_tile(name, drawn.tile, caption)
        camera.drawn_s = time.monotonic()

    def _draw_stale(self, name: str, text: str) -> None:
        message, drawn, tile_shape = f'STALE: {text}', self._drawn[name], self._mosaic.tile[::-1]
        if self._topics[name].wanted:
            old = drawn.canvas.image if drawn.canvas else np.zeros((*tile_shape, 3), np.uint8)
            canvas = Canvas(*old.shape[:2])
            np.copyto(canvas.image, old)
            draw_stale(canvas.image, message)
            self._topics[name].publish(canvas, drawn.frame_id, drawn.stamp_ns)
        if self._mosaic_topic.wanted:
            tile = np.zeros((*tile_shape, 3), np.uint8) if drawn.tile is None else drawn.tile.copy()
            draw_stale(tile, message)
            self._put_tile(name, tile, name)

    def _draw_status(self, message: PipelineStatus) -> None:
        draw_table(self._status_canvas.image, 'cameras and lanes', status_lines(message))
        if self._status_topic.wanted:
            self._status_topic.publish(self._status_canvas, '', self._now_ns())
        if self._mosaic.layout.free:
            self._mosaic.put_at(self._mosaic.layout.free, self._status_canvas.image)
            self._mosaic_new = True

    def _put_tile(self, name: str, tile: np.ndarray, caption: str) -> None:
        self._mosaic.put(name, tile, caption)
        self._mosaic_new = True

    def _publish_mosaic(self) -> None:
        now_s = time.monotonic()
        if self._mosaic_new and now_s - self._mosaic_s >= MOSAIC_S and self._mosaic_topic.wanted:
            self._mosaic_s, self._mosaic_new = now_s, False
            np.copyto(self._mosaic_canvas.image, self._mosaic.picture)
            self._mosaic_topic.publish(self._mosaic_canvas, '', self._now_ns())

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def main(args: list[str] | None = None) -> int:
    """Run the overlay until it is interrupted; return the process's exit code."""
    parser = argparse.ArgumentParser(
        prog='overlay',
        description='Draw the detections of all cameras, while somebody looks. Reads the vehicle '
        "file of the detector, and runs in the detector's namespace.",
        epilog='example: ros2 run yolox_trt_ros overlay --ros-args '
        '--params-file laptop_8cam.param.yaml',
    )
    sys.setswitchinterval(0.0005)
    return run_node(parser, lambda _stopping: OverlayNode(), args)


if __name__ == '__main__':
    sys.exit(main())
