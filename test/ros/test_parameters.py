"""Parameters of a real node: what ``get`` says is what runs, and nothing that is set ends it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from peer import DOMAIN, Peer, detector, image_message
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import ListParameters, SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_dict_from_yaml_file
from tiny_models import write_yolox
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.ros.camera_sim_node import CameraSim
from yolox_trt_ros.ros.detector_node import DetectorNode
from yolox_trt_ros.ros.overlay_node import OverlayNode
from yolox_trt_ros.ros.parameters import read_parameters
from yolox_trt_ros.vehicle_files import load_vehicle

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]
Given = dict[str, Any]


def write_profile(path: Path) -> Path:
    """Write a profile whose lanes cost next to nothing."""
    lane = {'device': 'cuda:0', 'cost_ms': {1: 0.1}, 'slowdown': [1.0, 1.0], 'jitter': 0.0}
    lanes = {'gpu': lane, 'other': lane}
    path.write_text(yaml.safe_dump({'name': 'quick', 'description': '-', 'lanes': lanes}))
    return path


@pytest.fixture(scope='module')
def vehicle(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Return a vehicle with whole numbers where fractions are wanted, as people write them."""
    folder = tmp_path_factory.mktemp('vehicle')
    lanes = {f'lanes.{n}.{k}': v for n in ('gpu', 'other') for k, v in LANE.items()}
    return {
        'camera_names': ['front', 'rear'],
        'lane_names': ['gpu'],
        **lanes,
        'profile': str(write_profile(folder / 'quick.yaml')),
        'model.path': str(write_yolox(folder / 'a.onnx')),
        'model.score_threshold': 1,
        'cameras.front.rate_hz': 10,
        'cameras.front.priority': 2,
        'cameras.rear.deadline_ms': 500,
        'cameras.left.topic': '/left',
        'ingest': 'plain',
        'autostart': False,
    }


LANE = {'device': 'cuda:0', 'backend': 'simulated'}


@pytest.fixture(scope='module')
def context() -> Iterator[Context]:
    opened = rclpy.Context()
    opened.init(domain_id=DOMAIN)
    yield opened
    opened.try_shutdown()


@pytest.fixture
def node(context: Context, vehicle: Given) -> Iterator[DetectorNode]:
    opened = DetectorNode(context=context, parameter_overrides=overrides(vehicle))
    yield opened
    opened.close()
    opened.destroy_node()


def overrides(given: Given) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in given.items()]


def refusal(node: Node, name: str, value: Any) -> str:
    """Set one parameter and return why it was refused; empty: it was not."""
    (answer,) = node.set_parameters([Parameter(name, value=value)])
    assert answer.successful or answer.reason
    return '' if answer.successful else str(answer.reason)


def configured(node: DetectorNode) -> bool:
    return bool(node.trigger_configure() == TransitionCallbackReturn.SUCCESS)


def started(node: DetectorNode) -> None:
    assert configured(node), node._problem
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS


def stopped(node: DetectorNode) -> None:
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS


def value(node: Node, name: str) -> Any:
    return node.get_parameter(name).value


def running(node: DetectorNode) -> list[str]:
    assert node._pipeline
    return [camera.name for camera in node._pipeline.snapshot().cameras]


def test_whole_numbers_are_numbers(node: DetectorNode) -> None:
    assert value(node, 'cameras.front.rate_hz') == 10.0
    assert isinstance(value(node, 'cameras.front.rate_hz'), float), 'before it is configured too'
    assert refusal(node, 'cameras.front.rate_hz', 12.5) == ''
    started(node)
    assert value(node, 'cameras.front.rate_hz') == 12.5
    assert refusal(node, 'model.score_threshold', 0) == ''
    assert value(node, 'model.score_threshold') == 0.0
    assert node._models and node._models.first.thresholds.score == 0.0
    assert node.describe_parameter('cameras.front.priority').floating_point_range


