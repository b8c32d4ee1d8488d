from dataclasses import replace

import pytest

from yolox_trt_ros.core.config import LimitsConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.snapshot import LaneSnapshot, LaneState
from yolox_trt_ros.telemetry.health import CameraNumbers, Level, camera_health, lane_health

LIMITS = LimitsConfig()
FINE = CameraNumbers(
    expected_hz=10.0,
    timeout_ms=1000.0,
    silent_ms=50.0,
    heard=True,
    heard_s=60.0,
    span_s=5.0,
    rate_in_hz=10.0,
    rate_out_hz=10.0,
    received=50,
    dropped=dict.fromkeys(DropReason, 0),
    p95_ms=30.0,
    deadline_ms=0.0,
    late=0,
    lane='gpu',
)


def dropped(**counts: int) -> dict[DropReason, int]:
    return dict.fromkeys(DropReason, 0) | {DropReason(k): n for k, n in counts.items()}


@pytest.mark.parametrize(
    ('change', 'level', 'message'),
    [
        ({}, Level.OK, '10.0 Hz in, 10.0 Hz out, p95 30.0 ms'),
        ({'silent_ms': 1500.0}, Level.STALE, 'no image for 1.5 s (timeout 1 s)'),
        (
            {'silent_ms': 1500.0, 'heard': False},
            Level.STALE,
            'no image yet after 1.5 s (timeout 1 s)',
        ),
        ({'p95_ms': 250.0}, Level.WARN, 'latency above 200 ms'),
        ({'p95_ms': 1250.0}, Level.ERROR, 'latency above 1000 ms'),
        (
            {'dropped': dropped(replaced=20, undecodable=1)},
            Level.WARN,
            '42% dropped, limit 20% (20 replaced, 1 undecodable)',
        ),
        ({'dropped': dropped(malformed=50)}, Level.ERROR, '100% dropped, limit 90%'),
        ({'rate_in_hz': 6.0}, Level.WARN, 'arrives at 6.0 of 10 Hz'),
        (
            {'rate_in_hz': 20.0},
            Level.WARN,
            'arrives at 20.0 of 10 Hz: too fast, maybe from two drivers',
        ),
        ({'rate_in_hz': 14.0}, Level.OK, ''),
        ({'rate_in_hz': 20.0, 'heard_s': 4.0}, Level.OK, ''),
        ({'rate_in_hz': 6.0, 'span_s': 0.2}, Level.OK, ''),
        ({'rate_in_hz': 6.0, 'heard_s': 4.0}, Level.OK, ''),
        ({'late': 3, 'deadline_ms': 20.0}, Level.WARN, '3 results later than 20 ms'),
        ({'lane': ''}, Level.ERROR, 'no lane runs it'),
        ({'received': 0}, Level.OK, ''),
    ],
)
def test_each_limit_gives_its_level_and_its_numbers(change, level, message):
    health = camera_health(replace(FINE, **change), LIMITS)
    assert health.level is level
    assert message in health.message


def test_the_worst_problem_comes_first_and_none_is_left_out():
    health = camera_health(replace(FINE, lane='', p95_ms=250.0, rate_in_hz=1.0), LIMITS)
    assert health.level is Level.ERROR
    assert health.message == (
        'no lane runs it; latency above 200 ms; arrives at 1.0 of 10 Hz; '
        '1.0 Hz in, 10.0 Hz out, p95 250.0 ms'
    )


@pytest.mark.parametrize(
    ('state', 'note', 'level', 'message'),
    [
        (LaneState.RUNNING, '', Level.OK, 'running, 42% busy'),
        (LaneState.RUNNING, 'it hung', Level.OK, 'back after: it hung'),
        (LaneState.PROBING, 'it hung', Level.WARN, 'probing after 2 failures: it hung'),
        (LaneState.QUARANTINED, 'it hung', Level.ERROR, 'quarantined after 2 failures: it hung'),
        (LaneState.OPEN, 'it hung', Level.ERROR, 'open'),
        (LaneState.STOPPED, '', Level.STALE, 'stopped'),
    ],
)
def test_a_lane_is_as_well_as_its_state(state, note, level, message):
    lane = LaneSnapshot('gpu', 'cuda:0', 'tensorrt', state, (), 0, 0, 0, 2, 0, {}, note)
    health = lane_health(lane, 0.42)
    assert health.level is level and message in health.message
