"""Random transitions and parameter changes on a real node: what ``get`` says is what runs.

``YOLOX_TRT_ROS_SEQUENCES`` is how many sequences are tried (default 30).
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from peer import DOMAIN
from rclpy.context import Context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from tiny_models import LABELS, write_yolox

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.core.parameters import find
from yolox_trt_ros.detect.thresholds import thresholds_of
from yolox_trt_ros.ros.detector_node import DetectorNode
from yolox_trt_ros.ros.parameters import read_parameters

SEQUENCES = int(os.environ.get('YOLOX_TRT_ROS_SEQUENCES', '30'))
CAMERAS, LANES = ('a', 'b', 'c'), ('gpu', 'other')

names = st.lists(st.sampled_from([*CAMERAS, 'new', '1']), max_size=3)
rates = st.one_of(st.integers(0, 30), st.floats(0.5, 30.0), st.sampled_from([-1, 'x', None]))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    'camera_names': names,
    'lane_names': st.lists(st.sampled_from([*LANES, 'none']), max_size=2),
    'model.score_threshold': st.one_of(st.integers(0, 1), st.floats(0.0, 1.0), st.just(7)),
    'model.nms_iou': st.one_of(st.integers(0, 1), st.floats(0.0, 1.0), st.just('high')),
    'model.max_detections': st.one_of(st.integers(0, 300), st.just(2.0)),
    'model.class_agnostic': st.booleans(),
    'model.classes': st.lists(st.sampled_from(['car', 'bus', 'caar', '1']), max_size=2),
    'model.class_thresholds': st.sampled_from([[], ['car=0.5'], ['car=5'], ['bsu=0.1']]),
    'model.class_map': st.sampled_from(['', 'map', 'missing']),
    'model.path': st.sampled_from(['one', 'two', 'missing']),
    'model.nonsense': st.integers(0, 3),
    'class_id_format': st.sampled_from(['index', 'name', 'neither']),
    'limits.latency_warn_ms': st.sampled_from([100, 200.0, 5000]),
    'use_sim_time': st.sampled_from([True, False, 'maybe']),
} | {
    f'cameras.{camera}.{name}': values
    for camera in (*CAMERAS, 'new')
    for name, values in {
        'priority': st.one_of(st.integers(0, 5), st.floats(0.5, 5.0)),
        'deadline_ms': st.sampled_from([0, 50, 100.5, -3]),
        'timeout_ms': st.sampled_from([500, 1000.0]),
        'max_rate_hz': st.sampled_from([0, 2, 5.5]),
        'rate_hz': rates,
        'enabled': st.booleans(),
        'score_threshold': st.sampled_from([0, 0.25, -1]),
        'ignore': st.sampled_from([[], ['rows 5-'], ['rows'], 'rows 5-']),
        'lane': st.sampled_from(['', '', '', 'gpu', 'other', 'none']),
        'topic': st.sampled_from(['', '/x', '/y', 'not a topic']),
        'topc': st.just('/x'),
    }.items()
}


LIVE = sorted(name for name in VALUES if (row := find(Config, name)) and row.runtime)


def write_vehicle(folder: Path) -> dict[str, Any]:
    """Write two models and a profile, and return the parameters of a vehicle that works."""
    write_yolox(folder / 'one.onnx')
    write_yolox(folder / 'two.onnx', seed=1)
    (folder / 'map.yaml').write_text('vehicle: [car, bus]')
    lane = {'device': 'cuda:0', 'cost_ms': {1: 0.01}, 'slowdown': [1.0, 1.0], 'jitter': 0.0}
    profile = {'name': 'quick', 'description': '-', 'lanes': dict.fromkeys(LANES, lane)}
    (folder / 'quick.yaml').write_text(yaml.safe_dump(profile))
    lanes = {f'lanes.{name}.device': 'cuda:0' for name in LANES}
    return {
        'camera_names': ['a', 'b'],
        'lane_names': ['gpu'],
        **lanes,
        **{f'lanes.{name}.backend': 'simulated' for name in LANES},
        'cameras.a.rate_hz': 10,
        'cameras.c.topic': '/c',
        'profile': str(folder / 'quick.yaml'),
        'model.path': str(folder / 'one.onnx'),
        'model.score_threshold': 1,
        'model.classes': [],
        'model.class_thresholds': [],
        'model.class_map': '',
        'ingest': 'plain',
        'autostart': False,
    }


def wanted_thresholds(given: dict[str, Any]) -> Thresholds:
    """Return what parameters make of the thresholds, or raise what is wrong with them."""
    config = Config.from_parameters(given)
    return thresholds_of(LABELS, config.model, config.cameras)


class Sequences(RuleBasedStateMachine):
    """Somebody who sets and transitions whatever comes to mind."""

    context: Context
    folder: Path
    vehicle: dict[str, Any]

    @initialize(steps=st.integers(0, 2))
    def make(self, steps: int) -> None:
        given = [Parameter(name, value=value) for name, value in self.vehicle.items()]
        self.node = DetectorNode(context=self.context, parameter_overrides=given)
        self.state = 'unconfigured'
        for step in (self.configure, self.activate)[:steps]:
            step()

    def teardown(self) -> None:
        self.node.close()
        self.node.destroy_node()

    @rule(name=st.sampled_from(sorted(VALUES)), data=st.data())
    def set_one(self, name: str, data: st.DataObject) -> None:
        self._set({name: data.draw(VALUES[name])}, atomically=False)

    @rule(name=st.sampled_from(LIVE), data=st.data())
    def set_what_is_live(self, name: str, data: st.DataObject) -> None:
        self._set({name: data.draw(VALUES[name])}, atomically=False)

    @rule(chosen=st.lists(st.sampled_from(sorted(VALUES)), max_size=4), data=st.data())
    def set_some(self, chosen: list[str], data: st.DataObject) -> None:
        self._set({name: data.draw(VALUES[name]) for name in chosen}, atomically=True)

    @rule()
    def set_all_to_what_they_are(self) -> None:
        before = self._parameters()
        given = [Parameter(name, value=value) for name, value in before.items()]
        assert all(a.successful for a in self.node.set_parameters(given))
        assert self._parameters() == before

    @precondition(lambda self: self.state == 'unconfigured')
    @rule()
    def configure(self) -> None:
        given = self._parameters()
        try:
            wanted_thresholds(given)
            right = 'missing' not in given.get('model.path', '')
        except ConfigError:
            right = False
        done = self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert done == right, (given, self.node._problem)
        self.state = 'inactive' if done else 'unconfigured'
        assert done or self.node._problem.startswith('not configured: ')

    @precondition(lambda self: self.state == 'inactive')
    @rule()
    def activate(self) -> None:
        assert self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        self.state = 'active'

    @precondition(lambda self: self.state == 'active')
    @rule()
    def deactivate(self) -> None:
        assert self.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        self.state = 'inactive'

    @precondition(lambda self: self.state == 'inactive')
    @rule()
    def clean_up(self) -> None:
        assert self.node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        self.state = 'unconfigured'

    @rule()
    def begin_anew(self) -> None:
        """Go back to a vehicle that works: most random ones do not."""
        if self.state == 'active':
            self.deactivate()
        if self.state == 'inactive':
            self.clean_up()
        self._set({**self.vehicle, 'limits.latency_warn_ms': 200.0}, atomically=True)
        cameras = {c.partition('.')[2].partition('.')[0] for c in self._parameters() if '.' in c}
        self._set(
            {f'cameras.{c}.{n}': v for c in cameras & {*CAMERAS, 'new'} for n, v in PLAIN.items()},
            atomically=True,
        )

    @invariant()
    def what_get_says_is_what_runs(self) -> None:
        assert self.node._state_machine.current_state[1] == self.state
        if self.state == 'unconfigured':
            assert self.node._pipeline is None
            return
        config = Config.from_parameters(self._parameters())
        pipeline, models, telemetry = self.node._pipeline, self.node._models, self.node._telemetry
        assert pipeline and models and telemetry
        snapshot = pipeline.snapshot()
        assert [c.name for c in snapshot.cameras] == [c.name for c in config.cameras]
        assert [lane.name for lane in snapshot.lanes] == list(config.lane_names)
        for account, camera in zip(snapshot.cameras, config.cameras, strict=True):
            assert account.priority == camera.priority
            assert account.deadline_ms == pytest.approx(camera.deadline_ms)
            assert pipeline.dispatcher.cameras[camera.name].pace.max_hz == camera.max_rate_hz
            assert telemetry._timeout_ms[camera.name] == camera.timeout_ms
            found = self.node.get_subscriptions_info_by_topic(camera.image_topic)
            assert bool(found) == (self.state == 'active')
        thresholds, wanted = models.first.thresholds, wanted_thresholds(self._parameters())
        assert thresholds.max_detections == config.model.max_detections
        assert thresholds.nms_iou == config.model.nms_iou
        for name in ('', *(camera.name for camera in config.cameras)):
            mine, theirs = thresholds.of(name), wanted.of(name)
            assert mine.score == theirs.score and mine.rules and theirs.rules
            assert mine.rules.names == theirs.rules.names
            assert mine.rules.scores.tolist() == theirs.rules.scores.tolist()
            assert len(mine.rules.edges) == len(theirs.rules.edges)
        assert str(models.first.path) == config.model.path

    def _parameters(self) -> dict[str, Any]:
        return read_parameters(self.node)

    def _set(self, wanted: dict[str, Any], *, atomically: bool) -> None:
        for name in wanted.keys() & {'model.path'}:
            if '/' not in wanted[name]:
                wanted[name] = str(self.folder / f'{wanted[name]}.onnx')
        if '/' not in wanted.get('model.class_map', '') and wanted.get('model.class_map'):
            wanted['model.class_map'] = str(self.folder / f'{wanted["model.class_map"]}.yaml')
        before = self._parameters()
        given = [Parameter(name, value=value) for name, value in wanted.items()]
        if atomically:
            answers = [self.node.set_parameters_atomically(given)] * len(given)
        else:
            answers = self.node.set_parameters(given)
        after = self._parameters()
        for parameter, answer in zip(given, answers, strict=True):
            if answer.successful and parameter.value is not None:
                assert self.node.get_parameter(parameter.name).value in (
                    parameter.value,
                    [] if parameter.value == [] else parameter.value,
                )
            elif not answer.successful:
                assert answer.reason
                assert after.get(parameter.name) == before.get(parameter.name)


PLAIN = {'enabled': True, 'lane': '', 'topic': '', 'ignore': []}


@pytest.mark.ros
@pytest.mark.timeout(120 + 2 * SEQUENCES)
def test_random_sequences() -> None:
    Sequences.context = rclpy.Context()
    Sequences.context.init(domain_id=DOMAIN)
    with tempfile.TemporaryDirectory() as folder:
        Sequences.folder = Path(folder)
        Sequences.vehicle = write_vehicle(Sequences.folder)
        try:
            Sequences.TestCase.settings = settings(
                max_examples=SEQUENCES,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )
            Sequences.TestCase('runTest').runTest()
        finally:
            Sequences.context.try_shutdown()
