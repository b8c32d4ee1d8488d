"""The dispatcher under every order of events that hypothesis can think of."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from schedule_helpers import accounted, camera, frame, lane

from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule.accounts import UNUSED_NS
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.state import BACKOFF_NS, CIRCUIT_FAILURES, CIRCUIT_NS, HEALED_NS

MS = 1_000_000
CAMERAS = (
    camera('a', priority=2.0),
    camera('b', deadline_ms=30.0),
    camera('c', lane='dla'),
    camera('d'),
)
LANES = (lane('gpu', max_batch=3, in_flight=2), lane('dla'), lane('cpu'))
COSTS = {'gpu': 4 * MS, 'dla': 12 * MS, 'cpu': 40 * MS}


def running_dispatcher(cameras=CAMERAS, lanes=LANES, **options) -> Dispatcher:
    dispatcher = Dispatcher(cameras, lanes, **options)
    for config in lanes:
        dispatcher.lanes[config.name].costs[''].observe(1, 0, COSTS[config.name])
        dispatcher.lane_up(config.name, 0)
    return dispatcher


class AnyOrder(RuleBasedStateMachine):
    """Offers, dispatches, collects, publishes, fails and revives in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.dispatcher = running_dispatcher()
        self.running = []
        self.collected = []
        self.published: dict[str, list[int]] = {config.name: [] for config in CAMERAS}
        self.offered = dict.fromkeys(self.published, 0)

    @rule(ns=st.integers(0, 60 * MS))
    def pass_time(self, ns):
        self.now += ns

    @rule(name=st.sampled_from('abcd'))
    def offer(self, name):
        self.dispatcher.offer(frame(name, self.offered[name], self.now))
        self.offered[name] += 1

    @rule(name=st.sampled_from('abcd'), count=st.integers(1, 3))
    def reject(self, name, count):
        self.dispatcher.reject(name, DropReason.MALFORMED, count, self.now)

    @rule()
    def dispatch(self):
        for batch in self.dispatcher.dispatch(self.now):
            config = self.dispatcher.lanes[batch.lane].config
            assert 1 <= len(batch.frames) <= config.max_batch
            assert len({f.camera for f in batch.frames}) == len(batch.frames)
            assert len(self.dispatcher.lanes[batch.lane].running) <= config.in_flight
            self.running.append(batch)

    @rule(index=st.integers(0, 5))
    def collect(self, index):
        if index < len(self.running):
            batch = self.running.pop(index)
            if self.dispatcher.collect(batch, self.now):
                self.collected.append((batch, list(batch.frames)))

    @rule(index=st.integers(0, 5), bad=st.booleans())
    def settle(self, index, bad):
        if index < len(self.collected):
            batch, left = self.collected[index]
            done = left.pop(0)
            if bad:
                self.dispatcher.drop(done, DropReason.UNDECODABLE)
            elif self.dispatcher.admit(done):
                self.dispatcher.published(done, self.now)
                self.published[done.camera].append(done.sequence)
            if not left:
                self.collected.pop(index)
                self.dispatcher.release(batch.lane)

    @rule(name=st.sampled_from(('gpu', 'dla', 'cpu')))
    def fail(self, name):
        if self.dispatcher.lanes[name].state is LaneState.RUNNING:
            retry_ns = self.dispatcher.lane_down(name, 'test', self.now)
            assert retry_ns > self.now
            assert not self.dispatcher.lanes[name].running

    @rule(name=st.sampled_from(('gpu', 'dla', 'cpu')))
    def revive(self, name):
        if self.dispatcher.lanes[name].state is not LaneState.RUNNING:
            self.dispatcher.lane_up(name, self.now)

    @invariant()
    def every_frame_is_accounted_for(self):
        snapshot = self.dispatcher.snapshot(self.now)
        assert all(accounted(account) for account in snapshot.cameras)
        in_hand = sum(len(batch.frames) for batch in self.running if batch.valid)
        in_hand += sum(len(left) for _, left in self.collected)
        assert sum(account.in_flight for account in snapshot.cameras) == in_hand

    @invariant()
    def results_leave_in_order(self):
        for sequences in self.published.values():
            assert sequences == sorted(set(sequences))

    def teardown(self):
        self.dispatcher.stop()
        for _, left in self.collected:
            for late in left:
                self.dispatcher.drop(late, DropReason.STOPPED)
        for account in self.dispatcher.snapshot(self.now).cameras:
            assert account.waiting == account.in_flight == 0
            assert accounted(account)


