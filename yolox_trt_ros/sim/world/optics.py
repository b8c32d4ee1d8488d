"""What air, lens and sensor do to a clean picture: haze, headlights, vignette, noise, rain."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.sim.world.conditions import Conditions
from yolox_trt_ros.sim.world.rig import PinholeCamera

try:
    import cv2
except ImportError as error:
    raise MissingDependencyError(
        'the rendered world needs OpenCV, which is not installed: pip install '
        'opencv-python-headless, or apt install python3-opencv'
    ) from error

_NOISE_MARGIN = 64
_LAMPS_ON = 0.2
"""Darkness from which the vehicle's headlights are on."""


@lru_cache(maxsize=4)
def _grain(height: int, width: int) -> np.ndarray:
    """Return unit normal noise, float32 (height, width, 3), cut at four sigma."""
    noise = np.random.default_rng(0).standard_normal((height, width, 3), np.float32)
    return np.clip(noise, -4, 4)


class Optics:
    """The imaging chain of one camera in one world.

    Args:
        camera: its geometry; haze and headlights follow the distance along each pixel's ray.
        conditions: light and weather.
        seed: of exposure, white balance and noise.
    """

    def __init__(self, camera: PinholeCamera, conditions: Conditions, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._conditions, self._rng = conditions, rng
        rays = camera.rays()
        length = np.sqrt(np.einsum('hwc,hwc->hw', rays, rays))
        down = np.maximum(-rays[..., 2], np.float32(1e-4))
        ground_m = np.minimum(np.float32(camera.z_m) / down * length, np.float32(2000))
        self._ground_haze = self._haze(ground_m)
        dark = conditions.darkness
        if dark > _LAMPS_ON:
            forward = np.maximum(rays[..., 0] / length, 0)
            sideways = rays[..., 1] / length / np.float32(0.35)
            self._beam = forward**4 * np.exp(-(sideways**2))
            self._ground_beam = self._reach(ground_m)
        v = np.linspace(-1, 1, camera.height, dtype=np.float32)[:, None]
        u = np.linspace(-1, 1, camera.width, dtype=np.float32)
        self._vignette = 1 - np.float32(rng.uniform(0.05, 0.28) / 2) * (u**2 + v**2)
        gain = rng.uniform(0.85, 1.2) * (1 + 0.35 * dark)
        white = rng.uniform(0.95, 1.05, 3)
        gamma = rng.uniform(0.85, 1.1) - 0.12 * dark
        levels = np.arange(256)[:, None] / 255
        curve = 255 * np.clip(gain * white * levels, 0, 1) ** gamma
        self._tone = np.clip(curve, 0, 255).astype(np.uint8)[None]
        sigma = rng.uniform(0.8, 2.5) + dark * rng.uniform(1.0, 5.0)
        grain = _grain(camera.height + _NOISE_MARGIN, camera.width + _NOISE_MARGIN)
        self._noise = (grain * np.float32(sigma)).astype(np.int8)
        self._softness = float(rng.uniform(0.0, 0.75)) + 0.4 * conditions.rain

    def _haze(self, distance_m: np.ndarray) -> np.ndarray:
        return 1 - np.exp(distance_m * np.float32(-1 / self._conditions.visibility_m))

    def _reach(self, distance_m: np.ndarray) -> np.ndarray:
        return np.exp(distance_m * np.float32(-1 / 30))

    def apply(self, bgr: np.ndarray, numbers: np.ndarray, distance_m: np.ndarray) -> np.ndarray:
        """Return the picture that the sensor delivers, uint8 (h, w, 3) BGR.

        Args:
            bgr: uint8 (h, w, 3), the clean picture.
            numbers: uint16 (h, w), object number of each pixel; 0 is sky, 1 is ground.
            distance_m: float32 (n,), metres by object number.
        """
        c = self._conditions
        haze_of, beam_of = self._haze(distance_m), self._reach(distance_m)
        haze_of[0] = beam_of[0] = 0.0
        ground = numbers == 1
        haze = np.where(ground, self._ground_haze, haze_of[numbers])
        light = self._vignette * (1 - haze)
        if c.darkness > _LAMPS_ON:
            reach = np.where(ground, self._ground_beam, beam_of[numbers])
            light *= 1 + c.darkness * 2.6 * self._beam * reach
        air = np.array(c.horizon[::-1], np.float32) * 255
        out = bgr * light[..., None] + (haze * self._vignette)[..., None] * air
        picture = np.clip(out, 0, 255).astype(np.uint8)
        if self._softness > 0.3:
            picture = cv2.GaussianBlur(picture, (0, 0), self._softness)
        if c.rain:
            self._streaks(picture)
        picture = cv2.LUT(picture, self._tone)
        y, x = self._rng.integers(0, _NOISE_MARGIN, 2)
        h, w = picture.shape[:2]
        return cv2.add(picture, self._noise[y : y + h, x : x + w], dtype=cv2.CV_8U)

    def _streaks(self, picture: np.ndarray) -> None:
        h, w = picture.shape[:2]
        layer = picture.copy()
        count = int(260 * self._conditions.rain)
        start = self._rng.uniform(0, 1, (count, 2)) * (w, h)
        length = self._rng.uniform(0.01, 0.06, count) * h
        tone = int(90 + 120 * float(np.mean(self._conditions.horizon)))
        slant = self._rng.normal(0.05, 0.05)
        for (x, y), n in zip(start, length, strict=True):
            end = (int(x + slant * n), int(y + n))
            cv2.line(layer, (int(x), int(y)), end, (tone, tone, tone), 1, cv2.LINE_AA)
        cv2.addWeighted(layer, 0.45, picture, 0.55, 0, dst=picture)
