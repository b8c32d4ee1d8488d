"""Input mode of a recorded drive inside the node: frames without messages."""

from __future__ import annotations

import threading
import time
import traceback
from contextlib import ExitStack

from rclpy.node import Node

from yolox_trt_ros.bags.read_ahead import ReadAhead
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.ros.input.intake import Intake, PacedSink, image_taker, wait_for_room
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.ros.input.video_intake import video_taker
from yolox_trt_ros.ros.input.video_messages import VideoReader
from yolox_trt_ros.ros.replay.topics import choose_topics


class ReplayIngest:
    """What ``replay`` would publish of the cameras, handed straight to the pipeline, once.

    Images come at the times of their recording; in lockstep as fast as the pipeline takes them.
    Their stamps are the recorded ones. Nothing else of the bag is played.

    Args:
        node: logs.
        config: cameras, the bag and whether it is lockstep.
        pipeline: takes the frames; in lockstep it is waited for.

    Raises:
        ConfigError: no bag is named.
        BagError: it cannot be read, or lacks the images of a camera.
    """

    mode = 'replayed in this process'

    def __init__(self, node: Node, config: Config, pipeline: PacedSink) -> None:
        if not config.bag:
            raise ConfigError('bag: ingest is replayed, but no bag is given')
        self._logger = node.get_logger()
        with ExitStack() as undo:
            self._bag = undo.enter_context(Bag(config.bag))
            name = node.get_fully_qualified_name()
            played = choose_topics(self._bag, config=config, detector=name)
            topics = {p.camera: p.recorded.name for p in played if p.camera}
            warn = self._logger.warning
            self._cameras = {}
            for camera in config.cameras:
                intake = Intake(camera, pipeline, warn, self.mode)
                read = new_reader(camera.transport)
                take = image_taker(intake, read)
                if isinstance(read, VideoReader):
                    take, end = video_taker(intake, read, threaded=not config.lockstep)
                    undo.callback(end)
                self._cameras[topics[camera.name]] = intake, take
            self._undo = undo.pop_all()
        self.notes = {intake.name: intake.notes for intake, _ in self._cameras.values()}
        self._pipeline = pipeline
        self._lockstep = config.lockstep
        self._stop = threading.Event()
        self._thread = named_thread(self._run, 'replay')
        self._thread.start()

    def close(self) -> None:
        """Stop the replay."""
        self._stop.set()
        self._thread.join()
        self._undo.close()

    def _run(self) -> None:
        try:
            count = self._play()
        except Exception as error:
            self._logger.error(f'the replay has ended: {traceback.format_exc()}')
            for notes in self.notes.values():
                notes.silence = f'the replay has ended: {error!r}'
        else:
            self._logger.info(f'the replay has ended: {count} images')

    def _play(self) -> int:
        count = 0
        with ReadAhead(self._bag.messages([*self._cameras])) as messages:
            messages.fill()
            start_s = time.monotonic()
            first_ns = self._bag.start_ns
            for message in messages:
                due_s = start_s + (message.t_ns - first_ns) / 1e9
                if not self._lockstep:
                    self._stop.wait(max(0.0, due_s - time.monotonic()))
                intake, take = self._cameras[message.topic]
                if not wait_for_room(self._pipeline, intake.name, self._stop):
                    break
                take(message.cdr, time.monotonic_ns(), 0)
                count += 1
        return count
