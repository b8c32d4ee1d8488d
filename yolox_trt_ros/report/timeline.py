"""Charts over time: what the lanes did frame by frame, and how placement and health changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.report.analysis import LEVELS, shown_lanes
from yolox_trt_ros.report.axes import Row, Scale, bottom_axis, legend, rows
from yolox_trt_ros.report.drawing import Box, Drawing, Text, camera_colour
from yolox_trt_ros.report.recording import LaneSeen, Recording, StatusRecord

STATE_COLOURS = {
    'running': 'ok',
    'starting': 'warn',
    'probing': 'warn',
    'quarantined': 'error',
    'open': 'error',
    'stopped': 'stale',
}
LANE_COLOURS = (
    '#3b6fd6',
    '#97bbf5',
    '#9c6b4e',
    '#58b5b0',
    '#d67ab1',
    '#5b6675',
    '#a9b3c1',
    '#7a4fd0',
)
"""None that could be taken for a level."""
NARROWEST = 3.0
"""Pixels of one step in time, where there are more steps than pixels."""
ON_LANE = slice(STAGES.index('submit'), STAGES.index('decode') + 1)
"""The stages during which a frame is on its lane."""


@dataclass(frozen=True, slots=True)
class LaneRun:
    """One frame on a lane.

    Attributes:
        lane, camera: who ran which camera's frame.
        arrived_ns, start_ns, end_ns: arrival, the lane took it, its detections were ready.
        inferring_ns: when inference began and ended.
    """

    lane: str
    camera: str
    arrived_ns: int
    start_ns: int
    end_ns: int
    inferring_ns: tuple[int, int]


def runs(recording: Recording, start_ns: int, span_ns: int) -> list[LaneRun]:
    """Return the runs that lie in a window of the node's clock, or arrived in it, by start."""
    found = []
    at = {stage: i for i, stage in enumerate(STAGES)}
    for camera in recording.cameras:
        r = camera.results
        ends = r.published_ns - r.stages_ns[:, at['publish']]
        starts = ends - r.stages_ns[:, ON_LANE].sum(axis=1)
        arrivals = starts - r.stages_ns[:, : ON_LANE.start].sum(axis=1)
        for i in ((ends > start_ns) & (arrivals < start_ns + span_ns)).nonzero()[0]:
            inferred = int(ends[i] - r.stages_ns[i, at['decode']])
            found.append(
                LaneRun(
                    recording.lanes[r.lane[i]],
                    camera.name,
                    int(arrivals[i]),
                    int(starts[i]),
                    int(ends[i]),
                    (inferred - int(r.stages_ns[i, at['infer']]), inferred),
                )
            )
    return sorted(found, key=lambda run: run.start_ns)


def gantt(recording: Recording, start_ns: int, span_ns: int, width: float) -> Drawing:
    """Draw what each lane did in a window: bars are frames, their dark part inference."""
    shown = runs(recording, start_ns, span_ns)
    colours = {c.name: camera_colour(i) for i, c in enumerate(recording.cameras)}
    return draw_runs(shown, shown_lanes(recording), colours, start_ns, span_ns, width)


def draw_runs(
    shown: list[LaneRun],
    lanes: Sequence[str],
    colours: dict[str, str],
    start_ns: int,
    span_ns: int,
    width: float,
) -> Drawing:
    """Draw runs on lanes below the arrivals of their frames, with a legend of the cameras."""
    drawing = Drawing(width, 0)
    top = legend(drawing, list(colours.items()), 2, 12, width)
    places = rows(width, 1 + len(lanes), 34, top=top, label=100)
    scale = Scale(start_ns, start_ns + span_ns, places[0].left, places[0].right)
    seconds = Scale(0, span_ns / 1e6, places[0].left, places[0].right)
    bottom_axis(drawing, seconds, places[0].top, places[-1].bottom + 4, 'ms')
    places[0].title(drawing, 'arrivals')
    end_ns = start_ns + span_ns
    for run in shown:
        if start_ns <= run.arrived_ns <= end_ns:
            tip = f'{run.camera}: arrived, waited {(run.start_ns - run.arrived_ns) / 1e6:.1f} ms'
            x, tall = scale(run.arrived_ns) - 1.5, places[0].bottom - places[0].top
            box = Box(x, places[0].top + 6, 3, tall - 6, colours[run.camera], tip=tip)
            drawing.add(box)
    for row, lane in zip(places[1:], lanes, strict=True):
        row.title(drawing, lane)
        drawing.add(Box(row.left, row.top, row.right - row.left, row.bottom - row.top, 'track'))
        _lane_runs(
            drawing,
            row,
            scale,
            [r for r in shown if r.lane == lane and r.start_ns < end_ns],
            colours,
        )
    drawing.height = places[-1].bottom + 24
    return drawing


def _lane_runs(
    drawing: Drawing, row: Row, scale: Scale, shown: list[LaneRun], colours: dict[str, str]
) -> None:
    places = _slots(shown)
    count = max(places, default=0) + 1
    thick = (row.bottom - row.top) / count
    for run, place in zip(shown, places, strict=True):
        x, right, y = scale(run.start_ns), scale(run.end_ns), row.top + place * thick
        a, b = (scale(t) for t in run.inferring_ns)
        tip = (
            f'{run.camera} on {run.lane}: waited {(run.start_ns - run.arrived_ns) / 1e6:.1f} ms, '
            f'ran {(run.end_ns - run.start_ns) / 1e6:.1f} ms, of it inference '
            f'{(run.inferring_ns[1] - run.inferring_ns[0]) / 1e6:.1f} ms'
        )
        colour, tall = colours[run.camera], thick - 1
        drawing.add(
            Box(x, y, max(1.0, right - x - 0.8), tall, colour, 0.5, tip=tip, key=run.camera),
            Box(a, y, max(0.5, b - a - 0.8), tall, colour, tip=tip, key=run.camera),
        )


