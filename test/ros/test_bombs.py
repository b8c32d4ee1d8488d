"""One camera's bombs cost the others nothing: the short form; ``bombs.py`` does two minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from bombs import attack
from peer import Peer

ATTEMPTS = 3
"""Whoever else uses the machine takes from rates as a bomb would, though hardly every time."""

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]


def test_bombs_of_one_camera_cost_the_others_nothing(peer: Peer, tmp_path: Path) -> None:
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        if not (problems := attack(peer, folder, seconds=6.0, seed=1, peace_s=2.0)):
            return
    assert problems == []