def test_cameras_lanes_and_models_change_without_a_restart(
    node: DetectorNode, vehicle: Given, tmp_path: Path
) -> None:
    other = str(write_yolox(tmp_path / 'b.onnx', labels=('cat', 'dog')))
    started(node)
    stopped(node)
    assert refusal(node, 'camera_names', ['front']) == ''
    assert refusal(node, 'lane_names', ['gpu', 'other']) == ''
    assert refusal(node, 'model.path', other) == ''
    assert refusal(node, 'cameras.front.topic', '/elsewhere') == ''
    started(node)
    assert running(node) == ['front']
    assert value(node, 'camera_names') == ['front']
    assert node._pipeline and len(node._pipeline.snapshot().lanes) == 2
    assert node._models and str(node._models.first.path) == value(node, 'model.path') == other
    assert node.get_subscriptions_info_by_topic('/elsewhere')
    # The camera that left is gone, and what is set next does not meet it.
    assert not node.has_parameter('cameras.rear.deadline_ms')
    assert refusal(node, 'model.score_threshold', 0.25) == ''
    assert refusal(node, 'cameras.front.priority', 3.0) == ''
    assert node._pipeline.snapshot().cameras[0].priority == 3.0
    stopped(node)
    # One that was described from the start, and one that nobody has heard of.
    assert refusal(node, 'camera_names', ['front', 'left', 'new']) == ''
    assert refusal(node, 'cameras.new.topic', '/brand_new') == ''
    assert refusal(node, 'cameras.new.rate_hz', 3) == ''
    started(node)
    assert running(node) == ['front', 'left', 'new']
    for topic in ('/elsewhere', '/left', '/brand_new'):
        assert node.get_subscriptions_info_by_topic(topic), topic
    assert value(node, 'cameras.new.rate_hz') == 3.0
    assert refusal(node, 'model.score_threshold', 0.5) == ''
    stopped(node)
    started(node)
    assert value(node, 'model.path') == other, 'the file does not come back'
    assert value(node, 'model.score_threshold') == 0.5


def test_the_same_value_is_no_change(node: DetectorNode, vehicle: Given) -> None:
    started(node)
    assert [refusal(node, name, given) for name, given in vehicle.items()] == [''] * len(vehicle)
    declared = read_parameters(node)
    assert [refusal(node, name, given) for name, given in declared.items()] == [''] * len(declared)
    assert node.set_parameters_atomically(overrides(declared)).successful
    assert 'is read at configure' in refusal(node, 'cameras.front.rate_hz', 11)
    assert value(node, 'cameras.front.rate_hz') == 10.0


@pytest.mark.parametrize(
    ('name', 'wrong', 'message'),
    [
        ('model.score_treshold', 0.5, 'did you mean "model.score_threshold"?'),
        ('cameras.front.roi', [1, 2], 'crop, crops, deadline_ms, depth, '),
        ('nonsense', 'x', 'nonsense: no such parameter'),
        ('', 'x', 'no such parameter'),
        ('\x1b[31m' * 999, 1, r'\x1b[31m'),
        ('model.nms_iou', 'high', 'Wrong parameter type'),
        ('model.nms_iou', float('nan'), 'model.nms_iou'),
        ('model.nms_iou', float('inf'), 'model.nms_iou'),
        ('model.max_detections', 2.0, 'Wrong parameter type'),
        ('model.max_detections', True, 'Wrong parameter type'),
        ('camera_names', [1, 2], 'Wrong parameter type'),
        ('camera_names', 'front', 'Wrong parameter type'),
        ('cameras.front.reliability', 'maybe', 'is not one of its values'),
        ('cameras.unheard_of.depth', 0, 'expected 1 to 1000, got 0'),
        ('cameras.unheard_of.depth', 'x', "expected int, got 'x'"),
        ('use_sim_time', 'yes', 'Wrong parameter type'),
        ('model.path', None, 'cannot be undeclared'),
    ],
)
@pytest.mark.parametrize('state', ['unconfigured', 'inactive'])
def test_what_is_wrong_is_refused_at_once(
    node: DetectorNode, state: str, name: str, wrong: Any, message: str
) -> None:
    assert configured(node)
    if state == 'unconfigured':
        node.trigger_cleanup()
    before = read_parameters(node)
    assert message in refusal(node, name, wrong)
    assert read_parameters(node) == before