AnyOrder.TestCase.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)
TestAnyOrder = AnyOrder.TestCase


def test_a_frame_of_a_failed_lane_is_retried_elsewhere_once():
    dispatcher = running_dispatcher([camera('a')], LANES[:2])
    dispatcher.offer(frame('a', 0, 0))
    (batch,) = dispatcher.dispatch(1 * MS)
    assert batch.lane == 'gpu'
    dispatcher.lane_down('gpu', 'broken', 2 * MS)
    (again,) = dispatcher.dispatch(3 * MS)
    assert (again.lane, again.frames) == ('dla', batch.frames)
    assert not dispatcher.collect(batch, 4 * MS)
    dispatcher.lane_down('dla', 'broken too', 5 * MS)
    account = dispatcher.snapshot(6 * MS).cameras[0]
    assert account.dropped[DropReason.LANE_FAILED] == 1
    assert account.lane == '' and accounted(account)


def test_a_frame_of_a_failed_lane_is_dropped_if_a_newer_one_waits():
    dispatcher = running_dispatcher([camera('a')], LANES[1:2])
    dispatcher.offer(frame('a', 0, 0))
    dispatcher.dispatch(1 * MS)
    dispatcher.offer(frame('a', 1, 2 * MS))
    dispatcher.lane_down('dla', 'broken', 3 * MS)
    account = dispatcher.snapshot(3 * MS).cameras[0]
    assert (account.waiting, account.dropped[DropReason.LANE_FAILED]) == (1, 1)


def test_pauses_double_until_the_circuit_opens_and_a_long_run_heals():
    dispatcher = running_dispatcher()
    now = 0
    pauses = []
    for _ in range(CIRCUIT_FAILURES):
        pauses.append(dispatcher.lane_down('gpu', 'broken', now) - now)
        now += pauses[-1]
        dispatcher.lane_up('gpu', now)
    assert pauses == [BACKOFF_NS << n for n in range(CIRCUIT_FAILURES - 1)] + [CIRCUIT_NS]
    assert dispatcher.lanes['gpu'].restarts == CIRCUIT_FAILURES
    now += HEALED_NS + 1
    assert dispatcher.lane_down('gpu', 'broken', now) - now == BACKOFF_NS


def test_a_pinned_camera_runs_elsewhere_only_while_its_lane_is_down():
    dispatcher = running_dispatcher()
    now_ns = 0

    def ran_on() -> str:
        nonlocal now_ns
        dispatcher.offer(frame('c', now_ns, now_ns))
        (batch,) = dispatcher.dispatch(now_ns)
        now_ns += 20 * MS
        assert dispatcher.collect(batch, now_ns)
        dispatcher.published(batch.frames[0], now_ns)
        dispatcher.release(batch.lane)
        return batch.lane

    assert ran_on() == 'dla'
    dispatcher.lane_down('dla', 'broken', now_ns)
    assert ran_on() == 'gpu' == dispatcher.snapshot(now_ns).cameras[2].lane
    dispatcher.lane_up('dla', now_ns)
    assert ran_on() == 'dla' == dispatcher.snapshot(now_ns).cameras[2].lane


def test_a_hanging_lane_is_overdue_after_ten_times_its_cost_and_two_seconds():
    dispatcher = running_dispatcher()
    dispatcher.offer(frame('a', 0, 0))
    dispatcher.dispatch(0)
    assert dispatcher.overdue(2_000 * MS) == []
    ((name, what),) = dispatcher.overdue(2_001 * MS)
    assert name == 'gpu' and 'no result after 2.0 s, expected one after 4.0 ms' in what


