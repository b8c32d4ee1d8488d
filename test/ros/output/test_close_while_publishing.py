"""Closing a node's publishers waits for what is being published; a process of its own may crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from closing_publishers import ROUNDS
from edge_rig import DOMAIN

HERE = Path(__file__).parent


@pytest.mark.ros
@pytest.mark.timeout(400)
def test_publishers_are_closed_while_others_publish() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / 'closing_publishers.py'), str(DOMAIN)],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == ROUNDS, 'whoever comes later is refused'