def test_what_contradicts_itself_is_reported_by_configure(node: DetectorNode) -> None:
    assert refusal(node, 'cameras.front.lane', 'nowhere') == ''
    assert not configured(node)
    assert 'cameras.front.lane: no lane is called "nowhere"' in node._problem
    assert refusal(node, 'camera_names', []) == '' and refusal(node, 'lane_names', []) == ''
    assert not configured(node)
    assert 'got 0' in node._problem
    assert refusal(node, 'camera_names', ['front']) == ''
    assert refusal(node, 'lane_names', ['gpu']) == ''
    assert refusal(node, 'cameras.front.lane', '') == ''
    assert refusal(node, 'model.path', '/no/such.onnx') == ''
    assert not configured(node)
    assert '/no/such.onnx' in node._problem
    assert refusal(node, 'model.path', '') == ''
    started(node)


def test_a_wrong_file_can_be_set_right(context: Context, vehicle: Given) -> None:
    wrong = {**vehicle, 'cameras.front.rate_hz': 'fast', 'model.scor': 0.5, 'lockstep': 3}
    node = DetectorNode(context=context, parameter_overrides=overrides(wrong))
    try:
        assert not configured(node)
        for message in (
            'cameras.front.rate_hz: expected float',
            'model.scor: no such',
            'lockstep: ',
        ):
            assert message in node._problem
        assert refusal(node, 'cameras.front.rate_hz', 10) == ''
        assert refusal(node, 'lockstep', False) == ''
        assert refusal(node, 'model.scor', None) == '', 'unknown names can be deleted'
        started(node)
    finally:
        node.close()
        node.destroy_node()


def test_all_or_nothing(node: DetectorNode) -> None:
    started(node)
    before = read_parameters(node)
    for bad in ('use_sim_time', 'cameras.front.depth', 'model.nms_iou', 'nonsense'):
        wanted = [Parameter('model.score_threshold', value=0.9), Parameter(bad, value='x')]
        assert not node.set_parameters_atomically(wanted).successful
        assert read_parameters(node) == before
        assert node._models and node._models.first.thresholds.score == 1.0
    good = overrides({'model.score_threshold': 0.2, 'model.nms_iou': 0.6})
    assert node.set_parameters_atomically(good).successful
    assert node._models and node._models.first.thresholds.nms_iou == 0.6


def test_what_could_not_be_followed_is_taken_back(
    node: DetectorNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(node)
    assert node._results and node._models

    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise KeyError('rear')

    monkeypatch.setattr(node._results, 'publish_labels', fail)
    assert refusal(node, 'model.score_threshold', 0.4) == "KeyError: 'rear'"
    assert value(node, 'model.score_threshold') == node._models.first.thresholds.score == 1.0
    assert refusal(node, 'model.score_threshold', 0.4) == ''
    assert node._models.first.thresholds.score == 0.4


@pytest.mark.parametrize('make', [CameraSim, OverlayNode])
def test_nodes_that_read_at_the_start_refuse_changes_only(
    context: Context, vehicle: Given, make: Callable[..., Any], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / 'p.png'), np.zeros((8, 8, 3), np.uint8))
    given = vehicle | {'sim.source': str(tmp_path)}
    node = make(context=context, parameter_overrides=overrides(given))
    try:
        assert [refusal(node, n, v) for n, v in given.items()] == [''] * len(given)
        declared = read_parameters(node)
        assert {refusal(node, n, v) for n, v in declared.items()} == {''}
        assert 'restart it' in refusal(node, 'cameras.front.rate_hz', 11)
        assert 'no such parameter' in refusal(node, 'cameras.front.roi', 11)
        assert value(node, 'cameras.front.rate_hz') == 10.0
    finally:
        node.close()
        node.destroy_node()


