"""Two minutes of cameras that stop, change and are killed; the tool does an hour."""

import subprocess
import sys
from pathlib import Path

import pytest
from soak import GROWTH_MB, growth

SOAK = Path(__file__).parent / 'soak.py'
SECONDS = 120


@pytest.mark.ros
@pytest.mark.xdist_group('soak')  # it mostly waits: the other ROS tests run beside it
@pytest.mark.timeout(300)
def test_two_minutes_of_cameras() -> None:
    command = [sys.executable, str(SOAK), '--seconds', str(SECONDS), '--size', '320', '240']
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert 'growth' in done.stdout


def test_growth_is_found_and_steps_of_the_warm_up_are_not() -> None:
    times = [float(t) for t in range(0, 3600, 60)]
    flat = [(t, 200.0 + (t > 300) * 50) for t in times]
    leak = [(t, 200.0 + 1.5 * GROWTH_MB * t / 3600) for t in times]
    late_step = [(t, 200.0 + (t > 2000) * 2 * GROWTH_MB) for t in times]
    assert growth(flat, 3600) == []
    assert len(growth(leak, 3600)) == len(growth(late_step, 3600)) == 1
    assert 'too few' in growth(flat[-5:], 3600)[0]
