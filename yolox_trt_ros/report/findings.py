"""The findings of a report in sentences: what is within its limits and what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.report.analysis import LEVELS, age_bins, arrivals, counted, percentiles_ms
from yolox_trt_ros.report.recording import CameraRecord, Recording, StatusRecord

DAMAGED = {
    DropReason.MALFORMED: 'do not parse: look at the camera driver',
    DropReason.UNSUPPORTED: 'have an encoding this package does not read',
    DropReason.UNDECODABLE: 'are damaged JPEG, PNG or video data',
    DropReason.WAITING_FOR_KEY_FRAME: 'need a picture of their video that did not arrive',
    DropReason.OVERSIZED: 'have more pixels than cameras.<name>.max_megapixels allows',
    DropReason.SLOWED: 'came while their camera was slowed down for its slow decoding',
    DropReason.FAILED: 'made lanes fail that run other cameras’ images',
    DropReason.UNPUBLISHED: 'had a result that the middleware refused',
    DropReason.LANE_FAILED: 'were lost with a failing lane',
}
"""Reasons that are faults, not choices."""
FULL = 0.95
"""Share of the time from which a lane is full."""
FEW = 0.05
"""Share of passed over images up to which lanes do well."""
AGE_BINS = 200
STRANGE_AGE_S = 60.0
"""An age beyond which stamps and clock do not belong together."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence of the summary; ``level`` is ok, warn or error."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One large number of the summary."""

    name: str
    value: str
    note: str
    level: str = ''


def findings(recording: Recording) -> list[Statement]:
    """Return what there is to say, worst first."""
    found = [
        *(Statement('error', remark) for remark in recording.remarks),
        *_results(recording),
        *_latency(recording),
        *_ages(recording),
        *_stamps(recording),
        *_arrivals(recording),
        *_drops(recording),
        *_lanes(recording),
        *_quality(recording),
        *_unusable(recording),
    ]
    order = {'error': 0, 'warn': 1, 'ok': 2}
    return sorted(found, key=lambda finding: order[finding.level])


def headline(found: list[Statement]) -> tuple[str, str]:
    """Return the level of the whole, and it in words."""
    counts = Counter(finding.level for finding in found)
    bad = counts['error'] + counts['warn']
    if not bad:
        return 'ok', 'Everything is within its limits'
    level = 'error' if counts['error'] else 'warn'
    return level, f'{bad} thing{"s" if bad > 1 else ""} to look at'


def figures(recording: Recording) -> list[Figure]:
    """Return the large numbers."""
    count = sum(len(c.results) for c in recording.cameras)
    seconds = recording.duration_s or 1.0
    totals = [c.results.total_ns for c in recording.cameras if len(c.results)]
    p50, p95, _ = percentiles_ms(np.concatenate(totals) if totals else np.empty(0))
    ages = [oldest for c in recording.cameras if (oldest := oldest_ms(recording, c)) is not None]
    received = sum(counted(recording, c.name)[0] for c in recording.cameras)
    dropped = sum(counted(recording, c.name)[2].total() for c in recording.cameras)
    objects = sum(sum(c.classes.values()) for c in recording.cameras)
    arrays = sum(c.arrays for c in recording.cameras)
    return [
        Figure('results', f'{count / seconds:.1f}/s', f'{count:,} in {seconds:.0f} s'),
        Figure('latency, 95%', f'{p95:.0f} ms', f'half within {p50:.0f} ms of arrival'),
        Figure('oldest picture', f'{max(ages):,.0f} ms' if ages else '–', 'header stamp to now'),
        Figure(
            'dropped',
            _share(dropped / received) if received else '–',
            f'{dropped:,} of {received:,} images' if received else 'no status recorded',
        ),
        Figure(
            'objects',
            f'{objects / arrays:.1f}' if arrays else '–',
            f'per image; {objects:,} in total' if arrays else 'no detections recorded',
        ),
    ]


def oldest_ms(recording: Recording, camera: CameraRecord) -> float | None:
    """Return how old a camera's newest published result became, or None without results.

    Also where none lies within the recording, as clocks that jump leave them.
    """
    first, last = recording.span_ns
    if not len(camera.results) or last <= first:
        return None
    edges = np.linspace(first, last, AGE_BINS + 1).astype(np.int64)
    _, high = age_bins(camera.results, edges)
    return float(np.nanmax(high)) / 1e6 if np.isfinite(high).any() else None


def _results(recording: Recording) -> Iterator[Statement]:
    silent = [c.name for c in recording.cameras if not len(c.results)]
    if silent:
        yield Statement('error', f'No result from {_names(silent)}.')
    elif recording.cameras:
        yield Statement('ok', f'Every camera gave results: {len(recording.cameras)} of them.')
    blind = [c.name for c in recording.cameras if c.arrays and not c.classes]
    if blind:
        yield Statement('warn', f'No object was detected by {_names(blind)}.')


def _latency(recording: Recording) -> Iterator[Statement]:
    slow, worst = [], (0.0, '')
    for camera in recording.cameras:
        limit = camera.setting.deadline_ms or recording.limits.latency_warn_ms
        _, p95, _ = percentiles_ms(camera.results.total_ns)
        worst = max(worst, (p95, camera.name))
        if p95 > limit:
            what = 'deadline_ms' if camera.setting.deadline_ms else 'limits.latency_warn_ms'
            slow.append(f'{camera.name} {p95:.0f} ms (limit {limit:g}, {what})')
    if slow:
        yield Statement('warn', f'The slowest 5% of the results take too long: {", ".join(slow)}.')
    elif worst[0]:
        yield Statement(
            'ok',
            f'95% of each camera’s results are published within {worst[0]:.0f} ms of arrival '
            f'(slowest: {worst[1]}), within the limits.',
        )
    late = {c.name: counted(recording, c.name)[3] for c in recording.cameras}
    if any(late.values()):
        per_camera = ', '.join(f'{name} {n}' for name, n in late.items() if n)
        yield Statement('warn', f'Results published after their deadline: {per_camera}.')


def _ages(recording: Recording) -> Iterator[Statement]:
    for camera in recording.cameras:
        if len(camera.results):
            median_s = float(np.median(camera.results.age_ns)) / 1e9
            if not 0 <= median_s < STRANGE_AGE_S:
                yield Statement(
                    'error',
                    f'The stamps of {camera.name} and the node’s clock differ by {median_s:,.0f} s:'
                    ' ages are wrong; set use_sim_time, or look at the driver’s clock.',
                )
    old = []
    for camera in recording.cameras:
        oldest, limit = oldest_ms(recording, camera), camera.setting.timeout_ms
        if oldest is not None and limit and oldest > limit:
            old.append(f'{camera.name} {oldest:,.0f} ms (timeout {limit:g} ms)')
    if old:
        yield Statement('warn', f'The newest result was at times very old: {", ".join(old)}.')


def _stamps(recording: Recording) -> Iterator[Statement]:
    for camera in recording.cameras:
        stamps, times = np.unique(camera.results.stamp_ns, return_counts=True)
        shared = int(times[times > 1].sum())
        if shared:
            yield Statement(
                'warn',
                f'Header stamps of {camera.name} repeat: {shared:,} of {len(camera.results):,} '
                f'results share {int((times > 1).sum()):,} of its {len(stamps):,} stamps. All are '
                'counted; samples and comparisons by stamp leave them out.',
            )


def _arrivals(recording: Recording) -> Iterator[Statement]:
    few = []
    for camera in recording.cameras:
        wanted = camera.setting.rate_hz * recording.limits.rate_ratio_warn
        received, seconds = arrivals(recording, camera.name)
        if wanted and seconds >= 3 and received / seconds < wanted:
            rate = f'{received / seconds:.1f} of {camera.setting.rate_hz:g} Hz'
            few.append(f'{camera.name} {rate}')
    if few:
        yield Statement('warn', f'Images arrive at a lower rate than rate_hz: {", ".join(few)}.')
    elif _status_seconds(recording) >= 3 and any(c.setting.rate_hz for c in recording.cameras):
        yield Statement('ok', 'Every camera delivers images at its rate_hz.')


def _drops(recording: Recording) -> Iterator[Statement]:
    every = Counter[str]()
    many, received_in_all = [], 0
    for camera in recording.cameras:
        received, _, dropped, _ = counted(recording, camera.name)
        received -= dropped.pop(DropReason.THINNED.value, 0)  # on purpose
        every += dropped
        received_in_all += received
        share = dropped.total() / received if received else 0.0
        if share > recording.limits.drop_ratio_warn:
            many.append(f'{camera.name} {share:.0%}')
    for reason, why in DAMAGED.items():
        if every[reason.value]:
            yield Statement('error', f'{every[reason.value]:,} images {why}.')
    if many:
        yield Statement(
            'warn',
            f'More is dropped than the limit of {recording.limits.drop_ratio_warn:.0%} '
            f'(limits.drop_ratio_warn): {", ".join(many)}.',
        )
    passed = every['replaced'] + every['overtaken'] + every['hopeless']
    if passed and received_in_all:
        yield Statement(
            'ok',
            f'{passed:,} of {received_in_all:,} images were passed over for newer ones: lanes were '
            f'{"busy at times" if passed < FEW * received_in_all else "too busy for all of them"}, '
            'and what is published stays current.',
        )
    elif received_in_all and not every:
        yield Statement('ok', f'None of {received_in_all:,} images was dropped.')


def _lanes(recording: Recording) -> Iterator[Statement]:
    statuses = recording.statuses
    if len(statuses) < 2:
        yield Statement('warn', 'Without status messages, drops and faults have no known reasons.')
        return
    full = []
    for name in statuses[-1].lanes:
        seen = [s.lanes[name] for s in statuses if name in s.lanes]
        failed = seen[-1].failures - seen[0].failures
        if failed > 0 or any(lane.state in ('quarantined', 'open') for lane in seen):
            note = next((lane.note for lane in reversed(seen) if lane.note), 'no note')
            now = 'runs again' if seen[-1].state == 'running' else f'is {seen[-1].state}'
            often = f'{failed} times' if failed > 1 else 'once'
            yield Statement('error', f'Lane {name} failed {often} and {now}: {note}.')
        if np.median([lane.utilisation for lane in seen]) > FULL:
            full.append(name)
    if full:
        yield Statement(
            'warn', f'Busy nearly all the time: {_names(full)}, without reserve for peaks.'
        )
    if not any(s.lanes[n].failures for s in statuses for n in s.lanes):
        yield Statement('ok', 'No lane failed.')
    stale = [c.name for c in recording.cameras if any(_stale(s, c.name) for s in statuses)]
    if stale:
        yield Statement('warn', f'Silent for longer than its timeout: {_names(stale)}.')


def _stale(status: StatusRecord, camera: str) -> bool:
    """Whether a camera that had been heard is silent."""
    state = status.cameras.get(camera)
    return state is not None and LEVELS[state.level] == 'stale' and state.received > 0


def _quality(recording: Recording) -> Iterator[Statement]:
    labelled = sum(q.labelled for q in recording.quality)
    found = sum((q.recall or 0.0) * q.labelled for q in recording.quality)
    if labelled:
        images = sum(q.images for q in recording.quality)
        yield Statement(
            'ok',
            f'{found / labelled:.0%} of {labelled:,} labelled objects in {images:,} images were '
            'found, at an overlap of a half or more.',
        )


def _unusable(recording: Recording) -> Iterator[Statement]:
    for what, count in recording.unusable.items():
        yield Statement('warn', f'{count:,} messages could not be used and are left out: {what}.')


def _status_seconds(recording: Recording) -> float:
    statuses = recording.statuses
    return (statuses[-1].time_ns - statuses[0].time_ns) / 1e9 if len(statuses) > 1 else 0.0


def _share(share: float) -> str:
    return f'{share:.1%}' if 0 < share < 0.1 else f'{share:.0%}'


def _names(names: list[str]) -> str:
    return ', '.join(names)
