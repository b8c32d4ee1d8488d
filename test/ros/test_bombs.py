"""One camera's bombs cost the others nothing: the short form; ``bombs.py`` does two minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from bombs import attack
from peer import Peer

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]


def test_bombs_of_one_camera_cost_the_others_nothing(peer: Peer, tmp_path: Path) -> None:
    assert attack(peer, tmp_path, seconds=10.0, seed=1, peace_s=3.0) == []
