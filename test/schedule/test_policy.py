"""Each rule of the policy by a case small enough to check by hand."""

from __future__ import annotations

import pytest
from schedule_helpers import camera, frame, lane

from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule.camera import Camera
from yolox_trt_ros.schedule.costs import CostModel
from yolox_trt_ros.schedule.mailbox import Mailbox
from yolox_trt_ros.schedule.order import CREDIT, LOSING, FairQueue
from yolox_trt_ros.schedule.policy import PROVEN_NS, Decision, LanePlan, decide
from yolox_trt_ros.schedule.state import Batch, Lane, Moment

MS = 1_000_000
NOW = 1_000 * MS


def make_lane(name: str, *, busy_ms: float = 0.0, max_batch: int = 1, price: float = 1.0) -> Lane:
    return Lane(
        lane(name, max_batch=max_batch, price=price),
        LaneState.RUNNING,
        accepts=busy_ms == 0,
        busy_until_ns=NOW + round(busy_ms * MS),
    )


def make_camera(name: str, *, age_ms: float = 50.0, waits_ms: float = 1.0, **values) -> Camera:
    priority = values.pop('priority', 1.0)
    deadline_ns = round(values.pop('deadline_ms', 0.0) * MS)
    made = Camera(camera(name), Mailbox(), priority, deadline_ns, **values)
    made.reference_ns = NOW - round(age_ms * MS)
    made.mailbox.put(frame(name, 0, NOW - round(waits_ms * MS)))
    return made


def owed_camera(name: str, *, in_ms: float, **values) -> Camera:
    """Return one that has lost a frame to others and sends the next one soon."""
    made = make_camera(name, **values)
    made.mailbox.take()
    made.losing = LOSING
    made.arrived_ns = NOW - 20 * MS
    made.gap_ns = (round((20 + in_ms) * MS), round((22 + in_ms) * MS))
    return made


def counting() -> FairQueue:
    """Return one in which a camera has lost a frame before, so that shares count."""
    queue = FairQueue()
    queue.line([owed_camera('other', in_ms=0)], NOW)
    return queue


def make_plans(lanes, costs_ms, moment: Moment) -> list[LanePlan]:
    """Return the plans of lanes that take so long for 1, 2 … frames, or for each frame."""
    for one in lanes:
        costs = costs_ms[one.config.name]
        one.costs = {'': CostModel(one.config.max_batch)}
        for size, cost_ms in enumerate(costs if isinstance(costs, list) else [costs], 1):
            one.costs[''].observe(size, 0, round(cost_ms * MS))
    return [LanePlan(one, one.free(NOW), 0, moment) for one in lanes]


def run(cameras, lanes, costs_ms, *, proven=True, queue=None, short=False, waits_ns=()) -> Decision:
    for one in lanes:
        one.measured_ns = NOW if proven else NOW - PROVEN_NS
    waiting = sum(camera.mailbox.head is not None for camera in cameras)
    moment = Moment(NOW, short, {'': waiting}, lambda _: waits_ns)
    line = (queue or counting()).line(cameras, NOW)
    return decide(moment, line, make_plans(lanes, costs_ms, moment))


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
        make_camera(name, age_ms=age, priority=priority)
        for name, age, priority in zip('ab', ages_ms, priorities, strict=True)
    ]
    assert taken(run(cameras, [gpu], {'gpu': 4})) == {'gpu': [first]}


def test_nothing_waits_nothing_is_taken():
    gpu = make_lane('gpu')
    idle = make_camera('a')
    idle.mailbox.take()
    assert run([idle], [gpu], {'gpu': 4}) == Decision([], [])


@pytest.mark.parametrize(('busy_ms', 'helper'), [(2, {}), (9, {'dla': ['a']})])
def test_a_slower_lane_helps_only_if_it_is_done_sooner(busy_ms, helper):
    gpu, dla = make_lane('gpu', busy_ms=busy_ms), make_lane('dla')
    assert taken(run([make_camera('a')], [gpu, dla], {'gpu': 4, 'dla': 12})) == helper


def test_a_lane_that_is_overdue_is_expected_to_be_late_once_more():
    gpu, dla = make_lane('gpu', busy_ms=-5), make_lane('dla')
    assert taken(run([make_camera('a')], [gpu, dla], {'gpu': 4, 'dla': 12})) == {}
    gpu.busy_until_ns = NOW - 9 * MS
    assert taken(run([make_camera('a')], [gpu, dla], {'gpu': 4, 'dla': 12})) == {'dla': ['a']}


