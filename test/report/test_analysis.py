"""Numbers and sentences of the report, on a drive whose numbers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drive import MS, RESULTS, SECOND, T0, drive, latency, status
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.report.analysis import (
    age_bins,
    busiest_window,
    counted,
    drops_per_step,
    events,
)
from yolox_trt_ros.report.charts import DROP_COLOURS
from yolox_trt_ros.report.findings import findings, headline
from yolox_trt_ros.report.gather import Gatherer, since_start
from yolox_trt_ros.report.recording import Recording, Results
from yolox_trt_ros.report.timeline import STATE_COLOURS, runs


def results(stamps: list[int], ages: list[int]) -> Results:
    stamp = np.array(stamps, np.int64)
    published = np.maximum.accumulate(stamp + np.array(ages, np.int64))
    n = len(stamps)
    return Results(stamp, published, np.zeros((n, 6), np.int64), np.zeros(n, int), np.zeros(n))


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 300)), min_size=1, max_size=12),
    st.integers(1, 9),
)
def test_age_bins_hold_what_the_age_was_at_every_moment(pairs, bins):
    pairs.sort()
    r = results([p[0] for p in pairs], [p[1] for p in pairs])
    edges = np.linspace(0, 1200, bins + 1).astype(np.int64)
    low, high = age_bins(r, edges)
    for t in range(1200):
        known = r.stamp_ns[r.published_ns <= t]
        where = int(np.searchsorted(edges, t, side='right')) - 1
        if len(known):
            assert low[where] <= t - known.max() <= high[where] + 1
        elif t == edges[where] and not (r.published_ns < edges[where + 1]).any():
            assert np.isnan(high[where])


def test_gathered_numbers_are_those_of_the_messages(recording: Recording):
    front, rear = recording.cameras
    assert (front.name, len(front.results), len(rear.results)) == ('front', RESULTS, RESULTS)
    assert set(front.results.total_ns) == {16 * MS} and set(rear.results.total_ns) == {306 * MS}
    assert set(front.results.age_ns) == {21 * MS}
    assert front.classes == {'car': RESULTS} and front.arrays == RESULTS
    assert recording.lanes == ('gpu',)
    assert counted(recording, 'front') == (60, 45, {'replaced': 15}, 0)
    edges, reasons = drops_per_step(recording)
    assert reasons['replaced'].tolist() == [10, 10, 10]
    assert np.diff(edges).tolist() == [SECOND] * 3


def test_a_node_that_was_activated_again_counts_from_zero():
    gatherer = Gatherer()
    for i, (received, replaced) in enumerate([(100, 10), (120, 12), (5, 1), (25, 3)]):
        gatherer.add_status(status(T0 + i * SECOND, received, replaced))
    again = gatherer.recording('again')
    assert counted(again, 'front') == (45, 40, {'replaced': 5}, 0)
    assert drops_per_step(again)[1]['replaced'].tolist() == [4, 2, 4]


def test_a_clock_that_stands_still_gives_no_status():
    gatherer = Gatherer()
    for received, time_ns in enumerate((0, 0, T0, T0 + SECOND, T0 + SECOND), 1):
        gatherer.add_status(status(time_ns, received, 0))
    replayed = gatherer.recording('x')
    assert [s.time_ns for s in replayed.statuses] == [T0, T0 + SECOND]
    assert counted(replayed, 'front')[0] == 3, 'what came before and after them counts'


def test_a_node_that_is_started_for_a_replay_counts_from_zero():
    gatherer = Gatherer()
    for received, time_ns in ((7, T0), (12, T0 + SECOND)):
        gatherer.add_status(status(time_ns, received, received - 5))
    replayed = gatherer.recording('a replay')
    assert counted(replayed, 'front')[0] == 5
    received, _, dropped, _ = counted(since_start(replayed), 'front')
    assert (received, dropped) == (12, {'replaced': 7})


def test_events_name_faults_and_placement_once(recording: Recording):
    messages = [(e.time_ns - T0, e.who, e.level, e.text) for e in events(recording)]
    assert messages == [
        (2 * SECOND, 'lane gpu', 'error', 'running → quarantined: CUDA error'),
        (2 * SECOND, 'front', 'error', 'gpu → no lane'),
        (2 * SECOND, 'front', 'error', 'no lane runs it'),
        (3 * SECOND, 'lane gpu', 'ok', 'quarantined → running: CUDA error'),
        (3 * SECOND, 'front', 'ok', 'no lane → gpu'),
        (3 * SECOND, 'front', 'ok', 'well again'),
    ]


def test_findings_name_camera_figure_and_limit(recording: Recording):
    message = findings(recording)
    text = '\n'.join(f'{f.level}: {f.text}' for f in message)
    assert 'warn: The slowest 5% of the results take too long: rear 306 ms (limit 200, ' in text
    assert 'front' not in next(f.text for f in message if 'too long' in f.text)
    assert 'error: Lane gpu failed once and runs again: CUDA error.' in text
    assert 'ok: Every camera gave results: 2 of them.' in text
    assert 'warn: More is dropped than the limit of 20% (limits.drop_ratio_warn): ' in text
    assert headline(message)[0] == 'error'


def test_a_good_recording_has_nothing_to_look_at():
    gatherer = Gatherer()
    for i in range(20):
        gatherer.add_latency(latency('front', T0 + i * 100 * MS, 10))
    for i in range(3):
        one = status(T0 + i * SECOND, 10 * i, 0)
        del one.cameras[1]
        gatherer.add_status(one)
    good = gatherer.recording('good')
    assert headline(findings(good)) == ('ok', 'Everything is within its limits')


def test_stamps_of_another_clock_are_reported():
    gatherer = Gatherer()
    message = latency('front', T0, 10)
    message.age_ns += 86_400 * SECOND
    gatherer.add_latency(message)
    assert 'differ by 86,400 s' in '\n'.join(f.text for f in findings(gatherer.recording('old')))


def test_damaged_images_are_errors(recording: Recording):
    last = recording.statuses[-1]
    bad = replace(last.cameras['front'], dropped={'replaced': 15, 'malformed': 3})
    statuses = (*recording.statuses[:-1], replace(last, cameras={**last.cameras, 'front': bad}))
    messages = [
        f for f in findings(replace(recording, statuses=statuses)) if 'do not parse' in f.text
    ]
    assert [f.level for f in messages] == ['error'] and messages[0].text.startswith('3 images')


def test_nothing_at_all_is_no_crash():
    empty = Gatherer().recording('nothing')
    assert empty.duration_s == 0
    assert any('Without status' in f.text for f in findings(empty))


def test_runs_follow_from_the_stages(recording: Recording):
    (run, *_) = [r for r in runs(recording, T0, SECOND) if r.camera == 'front']
    published = T0 + 21 * MS
    assert run.end_ns == published - 1 * MS
    assert run.start_ns == published - 14 * MS
    assert run.arrived_ns == published - 16 * MS
    assert run.inferring_ns == (published - 12 * MS, published - 2 * MS)


def test_the_busiest_window_holds_the_slowest_result(recording: Recording):
    start = busiest_window(recording, SECOND)
    slowest = next(r for r in runs(recording, start, SECOND) if r.camera == 'rear')
    assert start <= slowest.arrived_ns <= slowest.end_ns <= start + SECOND


@pytest.mark.parametrize(
    ('names', 'colours'), [(DropReason, DROP_COLOURS), (LaneState, STATE_COLOURS)]
)
def test_every_reason_and_state_has_a_colour(names, colours):
    assert {name.value for name in names} == set(colours)


def test_the_drive_is_in_order():
    times = [t for t, _, _ in drive()]
    assert times == sorted(times)


def test_stamps_that_repeat_are_counted() -> None:
    gatherer = Gatherer()
    for n in range(6):
        gatherer.add_latency(latency('front', T0 + (n // 4) * SECOND, 10))
    messages = [f.text for f in findings(gatherer.recording('x')) if 'repeat' in f.text]
    assert messages == [
        'Header stamps of front repeat: 6 of 6 results share 2 of its 2 stamps. All are counted; '
        'samples and comparisons by stamp leave them out.'
    ]