def test_the_account_says_what_cannot_be_met_and_why_a_lane_is_unused():
    dispatcher = running_dispatcher([camera('a', rate_hz=100.0)], LANES[2:])
    assert dispatcher.snapshot(0).placement_reason.endswith('not met: a: 25.0 of 100 Hz')
    dispatcher = running_dispatcher([camera('a')], LANES[:2])
    dispatcher.offer(frame('a', 0, UNUSED_NS))
    assert dispatcher.dispatch(UNUSED_NS)
    reason = dispatcher.snapshot(UNUSED_NS + 1).placement_reason
    assert reason.endswith('; dla is unused, others are done before its 12.0 ms')
    dispatcher.lane_down('gpu', 'broken', UNUSED_NS)
    dispatcher.lane_down('dla', 'broken', UNUSED_NS)
    assert dispatcher.snapshot(UNUSED_NS).placement_reason == 'no lane is running'


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match='no name twice'):
        Dispatcher([camera('a'), camera('a')], LANES)
    with pytest.raises(ValueError, match='at least one lane'):
        Dispatcher(CAMERAS, [])
    with pytest.raises(ValueError, match='pinned to "tpu"'):
        Dispatcher([camera('a', lane='tpu')], LANES)
    dispatcher = running_dispatcher()
    dispatcher.offer(frame('a', 5, 0))
    with pytest.raises(ValueError, match='expected a sequence above 5, got 5'):
        dispatcher.offer(frame('a', 5, 0))


def test_in_lockstep_every_frame_runs_on_its_own_lane_in_order_of_stamps():
    dispatcher = running_dispatcher(lockstep=True)
    for sequence in range(3):
        for name in 'dcba':
            dispatcher.offer(frame(name, sequence, (10 * sequence + ord(name)) * MS))
    taken: dict[str, list[tuple[str, int]]] = {}
    now = 0
    while not dispatcher.idle:
        now += 100 * MS
        for batch in dispatcher.dispatch(now):
            (done,) = batch.frames
            taken.setdefault(batch.lane, []).append((done.camera, done.sequence))
            dispatcher.collect(batch, now)
            assert dispatcher.admit(done)
            dispatcher.published(done, now)
            dispatcher.release(batch.lane)
    pairs = [(name, sequence) for sequence in range(3) for name in 'ad']
    assert taken == {
        'gpu': pairs,  # a, and d as the fourth of three lanes
        'dla': [(name, sequence) for sequence in range(3) for name in 'bc'],  # c is pinned to it
    }
    assert all(sum(account.dropped.values()) == 0 for account in dispatcher.snapshot(now).cameras)


def test_in_lockstep_frames_wait_for_a_failed_lane():
    dispatcher = running_dispatcher(lockstep=True)
    for sequence in range(2):
        dispatcher.offer(frame('a', sequence, sequence))
    dispatcher.dispatch(MS)
    dispatcher.dispatch(MS)
    assert dispatcher.cameras['a'].in_flight == 2
    dispatcher.lane_down('gpu', 'broken', 2 * MS)
    assert dispatcher.dispatch(3 * MS) == []
    dispatcher.lane_up('gpu', 4 * MS)
    (batch,) = dispatcher.dispatch(5 * MS)
    assert (batch.lane, batch.frames[0].sequence) == ('gpu', 0)


def test_a_lane_of_more_places_than_cameras_takes_a_batch_in_advance():
    """It would wait for ever for frames of cameras that there are not."""
    cameras, wide = [camera('a'), camera('b')], lane('gpu', max_batch=8, in_flight=2)
    dispatcher = Dispatcher(cameras, [wide])
    for size in (1, 2, 4, 8):
        dispatcher.lanes['gpu'].costs[''].observe(size, 0, (10 + size) * MS)
    dispatcher.lane_up('gpu', 0)
    for sequence in range(2):
        for name in 'ab':
            dispatcher.offer(frame(name, sequence, sequence * MS))
        (batch,) = dispatcher.dispatch((sequence + 1) * MS)
        assert [f.sequence for f in batch.frames] == [sequence] * 2
