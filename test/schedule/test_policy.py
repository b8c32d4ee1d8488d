"""Each rule of the policy by a case small enough to check by hand."""

from __future__ import annotations

import pytest
from schedule_helpers import camera, frame, lane

from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule.costs import Quote
from yolox_trt_ros.schedule.mailbox import NewestFrame
from yolox_trt_ros.schedule.order import AHEAD, CREDIT, Turns, by_age
from yolox_trt_ros.schedule.policy import Decision, LanePlan, decide
from yolox_trt_ros.schedule.rhythm import GRACE_NS, NEVER_NS, Rhythm
from yolox_trt_ros.schedule.state import Batch, Camera, Lane

MS = 1_000_000
NOW = 1_000 * MS


def make_lane(name: str, *, busy_ms: float = 0.0, max_batch: int = 1) -> Lane:
    return Lane(
        lane(name, max_batch=max_batch),
        LaneState.RUNNING,
        accepts=busy_ms == 0,
        busy_until_ns=NOW + round(busy_ms * MS),
    )


def make_camera(
    name: str, home: Lane | None, *, age_ms: float = 50.0, waits_ms: float = 1.0, **values
) -> Camera:
    priority = values.pop('priority', 1.0)
    deadline_ns = round(values.pop('deadline_ms', 0.0) * MS)
    made = Camera(camera(name), NewestFrame(), priority, deadline_ns, home=home, **values)
    made.reference_ns = NOW - round(age_ms * MS)
    made.mailbox.put(frame(name, 0, NOW - round(waits_ms * MS)))
    return made


def expected_camera(name: str, home: Lane | None, *, in_ms: float, **values) -> Camera:
    made = make_camera(name, home, **values)
    made.mailbox.take()
    made.rhythm.next_ns = NOW + round(in_ms * MS)
    return made


def run(cameras, lanes, costs_ms, *, proven=True, drag=0.0, order=None) -> Decision:
    def quote(lane: Lane) -> Quote:
        per_call = costs_ms[lane.config.name]

        def call_ns(n: int) -> int:
            return round((per_call[n - 1] if isinstance(per_call, list) else per_call) * MS)

        return Quote(call_ns(1), drag, call_ns)

    line = by_age(cameras, NOW, NOW + 20 * MS) if order is None else order(cameras)
    return decide(
        NOW, line, [LanePlan(lane, lane.free, NOW, quote(lane), proven) for lane in lanes]
    )


def taken(decision: Decision) -> dict[str, list[str]]:
    return {
        lane.config.name: [camera.config.name for camera in cameras]
        for lane, cameras in decision.takes
    }


@pytest.mark.parametrize(
    ('ages_ms', 'priorities', 'first'),
    [((50, 60), (1, 1), 'b'), ((50, 60), (2, 1), 'a'), ((50, 50), (1, 1), 'a')],
)
def test_the_largest_weighted_age_goes_first(ages_ms, priorities, first):
    gpu = make_lane('gpu')
    cameras = [
        make_camera(name, gpu, age_ms=age, priority=priority)
        for name, age, priority in zip('ab', ages_ms, priorities, strict=True)
    ]
    assert taken(run(cameras, [gpu], {'gpu': 4})) == {'gpu': [first]}


def test_nothing_waits_nothing_is_taken():
    gpu = make_lane('gpu')
    idle = make_camera('a', gpu)
    idle.mailbox.take()
    assert run([idle], [gpu], {'gpu': 4}) == Decision([], [])


@pytest.mark.parametrize(('busy_ms', 'helper'), [(2, {}), (9, {'dla': ['a']})])
def test_a_lane_helps_only_if_it_is_done_sooner_than_the_home_lane(busy_ms, helper):
    gpu, dla = make_lane('gpu', busy_ms=busy_ms), make_lane('dla')
    assert taken(run([make_camera('a', gpu)], [gpu, dla], {'gpu': 4, 'dla': 12})) == helper


def test_a_lane_that_is_overdue_is_expected_to_be_late_once_more():
    gpu, dla = make_lane('gpu', busy_ms=-5), make_lane('dla')
    assert taken(run([make_camera('a', gpu)], [gpu, dla], {'gpu': 4, 'dla': 12})) == {}
    gpu.busy_until_ns = NOW - 9 * MS
    assert taken(run([make_camera('a', gpu)], [gpu, dla], {'gpu': 4, 'dla': 12})) == {'dla': ['a']}


def test_what_waits_ahead_at_home_counts():
    gpu, dla = make_lane('gpu', busy_ms=2), make_lane('dla')
    cameras = [make_camera(n, gpu, age_ms=90 - i) for i, n in enumerate('abcd')]
    # At home the three first are done after 6, 10 and 14 ms; the third is the first worth helping.
    assert taken(run(cameras, [gpu, dla], {'gpu': 4, 'dla': 12})) == {'dla': ['c']}


