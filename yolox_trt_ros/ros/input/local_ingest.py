"""Input mode of simulated cameras inside the node: frames without messages."""

from __future__ import annotations

import threading
import time
import traceback
from contextlib import suppress

from rclpy.node import Node

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.intake import Intake, PacedSink, wait_for_room
from yolox_trt_ros.sim.streams import CameraStreams, Shot, to_frame


class LocalIngest:
    """What camera_sim would publish, handed straight to the pipeline.

    Frames share memory with the simulation; nothing is copied. CameraInfo and ground truth are
    for other nodes and are not published.

    Args:
        node: its clock stamps the frames; logs.
        config: cameras and their sources.
        pipeline: takes the frames; in lockstep the cameras wait for it.

    Raises:
        ConfigError: a source cannot be read.
        StoppedError: the pipeline was stopped while pictures were rendered or read ahead.
    """

    mode = 'simulated in this process'

    def __init__(self, node: Node, config: Config, pipeline: PacedSink) -> None:
        self._clock = node.get_clock()
        self._logger = node.get_logger()
        self._pipeline = pipeline
        self._intakes = {
            c.name: Intake(c, pipeline, self._logger.warning, self.mode) for c in config.cameras
        }
        self.notes = {name: intake.notes for name, intake in self._intakes.items()}
        self._stop = threading.Event()
        self._streams = CameraStreams(
            config,
            self._emit,
            on_progress=self._logger.info,
            on_error=self._ended,
            stopping=lambda: pipeline.stopping,
        )
        self._streams.start()

    def close(self) -> None:
        """Stop the cameras."""
        self._stop.set()
        with suppress(Exception):  # what ended them has been reported
            self._streams.stop()

    def _emit(self, shot: Shot) -> None:
        if wait_for_room(self._pipeline, shot.camera, self._stop):
            self._intakes[shot.camera].receive(shot, self._frame, time.monotonic_ns())

    def _frame(self, shot: Shot, arrival: Arrival) -> Frame:
        late_ns = arrival.received_ns - shot.due_ns
        stamp_ns = max(0, self._clock.now().nanoseconds - late_ns)
        return to_frame(shot, arrival.sequence, stamp_ns, arrival.received_ns, arrival.levels)

    def _ended(self, error: BaseException) -> None:
        message = ''.join(traceback.format_exception(error))
        self._logger.error(f'the simulated cameras have ended: {message}')
        for notes in self.notes.values():
            notes.silence = f'the simulated cameras have ended: {error!r}'
