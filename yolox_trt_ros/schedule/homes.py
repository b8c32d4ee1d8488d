"""When cameras are placed anew: from the present state to a placement problem, with hysteresis."""

from __future__ import annotations

from collections.abc import Mapping
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

    @property
    def lanes(self) -> tuple[str, ...]:
        """Return the names of the running lanes."""
        return tuple(capacity.lane for capacity in self.capacities)


class Homes:
    """Which lane is each camera's home, why, and when that is to change.

    Args:
        cameras, lanes: the dispatcher's, by name; a camera's ``home`` and ``pinned`` are set here.
        costs: what lanes cost.
        fixed: place the cameras now, on their pinned lane or on the lanes in turn, for good.
    """

    def __init__(
        self,
        cameras: Mapping[str, Camera],
        lanes: Mapping[str, Lane],
        costs: CostModel,
        *,
        fixed: bool = False,
    ) -> None:
        self.reason = 'no lane is running yet'
        self.missing: Mapping[str, str] = {}
        self._cameras = cameras
        self._lanes = lanes
        self._costs = costs
        self._fixed = fixed
        self._placed: PlacementProblem | None = None
        self._chosen: dict[tuple[str, ...], Placement] = {}
        if fixed:
            names = list(lanes)
            for index, camera in enumerate(cameras.values()):
                camera.home = lanes[camera.config.lane or names[index % len(names)]]
                camera.pinned = True
            self.reason = 'lockstep: cameras on their pinned lanes, or on the lanes in turn'

    def problem(self) -> PlacementProblem:
        """Return the placement problem of this moment: running lanes, all of them busy.

        A camera pinned to a lane that does not run may be placed anywhere until it is back.
        """
        running = {n: lane for n, lane in self._lanes.items() if lane.state is LaneState.RUNNING}
        load = len(running) - 1
        capacities = []
        for name, lane in running.items():
            sizes = range(1, lane.config.max_batch + 1)
            costs_ns = {size: self._costs.expect(name, size, load) for size in sizes}
            cheapest_ns = min(cost_ns // size for size, cost_ns in costs_ns.items())
            capacities.append(Capacity(name, costs_ns[1], max(1, cheapest_ns)))
        demands = [
            Demand(
                name,
                camera.processed_hz,
                camera.priority,
                camera.deadline_ns,
                camera.config.lane if camera.config.lane in running else '',
            )
            for name, camera in self._cameras.items()
        ]
        return PlacementProblem(tuple(demands), tuple(capacities))

    def drifted(self) -> bool:
        """Return whether the cameras were placed under notably other circumstances."""
        if self._fixed:
            return False
        placed, present = self._placed, self.problem()
        if placed is None or placed.demands != present.demands or placed.lanes != present.lanes:
            return True
        return any(
            not 1 / DRIFT < now.response_ns / then.response_ns < DRIFT
            for then, now in zip(placed.capacities, present.capacities, strict=True)
        )

    def adopt(self, problem: PlacementProblem, placement: Placement, why: str) -> bool:
        """Make ``placement`` the one in force, unless the last one on these lanes is about as good.

        So cameras go back to where they were when a lane comes back. Nothing happens if a lane has
        failed since ``problem``. Returns whether a camera moved.
        """
        failed = any(self._lanes[n].state is not LaneState.RUNNING for n in problem.lanes)
        if self._fixed or failed:
            return False
        self._placed = problem
        chosen = keep_if_about_as_good(self._chosen.get(problem.lanes), placement, problem)
        self._chosen[problem.lanes] = chosen
        if self.present() == chosen.lanes:
            return False
        for name, camera in self._cameras.items():
            camera.home = self._lanes[chosen.lanes[name]]
            camera.pinned = camera.config.lane == chosen.lanes[name]
        self.missing = chosen.missing
        lacks = '; '.join(f'{name}: {lack}' for name, lack in chosen.missing.items())
        self.reason = f'{why}; not met: {lacks}' if lacks else why
        return True

    def present(self) -> dict[str, str]:
        """Return the lane of every camera that has one."""
        return {n: c.home.config.name for n, c in self._cameras.items() if c.home is not None}


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
