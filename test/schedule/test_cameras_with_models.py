"""Cameras with different models on common lanes: batches of one model, shares as of all frames."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from schedule_helpers import accounted, camera, frame, lane

from yolox_trt_ros.cli.plan_figures import (
    all_sustained,
    camera_stats,
    fluid_bound_hz,
    spare_hz,
)
from yolox_trt_ros.core.profile import LaneProfile, Profile
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.simulation import Scenario, Simulation

MS = 1_000_000
MODELS = ('', '', 'rear', 'rear', '', 'rear', 'side', 'side')
LANES = (
    lane('gpu', device='cuda:0', backend='simulated', max_batch=8, in_flight=2),
    lane('dla', device='dla:0', backend='simulated'),
)
PROFILE = Profile(
    'machine', '', (),
    {
        'gpu': LaneProfile(
            'cuda:0', {1: 3.0, 4: 8.0, 8: 14.0}, (1.0, 1.1),
            models={'rear': {1: 6.0, 4: 20.0, 8: 38.0}, 'side': {1: 1.0}},
        ),
        'dla': LaneProfile(
            'dla:0', {1: 11.0}, (1.0, 1.1), models={'rear': {1: 20.0}, 'side': {1: 4.0}}
        ),
    },
)  # fmt: skip


def scenario(rate_hz: float, **values) -> Scenario:
    cameras = [
        camera(f'c{i}', rate_hz=rate_hz, model=m, **values.pop(f'c{i}', {}))
        for i, m in enumerate(MODELS)
    ]
    return Scenario(cameras, LANES, PROFILE, values.pop('duration_s', 4.0), **values)


def test_every_batch_is_of_one_model_and_all_get_what_fits():
    bound_hz = fluid_bound_hz(LANES, PROFILE, Counter(MODELS))
    run = scenario(0.8 * bound_hz)
    record = Simulation(run).run()
    models = dict(zip([c.name for c in run.cameras], MODELS, strict=True))
    assert all(len({models[name] for name in batch.cameras}) == 1 for batch in record.runs)
    assert any(len(batch.cameras) > 1 for batch in record.runs)
    assert all_sustained(camera_stats(record), run.cameras)


@pytest.mark.parametrize('times', [1.5, 4.0])
@pytest.mark.parametrize('priority', [1.0, 2.0])
def test_under_overload_cameras_have_their_shares_whatever_their_model(times, priority):
    rate_hz = times * fluid_bound_hz(LANES, PROFILE, Counter(MODELS))
    record = Simulation(scenario(rate_hz, c0={'priority': priority})).run()
    first, *others = [stats.rate_hz for stats in camera_stats(record).values()]
    share = (first + sum(others)) / (7 + priority)
    # Those of one model go along in a batch with the one that comes first, at little cost.
    less, more = (0.9, 1.1) if priority == 1 else (0.8, 1.5)
    shares = [first / priority / share, *(rate_hz / share for rate_hz in others)]
    assert less <= min(shares) <= max(shares) <= more
    assert all(accounted(account) for account in record.final.cameras)


def test_a_bound_of_one_model_is_that_of_several_alike():
    lanes = {n: replace(p, models={'rear': p.cost_ms}) for n, p in PROFILE.lanes.items()}
    alike = replace(PROFILE, lanes=lanes)
    assert fluid_bound_hz(LANES, alike, {'': 5, 'rear': 3}) == pytest.approx(
        fluid_bound_hz(LANES, PROFILE, 8)
    )
    dear = fluid_bound_hz(LANES[1:], PROFILE, {'': 1, 'rear': 2})
    assert dear == pytest.approx(1000 / (11 + 2 * 20))


def test_what_others_leave_is_counted_in_frames_of_the_cameras_model():
    front, rear = camera('a', rate_hz=20.0), camera('b', rate_hz=10.0, model='side')
    spare = [spare_hz(LANES[1:], PROFILE, [front, rear], one) for one in (front, rear)]
    assert spare == pytest.approx([(1000 - 10 * 4) / 11, (1000 - 20 * 11) / 4])
    alike = [camera(name, rate_hz=10.0) for name in 'abc']
    bound_hz = fluid_bound_hz(LANES, PROFILE, 3)
    assert spare_hz(LANES, PROFILE, alike, alike[0]) == pytest.approx(3 * bound_hz - 20)


def test_a_frame_is_not_hopeless_because_later_ones_of_another_model_wait():
    urgent = camera('urgent', model='rear', deadline_ms=10.0)
    dispatcher = Dispatcher([*map(camera, 'abc'), urgent], [lane('gpu'), lane('dla')])
    for name, cost_ms in (('gpu', 4), ('dla', 40)):
        for model in ('', 'rear'):
            dispatcher.lanes[name].costs[model].observe(1, 0, cost_ms * MS)
        dispatcher.lane_up(name, 0)
    for name in ('a', 'urgent', 'b', 'c'):
        dispatcher.offer(frame(name, 0, 0))
    (batch,) = dispatcher.dispatch(1)
    assert [f.camera for f in batch.frames] == ['a']
    accounts = {account.name: account for account in dispatcher.snapshot(1).cameras}
    assert accounts['urgent'].waiting == 1, 'two frames wait that may as well come after it'


def test_costs_are_learned_by_model():
    cameras = [camera('a', model='large'), camera('b')]
    dispatcher = Dispatcher(cameras, [lane('gpu', max_batch=2)])
    for model, cost_ms in (('', 4), ('large', 40)):
        dispatcher.lanes['gpu'].costs[model].observe(1, 0, cost_ms * MS)
    dispatcher.lane_up('gpu', 0)
    for name in 'ab':
        dispatcher.offer(frame(name, 0, 0))
    (first,) = dispatcher.dispatch(1)
    assert [f.camera for f in first.frames] == ['a'], 'of one age the first; b is of another model'
    assert (first.model, first.expected_ns) == ('large', 40 * MS)
    assert dispatcher.collect(first, 1 + 60 * MS)
    dispatcher.release('gpu')
    (second,) = dispatcher.dispatch(1 + 60 * MS)
    assert (second.model, second.expected_ns) == ('', 4 * MS)
    (account,) = dispatcher.snapshot(60 * MS).lanes
    assert (account.cost_ns, account.other_cost_ns) == ({1: 60 * MS}, {'': {1: 4 * MS}})


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(
    st.lists(st.sampled_from(['', 'rear', 'side']), min_size=8, max_size=8),
    st.floats(5, 200), st.integers(0, 99), st.booleans(), st.sampled_from([0.0, 25.0]),
)  # fmt: skip
def test_whatever_models_cameras_have_nothing_is_lost(models, rate_hz, seed, mixed, due_ms):
    cameras = [
        camera(f'c{i}', rate_hz=rate_hz * (1 + mixed * i), model=m, deadline_ms=due_ms)
        for i, m in enumerate(models)
    ]
    own = {c.name: c.model for c in cameras}
    record = Simulation(Scenario(cameras, LANES, PROFILE, 1.2, seed)).run()
    assert all(accounted(account) for account in record.final.cameras)
    assert all(len({own[name] for name in batch.cameras}) == 1 for batch in record.runs)
    assert all(account.published for account in record.final.cameras if not due_ms)


def test_in_lockstep_no_frame_overtakes_another_of_its_lane():
    cameras = [
        camera(name, model=model) for name, model in zip('abc', ('', 'rear', ''), strict=True)
    ]
    dispatcher = Dispatcher(cameras, [lane('gpu')], lockstep=True)
    for model in ('', 'rear'):
        dispatcher.lanes['gpu'].costs[model].observe(1, 0, MS)
    dispatcher.lane_up('gpu', 0)
    for name in 'abc':
        dispatcher.offer(frame(name, 0, ord(name)))
    ran, now = [], 1000
    while batches := dispatcher.dispatch(now):
        for batch in batches:
            ran += [f.camera for f in batch.frames]
            now += MS
            dispatcher.collect(batch, now)
            dispatcher.release(batch.lane)
    assert ran == list('abc')


def two_models(most: int, **values) -> Dispatcher:
    """Return one with a lane where a batch of ``most`` frames takes as long as one, 4 ms."""
    cameras = [camera(name, **values.get(name, {})) for name in 'ab']
    cameras += [camera(name, model='rear', **values.get(name, {})) for name in 'xy']
    dispatcher = Dispatcher(cameras, [lane('gpu', max_batch=most, in_flight=2)])
    for costs in dispatcher.lanes['gpu'].costs.values():
        for size in range(1, most + 1):
            costs.observe(size, 0, 4 * MS)
    dispatcher.lane_up('gpu', 0)
    return dispatcher


def test_a_batch_that_waits_for_frames_lets_a_full_one_of_another_model_go_first():
    dispatcher = two_models(2)
    for sequence, name in enumerate('abxy'):
        dispatcher.offer(frame(name, 0, sequence * MS))
    (first,) = dispatcher.dispatch(4 * MS)
    assert [f.camera for f in first.frames] == ['a', 'b']
    dispatcher.offer(frame('a', 1, 5 * MS))
    dispatcher.cameras['a'].priority = 9.0  # its frame comes first, and no second one with it
    (second,) = dispatcher.dispatch(7 * MS)
    assert [f.camera for f in second.frames] == ['x', 'y']


@pytest.mark.parametrize(('deadline_ms', 'taken'), [(20.0, ['x', 'y']), (6.0, [])])
def test_a_batch_goes_first_only_where_the_one_that_waits_meets_its_deadline(deadline_ms, taken):
    dispatcher = two_models(2, a={'deadline_ms': deadline_ms, 'priority': 9.0})
    for name, last_ms in zip('abxy', (-8, -8, 1, 2), strict=True):
        made = dispatcher.cameras[name]
        made.arrived_ns, made.gap_ns = last_ms * MS, (10 * MS, 10 * MS)
    for sequence, name in enumerate('xya'):
        dispatcher.offer(frame(name, 0, sequence * MS))
    dispatcher.queue.overloaded = True  # b's frame is worth waiting for: it comes right now
    batches = dispatcher.dispatch(2 * MS)
    assert [f.camera for batch in batches for f in batch.frames] == taken
