"""Where the cameras sit on the vehicle and how they project: pinhole cameras in the vehicle frame.

The vehicle frame is REP 103's: x forward, y left, z up, origin on the ground below the rear axle.
A camera's orientation is roll, pitch, yaw about x, y, z in that order (``R = Rz·Ry·Rx``), applied
to a camera that looks along x; so positive yaw turns left and positive pitch looks down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class PinholeCamera:
    """One camera without lens distortion.

    Attributes:
        name: the camera's name in the configuration.
        width, height: image size, pixels.
        fx, fy, cx, cy: intrinsics, pixels; pixel centres lie at half-integers.
        x_m, y_m, z_m: position in the vehicle frame, metres.
        roll_deg, pitch_deg, yaw_deg: orientation in the vehicle frame, degrees.

    Raises:
        ConfigError: a size or focal length is not positive.
    """

    name: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 1.5
    roll_deg: float = 0.0
    pitch_deg: float = 0.0
    yaw_deg: float = 0.0

    def __post_init__(self) -> None:
        for field in ('width', 'height', 'fx', 'fy'):
            if getattr(self, field) <= 0:
                raise ConfigError(
                    f'camera {self.name}: {field} is {getattr(self, field)}, expected more than 0'
                )

    @classmethod
    def from_fov(
        cls, name: str, width: int, height: int, hfov_deg: float, **pose: float
    ) -> PinholeCamera:
        """Return a camera with square pixels, a centred axis and this horizontal field of view."""
        if not 1.0 <= hfov_deg <= 150.0:
            raise ConfigError(f'camera {name}: hfov_deg is {hfov_deg}, expected 1 to 150')
        f = width / 2 / math.tan(math.radians(hfov_deg) / 2)
        return cls(name, width, height, f, f, width / 2, height / 2, **pose)

    def rotation(self) -> np.ndarray:
        """Return float64 (3, 3); its columns are the camera's forward, left and up axes."""
        r, p, y = (math.radians(a) for a in (self.roll_deg, self.pitch_deg, self.yaw_deg))
        cr, sr, cp, sp, cy, sy = (
            math.cos(r),
            math.sin(r),
            math.cos(p),
            math.sin(p),
            math.cos(y),
            math.sin(y),
        )
        return np.array(
            [
                [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                [-sp, cp * sr, cp * cr],
            ]
        )

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project points of the vehicle frame.

        Args:
            points: (n, 3), metres.

        Returns:
            (n, 2) pixels, and (n,) depth along the optical axis in metres; the pixels of a point
            with depth ≤ 0 mean nothing.
        """
        local = (points - (self.x_m, self.y_m, self.z_m)) @ self.rotation()
        depth = local[:, 0]
        safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
        u = self.cx - self.fx * local[:, 1] / safe
        v = self.cy - self.fy * local[:, 2] / safe
        return np.stack([u, v], 1), depth

    def rays(self) -> np.ndarray:
        """Return float32 (height, width, 3): each pixel's direction, depth 1, vehicle frame."""
        left = (self.cx - np.arange(self.width, dtype=np.float32) - 0.5) / self.fx
        up = (self.cy - np.arange(self.height, dtype=np.float32) - 0.5) / self.fy
        forward_axis, left_axis, up_axis = self.rotation().T.astype(np.float32)
        return forward_axis + left[None, :, None] * left_axis + up[:, None, None] * up_axis


class Rig(Mapping[str, PinholeCamera]):
    """The cameras of one vehicle by name, in the order of the configuration."""

    def __init__(self, cameras: Iterator[PinholeCamera] | list[PinholeCamera]) -> None:
        self._cameras = {c.name: c for c in cameras}

    def __getitem__(self, name: str) -> PinholeCamera:
        try:
            return self._cameras[name]
        except KeyError:
            hint = did_you_mean(name, self._cameras)
            raise ConfigError(f'the rig has no camera "{name}"{hint}') from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._cameras)

    def __len__(self) -> int:
        return len(self._cameras)

    @classmethod
    def from_parameters(cls, cameras: Mapping[str, Mapping[str, float]]) -> Rig:
        """Build a rig from ``{camera name: {parameter: value}}``.

        Each camera gives ``width`` and ``height``, its pose as in :class:`PinholeCamera`, and
        either ``hfov_deg`` or ``fx, fy, cx, cy``.

        Raises:
            ConfigError: an unknown or missing parameter; the message names camera and parameter.
        """
        return cls([_camera(name, dict(values)) for name, values in cameras.items()])


def _camera(name: str, values: dict[str, float]) -> PinholeCamera:
    known = {f.name for f in fields(PinholeCamera)} - {'name'}
    for key in values:
        if key not in known and key != 'hfov_deg':
            hint = did_you_mean(key, known | {'hfov_deg'})
            raise ConfigError(f'camera {name}: unknown rig parameter "{key}"{hint}')
    by_fov = 'hfov_deg' in values
    if by_fov and values.keys() & {'fx', 'fy', 'cx', 'cy'}:
        raise ConfigError(f'camera {name}: give either hfov_deg or fx, fy, cx, cy, not both')
    needed = ('width', 'height') + (() if by_fov else ('fx', 'fy', 'cx', 'cy'))
    missing = [key for key in needed if key not in values]
    if missing:
        raise ConfigError(f'camera {name}: rig parameters missing: {", ".join(missing)}')
    width, height = int(values.pop('width')), int(values.pop('height'))
    if by_fov:
        return PinholeCamera.from_fov(name, width, height, values.pop('hfov_deg'), **values)
    return PinholeCamera(name, width, height, **values)


def default_rig(width: int = 960, height: int = 640) -> Rig:
    """Return the eight-camera rig of the demo, all cameras of one image size in pixels."""
    poses = {
        'front_wide': (95.0, {'x_m': 1.9, 'y_m': 0.0, 'z_m': 1.55, 'pitch_deg': 3.0}),
        'front_tele': (36.0, {'x_m': 1.9, 'y_m': 0.1, 'z_m': 1.55, 'pitch_deg': 0.5}),
        'front_left': (85.0, {'x_m': 2.1, 'y_m': 0.9, 'z_m': 1.2, 'yaw_deg': 55, 'pitch_deg': 2}),
        'front_right': (
            85.0,
            {'x_m': 2.1, 'y_m': -0.9, 'z_m': 1.2, 'yaw_deg': -55, 'pitch_deg': 2},
        ),
        'rear_left': (85.0, {'x_m': 1.7, 'y_m': 0.95, 'z_m': 1.2, 'yaw_deg': 125, 'pitch_deg': 2}),
        'rear_right': (
            85.0,
            {'x_m': 1.7, 'y_m': -0.95, 'z_m': 1.2, 'yaw_deg': -125, 'pitch_deg': 2},
        ),
        'rear': (90.0, {'x_m': -1.0, 'y_m': 0.0, 'z_m': 1.3, 'yaw_deg': 180, 'pitch_deg': 4}),
        'front_low': (70.0, {'x_m': 3.6, 'y_m': 0.0, 'z_m': 0.65, 'pitch_deg': 0.0}),
    }
    return Rig(
        [
            PinholeCamera.from_fov(name, width, height, hfov, **pose)
            for name, (hfov, pose) in poses.items()
        ]
    )