def test_nobody_helps_a_pinned_camera():
    gpu, dla = make_lane('gpu', busy_ms=50), make_lane('dla')
    pinned = make_camera('a', gpu, pinned=True)
    assert taken(run([pinned], [gpu, dla], {'gpu': 4, 'dla': 12})) == {}


def test_a_camera_without_a_home_goes_to_the_lane_that_is_done_first():
    gpu, dla = make_lane('gpu'), make_lane('dla')
    assert taken(run([make_camera('a', None)], [dla, gpu], {'gpu': 4, 'dla': 12})) == {'gpu': ['a']}


def test_no_lane_starts_what_would_overtake_an_older_frame():
    gpu = make_lane('gpu')
    late = make_camera('a', gpu, age_ms=90, running_until_ns=NOW + 8 * MS)
    other = make_camera('b', gpu, age_ms=10)
    assert taken(run([late, other], [gpu], {'gpu': 4})) == {'gpu': ['b']}
    late.running_until_ns = NOW + 3 * MS
    assert taken(run([late, other], [gpu], {'gpu': 4})) == {'gpu': ['a']}


@pytest.mark.parametrize(
    ('deadline_ms', 'busy_ms', 'proven', 'hopeless'),
    [(20, 0, True, False), (12, 0, True, True), (12, 0, False, False), (20, 15, True, False)],
)
def test_a_frame_that_no_lane_finishes_in_time_is_hopeless(deadline_ms, busy_ms, proven, hopeless):
    gpu, dla = make_lane('gpu', busy_ms=busy_ms), make_lane('dla')
    late = make_camera('a', gpu, waits_ms=9, deadline_ms=deadline_ms)
    decision = run([late], [gpu, dla], {'gpu': 4, 'dla': 11}, proven=proven)
    assert (decision.hopeless == [late]) is hopeless


def test_a_batch_takes_what_waits_and_gains():
    gpu = make_lane('gpu', max_batch=4)
    cameras = [make_camera(name, gpu) for name in 'abc']
    decision = run(cameras, [gpu], {'gpu': [4, 6, 8, 10]})
    assert taken(decision) == {'gpu': ['a', 'b', 'c']}


def test_a_batch_that_gains_nothing_is_not_made():
    gpu = make_lane('gpu', max_batch=4)
    cameras = [make_camera(name, gpu) for name in 'abc']
    assert taken(run(cameras, [gpu], {'gpu': [4, 8, 12, 16]})) == {'gpu': ['a']}


def test_a_batch_does_not_grow_past_the_deadline_of_a_frame_in_it():
    gpu = make_lane('gpu', max_batch=4)
    urgent = make_camera('a', gpu, age_ms=90, waits_ms=1, deadline_ms=8)
    cameras = [urgent, make_camera('b', gpu), make_camera('c', gpu)]
    assert taken(run(cameras, [gpu], {'gpu': [4, 6, 8, 10]})) == {'gpu': ['a', 'b']}


def test_a_backlog_counts_for_more_the_busier_its_lane_has_been():
    gpu, dla = make_lane('gpu'), make_lane('dla')
    cameras = [make_camera(name, gpu, age_ms=90 - i) for i, name in enumerate('abc')]
    costs_ms = {'gpu': 4, 'dla': 13}
    assert taken(run(cameras, [gpu, dla], costs_ms)) == {'gpu': ['a']}  # c: 12 ms at the gpu
    gpu.utilisation = 0.9
    assert taken(run(cameras, [gpu, dla], costs_ms)) == {'gpu': ['a'], 'dla': ['c']}


def test_a_lane_that_runs_a_batch_takes_only_a_full_one_in_advance():
    gpu = make_lane('gpu', max_batch=2)
    gpu.config = lane('gpu', max_batch=2, in_flight=2)
    gpu.running.append(Batch('gpu', (), NOW, 0, 4 * MS, NOW))
    gpu.busy_until_ns = NOW + 2 * MS
    first, second = make_camera('a', gpu), make_camera('b', gpu)
    assert taken(run([first], [gpu], {'gpu': [4, 6]})) == {}
    assert taken(run([first, second], [gpu], {'gpu': [4, 6]})) == {'gpu': ['a', 'b']}


