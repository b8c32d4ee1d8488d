"""When cameras are placed anew: from the present state to a placement problem, with hysteresis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def is_about_as_good(
    homes: Mapping[str, str],
    best: Placement,
    placed: PlacementProblem | None,
    problem: PlacementProblem,
) -> bool:
    """Return whether cameras had better stay where they are.

    They move whenever lanes came or went, a camera has no home, or a rate or deadline that is
    missed now would be met; for a shorter response only if it is notably shorter.
    """
    if placed is None or _lanes(placed) != _lanes(problem) or len(homes) < len(problem.demands):
        return False
    try:
        present = evaluate(homes, problem.demands, problem.capacities).score
    except ValueError:
        return False
    if (best.score.unserved_mhz, best.score.late) < (present.unserved_mhz, present.late):
        return False
    return best.score.worst_us > IMPROVEMENT * present.worst_us


def _lanes(problem: PlacementProblem) -> list[str]:
    return [capacity.lane for capacity in problem.capacities]