def test_a_lane_that_may_take_a_second_batch_is_not_thought_to_be_done_with_an_overdue_one():
    gpu, dla = make_lane('gpu', busy_ms=-9), make_lane('dla')
    gpu.config = lane('gpu', in_flight=2)
    gpu.running.append(Batch('gpu', (), NOW - 13 * MS, 0, 4 * MS, NOW - 13 * MS))
    assert gpu.free(NOW)
    assert taken(run([make_camera('a')], [gpu, dla], {'gpu': 4, 'dla': 12})) == {'dla': ['a']}
    gpu.busy_until_ns = NOW - 5 * MS
    assert taken(run([make_camera('a')], [gpu, dla], {'gpu': 4, 'dla': 12})) == {'gpu': ['a']}


def test_what_waits_ahead_counts():
    gpu, dla = make_lane('gpu', busy_ms=2), make_lane('dla')
    cameras = [make_camera(n, age_ms=90 - i) for i, n in enumerate('abcd')]
    # At the gpu they are done after 6, 10, 14 … ms; the third is the first worth helping.
    assert taken(run(cameras, [gpu, dla], {'gpu': 4, 'dla': 12})) == {'dla': ['c']}


def test_nobody_helps_a_pinned_camera():
    gpu, dla = make_lane('gpu', busy_ms=50), make_lane('dla')
    pinned = make_camera('a', pin=gpu)
    assert taken(run([pinned], [gpu, dla], {'gpu': 4, 'dla': 12})) == {}


def test_a_camera_without_a_lane_goes_to_the_lane_that_is_done_first():
    gpu, dla = make_lane('gpu'), make_lane('dla')
    assert taken(run([make_camera('a')], [dla, gpu], {'gpu': 4, 'dla': 12})) == {'gpu': ['a']}


def test_no_lane_starts_what_would_overtake_an_older_frame():
    gpu = make_lane('gpu')
    late = make_camera('a', age_ms=90, running_until_ns=NOW + 8 * MS)
    other = make_camera('b', age_ms=10)
    assert taken(run([late, other], [gpu], {'gpu': 4})) == {'gpu': ['b']}
    late.running_until_ns = NOW + 3 * MS
    assert taken(run([late, other], [gpu], {'gpu': 4})) == {'gpu': ['a']}


@pytest.mark.parametrize(
    ('deadline_ms', 'busy_ms', 'proven', 'hopeless'),
    [(20, 0, True, False), (12, 0, True, True), (12, 0, False, False), (20, 15, True, False)],
)
def test_a_frame_that_no_lane_finishes_in_time_is_hopeless(deadline_ms, busy_ms, proven, hopeless):
    gpu, dla = make_lane('gpu', busy_ms=busy_ms), make_lane('dla')
    late = make_camera('a', waits_ms=9, deadline_ms=deadline_ms)
    decision = run([late], [gpu, dla], {'gpu': 4, 'dla': 11}, proven=proven)
    assert (decision.hopeless == [(late, True)]) is hopeless


@pytest.mark.parametrize(
    ('costs_ms', 'short', 'size'),
    [
        ([4, 6, 8, 10], True, 4),
        ([4, 6, 8, 10], False, 3),
        ([4, 8, 12, 16], True, 1),
        ([4, 8, 12, 16], False, 1),
        ([4, 5, 12, 13], True, 2),
        ([4, 9, 9, 6], True, 4),  # neither 2 nor 3 frames gain anything
        ([4, 9, 13, 13], True, 4),  # 13 / 4 is less than 4 …
        ([4, 9, 13, 13], False, 1),  # … but the first ones would wait for long
        ([9, 4, 12, 12], False, 2),
    ],
)
def test_the_size_of_a_batch_follows_from_the_whole_cost_curve(costs_ms, short, size):
    gpu = make_lane('gpu', max_batch=4)
    cameras = [make_camera(name, age_ms=90 - ord(name)) for name in 'abcd']
    decision = run(cameras, [gpu], {'gpu': costs_ms}, short=short)
    assert taken(decision) == {'gpu': list('abcd'[:size])}


