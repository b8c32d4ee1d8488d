"""Where the cameras sit on the vehicle and how they project: pinhole cameras in the vehicle frame.

The vehicle frame is REP 103's: x forward, y left, z up, origin on the ground below the rear axle.
A camera's orientation is roll, pitch, yaw about x, y, z in that order (``R = Rz·Ry·Rx``), applied
to a camera that looks along x; so positive yaw turns left and positive pitch looks down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from yolox_trt_ros.core.errors import ConfigError


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


_DEFAULT = (
    # name, hfov_deg, x_m, y_m, z_m, yaw_deg, pitch_deg
    ('front_wide', 95.0, 1.9, 0.0, 1.55, 0.0, 3.0),
    ('front_tele', 36.0, 1.9, 0.1, 1.55, 0.0, 0.5),
    ('front_left', 85.0, 2.1, 0.9, 1.2, 55.0, 2.0),
    ('front_right', 85.0, 2.1, -0.9, 1.2, -55.0, 2.0),
    ('rear_left', 85.0, 1.7, 0.95, 1.2, 125.0, 2.0),
    ('rear_right', 85.0, 1.7, -0.95, 1.2, -125.0, 2.0),
    ('rear', 90.0, -1.0, 0.0, 1.3, 180.0, 4.0),
    ('front_low', 70.0, 3.6, 0.0, 0.65, 0.0, 0.0),
)


def default_rig(width: int = 960, height: int = 640) -> dict[str, PinholeCamera]:
    """Return eight cameras by name, as cars carry them, all of one image size in pixels."""
    return {
        name: PinholeCamera.from_fov(
            name, width, height, hfov, x_m=x, y_m=y, z_m=z, yaw_deg=yaw, pitch_deg=pitch
        )
        for name, hfov, x, y, z, yaw, pitch in _DEFAULT
    }
