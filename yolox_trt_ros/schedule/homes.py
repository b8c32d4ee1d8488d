"""When cameras are placed anew: from the present state to a placement problem, with hysteresis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.schedule.costs import CostModel
from yolox_trt_ros.schedule.placement import Capacity, Demand, Placement, evaluate
from yolox_trt_ros.schedule.state import Camera, Lane

DRIFT = 1.2
"""A lane's cost has drifted when it has changed by this factor since the cameras were placed …"""
IMPROVEMENT = 0.9
"""… and they move only if their worst weighted response shrinks to this fraction."""


@dataclass(frozen=True, slots=True)
class PlacementProblem:
    """What a placement is computed from, taken at one moment."""

    demands: tuple[Demand, ...]
    capacities: tuple[Capacity, ...]


def problem_of(
    cameras: Iterable[Camera], lanes: Iterable[Lane], costs: CostModel
) -> PlacementProblem:
    """Return the placement problem of this moment: running lanes, all of them busy.

    A camera that is pinned to a lane that does not run may be placed anywhere until it is back.
    """
    running = [lane for lane in lanes if lane.state is LaneState.RUNNING]
    load = len(running) - 1
    capacities = []
    for lane in running:
        name = lane.config.name
        costs_ns = {size: costs.expect(name, size, load) for size in range(1, lane.max_batch + 1)}
        cheapest = min(cost_ns // size for size, cost_ns in costs_ns.items())
        capacities.append(Capacity(name, costs_ns[1], max(1, cheapest)))
    names = {lane.config.name for lane in running}
    demands = [
        Demand(
            camera.config.name,
            camera.config.rate_hz,
            camera.priority,
            camera.deadline_ns,
            camera.config.lane if camera.config.lane in names else '',
        )
        for camera in cameras
    ]
    return PlacementProblem(tuple(demands), tuple(capacities))


def has_drifted(placed: PlacementProblem, present: PlacementProblem) -> bool:
    """Return whether the cameras were placed under notably other circumstances."""
    if placed.demands != present.demands or _lanes(placed) != _lanes(present):
        return True
    return any(
        not 1 / DRIFT < now.response_ns / then.response_ns < DRIFT
        for then, now in zip(placed.capacities, present.capacities, strict=True)
    )


def keep_if_about_as_good(
    kept: Placement | None, best: Placement, problem: PlacementProblem
) -> Placement:
    """Return ``kept``, judged by the present problem, or ``best`` if that is notably better.

    Better is a rate or a deadline met that was not, or a notably shorter worst response.
    """
    if kept is None:
        return best
    try:
        present = evaluate(kept.lanes, problem.demands, problem.capacities)
    except ValueError:  # a camera's pin holds again
        return best
    now, then = best.score, present.score
    if (now.unserved_mhz, now.late) < (then.unserved_mhz, then.late):
        return best
    return best if now.worst_us <= IMPROVEMENT * then.worst_us else present


def _lanes(problem: PlacementProblem) -> list[str]:
    return [capacity.lane for capacity in problem.capacities]