def test_a_batch_does_not_grow_past_the_deadline_of_a_frame_in_it():
    gpu = make_lane('gpu', max_batch=4)
    urgent = make_camera('a', age_ms=90, waits_ms=1, deadline_ms=8)
    cameras = [urgent, make_camera('b'), make_camera('c')]
    assert taken(run(cameras, [gpu], {'gpu': [4, 6, 8, 10]})) == {'gpu': ['a', 'b']}


def test_a_lane_that_runs_a_batch_takes_only_a_full_one_in_advance():
    gpu = make_lane('gpu', max_batch=2)
    gpu.config = lane('gpu', max_batch=2, in_flight=2)
    gpu.running.append(Batch('gpu', (), NOW, 0, 4 * MS, NOW))
    gpu.busy_until_ns = NOW + 2 * MS
    first, second = make_camera('a'), make_camera('b')
    assert taken(run([first], [gpu], {'gpu': [4, 6]})) == {}
    assert taken(run([first, second], [gpu], {'gpu': [4, 6]})) == {'gpu': ['a', 'b']}


def test_a_lane_is_kept_for_a_camera_that_is_owed_a_frame():
    gpu, dla = make_lane('gpu'), make_lane('dla')
    served = make_camera('served', served=5.0)
    owed = owed_camera('owed', in_ms=1, deadline_ms=6, served=2.0)
    assert taken(run([served, owed], [gpu], {'gpu': 4})) == {}
    assert taken(run([served, owed], [gpu, dla], {'gpu': 4, 'dla': 8})) == {'dla': ['served']}
    # Where both meet their deadlines nothing waits.
    owed.deadline_ns = 8 * MS
    assert taken(run([served, owed], [gpu], {'gpu': 4})) == {'gpu': ['served']}
    # No lane is kept for a camera that has had its share, has lost nothing, stays away or asks for
    # what no lane can do.
    for change in ({'served': 4.5}, {'losing': 0}, {'gap_ns': (MS, 17 * MS)}, {'deadline_ns': MS}):
        owed = owed_camera('owed', in_ms=1, deadline_ms=6, served=2.0)
        for name, value in change.items():
            setattr(owed, name, value)
        assert taken(run([served, owed], [gpu], {'gpu': 4})) == {'gpu': ['served']}


def test_two_cameras_keep_the_one_lane_that_is_in_time_for_both():
    """The one that is owed more needs the quick lane as well: it is no reason to give it away."""
    gpu, dla = make_lane('gpu'), make_lane('dla', busy_ms=3)
    served = make_camera('served', served=5.0)
    first = owed_camera('first', in_ms=1, deadline_ms=12, served=1.0)
    second = owed_camera('second', in_ms=1, deadline_ms=6, served=2.0)
    costs_ms = {'gpu': 4, 'dla': 5.5}
    assert taken(run([served, first], [gpu, dla], costs_ms)) == {'gpu': ['served']}
    assert taken(run([served, first, second], [gpu, dla], costs_ms)) == {}


def test_a_share_is_by_priority_and_who_is_owed_more_goes_first():
    gpu = make_lane('gpu')
    leader = make_camera('leader', served=3.0)
    small = owed_camera('small', in_ms=1, deadline_ms=6, served=1.5)
    big = owed_camera('big', in_ms=1, deadline_ms=6, served=1.5, priority=4.0)
    big.mailbox.put(frame('big', 0, NOW))
    small.mailbox.put(frame('small', 0, NOW))
    assert taken(run([leader, small, big], [gpu], {'gpu': 4})) == {'gpu': ['big']}
    big.mailbox.take()
    assert taken(run([leader, small, big], [gpu], {'gpu': 4})) == {}


def test_a_frame_goes_where_it_is_cheap_as_long_as_its_deadline_is_met():
    gpu, dla = make_lane('gpu', price=4.0), make_lane('dla')
    costs_ms = {'gpu': 4, 'dla': 12}
    assert taken(run([make_camera('a')], [gpu, dla], costs_ms)) == {'dla': ['a']}
    hurried = make_camera('a', deadline_ms=10)
    assert taken(run([hurried], [gpu, dla], costs_ms)) == {'gpu': ['a']}


def test_under_overload_the_least_served_goes_first():
    gpu = make_lane('gpu')
    queue = counting()
    queue.overloaded = True

    def first(*cameras):
        return taken(run(cameras, [gpu], {'gpu': 4}, queue=queue))['gpu']

    old = make_camera('old', age_ms=90, served=1.0)
    fresh = make_camera('fresh', age_ms=1, served=0.5)
    assert first(old, fresh) == ['fresh']
    long_gone = make_camera('gone', served=-100.0)
    waits = long_gone.mailbox.take()
    first(old, fresh, long_gone)
    assert long_gone.served == 0.5 - CREDIT
    long_gone.mailbox.put(waits)
    assert first(old, fresh, long_gone) == ['gone']


