"""Whether the lanes can give the cameras what they ask for, and each camera's fair share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

TOLERANCE = 0.98
"""A camera that gets this part of its rate gets it."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a camera asks for.

    Attributes:
        camera: its name.
        rate_hz: frames per second.
        priority: its weight against the others, > 0.
        deadline_ns: longest useful response, nanoseconds; 0: none.
        lane: the only lane that runs it; empty: any.
        model: the one that runs it, where a vehicle has several.
        places: that a frame takes in a batch, with its crops.
        work: what a frame of it takes, in frames of other cameras' model.
    """

    camera: str
    rate_hz: float
    priority: float = 1.0
    deadline_ns: int = 0
    lane: str = ''
    model: str = ''
    places: float = 1.0
    work: float = 1.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a lane offers while the other lanes are busy too.

    Attributes:
        lane: its name.
        single_ns: time of a call with one frame, by model.
        frame_ns: time per frame at its most economical batch size, by model.
    """

    lane: str
    single_ns: Mapping[str, int]
    frame_ns: Mapping[str, float]

    def frames_hz(self, model: str) -> float:
        """Return how many frames of a model it runs a second."""
        return 1e9 / self.frame_ns[model]


def fair_rates(demands: Sequence[Demand], capacity_hz: float) -> dict[str, float]:
    """Return each camera's weighted fair share of ``capacity_hz`` (water filling).

    The capacity is counted in frames that take work 1. Shares are proportional to priority; what a
    camera does not need goes to the others.
    """
    rates: dict[str, float] = {}
    left_hz = capacity_hz
    weight = sum(demand.priority * demand.work for demand in demands)
    for demand in sorted(demands, key=lambda demand: demand.rate_hz / demand.priority):
        rates[demand.camera] = min(demand.rate_hz, left_hz * demand.priority / weight)
        left_hz -= rates[demand.camera] * demand.work
        weight -= demand.priority * demand.work
    return rates


def shortfalls(demands: Sequence[Demand], capacities: Sequence[Capacity]) -> dict[str, str]:
    """Return what each camera cannot get, in words; cameras that get everything are left out."""
    by_lane = {capacity.lane: capacity for capacity in capacities}
    unit = demands[0].model
    rates = fair_rates(_weighed(demands, capacities, unit), _frames_hz(capacities, unit))
    for name, capacity in by_lane.items():
        pinned = _weighed([d for d in demands if d.lane == name], [capacity], unit)
        for camera, rate_hz in fair_rates(pinned, capacity.frames_hz(unit)).items():
            rates[camera] = min(rates[camera], rate_hz)
    missing = {}
    for demand in demands:
        lacks = []
        if rates[demand.camera] < TOLERANCE * demand.rate_hz:
            lacks.append(f'{rates[demand.camera]:.1f} of {demand.rate_hz:g} Hz')
        able = [by_lane[demand.lane]] if demand.lane in by_lane else capacities
        quickest_ns = min(capacity.single_ns[demand.model] for capacity in able)
        if 0 < demand.deadline_ns < quickest_ns:
            lacks.append(
                f'deadline {demand.deadline_ns / 1e6:g} ms, the quickest lane takes '
                f'{quickest_ns / 1e6:.1f} ms'
            )
        if lacks:
            missing[demand.camera] = ', '.join(lacks)
    return missing


def _weighed(demands: Sequence[Demand], capacities: Sequence[Capacity], unit: str) -> list[Demand]:
    """Return the demands with the work of their frames, in frames of the model ``unit``."""
    unit_hz = _frames_hz(capacities, unit)
    return [replace(d, work=d.places * unit_hz / _frames_hz(capacities, d.model)) for d in demands]


def _frames_hz(capacities: Sequence[Capacity], model: str) -> float:
    return sum(capacity.frames_hz(model) for capacity in capacities)
