"""From a simulation's record to the figures that a plan or a comparison shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from yolox_trt_ros.core.config import CameraConfig, LaneConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.profile import LaneProfile, Profile
from yolox_trt_ros.core.snapshot import PipelineSnapshot
from yolox_trt_ros.schedule.simulation import SETTLE_NS, Record

AGE_STEP_NS = 500_000
"""Ages of information are read off at this step."""
TOLERATED_DROPS = 0.002
"""A rate is sustained if at most this part of the frames is dropped …"""
TOLERATED_PERIODS = 3.0
"""… and 99 % of the time no information is older than this many periods."""


@dataclass(frozen=True, slots=True)
class CameraStats:
    """One camera's figures after settling; latencies and ages in milliseconds.

    Attributes:
        received, published: frames.
        dropped: by reason; reasons that did not happen are left out.
        rate_hz: results per second.
        latency_ms: arrival to publication at 50, 95, 99 and 100 %, NaN without results.
        age_ms: age of the newest published information over time, at 50, 95, 99 and 100 %.
    """

    received: int
    published: int
    dropped: Mapping[DropReason, int]
    rate_hz: float
    latency_ms: tuple[float, float, float, float]
    age_ms: tuple[float, float, float, float]


def camera_stats(record: Record) -> dict[str, CameraStats]:
    """Return every camera's figures."""
    settled, final = _ends(record)
    by_camera: dict[str, list[tuple[int, int]]] = {c.name: [] for c in final.cameras}
    for result in record.results:
        by_camera[result.camera].append((result.received_ns, result.published_ns))
    stats = {}
    for before, after in zip(settled.cameras, final.cameras, strict=True):
        times = np.array(by_camera[after.name], np.int64).reshape(-1, 2)
        late = times[times[:, 1] >= settled.now_ns]
        drops = {reason: n - before.dropped[reason] for reason, n in after.dropped.items()}
        stats[after.name] = CameraStats(
            after.received - before.received,
            after.published - before.published,
            {reason: n for reason, n in drops.items() if n},
            len(late) * 1e9 / (final.now_ns - settled.now_ns),
            _levels((late[:, 1] - late[:, 0]) / 1e6),
            _levels(_ages_ms(times, record.duration_ns)),
        )
    return stats


def _ends(record: Record) -> tuple[PipelineSnapshot, PipelineSnapshot]:
    if record.settled is None or record.final is None or record.duration_ns <= SETTLE_NS:
        raise ValueError(
            f'expected a simulation of more than {SETTLE_NS / 1e9:g} s that has been run, '
            f'got one of {record.duration_ns / 1e9:g} s'
        )
    return record.settled, record.final


def _ages_ms(times: np.ndarray, duration_ns: int) -> np.ndarray:
    """Return the age of information at every step, from the settled state on."""
    grid = np.arange(SETTLE_NS, duration_ns, AGE_STEP_NS)
    newest = np.searchsorted(times[:, 1], grid, side='right') - 1
    # Before its first result a camera's information is as old as the simulation.
    since = np.where(newest >= 0, times[newest, 0] if len(times) else 0, 0)
    return (grid - since) / 1e6


def _levels(values: np.ndarray) -> tuple[float, float, float, float]:
    if not len(values):
        return (float('nan'),) * 4
    p50, p95, p99, top = np.percentile(values, (50, 95, 99, 100)).tolist()
    return p50, p95, p99, top


def lane_utilisation(record: Record) -> dict[str, float]:
    """Return the fraction of the time that each lane was running batches."""
    settled, final = _ends(record)
    span_ns = final.now_ns - settled.now_ns
    return {
        after.name: min(1.0, (after.busy_ns - before.busy_ns) / span_ns)
        for before, after in zip(settled.lanes, final.lanes, strict=True)
    }


def drop_ratio(stats: Mapping[str, CameraStats]) -> float:
    """Return dropped frames per received frame, those left out that were thinned on purpose."""
    thinned = sum(camera.dropped.get(DropReason.THINNED, 0) for camera in stats.values())
    dropped = sum(sum(camera.dropped.values()) for camera in stats.values()) - thinned
    return dropped / max(1, sum(camera.received for camera in stats.values()) - thinned)


