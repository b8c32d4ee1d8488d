"""Replay tests for vehicles: play a bag, compare the detections with golden ones.

In a test suite::

    # conftest.py
    pytest_plugins = ['yolox_trt_ros.testing.plugin']

    # test_crossing.py
    from yolox_trt_ros.testing import replay

    def test_crossing(golden):
        golden(replay('bags/crossing', 'my_car.param.yaml'))

``pytest --update-goldens`` writes what is right from now on.
"""

from yolox_trt_ros.testing.golden import GoldenMismatchError, check
from yolox_trt_ros.testing.golden_file import Tolerances
from yolox_trt_ros.testing.replay import replay
from yolox_trt_ros.testing.results import Replayed, Result

__all__ = ['replay', 'check', 'Replayed', 'Result', 'Tolerances', 'GoldenMismatchError']
