"""Run a recorded drive through the detector and collect what it finds."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.compose import Models, lane_specs, load_models
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.crop import cropped
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import FrameError, YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.interruption import raise_on_signals
from yolox_trt_ros.core.messages import detections_of
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.core.topics import absolute
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions
from yolox_trt_ros.testing.results import ImageNumbers, Replayed, Result
from yolox_trt_ros.vehicle_files import VEHICLE_SUFFIX, load_vehicle, vehicle_parameters

DETECTOR = '/detector'
DOMAINS = range(1, 101)
"""Higher ones may use ports of others."""
MODES = ('topics', 'pipeline')

Found = tuple[dict[str, list[Result]], dict[str, Counter[str]]]
"""Results by camera, and counts of the images that gave none, by camera and reason."""


def replay(
    bag: str | Path,
    vehicle: str | Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    remap: Mapping[str, str] | None = None,
    through: str = 'topics',
    timeout_s: float = 60.0,
) -> Replayed:
    """Return what the detector finds in every image of a bag.

    Args:
        bag: the recording; the images of every camera of the vehicle must be in it.
        vehicle: parameter file, or name of a packaged one.
        parameters: put above those of the file, such as ``{'model.path': 'mine.onnx'}``.
        remap: recorded topics to the vehicle's.
        through: ``topics``: a detector node in a process and ROS domain of its own gets the
            messages in lockstep, as on the vehicle; ``pipeline``: the same pipeline in this
            process gets the frames, which is quicker and needs no ROS.
        timeout_s: longest wait for the node, at its start and for one answer.

    Raises:
        BagError: the bag is damaged, or a camera's images are not in it.
        ConfigError: the vehicle is wrong.
        YoloxTrtRosError: the node ended, or an image was not answered.
    """
    if through not in MODES:
        raise ValueError(f'through: expected one of {", ".join(MODES)}, got "{through}"')
    file = find_resource('config/vehicles', str(vehicle), VEHICLE_SUFFIX)
    load_vehicle(str(vehicle))  # raises what is wrong with the file itself
    flat = {**vehicle_parameters(file), **(parameters or {}), 'lockstep': True}
    config = Config.from_parameters(flat)
    models = load_models(config)
    # A test runner that is asked to end, or whose terminal is gone, ends its detector first.
    with raise_on_signals(guest=True), Bag(bag) as opened:
        topics = image_topics(opened, config, remap or {})
        if through == 'topics':
            parameters = _for_the_node(flat)
            found, dropped = _through_topics(opened, config, parameters, remap or {}, timeout_s)
        else:
            found, dropped = _through_pipeline(opened, config, models, topics, timeout_s)
    transports = {camera.name: camera.transport for camera in config.cameras}
    labels = models.labels
    return Replayed(opened.path, labels, found, topics, transports, dropped)


def image_topics(bag: Bag, config: Config, remap: Mapping[str, str]) -> dict[str, str]:
    """Return the recorded topic of every camera's images.

    Raises:
        BagError: one is not in the bag.
    """
    recorded = {remap.get(name, name): name for name in bag.topics}
    wanted = {c.name: absolute(c.image_topic, DETECTOR) for c in config.cameras}
    bag.require([recorded.get(topic, topic) for topic in wanted.values()])
    return {camera: recorded[topic] for camera, topic in wanted.items()}


def _results(
    found: Mapping[str, Mapping[int, Detections]], numbers: ImageNumbers
) -> dict[str, list[Result]]:
    """Return results in order of their stamps, from detections by the number of their image."""
    results = {}
    for camera, detections in found.items():
        keys = numbers.keys[camera]
        rows = [Result(keys[n][0], boxes, keys[n][1]) for n, boxes in detections.items()]
        results[camera] = sorted(rows, key=lambda r: (r.stamp_ns, r.repeat))
    return results


# -- the node, as on the vehicle ---------------------------------------------------------------


def _through_topics(
    bag: Bag,
    config: Config,
    parameters: dict[str, Any],
    remap: Mapping[str, str],
    timeout_s: float,
) -> Found:
    config.need_detections('a replay test through topics')
    from rclpy.serialization import deserialize_message
    from vision_msgs.msg import Detection2DArray

    from yolox_trt_ros.ros.node_process import NodeProcess
    from yolox_trt_ros.ros.replay.options import ReplayOptions
    from yolox_trt_ros.ros.replay.player import Replay
    from yolox_trt_ros.ros.watcher import Watcher

    answers: dict[str, dict[int, bytes]] = {c.name: {} for c in config.cameras}
    options = ReplayOptions(remap=remap, lockstep=True, timeout_s=timeout_s, detector=DETECTOR)
    warnings: list[str] = []
    numbers = ImageNumbers()
    with tempfile.TemporaryDirectory() as folder, _own_domain():
        log = Path(folder, 'detector.log')
        with (
            NodeProcess('yolox_trt_ros.ros.detector_node', [], parameters, log) as node,
            Watcher('replay') as watcher,
        ):
            player = Replay(
                watcher.node,
                bag,
                options,
                config,
                warnings.append,
                answer=lambda camera, number, cdr: answers[camera].update({number: cdr}),
                check=node.check,
            )
            cameras = {p.recorded.name: p.camera for p in player.played if p.camera}
            watcher.executor.wake()
            try:
                for message in player.play():
                    if camera := cameras.get(message.topic):
                        numbers.add(camera, message.cdr)
            except YoloxTrtRosError as error:
                raise YoloxTrtRosError(f'{error}\n{node.tail()}') from error
            assert player.lockstep
            outcomes = player.lockstep.outcomes
            text = node.tail()
    wrong = {name: outcome for name, outcome in outcomes.items() if outcome.lost or outcome.unseen}
    if wrong:
        raise YoloxTrtRosError(f'images without an answer: {wrong}; {warnings}\n{text}')
    found = {
        name: {
            number: detections_of(deserialize_message(cdr, Detection2DArray))
            for number, cdr in of_camera.items()
        }
        for name, of_camera in answers.items()
    }
    return _results(found, numbers), {name: o.dropped for name, o in outcomes.items()}


def _for_the_node(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with which the node starts by itself and loses no image."""
    cameras = {
        f'cameras.{name}.{key}': value
        for name in flat['camera_names']
        for key, value in (('reliability', 'reliable'), ('depth', 10))
    }
    own = {'autostart': True, 'class_id_format': 'index', 'ingest': 'auto'}
    return {**flat, **own, **cameras}


