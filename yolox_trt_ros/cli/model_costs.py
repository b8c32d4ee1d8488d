"""What a model costs on the lanes of a profile that was measured with another model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.profile import LaneProfile, Profile, Workload
from yolox_trt_ros.engine.advice import workload
from yolox_trt_ros.engine.flops import model_work
from yolox_trt_ros.engine.published_times import ErrorRange, error_range, estimate_ms

SAME = 1e-3
"""Networks of one file's name whose GFLOPs differ by less than this part are the same."""


@dataclass(frozen=True, slots=True)
class LaneEstimate:
    """How a lane's time of one frame was estimated.

    Attributes:
        factor: the profile's time times this.
        error: on published times of such a lane; None: there are none, so it is in proportion to
            GFLOPs.
    """

    factor: float
    error: ErrorRange | None


def workload_of(path: Path, size: tuple[int, int] | None = None) -> Workload:
    """Return what an ONNX file asks of a lane.

    Raises:
        ModelError: not an ONNX file, or the shapes in it cannot be inferred.
    """
    return workload(path.name, model_work(path, size)[0])


def for_model(profile: Profile, wanted: Workload) -> tuple[Profile, Mapping[str, LaneEstimate]]:
    """Return the profile as if it were another model's, and how far each lane is an estimate.

    Args:
        profile: of the machine.
        wanted: the model.

    Returns:
        The profile; an estimate for each lane, none where it was measured with this model.

    Raises:
        ConfigError: the profile does not say with which model it was measured.
    """
    known = profile.measured_with
    if known is None:
        raise ConfigError(
            f'profile {profile.name} does not say which model it was measured with: measure it '
            'again with `profile`, or add "measured_with: {model: NAME, gflops: NUMBER}" to it '
            '(`model FILE` counts the GFLOPs)'
        )
    if known.model == wanted.model and abs(known.gflops / wanted.gflops - 1) < SAME:
        return profile, {}
    lanes, estimates = {}, {}
    for name, lane in profile.lanes.items():
        key = _published(profile.machine, lane.device)
        lanes[name] = _scaled(lane, key, known, wanted)
        factor = lanes[name].cost_ns(1) / lane.cost_ns(1)
        estimates[name] = LaneEstimate(factor, error_range(key) if key else None)
    return replace(profile, lanes=lanes, measured_with=wanted), estimates


def _published(machine: str, device: str) -> str:
    """Return the lane of which others have published times; empty: there is none."""
    kind = {'cuda': 'gpu', 'dla': 'dla'}.get(device.partition(':')[0])
    return f'{machine}_{kind}' if machine and kind else ''


def _scaled(lane: LaneProfile, key: str, known: Workload, wanted: Workload) -> LaneProfile:
    def factor(images: int) -> float:
        if not key:
            return wanted.gflops / known.gflops
        return estimate_ms(key, wanted, images) / estimate_ms(key, known, images)

    costs = {images: ms * factor(images) for images, ms in lane.cost_ms.items()}
    return replace(lane, cost_ms=costs, energy_mj=lane.energy_mj * factor(1))


def off(error: ErrorRange | None, work: Workload) -> str:
    """Return the error of a network's estimate in words."""
    if error is None:
        return 'in proportion to GFLOPs, error unknown'
    (low, high), (least, most) = error.fit, error.left_out
    words = f'{low:+.0%} to {high:+.0%}, network left out {least:+.0%} to {most:+.0%}'
    smallest, largest = error.gflops
    if smallest <= work.gflops <= largest:
        return words
    return f'UNKNOWN: published ones have {smallest:.0f} to {largest:.0f} GFLOPs'