def test_the_next_frame_of_a_camera_may_come_between_its_shortest_and_its_longest_gap():
    made = Camera(camera('a'), Mailbox(), 1.0, 0)
    assert made.due_ns(0) is None
    for sequence, ms in enumerate((0, 100, 195, 300)):
        made.arrived(frame('a', sequence, ms * MS))
    low, high = (ns / MS for ns in made.gap_ns)
    assert 95 <= low < 97 and 104 < high <= 105
    last_ns = 300 * MS + made.gap_ns[1] * 9 // 8
    assert made.due_ns(301 * MS) == (300 * MS + made.gap_ns[0], last_ns)
    assert made.due_ns(400 * MS) == (400 * MS, last_ns)
    assert made.due_ns(last_ns + 1) is None


def test_under_overload_an_owed_camera_waits_for_one_that_has_had_less():
    queue = counting()
    owed, other = owed_camera('owed', in_ms=1, served=5.0), make_camera('other', served=2.0)
    most = make_camera('most', served=9.0)

    def first() -> str:
        return queue.line([owed, other, most], NOW)[0][0].config.name

    assert first() == 'owed'
    queue.overloaded = True
    assert first() == 'other'


def test_who_lacks_frames_is_not_levelled_with_who_lacks_none():
    """An important camera that lacks a frame now and then has had least for its priority."""
    queue = counting()
    important = owed_camera('important', in_ms=5, priority=10.0)
    lacks, lacks_none = make_camera('lacks', waits_ms=1), make_camera('lacks none', waits_ms=9)
    lacks.losing = LOSING
    lacks.served, lacks_none.served = 20.0, 90.0
    line = queue.line([lacks_none, lacks, important], NOW)
    assert [camera.config.name for camera, _ in line] == ['important', 'lacks', 'lacks none']
    assert lacks_none.served == 2 * lacks.served == 2 * CREDIT


@pytest.mark.parametrize(
    ('comes_in_ms', 'deadline_ms', 'expected'),
    [(1, 0, {}), (3, 0, {'gpu': ['a']}), (1, 6.5, {}), (1, 5.5, {'gpu': ['a']})],
)
def test_an_overloaded_lane_waits_for_a_frame_where_that_loses_less_time(
    comes_in_ms, deadline_ms, expected
):
    """A frame alone takes 4 ms, 2 ms more than its part of two; it came 1 ms ago."""
    gpu = make_lane('gpu', max_batch=2)
    a = make_camera('a', waits_ms=1, deadline_ms=deadline_ms)
    waits_ns = [comes_in_ms * MS]
    assert taken(run([a], [gpu], {'gpu': [4, 4]}, short=True, waits_ns=waits_ns)) == expected


def test_frames_of_cameras_without_any_are_expected_under_overload_only():
    queue = FairQueue()
    soon, gone = owed_camera('soon', in_ms=1), owed_camera('gone', in_ms=1)
    gone.gap_ns = (MS, 2 * MS)
    cameras = [soon, gone, make_camera('waits')]
    assert queue.waits_ns(cameras, NOW) == []
    queue.overloaded = True
    low_ns, high_ns = soon.due_ns(NOW)
    assert queue.waits_ns(cameras, NOW) == [(low_ns + high_ns) // 2 - NOW]


@pytest.mark.parametrize(('deadline_ms', 'expected'), [(30, ['a', 'b']), (10, ['a'])])
def test_a_batch_that_is_not_filled_makes_no_frame_late(deadline_ms, expected):
    """Three wait and would take 5 ms; two take 12 ms, still less for each than one alone."""
    gpu, dla = make_lane('gpu', max_batch=3), make_lane('dla', busy_ms=9)
    cameras = [make_camera(name, waits_ms=1, deadline_ms=deadline_ms) for name in 'ab']
    cameras.append(make_camera('c', age_ms=5, pin=dla))
    decision = run(cameras, [gpu, dla], {'gpu': [8, 12, 5], 'dla': 4}, short=True)
    assert taken(decision) == {'gpu': expected}