@contextmanager
def _own_domain() -> Iterator[None]:
    """Keep topics off the network and away from whatever else runs here."""
    from yolox_trt_ros.ros.dds import settings

    own = {
        'ROS_DOMAIN_ID': str(random.choice(DOMAINS)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    own |= settings.environment(environ={**os.environ, **own})
    with mock.patch.dict(os.environ, own):
        yield


# -- the pipeline, without ROS -----------------------------------------------------------------


def _through_pipeline(
    bag: Bag,
    config: Config,
    models: Models,
    topics: Mapping[str, str],
    timeout_s: float,
) -> Found:
    found: dict[str, dict[int, Detections]] = {c.name: {} for c in config.cameras}

    def sink(frame: Frame, detections: Detections) -> None:
        found[frame.camera][frame.sequence] = detections

    numbers = ImageNumbers()
    readers = {topics[c.name]: (c, new_reader(c.transport)) for c in config.cameras}
    options = PipelineOptions(lockstep=True)
    with Pipeline(config.cameras, lane_specs(config, models), sink, options=options) as pipeline:
        for message in bag.messages(list(readers)):
            settings, read = readers[message.topic]
            camera = settings.name
            numbers.add(camera, message.cdr)
            sequence = pipeline.next_sequence(camera)
            arrival = Arrival(camera, sequence, time.monotonic_ns(), settings.levels)
            try:
                pipeline.offer(cropped(read(message.cdr, arrival), settings.part))
            except FrameError as error:
                pipeline.reject(camera, error.reason)
        if not pipeline.drain(timeout_s):
            raise YoloxTrtRosError(f'frames were still in flight after {timeout_s:g} s')
        counts = pipeline.snapshot()
    dropped = {
        c.name: Counter({reason.value: n for reason, n in c.dropped.items() if n})
        for c in counts.cameras
    }
    return _results(found, numbers), dropped
