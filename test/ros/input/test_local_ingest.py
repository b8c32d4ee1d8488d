"""Cameras inside the node's process: closed however they fare, and told when they end."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from edge_rig import DOMAIN, Keeper, Rig, image, open_rig
from rclpy.serialization import serialize_message

from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import DropReason, FrameError, LaneError, YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.detector_node import DetectorNode
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.ingest import open_ingest
from yolox_trt_ros.ros.input.intake import KINDS, Intake
from yolox_trt_ros.ros.input.local_ingest import LocalIngest
from yolox_trt_ros.ros.output.messages import header_of
from yolox_trt_ros.schedule.pipeline import LOCKSTEP_BACKLOG, LaneSpec, Pipeline, PipelineOptions

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]

IMAGES = 200


@pytest.fixture
def rig() -> Iterator[Rig]:
    with open_rig('plain') as opened:
        opened.ingest.close()
        yield opened


def simulated(folder: Path) -> dict[str, Any]:
    """Return parameters of a camera at 100 Hz."""
    cv2.imwrite(str(folder / 'picture.png'), np.zeros((6, 8, 3), np.uint8))
    return {'ingest': 'simulated', 'sim.source': str(folder), 'cameras.a.rate_hz': 100.0}


def replayed(folder: Path) -> dict[str, Any]:
    """Return parameters of a bag with many images."""
    with BagWriter(folder / 'drive') as bag:
        bag.add_topic('/a/image_raw', 'sensor_msgs/msg/Image')
        for n in range(IMAGES):
            t_ns = 10**18 + n * 10_000_000
            bag.write('/a/image_raw', t_ns, bytes(serialize_message(image(n))))
    return {'ingest': 'replayed', 'bag': str(folder / 'drive')}


def configure(parameters: dict[str, Any]) -> Config:
    return Config.from_parameters(
        {'camera_names': ['a'], 'lane_names': ['lane'], 'lockstep': True, **parameters}
    )


def test_simulated_cameras_need_no_messages(tmp_path: Path) -> None:
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3)
    cv2.imwrite(str(tmp_path / 'picture.png'), pixels)
    parameters = {
        'camera_names': ['a', 'b'],
        'lane_names': ['lane'],
        'ingest': 'simulated',
        'sim.source': str(tmp_path),
        'cameras.a.rate_hz': 50.0,
        'cameras.b.rate_hz': 25.0,
        'cameras.b.transport': 'compressed',
        'cameras.b.sim.encoding': 'png',
    }
    with open_rig('plain') as rig:
        rig.ingest.close()
        config = Config.from_parameters(parameters)
        rig.ingest = open_ingest(rig.node, config, rig.pipeline)
        assert rig.ingest.mode == rig.ingest.notes['a'].mode == 'simulated in this process'
        rig.until(lambda: rig.account('a').received > 10 and rig.account('b').received > 5)
        rig.until(lambda: {f.camera for f in list(rig.keeper.frames)} == {'a', 'b'})
        rig.ingest.close()
        received = rig.account('a').received
        raw = next(f for f in rig.keeper.frames if f.camera == 'a')
        assert raw.data.tobytes() == pixels.tobytes()
        assert raw.frame_id == 'a_optical_frame'
        packed = next(f for f in rig.keeper.frames if f.camera == 'b')
        assert np.array_equal(cv2.imdecode(packed.data, cv2.IMREAD_COLOR), pixels)
        time.sleep(0.1)
        assert rig.account('a').received == received
        now_ns = rig.node.get_clock().now().nanoseconds
        assert all(0 <= now_ns - f.stamp_ns < 10**11 for f in rig.keeper.frames)


@pytest.mark.parametrize('lockstep', [False, True])
def test_a_bag_needs_no_messages(tmp_path: Path, lockstep: bool) -> None:
    sent = [image(number) for number in range(12)]
    with BagWriter(tmp_path / 'drive') as bag:
        bag.add_topic('/a/image_raw', 'sensor_msgs/msg/Image')
        for number, message in enumerate(sent):
            t_ns = 10**18 + number * 20_000_000
            bag.write('/a/image_raw', t_ns, bytes(serialize_message(message)))
    parameters = {
        'camera_names': ['a'],
        'lane_names': ['lane'],
        'ingest': 'replayed',
        'bag': str(tmp_path / 'drive'),
        'lockstep': lockstep,
    }
    with open_rig('plain') as rig:
        rig.ingest.close()
        start = time.monotonic()
        rig.ingest = open_ingest(rig.node, Config.from_parameters(parameters), rig.pipeline)
        assert rig.ingest.mode == 'replayed in this process'
        rig.until(lambda: rig.account().received == len(sent))
        assert lockstep or time.monotonic() - start > 0.2, 'faster than it was recorded'
        rig.until(lambda: len(rig.keeper.frames) and rig.account().waiting == 0)
        for frame in rig.keeper.frames:  # of a pipeline that is not in lockstep itself
            message = sent[frame.sequence]
            assert frame.data.tobytes() == bytes(message.data)
            assert header_of(frame) == message.header


@pytest.mark.parametrize('bag', ['', 'nowhere'])
def test_a_bag_that_is_not_there_is_reported(bag: str) -> None:
    parameters = {'camera_names': ['a'], 'lane_names': ['lane'], 'ingest': 'replayed', 'bag': bag}
    with open_rig('plain') as rig, pytest.raises(YoloxTrtRosError, match=bag or 'no bag is given'):
        open_ingest(rig.node, Config.from_parameters(parameters), rig.pipeline)


@pytest.mark.parametrize('source', [simulated, replayed])
def test_lockstep_closes_while_every_lane_is_out(rig: Rig, tmp_path: Path, source: Any) -> None:
    config = configure(source(tmp_path))
    dead = threading.Event()

    class Dying(Keeper):
        def wait(self) -> Any:
            if dead.is_set():
                raise LaneError('GPU has fallen off the bus')
            return super().wait()

    def build() -> Dying:
        if dead.is_set():
            raise LaneError('no device')
        return Dying()

    options = PipelineOptions(lockstep=True)
    pipeline = Pipeline(
        config.cameras, [LaneSpec(config.lanes[0], build)], lambda *_: None, options=options
    )
    pipeline.start()
    dead.set()
    ingest = open_ingest(rig.node, config, pipeline)
    try:
        rig.until(lambda: pipeline.snapshot().cameras[0].waiting >= LOCKSTEP_BACKLOG)
        time.sleep(0.1)
        closing = threading.Thread(target=ingest.close, daemon=True)
        closing.start()
        closing.join(20)
        assert not closing.is_alive(), 'close waits for lanes that are not there'
        camera = pipeline.snapshot().cameras[0]
        assert camera.received == camera.waiting + camera.in_flight < IMAGES
    finally:
        pipeline.stop(drain=False)
    stopped = pipeline.snapshot().cameras[0]
    assert stopped.received == sum(stopped.dropped.values())


@pytest.mark.parametrize('source', [simulated, replayed])
def test_cameras_that_end_by_themselves_are_reported_at_once(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any
) -> None:
    errors: list[str] = []
    quiet = SimpleNamespace(info=lambda _: None, warning=lambda _: None, error=errors.append)
    monkeypatch.setattr(rig.node, 'get_logger', lambda: quiet)

    def refuse(_: object) -> None:
        raise ValueError('sequence does not follow')

    monkeypatch.setattr(rig.pipeline, 'offer', refuse)
    rig.ingest = open_ingest(rig.node, configure(source(tmp_path)), rig.pipeline)
    rig.until(lambda: errors)
    assert 'ended' in errors[0] and 'ValueError: sequence does not follow' in errors[0]
    rig.until(lambda: 'sequence does not follow' in rig.ingest.notes['a'].silence)
    rig.ingest.close()  # told already: raises nothing


def test_a_flood_of_damaged_images_is_reported_at_powers_of_ten(rig: Rig) -> None:
    rig.ingest = rig.open()
    rig.until(rig.front.get_subscription_count)
    for n in range(40):
        message = image(1)
        message.data = bytes(n + 1)  # each problem reads otherwise
        rig.front.publish(message)
        rig.until(lambda n=n: rig.account().received == n + 1)
    assert [w[: w.index(': bgr8')] for w in rig.warnings] == [
        'a: malformed',
        'a: malformed (10 so far)',
    ]
    assert 'carries 40 bytes' in rig.ingest.notes['a'].last_problem
    assert rig.account().dropped[DropReason.MALFORMED] == 40


def test_a_flood_of_ever_new_problems_is_bounded(rig: Rig) -> None:
    warnings: list[str] = []
    intake = Intake(configure({}).cameras[0], rig.pipeline, warnings.append, 'mode')
    names = itertools.product('abcdefghij', repeat=3)

    def read(_: object, arrival: Arrival) -> Frame:
        raise FrameError(DropReason.UNSUPPORTED, f'encoding "{"".join(next(names))}"')

    for _ in range(1000):
        intake.receive(b'', read, 0)
    assert len(warnings) == KINDS + len(['1', '10', '100'])
    assert rig.account().dropped[DropReason.UNSUPPORTED] == 1000


def test_what_closing_the_ingest_raises_does_not_keep_the_lanes_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = {
        'camera_names': ['a'],
        'lane_names': ['gpu'],
        'lanes.gpu.device': 'cuda:0',
        'lanes.gpu.backend': 'simulated',
        'profile': 'orin_agx_maxn',
        'model.path': 'edge_n',
        **simulated(tmp_path),
    }
    file = tmp_path / 'node.yaml'
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': flat}}))
    rclpy.init(args=['--ros-args', '--params-file', str(file)], domain_id=DOMAIN)
    try:
        node = DetectorNode()
        node.trigger_configure()
        node.trigger_activate()
        assert isinstance(node._ingest, LocalIngest), node._problem
        real = node._ingest.close

        def close() -> None:
            real()
            raise ValueError('no end')

        monkeypatch.setattr(node._ingest, 'close', close)
        with pytest.raises(ValueError, match='no end'):
            node.close()
        names = {thread.name for thread in threading.enumerate()}
        assert not names & {'lane gpu', 'supervisor', 'camera_streams', 'status'}
        assert (node._ingest, node._pipeline, node._results) == (None, None, None)
        node.destroy_node()
    finally:
        rclpy.shutdown()
