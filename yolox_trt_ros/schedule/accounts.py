"""What a dispatcher says of its cameras and lanes."""

from __future__ import annotations

from collections.abc import Mapping

from yolox_trt_ros.core.snapshot import LaneState, PipelineSnapshot
from yolox_trt_ros.schedule.camera import Camera
from yolox_trt_ros.schedule.capacity import Capacity, Demand, shortfalls
from yolox_trt_ros.schedule.state import Lane

UNUSED_NS = 5_000_000_000
"""A lane that has run nothing for this long is unused, and it is said why."""

Cameras = Mapping[str, Camera]
Lanes = Mapping[str, Lane]


def snapshot(cameras: Cameras, lanes: Lanes, now_ns: int) -> PipelineSnapshot:
    """Return all accounts at one moment."""
    busy = sum(lane.busy for lane in lanes.values())
    places = {name: _lane_of(camera, lanes) for name, camera in cameras.items()}
    accounts = []
    for name, lane in lanes.items():
        here = [camera for camera, place in places.items() if place == name]
        load = busy - lane.busy
        tables = {m: costs.table(load) for m, costs in lane.costs.items()}
        first = tables.pop(next(iter(tables)))
        accounts.append(lane.snapshot(here, first, tables, now_ns))
    return PipelineSnapshot(
        now_ns,
        tuple(camera.snapshot(places[name], now_ns) for name, camera in cameras.items()),
        tuple(accounts),
        _in_words(cameras, lanes, now_ns),
    )


def missing(cameras: Cameras, lanes: Lanes) -> dict[str, str]:
    """Return what each camera cannot get from the running lanes, in words."""
    running = _running(lanes)
    if not running:
        return {}
    capacities = []
    for name, lane in running.items():
        quotes = {m: costs.quote(len(running) - 1) for m, costs in lane.costs.items()}
        capacities.append(
            Capacity(
                name,
                {m: quote.single_ns for m, quote in quotes.items()},
                {m: quote.frame_ns for m, quote in quotes.items()},
            )
        )
    demands = [
        Demand(
            name, camera.processed_hz, camera.priority, camera.deadline_ns, camera.pin_name,
            camera.config.model, camera.usual_places,
        )
        for name, camera in cameras.items()
    ]  # fmt: skip
    return shortfalls(demands, capacities)


def _running(lanes: Lanes) -> dict[str, Lane]:
    return {name: lane for name, lane in lanes.items() if lane.state is LaneState.RUNNING}


def _lane_of(camera: Camera, lanes: Lanes) -> str:
    """Return the lane that runs most of a camera's frames; empty while none runs."""
    running = _running(lanes)
    if camera.pin_name in running:
        return camera.pin_name
    by_use = [
        (-camera.ran.get(name, 0), lane.costs[camera.config.model].expect(1), name)
        for name, lane in running.items()
    ]
    return min(by_use)[2] if by_use else ''


def _in_words(cameras: Cameras, lanes: Lanes, now_ns: int) -> str:
    """Return who runs where, which lanes are unused and why, and what cannot be met."""
    running = _running(lanes)
    if not running:
        return 'no lane is running'
    if any(camera.bound for camera in cameras.values()):
        return 'lockstep: cameras on their pinned lanes, or on the lanes in turn'
    words = ['each frame goes to the lane that is done with it first']
    for name, lane in running.items():
        if not lane.running and now_ns - lane.measured_ns > UNUSED_NS:
            call_ms = next(iter(lane.costs.values())).expect(1, len(running) - 1) / 1e6
            words.append(f'{name} is unused, others are done before its {call_ms:.1f} ms')
    lacks = missing(cameras, lanes).items()
    if lacks:
        words.append('not met: ' + ', '.join(f'{name}: {lack}' for name, lack in lacks))
    return '; '.join(words)
