import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.config import LaneConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.machine import Machine
from yolox_trt_ros.core.profile import LaneProfile, Profile

MS = 1_000_000
GOOD = {
    'name': 'desk',
    'lanes': {
        'gpu': {'device': 'cuda:0', 'cost_ms': {1: 4.0, 4: 10.0}, 'slowdown': [1.0, 1.5]},
        'dla': {'device': 'dla:0', 'cost_ms': {1: 12}},
    },
}


def changed(lane: str, **values):
    return GOOD | {'lanes': GOOD['lanes'] | {lane: GOOD['lanes'][lane] | values}}


def test_a_profile_is_found_by_name_then_by_device():
    profile = Profile.from_dict(GOOD, 'desk.yaml')
    assert profile.lane(LaneConfig('gpu', device='cpu')).cost_ms[1] == 4.0
    assert profile.lane(LaneConfig('left', device='dla:0')).cost_ms == {1: 12.0}
    with pytest.raises(ConfigError, match='no lane "tpu" and none on cpu'):
        profile.lane(LaneConfig('tpu'))
    assert Profile.from_dict(profile.to_dict(), 'again') == profile


def test_costs_between_batch_sizes_and_under_load():
    gpu = Profile.from_dict(GOOD, 'desk.yaml').lanes['gpu']
    assert [gpu.cost_ns(n) // MS for n in (1, 2, 4, 8)] == [4, 6, 10, 20]
    assert [gpu.cost_ns(1, busy) // MS for busy in (0, 1, 2)] == [4, 6, 6]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([], 'expected keys and values'),
        ({'name': 'x'}, '"lanes" is missing'),
        ({'name': 'x', 'lanes': {}}, 'at least one lane'),
        (GOOD | {'colour': 'red'}, 'unknown key "colour"'),
        (changed('gpu', slow=[1]), 'did you mean "slowdown"'),
        (changed('gpu', cost_ms={}), 'expected batch sizes'),
        (changed('gpu', cost_ms={0: 1.0}), 'expected batch sizes'),
        (changed('gpu', cost_ms={1: -1.0}), 'expected numbers from 0.001'),
        (changed('gpu', slowdown=[]), 'expected a list that begins with 1.0'),
        (changed('gpu', slowdown=[1.0, 2.0, 1.5]), 'do not fall'),
        (changed('gpu', jitter='much'), 'got "much"'),
    ],
)
def test_a_wrong_profile_is_refused_with_the_key(content, message):
    with pytest.raises(ConfigError, match=r'desk\.yaml') as error:
        Profile.from_dict(content, 'desk.yaml')
    assert message in str(error.value)


def test_neighbours_slow_a_job_down_only_while_they_are_busy():
    lane = LaneProfile('x', {1: 10.0}, (1.0, 2.0))
    machine = Machine({'a': lane, 'b': lane})
    machine.start('a', 1, 0)
    assert machine.next_finish() == (10 * MS, 'a')
    machine.start('b', 1, 5 * MS)  # both have 2x slower from here: a has 5 ms left, b 10
    assert machine.next_finish() == (15 * MS, 'a')
    jobs = machine.advance(100 * MS)
    assert [(job.lane, job.finished_ns) for job in jobs] == [('a', 15 * MS), ('b', 20 * MS)]
    assert machine.next_finish() is None


def test_jobs_of_one_lane_run_one_after_the_other_and_can_be_aborted():
    machine = Machine({'a': LaneProfile('x', {1: 10.0, 2: 15.0})})
    first, second = machine.start('a', 1, 0), machine.start('a', 2, MS)
    assert machine.advance(10 * MS) == [first]
    machine.abort('a', 12 * MS)
    assert machine.advance(100 * MS) == [] and second.finished_ns is None


@given(
    st.lists(st.tuples(st.sampled_from('abc'), st.integers(0, 20 * MS)), max_size=30),
    st.floats(0.0, 0.5),
)
def test_every_job_ends_in_the_order_of_its_lane(starts, jitter):
    lane = LaneProfile('x', {1: 3.0}, (1.0, 1.3, 1.7), jitter)
    machine = Machine(dict.fromkeys('abc', lane), seed=1)
    now, begun, done = 0, [], []
    for name, pause in starts:
        now += pause
        done += machine.advance(now)
        begun.append(machine.start(name, 1, now))
    done += machine.advance(1 << 60)
    assert sorted(map(id, begun)) == sorted(map(id, done))
    assert [job.finished_ns for job in done] == sorted(job.finished_ns for job in done)
    for name in 'abc':
        assert [j for j in begun if j.lane == name] == [j for j in done if j.lane == name]
