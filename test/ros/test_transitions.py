"""A node answers while a transition takes long."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from peer import Detector, Peer, detector
from rcl_interfaces.srv import DescribeParameters, GetParameters
from tiny_models import write_yolox

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]

CALL_S = 1.5
"""One call of the lane; it is measured by three."""


@pytest.fixture
def vehicle(tmp_path: Path) -> dict[str, Any]:
    """Return a vehicle whose configure takes several seconds: its only lane is that slow."""
    profile = tmp_path / 'slow.yaml'
    lane = {'device': 'cuda:0', 'cost_ms': {1: CALL_S * 1e3}, 'slowdown': [1.0], 'jitter': 0.0}
    profile.write_text(yaml.safe_dump({'name': 'slow', 'description': '-', 'lanes': {'gpu': lane}}))
    return {
        'camera_names': ['front'],
        'lane_names': ['gpu'],
        'lanes.gpu.device': 'cuda:0',
        'lanes.gpu.backend': 'simulated',
        'profile': str(profile),
        'model.path': str(write_yolox(tmp_path / 'tiny.onnx')),
        'ingest': 'plain',
    }


@pytest.fixture
def idle(peer: Peer, tmp_path: Path, vehicle: dict[str, Any]) -> Iterator[Detector]:
    """Yield a node that waits for somebody to configure it."""
    parameters = vehicle | {'autostart': False}
    with detector(peer, tmp_path, 'idle', parameters, 'unconfigured') as node:
        yield node


class Asked:
    """A transition that is on its way."""

    def __init__(self, peer: Peer, node: str, number: int) -> None:
        self._client = peer.node.create_client(ChangeState, f'{node}/change_state')
        peer.until(self._client.service_is_ready, 'change_state')
        request = ChangeState.Request()
        request.transition.id = number
        self._peer = peer
        self._answer = self._client.call_async(request)

    @property
    def answered(self) -> bool:
        return bool(self._answer.done())

    def succeeds(self) -> bool:
        self._peer.until(self._answer.done, 'an answer')
        self._peer.node.destroy_client(self._client)
        return bool(self._answer.result().success)


def test_a_long_configure_keeps_no_other_service_waiting(peer: Peer, idle: Detector) -> None:
    configure = Asked(peer, idle.name, Transition.TRANSITION_CONFIGURE)
    peer.until(lambda: peer.state(idle.name) == 'configuring', 'configure')
    names = ['model.score_threshold']
    got = peer.call(
        GetParameters, f'{idle.name}/get_parameters', GetParameters.Request(names=names)
    )
    assert got.values[0].double_value == 0.3
    described = peer.call(
        DescribeParameters,
        f'{idle.name}/describe_parameters',
        DescribeParameters.Request(names=names),
    )
    assert described.descriptors[0].floating_point_range
    second = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP, 10, 77)
    assert not any(Asked(peer, idle.name, number).succeeds() for number in second)
    assert not configure.answered, 'the second ones were answered after it, not during it'
    assert peer.state(idle.name) == 'configuring'
    assert configure.succeeds()
    assert peer.state(idle.name) == 'inactive'
    assert 'configure has been running for' in idle.log and 'transition 77 was refused' in idle.log
    assert peer.transition(idle.name, Transition.TRANSITION_ACTIVATE)
    assert peer.transition(idle.name, Transition.TRANSITION_DEACTIVATE)


def test_autostart_answers_meanwhile_and_is_not_disturbed(
    peer: Peer, tmp_path: Path, vehicle: dict[str, Any]
) -> None:
    with detector(peer, tmp_path, 'auto', vehicle, 'configuring') as node:
        assert not peer.transition(node.name, Transition.TRANSITION_CONFIGURE)
        assert peer.state(node.name) == 'configuring'
        peer.until(lambda: peer.state(node.name) == 'active', 'autostart')
        assert 'autostart has been running for' in node.log


def test_a_node_that_is_asked_to_end_does_not_finish_a_long_configure(
    peer: Peer, tmp_path: Path, vehicle: dict[str, Any]
) -> None:
    with detector(peer, tmp_path, 'short', vehicle, 'configuring') as node:
        begin = time.monotonic()
    assert time.monotonic() - begin < 20, 'it was interrupted, and ended well, but late'
    assert 'active: 1 camera' not in node.log


def test_the_label_of_a_request_is_not_logged_as_it_stands(peer: Peer, tmp_path: Path) -> None:
    parameters = {'camera_names': ['a'], 'lane_names': ['cpu0'], 'autostart': False}
    with detector(peer, tmp_path, 'labels', parameters, 'unconfigured') as node:
        for label in ('\x1b[31mred\n[INFO] all is well', '\u202eabc', 'a' * 10_000, 'no_such'):
            request = ChangeState.Request()
            request.transition.label = label
            assert not peer.call(ChangeState, f'{node.name}/change_state', request).success
        assert peer.state(node.name) == 'unconfigured'
        assert node.log.count('there is no such transition') == 3
        assert '\x1b' not in node.log and '\n[INFO] all' not in node.log
        assert '\u202e' not in node.log and 'a' * 100 not in node.log