def test_a_dump_can_be_loaded_again(node: DetectorNode, tmp_path: Path) -> None:
    started(node)
    assert refusal(node, 'model.score_threshold', 0.35) == ''
    listed = node.list_parameters([], ListParameters.Request.DEPTH_RECURSIVE).names
    content: dict[str, Any] = {}
    for name in listed:
        *groups, last = name.split('.')
        inner = content
        for group in groups:
            inner = inner.setdefault(group, {})
        given = value(node, name)
        inner[last] = list(given) if isinstance(given, (list, tuple)) else given
    file = tmp_path / 'dump.yaml'
    file.write_text(yaml.safe_dump({'/detector': {'ros__parameters': content}}))
    loaded = parameter_dict_from_yaml_file(str(file), target_nodes=['/detector'])
    own = [Parameter.from_parameter_msg(message) for message in loaded.values()]
    answers = {p.name: a for p, a in zip(own, node.set_parameters(own), strict=True)}
    assert all(answer.successful for answer in answers.values()), answers
    assert load_vehicle(str(file)) == Config.from_parameters(read_parameters(node))
    for name in ('qos_overrides./front/image_raw.subscription.depth', 'use_sim_time'):
        assert name in answers, 'what rclpy declares by itself is in it'
    again = DetectorNode(
        context=node.context, cli_args=['--ros-args', '--params-file', str(file)], namespace='/'
    )
    try:
        assert read_parameters(again) == read_parameters(node)
        assert configured(again), again._problem
    finally:
        again.close()
        again.destroy_node()


def test_requests_that_rclpy_cannot_read_are_answered(
    peer: Peer, tmp_path: Path, vehicle: Given
) -> None:
    with detector(peer, tmp_path, 'asked', vehicle, 'unconfigured') as node:
        strange = [
            ParameterMessage(name='model.nms_iou', value=ParameterValue(type=77)),
            ParameterMessage(name='model.nms_iou', value=ParameterValue(type=1, double_value=0.5)),
            ParameterMessage(name='model.nms_iou', value=ParameterValue(type=255)),
            ParameterMessage(name='camera_names', value=ParameterValue(type=5)),
            ParameterMessage(name='x' * 10_000, value=ParameterValue(type=9)),
            ParameterMessage(),
        ]
        request = SetParameters.Request(parameters=strange)
        answer = peer.call(SetParameters, f'{node.name}/set_parameters', request)
        assert [r.successful for r in answer.results] == [False, False, False, True, False, False]
        assert 'type 77' in answer.results[0].reason
        for message in strange[:1] + strange[4:]:
            request = SetParametersAtomically.Request(parameters=[message])
            name = f'{node.name}/set_parameters_atomically'
            assert not peer.call(SetParametersAtomically, name, request).result.successful
        assert peer.set_parameter(node.name, 'camera_names', ['front']) == ''
        assert peer.state(node.name) == 'unconfigured'
        assert 'type 77 of its value' in node.log


def test_a_file_for_another_node_is_reported(peer: Peer, tmp_path: Path, vehicle: Given) -> None:
    section = '/other_node'
    with detector(peer, tmp_path, 'lost', vehicle, 'unconfigured', section=section) as node:
        peer.until(lambda: 'expected 1 to 8 cameras' in node.log, 'refusal')
        assert 'got parameters for /other_node' in node.log
        assert f'none for {node.name}' in node.log or f'"{node.name}"' in node.log


def test_a_thinned_camera_keeps_its_account(peer: Peer, tmp_path: Path, vehicle: Given) -> None:
    from sensor_msgs.msg import Image

    from yolox_trt_ros.msg import PipelineStatus

    given = vehicle | {'camera_names': ['front'], 'autostart': True, 'ingest': 'auto'}
    given |= {'cameras.front.max_rate_hz': 1, 'cameras.front.depth': 100}
    with detector(peer, tmp_path, 'thin', given) as node:
        publisher = peer.camera(Image, '/front/image_raw')
        found = peer.listen(Detection2DArray, f'{node.name}/front/detections')
        status = peer.listen(PipelineStatus, f'{node.name}/status')
        for n in range(20):
            publisher.publish(image_message(np.zeros((8, 8, 3), np.uint8), n + 1))
        peer.until(lambda: status and status[-1].cameras[0].received == 20, 'all images')
        peer.until(lambda: found, 'a result')
        status.clear()
        camera = peer.until(lambda: status and status[-1].cameras[0], 'status')
        dropped = dict(zip(camera.drop_reasons, camera.drop_counts, strict=True))
        assert dropped['thinned'] + dropped['replaced'] > 0 and camera.published >= 1
        left = camera.published + sum(dropped.values()) + camera.waiting + camera.in_flight
        assert left == 20
        assert peer.set_parameter(node.name, 'cameras.front.max_rate_hz', 0) == ''
