"""Extra crops of cameras: places of the batch of their image, as often as they say, as planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from schedule_helpers import accounted, camera, frame, lane
from tiny_models import write_yolox

from yolox_trt_ros.cli.plan_figures import all_sustained, camera_stats, fluid_bound_hz, sure_places
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.core.profile import LaneProfile, Profile
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions
from yolox_trt_ros.schedule.simulation import Outage, Scenario, Simulation

MS = 1_000_000
CALLS_MS = {1: 4.0, 2: 6.0, 4: 10.0, 8: 18.0}
GPU = lane('gpu', device='cuda:0', backend='simulated', max_batch=8, in_flight=2)
DLA = lane('dla', device='dla:0', backend='simulated')
PROFILE = Profile(
    'machine', '', (),
    {'gpu': LaneProfile('cuda:0', CALLS_MS), 'dla': LaneProfile('dla:0', {1: 15.0})},
)  # fmt: skip


def running(cameras, lanes=(GPU,), calls_ms=CALLS_MS, **options) -> Dispatcher:
    made = Dispatcher(cameras, lanes, **options)
    for config in lanes:
        for size, cost_ms in calls_ms.items():
            made.lanes[config.name].costs[''].observe(size, 0, round(cost_ms * MS))
        made.lane_up(config.name, 0)
    return made


def crops_of(made: Dispatcher, name: str, sequence: int, now_ms: float) -> list[int]:
    """Return the widths of the crops that a frame runs with, alone, at once."""
    made.offer(frame(name, sequence, round(now_ms * MS)))
    (batch,) = made.dispatch(round(now_ms * MS))
    (taken,) = batch.frames
    made.collect(batch, round(now_ms * MS) + batch.expected_ns)
    assert made.admit(taken)
    made.published(taken, round(now_ms * MS) + batch.expected_ns)
    made.release(batch.lane)
    made.lanes[batch.lane].accepts = True
    assert batch.places == 1 + len(taken.crops)
    return [part[2] for part in taken.crops]


def test_crops_ride_along_in_the_batch_of_their_image():
    cameras = [camera('a', crops=('1x1', '2x1')), camera('b')]
    made = running(cameras, calls_ms={1: 4.0, 2: 6.0, 4: 7.0})
    made.offer(frame('a', 0, 0))
    made.offer(frame('b', 0, 0))
    (batch,) = made.dispatch(0)
    assert {f.camera: len(f.crops) for f in batch.frames} == {'a': 2, 'b': 0}
    assert batch.places == 4 and batch.expected_ns == 7 * MS
    made.collect(batch, 30 * MS)
    # What it took is learned of so many places.
    assert made.lanes['gpu'].costs[''].table() == {1: 4 * MS, 2: 6 * MS, 4: 30 * MS}


def test_an_image_whose_crops_are_not_due_takes_one_place():
    made = running([camera('a', crops=('1x1 every 2',))])
    assert [crops_of(made, 'a', i, 20.0 * i) for i in range(4)] == [[1], [], [1], []]
    assert made.snapshot(80 * MS).cameras[0].crops == 2


def test_a_crop_that_would_make_its_image_late_waits_for_a_later_one():
    made = running([camera('a', crops=('1x1 every 2', '2x1 every 2'), deadline_ms=7.0)])
    assert [crops_of(made, 'a', i, 20.0 * i) for i in range(3)] == [[1], [2], [1]]
    made.cameras['a'].update(deadline_ms=5.0)
    assert [crops_of(made, 'a', i, 20.0 * i) for i in range(3, 6)] == [[], [], []]
    made.cameras['a'].update(deadline_ms=0.0)
    assert sorted(crops_of(made, 'a', 6, 120.0)) == [1, 2]
    assert made.snapshot(0).cameras[0].dropped[DropReason.HOPELESS] == 0


def test_a_lane_without_room_runs_the_image_alone_and_the_crop_stays_due():
    made = running([camera('a', crops=('1x1 every 2', '2x1 every 2 priority 3'))], (DLA, GPU))
    made.lanes['gpu'].state = LaneState.QUARANTINED
    assert [crops_of(made, 'a', i, 20.0 * i) for i in range(3)] == [[], [], []]
    made.lanes['gpu'].state, made.lanes['dla'].state = LaneState.RUNNING, LaneState.QUARANTINED
    assert crops_of(made, 'a', 3, 60.0) == [2, 1]  # the most important is first


def test_a_frame_that_a_failed_lane_gives_back_has_its_crops_again():
    second = replace(GPU, name='second')
    made = running([camera('a', crops=('1x1 every 3',))], (GPU, second))
    made.offer(frame('a', 0, 0))
    (batch,) = made.dispatch(0)
    assert batch.places == 2
    made.lane_down(batch.lane, 'test', 5 * MS)
    (again,) = made.dispatch(6 * MS)
    assert again.places == 2 and again.lane != batch.lane
    assert made.snapshot(6 * MS).cameras[0].crops == 1


def test_an_image_in_which_a_crop_does_not_lie_is_refused():
    made = running([camera('a', crops=('3x1',))])
    refusal = made.offer(frame('a', 0, 0))
    assert refusal is not None and 'crop 3x1 does not lie inside an image of 2x2' in str(refusal)
    account = made.snapshot(0).cameras[0]
    assert account.dropped[DropReason.UNSUPPORTED] == 1 and accounted(account)


def test_in_lockstep_every_image_has_the_crops_that_are_due():
    lanes = (replace(GPU, max_batch=4), DLA)
    made = running([camera('a', crops=('1x1 every 2',)), camera('b')], lanes, lockstep=True)
    for sequence in range(3):
        for name in 'ab':
            made.offer(frame(name, sequence, sequence * MS))
    seen = []
    for now_ms in range(0, 200, 20):
        for batch in made.dispatch(now_ms * MS):
            (taken,) = batch.frames
            seen.append((taken.camera, taken.sequence, len(taken.crops)))
            made.collect(batch, (now_ms + 19) * MS)
            made.published(taken, (now_ms + 19) * MS)
            made.release(batch.lane)
            made.lanes[batch.lane].accepts = True
    assert [row for row in seen if row[0] == 'a'] == [('a', 0, 1), ('a', 1, 0), ('a', 2, 1)]
    assert [row for row in seen if row[0] == 'b'] == [('b', i, 0) for i in range(3)]


crop = st.tuples(
    st.integers(1, 60), st.sampled_from(['', ' every 2', ' every 5', ' at 7 Hz']),
    st.sampled_from(['', ' priority 0.3', ' priority 5']),
)  # fmt: skip


@settings(max_examples=10, phases=(Phase.explicit, Phase.generate), deadline=None)
@given(
    st.lists(st.lists(crop, max_size=3), min_size=1, max_size=5),
    st.floats(0.2, 3.0),
    st.integers(1, 8),
    st.integers(0, 9),
)
def test_whatever_crops_there_are_all_is_counted_and_no_batch_too_large(crops, load, room, seed):
    texts = [tuple({w: f'{w}x9{e}{p}' for w, e, p in its}.values()) for its in crops]
    lanes = [replace(GPU, max_batch=room), DLA]
    places = sum(1 + len(its) for its in texts)
    rate_hz = load * fluid_bound_hz(lanes, PROFILE, places)
    cameras = [
        camera(f'c{i}', rate_hz=rate_hz, crops=its, priority=1 + i, deadline_ms=i % 2 * 60.0)
        for i, its in enumerate(texts)
    ]
    run = Scenario(cameras, lanes, PROFILE, 0.8, seed, outages=[Outage('gpu', 0.4, 0.5)])
    record = Simulation(run).run()
    assert all(accounted(account) for account in record.final.cameras)
    for call in record.runs:
        assert call.images <= (room if call.lane == 'gpu' else 1)
    for account, its in zip(record.final.cameras, texts, strict=True):
        assert (account.crops or 0) <= len(its) * sum(account.ran.values()) + len(its)
        assert account.published or load > 1 or account.received < 3


def test_a_crop_at_each_image_is_what_the_bound_and_the_plan_say():
    """One place more for one of four cameras: no other camera's information ages by more than it.

    A call with it takes so much longer, and a frame waits for at most two calls: the one that runs
    and, with two in flight, the one that was taken in advance.
    """
    cameras = [camera(f'c{i}', rate_hz=30.0) for i in range(4)]
    with_crop = [replace(cameras[0], crops=('60x40',)), *cameras[1:]]
    assert [sure_places(c, [GPU]) for c in with_crop] == [2, 1, 1, 1]
    assert sure_places(with_crop[0], [GPU, DLA]) == 1  # a DLA leaves it out
    longer_ms = 2 * max(
        PROFILE.lanes['gpu'].cost_ns(n + 1, 0) - PROFILE.lanes['gpu'].cost_ns(n, 0)
        for n in range(1, 5)
    ) / 1e6  # fmt: skip
    for seed in range(2):
        ages = []
        for config in cameras, with_crop:
            run = Scenario(config, [GPU], PROFILE, 2.5, seed)
            record = Simulation(run).run()
            stats = camera_stats(record)
            assert all_sustained(stats, config)
            ages.append([stats[f'c{i}'].age_ms[3] for i in range(1, 4)])
        assert max(np.subtract(*ages[::-1])) <= longer_ms + 1e-6
        mine = record.final.cameras[0]
        assert mine.crops == sum(mine.ran.values()) + mine.in_flight


def test_a_real_pipeline_publishes_one_result_for_image_and_crops(tmp_path: Path):
    path = write_yolox(tmp_path / 'tiny.onnx')
    spec, limits = load_model_spec(path), Thresholds(0.3)
    pixels = np.random.default_rng(0).integers(0, 256, (120, 150, 3), np.uint8)
    image = Frame.of(pixels, camera='a')
    found: list[Detections] = []
    traces: list[FrameTrace] = []
    one = LaneSpec(
        lane('cpu', max_batch=3), lambda: cpu_detector(path, spec, lambda: limits, max_batch=3)
    )
    cameras = [camera('a', crops=('96x64', '60x50+0+0 every 2'))]
    with Pipeline(
        cameras, [one], lambda frame, result: found.append(result),
        on_trace=lambda frame, trace: traces.append(trace),
        options=PipelineOptions(lockstep=True),
    ) as pipeline:  # fmt: skip
        for sequence in range(4):
            pipeline.offer(replace(image, sequence=sequence, stamp_ns=sequence))
        assert pipeline.drain(60.0)
        assert pipeline.snapshot().cameras[0].crops == 6
    assert [trace.batch_size for trace in traces] == [3, 2, 3, 2]
    alone = cpu_detector(path, spec, lambda: limits, max_batch=3)
    for result, crops in zip(found, 2 * [((27, 28, 96, 64), (0, 0, 60, 50)),
                                         ((27, 28, 96, 64),)], strict=True):  # fmt: skip
        (expected,) = alone.submit([replace(image, crops=crops)]).wait()
        np.testing.assert_array_equal(result.xyxy, expected.detections.xyxy)
    assert len(found[0])


def test_the_bound_of_a_plan_counts_crops():
    whole = fluid_bound_hz([GPU], PROFILE, 4)
    assert fluid_bound_hz([GPU], PROFILE, {'': 5}) == pytest.approx(whole * 4 / 5)
