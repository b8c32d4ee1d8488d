"""Two minutes of cameras that stop, change and are killed; the tool does an hour."""

import subprocess

import pytest
from soak import GROWTH_MB, growth


@pytest.mark.ros
@pytest.mark.timeout(300)
def test_two_minutes_of_cameras(soak: subprocess.Popen[str]) -> None:
    said, _ = soak.communicate()
    assert soak.returncode == 0, said[-2000:]
    assert 'growth' in said


def test_growth_is_found_and_steps_of_the_warm_up_are_not() -> None:
    times = [float(t) for t in range(0, 3600, 60)]
    flat = [(t, 200.0 + (t > 300) * 50) for t in times]
    leak = [(t, 200.0 + 1.5 * GROWTH_MB * t / 3600) for t in times]
    late_step = [(t, 200.0 + (t > 2000) * 2 * GROWTH_MB) for t in times]
    assert growth(flat, 3600) == []
    assert len(growth(leak, 3600)) == len(growth(late_step, 3600)) == 1
    assert 'too few' in growth(flat[-5:], 3600)[0]