def _slots(shown: list[LaneRun]) -> list[int]:
    """Return a row for each run so that runs at the same time (a batch) lie below each other."""
    free: list[int] = []
    places = []
    for run in shown:
        place = next((i for i, end in enumerate(free) if end <= run.start_ns), len(free))
        if place == len(free):
            free.append(0)
        free[place] = run.end_ns
        places.append(place)
    return places


def timeline(recording: Recording, width: float) -> Drawing:
    """Draw state and load of the lanes, and health and placement of the cameras, over time."""
    statuses = recording.statuses
    if len(statuses) < 2:
        return Drawing(width, 34, [Text(2, 20, 'fewer than two status messages', 13)])
    lanes, cameras = shown_lanes(recording), [c.name for c in recording.cameras]
    lane_colours = {n: LANE_COLOURS[i % len(LANE_COLOURS)] for i, n in enumerate(lanes)}
    drawing = Drawing(width, 0)
    entries = [(n, n) for n in LEVELS] + [(f'on {n}', c) for n, c in lane_colours.items()]
    top = legend(drawing, entries, 2, 12, width)
    places = rows(width, len(lanes) + len(cameras), 20, top=top, label=100)
    first, last = recording.span_ns
    scale = Scale(first, last, places[0].left, places[0].right)
    seconds = Scale(0, (last - first) / 1e9, places[0].left, places[0].right)
    bottom_axis(drawing, seconds, places[0].top - 4, places[-1].bottom + 4, 's')
    ends = [status.time_ns for status in statuses[1:]] + [last]
    for row, name in zip(places, [*lanes, *cameras], strict=True):
        row.title(drawing, name)
        drawing.add(Box(row.left, row.top, row.right - row.left, row.bottom - row.top, 'track'))
        if name in lanes:
            shortest_ns = int((last - first) * NARROWEST / (row.right - row.left))
            for start, end, lane in _lane_stretches(statuses, ends, name, shortest_ns):
                _lane_cell(drawing, row, scale(start), scale(end) - scale(start), name, lane)
        else:
            for status, end in _stretches(statuses, ends, name):
                x = scale(status.time_ns)
                _camera_cell(drawing, row, x, scale(end) - x, status, name, lane_colours)
    drawing.height = places[-1].bottom + 24
    return drawing


def _stretches(
    statuses: tuple[StatusRecord, ...], ends: list[int], camera: str
) -> list[tuple[StatusRecord, int]]:
    """Return each stretch in which a camera's level and lane stay the same: its start, its end."""
    found: list[tuple[StatusRecord, int]] = []
    for status, end in zip(statuses, ends, strict=True):
        now = status.cameras.get(camera)
        if now is None:
            continue
        was = found[-1][0].cameras[camera] if found else None
        if was and (was.level, was.lane) == (now.level, now.lane):
            found[-1] = (found[-1][0], end)
        else:
            found.append((status, end))
    return found


def _lane_stretches(
    statuses: tuple[StatusRecord, ...], ends: list[int], name: str, shortest_ns: int
) -> list[tuple[int, int, LaneSeen]]:
    """Return stretches of a lane in one state: start, end, and it with its mean load.

    Status messages are put together until they are ``shortest_ns`` long, but never two states.
    """
    found: list[tuple[int, int, LaneSeen]] = []
    for status, end in zip(statuses, ends, strict=True):
        lane = status.lanes.get(name)
        if lane is None:
            continue
        if found and found[-1][2].state == lane.state and found[-1][1] == status.time_ns:
            start, middle, was = found[-1]
            if middle - start < shortest_ns:
                share = (end - middle) / max(1, end - start)
                load = was.utilisation * (1 - share) + lane.utilisation * share
                found[-1] = start, end, replace(lane, utilisation=load)
                continue
        found.append((status.time_ns, end, lane))
    return found


def _lane_cell(
    drawing: Drawing, row: Row, x: float, wide: float, name: str, lane: LaneSeen
) -> None:
    colour = STATE_COLOURS.get(lane.state, 'error')
    tip = f'lane {name}: {lane.state}, {lane.utilisation:.0%} busy' + (
        f'; {lane.note}' if lane.note else ''
    )
    tall = row.bottom - row.top
    load = tall * lane.utilisation if lane.state == 'running' else tall
    drawing.add(
        Box(x, row.top, wide + 0.4, tall, colour, 0.25, tip=tip),
        Box(x, row.bottom - load, wide + 0.4, load, colour, 0.8, tip=tip),
    )


def _camera_cell(
    drawing: Drawing,
    row: Row,
    x: float,
    wide: float,
    status: StatusRecord,
    name: str,
    lane_colours: dict[str, str],
) -> None:
    camera = status.cameras[name]
    tip = f'{name} on {camera.lane or "no lane"}: {camera.message}'
    middle = row.top + 0.65 * (row.bottom - row.top)
    level = LEVELS[min(camera.level, 3)]
    drawing.add(Box(x, row.top, wide, middle - row.top, level, 0.85, tip=tip, key=name))
    if camera.lane:
        colour = lane_colours.get(camera.lane, 'stale')
        drawing.add(Box(x, middle, wide, row.bottom - middle, colour, tip=tip, key=name))