def fluid_bound_hz(
    lanes: Sequence[LaneConfig], profile: Profile, cameras: float | Mapping[str, float]
) -> float:
    """Return the uniform camera rate that no schedule can exceed.

    At any moment some set of lanes is busy and delivers at most the sum of its highest frame rates
    under that load; the largest such sum, divided by the cameras, bounds every mixture of moments.

    With several models, frames are weighed by what one takes on all lanes together; any weights
    give a bound (they are a feasible point of the dual of the linear program), and these give the
    best one where models differ alike on all lanes.

    Args:
        lanes, profile: the machine.
        cameras: how many there are, or how many of each model; a crop that each of a camera's
            images has counts as one more.
    """
    models = cameras if isinstance(cameras, Mapping) else {'': cameras}
    alone = [(profile.lane(lane), lane.max_batch) for lane in lanes]
    weights = {m: 1 / sum(_highest_frame_rate(*lane, 0, m) for lane in alone) for m in models}
    most = 0.0
    for count in range(1, len(lanes) + 1):
        for busy in combinations(alone, count):
            work = [
                max(w * _highest_frame_rate(*lane, count - 1, m) for m, w in weights.items())
                for lane in busy
            ]
            most = max(most, sum(work))
    return most / sum(weights[m] * count for m, count in models.items())


def spare_hz(
    lanes: Sequence[LaneConfig],
    profile: Profile,
    cameras: Sequence[CameraConfig],
    camera: CameraConfig,
) -> float:
    """Return the rate of one camera that no schedule can exceed while the others keep theirs.

    By the weights of :func:`fluid_bound_hz` a frame takes the same part of the machine wherever it
    runs: what the others leave is this camera's. Negative: they do not leave anything.
    """
    others = [other for other in cameras if other.name != camera.name]
    none = dict.fromkeys([camera.model, *(other.model for other in others)], 0)
    alone_hz = {model: fluid_bound_hz(lanes, profile, {**none, model: 1}) for model in none}
    places = {other.name: sure_places(other, lanes) for other in cameras}
    taken = sum(o.processed_hz * places[o.name] / alone_hz[o.model] for o in others)
    return alone_hz[camera.model] / places[camera.name] * (1 - taken)


def sure_places(camera: CameraConfig, lanes: Sequence[LaneConfig]) -> float:
    """Return how many places of a batch a camera's frames take at least.

    Crops may be left out by lanes without room for them and before deadlines; those that are seen
    so many times a second are a smaller part of more images.
    """
    crops = camera.extra_crops
    if camera.deadline_ms or any(lane.max_batch <= len(crops) for lane in lanes):
        return 1.0
    return 1 + sum(1 / crop.every for crop in crops if not crop.rate_hz)


def work_of(cameras: Sequence[CameraConfig], lanes: Sequence[LaneConfig]) -> dict[str, float]:
    """Return how many places the frames of all cameras take at least, by model."""
    work: dict[str, float] = {}
    for camera in cameras:
        work[camera.model] = work.get(camera.model, 0.0) + sure_places(camera, lanes)
    return work


def _highest_frame_rate(lane: LaneProfile, max_batch: int, load: int, model: str) -> float:
    return max(size * 1e9 / lane.cost_ns(size, load, model) for size in range(1, max_batch + 1))


def all_sustained(stats: Mapping[str, CameraStats], cameras: Sequence[CameraConfig]) -> bool:
    """Return whether all cameras get (nearly) every frame processed and stay fresh."""
    fresh = all(
        stats[camera.name].age_ms[2] <= TOLERATED_PERIODS * 1000 / camera.processed_hz
        for camera in cameras
    )
    return fresh and drop_ratio(stats) <= TOLERATED_DROPS


def highest_sustained_hz(
    is_sustained: Callable[[float], bool], high_hz: float, steps: int = 8, low_hz: float = 0.0
) -> float:
    """Return the highest rate that is sustained, by bisection.

    A rate may be sustained although a lower one is not, where cameras happen to miss each other:
    what is found is sustained, and there may be higher ones.

    Args:
        is_sustained: tries a rate.
        high_hz: one that cannot be sustained, such as a little more than the fluid bound.
        steps: each halves the uncertainty.
        low_hz: one that is known to be sustained.
    """
    # The answer is usually near the bound: look there first.
    probe_hz = max(0.92 * high_hz, (low_hz + high_hz) / 2)
    for _ in range(steps):
        if is_sustained(probe_hz):
            low_hz = probe_hz
        else:
            high_hz = probe_hz
        probe_hz = (low_hz + high_hz) / 2
    return low_hz


def at_rate(cameras: Sequence[CameraConfig], rate_hz: float) -> list[CameraConfig]:
    """Return the same cameras, all at one rate, none of them thinned."""
    return [replace(camera, rate_hz=rate_hz, max_rate_hz=0.0) for camera in cameras]