def test_a_lane_is_kept_for_a_weightier_frame_that_is_about_to_come():
    gpu, dla = make_lane('gpu'), make_lane('dla')
    small = make_camera('small', gpu)
    big = expected_camera('big', gpu, in_ms=1, priority=4.0)
    # Now, it is done after 4 ms and makes the other one wait 3 ms, which weigh four times as much;
    # after the other one it is done after 9 ms.
    decision = run([small, big], [gpu], {'gpu': 4})
    assert (taken(decision), decision.ask_ns) == ({}, NOW + 1 * MS + GRACE_NS)
    # A lane that helps is better still if it is done before that.
    decision = run([small, big], [gpu, dla], {'gpu': 4, 'dla': 8})
    assert (taken(decision), decision.ask_ns) == ({'dla': ['small']}, NEVER_NS)
    # It is not worth while for a frame that weighs no more, or comes when the lane is nearly free.
    equal = expected_camera('equal', gpu, in_ms=1)
    assert taken(run([small, equal], [gpu], {'gpu': 4})) == {'gpu': ['small']}
    big.rhythm.next_ns = NOW + 3 * MS
    assert taken(run([small, big], [gpu], {'gpu': 4})) == {'gpu': ['small']}


def test_a_lane_is_not_kept_when_it_can_ill_afford_it_or_a_deadline_would_pass():
    gpu = make_lane('gpu')
    big = expected_camera('big', gpu, in_ms=1, priority=4.0)
    small = make_camera('small', gpu, deadline_ms=8)
    assert taken(run([small, big], [gpu], {'gpu': 4})) == {'gpu': ['small']}
    small.deadline_ns = 0
    assert taken(run([small, big], [gpu], {'gpu': 4})) == {}
    gpu.utilisation = 0.9
    assert taken(run([small, big], [gpu], {'gpu': 4})) == {'gpu': ['small']}


def test_a_frame_that_does_not_come_is_expected_no_longer_than_the_grace():
    gpu = make_lane('gpu')
    small = make_camera('small', gpu)
    big = expected_camera('big', gpu, in_ms=-0.5, priority=4.0)
    assert taken(run([small, big], [gpu], {'gpu': 4})) == {}
    big.rhythm.next_ns = NOW - GRACE_NS
    assert taken(run([small, big], [gpu], {'gpu': 4})) == {'gpu': ['small']}


def test_who_comes_first_counts_when_a_frame_would_wait():
    gpu, dla = make_lane('gpu', busy_ms=3), make_lane('dla')
    small = make_camera('small', gpu)
    assert taken(run([small], [gpu, dla], {'gpu': 4, 'dla': 8})) == {}
    big = expected_camera('big', gpu, in_ms=2, priority=4.0)
    assert taken(run([small, big], [gpu, dla], {'gpu': 4, 'dla': 8})) == {'dla': ['small']}


def test_a_lane_that_slows_the_busy_ones_down_helps_only_if_that_pays():
    gpu, dla = make_lane('gpu', busy_ms=9), make_lane('dla')
    gpu.running.append(Batch('gpu', (), NOW, 0, 9 * MS, NOW))
    small = make_camera('small', gpu)
    assert taken(run([small], [gpu, dla], {'gpu': 4, 'dla': 11})) == {'dla': ['small']}
    assert taken(run([small], [gpu, dla], {'gpu': 4, 'dla': 11}, drag=0.2)) == {'dla': ['small']}
    small.rhythm.next_ns = NOW + 50 * MS  # only where frames come like clockwork
    assert taken(run([small], [gpu, dla], {'gpu': 4, 'dla': 11}, drag=0.2)) == {}
    # A lane that works most of the time slows the others down sooner or later anyway.
    dla.utilisation = 0.9
    assert taken(run([small], [gpu, dla], {'gpu': 4, 'dla': 11}, drag=0.2)) == {'dla': ['small']}


def test_under_overload_the_least_served_goes_first_and_the_freshest_of_about_equal_ones():
    gpu = make_lane('gpu')
    turns = Turns()

    def first(*cameras):
        return taken(run(cameras, [gpu], {'gpu': 4}, order=turns.line))['gpu']

    old = make_camera('old', gpu, waits_ms=90, turn=0.0, priority=2.0)
    fresh = make_camera('fresh', gpu, waits_ms=1, turn=AHEAD / 2 - 0.1)
    assert first(old, fresh) == ['fresh']
    fresh.turn = AHEAD / 2
    assert first(old, fresh) == ['old']
    long_gone = make_camera('gone', gpu, turn=-100.0)
    assert first(old, fresh, long_gone) == ['gone']
    assert long_gone.turn == -CREDIT


def test_a_regular_camera_is_expected_even_after_a_lost_frame():
    rhythm = Rhythm()
    for ms in (0, 100, 200, 300.4, 400):
        assert ms < 300 or rhythm.next_ns != NEVER_NS
        rhythm.arrived(round(ms * MS))
    assert rhythm.next_ns == 500 * MS
    rhythm.arrived(600 * MS)
    assert rhythm.next_ns == 700 * MS


def test_an_irregular_camera_is_not_expected():
    rhythm = Rhythm()
    for ms in (0, 100, 205, 298, 404, 495, 603):
        rhythm.arrived(ms * MS)
        assert rhythm.next_ns == NEVER_NS
