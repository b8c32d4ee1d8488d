"""How a plan's cameras expose, and on which lanes: what the command line says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from yolox_trt_ros.core.config import CameraConfig, LaneConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import shown


def phases_of(text: str, cameras: int) -> list[float] | None:
    """Return the phase of each camera, as a part of its period; None: random ones.

    Raises:
        ConfigError: it is none of the words, and not a number from 0 to 1 for each camera.
    """
    if text == 'random':
        return None
    if text == 'together':
        return [0.0] * cameras
    if text == 'staggered':
        return [index / cameras for index in range(cameras)]
    try:
        phases = [float(part) for part in text.split(',')]
    except ValueError:
        phases = []
    if len(phases) != cameras or not all(0 <= phase <= 1 for phase in phases):
        raise ConfigError(
            f'--phases: expected together, staggered, random or {cameras} numbers from 0 to 1 with '
            f'commas between, got {shown(text)}'
        )
    return phases


def pinned(
    cameras: Sequence[CameraConfig], lanes: Sequence[LaneConfig], text: str
) -> list[CameraConfig]:
    """Return the cameras pinned to the lanes, so many in their order to each.

    Raises:
        ConfigError: the numbers are not one for each lane, or not as many as cameras in all.
    """
    try:
        shares = [int(part) for part in text.split(',')]
    except ValueError:
        shares = []
    if len(shares) != len(lanes) or min(shares) < 0 or sum(shares) != len(cameras):
        raise ConfigError(
            f'--pin: expected {len(lanes)} numbers with commas between that add up to '
            f'{len(cameras)}, one for each of {", ".join(lane.name for lane in lanes)}, '
            f'got {shown(text)}'
        )
    names = [lane.name for lane, share in zip(lanes, shares, strict=True) for _ in range(share)]
    return [replace(camera, lane=name) for camera, name in zip(cameras, names, strict=True)]
