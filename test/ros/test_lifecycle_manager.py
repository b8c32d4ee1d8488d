"""What nav2's lifecycle manager asks of a node, in its order: each step answered, each state told.

The steps are those of ``nav2_lifecycle_manager`` (Humble to Kilted) with ``bond_timeout: 0.0``:
after each transition it asks for the state, and gives up if that takes more than two seconds.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lifecycle_msgs.msg import Transition
from peer import Peer, detector
from tiny_models import write_yolox

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

STARTUP = [
    (Transition.TRANSITION_CONFIGURE, 'inactive'),
    (Transition.TRANSITION_ACTIVATE, 'active'),
]
PAUSE = [(Transition.TRANSITION_DEACTIVATE, 'inactive')]
RESUME = [(Transition.TRANSITION_ACTIVATE, 'active')]
RESET = [*PAUSE, (Transition.TRANSITION_CLEANUP, 'unconfigured')]
SHUTDOWN = [*RESET, (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, 'finalized')]


def test_startup_pause_resume_reset_startup_shutdown(peer: Peer, tmp_path: Path) -> None:
    profile = tmp_path / 'fast.yaml'
    lane = {'device': 'cuda:0', 'cost_ms': {1: 2.0}, 'slowdown': [1.0], 'jitter': 0.0}
    profile.write_text(yaml.safe_dump({'name': 'fast', 'description': '-', 'lanes': {'gpu': lane}}))
    vehicle = {
        'camera_names': ['front'],
        'lane_names': ['gpu'],
        'lanes.gpu.device': 'cuda:0',
        'lanes.gpu.backend': 'simulated',
        'profile': str(profile),
        'model.path': str(write_yolox(tmp_path / 'tiny.onnx')),
        'autostart': False,
    }
    with detector(peer, tmp_path, 'managed', vehicle, 'unconfigured') as node:
        for number, state in [*STARTUP, *PAUSE, *RESUME, *RESET, *STARTUP, *SHUTDOWN]:
            assert peer.transition(node.name, number), node.log
            assert peer.state(node.name) == state
