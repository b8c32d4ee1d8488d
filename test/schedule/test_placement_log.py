"""Placements in the log: one line per change that a person cares about."""

from __future__ import annotations

from random import Random

from yolox_trt_ros.schedule.placement_log import DRIFTED, QUIET_NS, PlacementLog

HOMES = {'front': 'gpu', 'rear': 'dla0'}
SLOW = {'rear': '5.0 of 10 Hz'}


def test_moves_under_load_are_quiet() -> None:
    lines: list[tuple[str, str]] = []
    log = PlacementLog(lambda level, line: lines.append((level, line)))
    log.moved(0, 'lane gpu came up', {}, HOMES)
    assert lines == [('info', 'lane gpu came up: front on gpu, rear on dla0')]
    for second in range(1, 141):
        log.moved(second * 10**9, DRIFTED, SLOW if 10 < second < 100 else {}, HOMES)
        log.tell_due(second * 10**9)
    assert [level for level, _ in lines] == ['info', 'warn', 'info']
    assert lines[1][1].startswith(f'{DRIFTED}; not met: rear: 5.0 of 10 Hz: front on gpu')
    assert lines[1][1].endswith('(60 moves since the last such line)')


def test_what_passes_by_itself_is_not_told() -> None:
    lines: list[str] = []
    log = PlacementLog(lambda _, line: lines.append(line))
    log.moved(0, 'lane gpu came up', {}, HOMES)
    random, now_ns = Random(1), 0
    for _ in range(3000):
        now_ns += random.randrange(10**9)
        log.moved(now_ns, DRIFTED, random.choice(({}, SLOW)), HOMES)
        log.tell_due(now_ns)
    assert len(lines) <= 1 + now_ns / QUIET_NS


def test_events_are_told_at_once() -> None:
    lines: list[str] = []
    log = PlacementLog(lambda _, line: lines.append(line))
    for i in range(5):
        log.moved(i, f'lane dla0 {"failed" if i % 2 else "came up"}', {}, HOMES)
    log.tell_due(QUIET_NS * 9)
    assert len(lines) == 5
