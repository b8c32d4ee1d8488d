"""What a vehicle publishes of each image, as its parameters say, and a node that only builds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from edge_rig import DOMAIN
from rclpy.context import Context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from yolox_trt_ros.bags.names import is_installed
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.ros.detector_node import DetectorNode
from yolox_trt_ros.tools.record import wanted_topics

VEHICLE = {'camera_names': ['front', 'rear'], 'lane_names': ['lane']}
SIMULATED = {
    'lanes.lane.device': 'cuda:0',
    'lanes.lane.backend': 'simulated',
    'profile': 'orin_agx_maxn',
    'ingest': 'plain',
    'autostart': False,
}
FAILURE, SUCCESS = TransitionCallbackReturn.FAILURE, TransitionCallbackReturn.SUCCESS


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'outputs': []}, 'outputs: expected detections or objects, got'),
        ({'outputs': ['debug_times']}, 'outputs: expected detections or objects, got'),
        ({'outputs': ['object']}, 'outputs: "object" is not .* did you mean "objects"'),
        ({'outputs': ['objects', 'objects']}, 'outputs: objects is listed twice'),
        (
            {
                'outputs': ['objects'],
                **{f'cameras.{c}.objects_topic': '/r' for c in ('front', 'rear')},
            },
            'cameras.rear.objects_topic: "/r" is already the topic of front',
        ),
        (
            {'cameras.front.objects_topic': '/a//b'},
            'objects_topic: "/a//b" is not a topic name',
        ),
    ],
)
def test_what_cannot_be_published_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_parameters(VEHICLE | given)


def test_what_is_published_is_recorded() -> None:
    given = {'outputs': ['objects', 'debug_times'], 'cameras.rear.objects_topic': '/rois/rear'}
    config = Config.from_parameters(VEHICLE | given)
    recorded = {topic.name for topic in wanted_topics(config, '/detector', False)}
    assert {'/detector/front/objects', '/rois/rear'} < recorded
    assert '/detector/front/debug/cyclic_time_ms' in recorded
    assert '/detector/front/detections' not in recorded
    plain = wanted_topics(Config.from_parameters(VEHICLE), '/detector', False)
    assert not any('objects' in topic.name or 'debug' in topic.name for topic in plain)
    with pytest.raises(ConfigError, match='outputs: the overlay reads detections, but'):
        config.need_detections('the overlay')


@pytest.fixture(scope='module')
def context() -> Iterator[Context]:
    opened = rclpy.Context()
    opened.init(domain_id=DOMAIN)
    yield opened
    opened.try_shutdown()


@pytest.fixture
def node(context: Context, request: pytest.FixtureRequest) -> Iterator[DetectorNode]:
    given = VEHICLE | SIMULATED | request.param
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    opened = DetectorNode(context=context, parameter_overrides=overrides)
    yield opened
    opened.close()
    opened.destroy_node()


@pytest.mark.ros
@pytest.mark.skipif(not is_installed(RESULTS['objects'].type), reason='make setup builds it')
@pytest.mark.parametrize('node', [{'outputs': ['objects']}], indirect=True)
def test_objects_keep_autowares_classes_while_the_node_runs(
    node: DetectorNode, tmp_path: Path
) -> None:
    assert node.trigger_configure() == SUCCESS, node._problem
    foreign, ours = tmp_path / 'foreign.yaml', tmp_path / 'ours.yaml'
    foreign.write_text('kite: [car, truck]\n')
    ours.write_text('animal: [car, truck]\n')
    (refused,) = node.set_parameters([Parameter('model.class_map', value=str(foreign))])
    assert not refused.successful and 'not ["kite"]' in refused.reason
    (taken,) = node.set_parameters([Parameter('model.class_map', value=str(ours))])
    assert taken.successful, taken.reason


@pytest.mark.ros
@pytest.mark.parametrize(
    'node',
    [{'build_only': True}, {'build_only': True, 'model.path': 'no_such_model.onnx'}],
    ids=['built', 'failed'],
    indirect=True,
)
def test_a_node_that_only_builds_has_nothing_more_to_do(
    node: DetectorNode, request: pytest.FixtureRequest
) -> None:
    assert node.keep_running()
    assert node.trigger_configure() == FAILURE, 'it never becomes active'
    if 'built' in request.node.name:
        assert not node.keep_running()
    else:
        with pytest.raises(Exception, match=r'no_such_model\.onnx'):
            node.keep_running()
