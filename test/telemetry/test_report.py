"""Reports over a scripted minute of one camera and one lane."""

from __future__ import annotations

import pytest

from yolox_trt_ros.core.config import CameraConfig, CameraSimConfig, LimitsConfig, RigConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.snapshot import CameraSnapshot, LaneSnapshot, LaneState, PipelineSnapshot
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.telemetry.health import Level
from yolox_trt_ros.telemetry.report import Telemetry

SECOND = 1_000_000_000
MS = 1_000_000


def snapshot(second: int, received: int, published: int, *, silent_s: float = 0.0):
    now_ns = second * SECOND
    dropped = dict.fromkeys(DropReason, 0) | {DropReason.REPLACED: received - published}
    last_ns = round(now_ns - silent_s * SECOND) if received else None
    camera = CameraSnapshot(
        'a', 'gpu', {'gpu': published}, 1.0, 0.0, received, published, 0, 0, dropped, 0,
        last_ns, last_ns, None if last_ns is None else last_ns - 40 * MS,
    )  # fmt: skip
    lane = LaneSnapshot(
        'gpu', 'cuda:0', 'tensorrt', LaneState.RUNNING, ('a',), published, published // 2,
        published * 20 * MS, 0, 0, {1: 20 * MS}, '',
    )  # fmt: skip
    return PipelineSnapshot(now_ns, (camera,), (lane,), 'test')


@pytest.fixture
def telemetry() -> Telemetry:
    config = CameraConfig('a', RigConfig(), CameraSimConfig(), rate_hz=10.0)
    return Telemetry([config], LimitsConfig(window_s=3.0))


def test_rates_age_and_utilisation_over_the_window(telemetry):
    for second in range(1, 7):
        report = telemetry.report(snapshot(second, 10 * second, 8 * second))
    (camera,), (lane,) = report.cameras, report.lanes
    assert (camera.rate_in_hz, camera.rate_out_hz) == (10.0, 8.0)
    assert camera.dropped_in_window[DropReason.REPLACED] == 6
    assert camera.age_ns == 40 * MS
    assert camera.ran == {'gpu': 24}
    assert lane.utilisation == pytest.approx(0.16)
    assert (lane.rate_hz, lane.mean_batch) == (8.0, 2.0)
    assert camera.health.level is lane.health.level is Level.OK


def test_percentiles_come_from_recent_traces_only(telemetry):
    for second in range(1, 11):
        at = second * SECOND
        steps = [at - second * MS] * 2 + [at - MS] * 5 + [at]
        telemetry.record(FrameTrace('a', second, 'gpu', 1, 0, *steps))
    (camera,) = telemetry.report(snapshot(10, 10, 10)).cameras
    assert camera.total.count == 3 and camera.total.max_ns == 10 * MS
    assert camera.stages['queue'].p50_ns == 8 * MS
    assert camera.stages['publish'].p50_ns == MS


def test_a_silent_camera_is_stale_and_recovers(telemetry):
    levels = []
    for second, silent_s in enumerate((0.0, 0.5, 1.5, 2.5, 0.0), start=1):
        report = telemetry.report(snapshot(second, 10 * second, 10 * second, silent_s=silent_s))
        levels.append(report.cameras[0].health.level)
    assert levels == [Level.OK, Level.OK, Level.STALE, Level.STALE, Level.OK]


def test_a_camera_that_starts_late_has_no_rate_until_the_window_is_full(telemetry):
    levels = []
    for second in range(1, 12):
        count = 4 * max(0, second - 4)  # four of ten images a second, from the fifth second on
        report = telemetry.report(snapshot(second, count, count, silent_s=0.0))
        levels.append(report.cameras[0].health.level)
    begun = levels[4:]
    assert begun[0] is Level.OK and begun[-1] is Level.WARN
    assert begun == sorted(begun), 'warned once the rate is known, and not before'


def test_a_camera_that_never_came_is_stale_after_its_timeout(telemetry):
    assert telemetry.report(snapshot(5, 0, 0)).cameras[0].health.level is Level.OK
    assert telemetry.report(snapshot(7, 0, 0)).cameras[0].health.level is Level.STALE
    telemetry.update_camera('a', timeout_ms=10_000.0)
    assert telemetry.report(snapshot(8, 0, 0)).cameras[0].health.level is Level.WARN
