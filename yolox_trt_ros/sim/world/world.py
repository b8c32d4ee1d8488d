"""The rendered world: a picture and its ground truth for any camera at any time."""

from __future__ import annotations

import math

import cv2
import numpy as np

from yolox_trt_ros.sim.world import scene as scenes
from yolox_trt_ros.sim.world.bodies import CLASSES
from yolox_trt_ros.sim.world.optics import Optics
from yolox_trt_ros.sim.world.rig import PinholeCamera
from yolox_trt_ros.sim.world.scene import Scene
from yolox_trt_ros.sim.world.stage import Target, numbers
from yolox_trt_ros.sim.world.street import GROUND, StreetModel
from yolox_trt_ros.sim.world.truth import (
    MASK_CLASSES,
    Candidate,
    GroundTruth,
    class_mask,
    extract,
)

_JITTER = ((-0.25, -0.25), (0.25, 0.25), (0.25, -0.25), (-0.25, 0.25))
_OUTLINE_POINTS = 160


class World:
    """A street scene around a moving vehicle. Used by one thread only.

    Args:
        seed: the world; the same seed gives the same pictures.
        light, weather: fix what the seed would draw (``conditions.LIGHTS``, ``WEATHERS``).
        samples: 1 to 4 exposures averaged into a picture, spread over the shutter time and over
            the pixel: motion blur and smooth edges. More costs more.

    Raises:
        ConfigError: unknown light or weather.
        MissingDependencyError: Panda3D or OpenCV is not installed.
    """

    def __init__(
        self, seed: int, light: str | None = None, weather: str | None = None, samples: int = 2
    ) -> None:
        if not 1 <= samples <= len(_JITTER):
            raise ValueError(f'samples is {samples}, expected 1 to {len(_JITTER)}')
        self.scene: Scene = scenes.build(seed, light, weather)
        self._samples = samples
        self._shutter_s = 0.004 + 0.008 * self.scene.conditions.darkness
        self._street = StreetModel(self.scene)
        self._marks = np.zeros((0, 0), np.uint16)
        self._targets: dict[tuple[int, int], Target] = {}
        self._optics: dict[PinholeCamera, Optics] = {}
        self._classes = self._mask_classes()
        self._outlines = [_outline(body.corners()) for body in self.scene.bodies]

    def render(
        self, t_s: float, camera: PinholeCamera, least_px: float | None = None
    ) -> tuple[np.ndarray, GroundTruth]:
        """Return a picture and its ground truth.

        Args:
            t_s: time in seconds.
            camera: sees it.
            least_px: smallest height of what is labelled; None: that share of the picture's height
                which ``truth.MIN_HEIGHT`` is.

        Returns:
            uint8 (height, width, 3) BGR, and what is in it.
        """
        target = self._target(camera)
        total: np.ndarray | None = None
        for k in range(self._samples):
            self._street.place(t_s + self._shutter_s * ((k + 0.5) / self._samples - 0.5))
            target.aim(self._street.root, camera, _JITTER[k] if self._samples > 1 else (0.0, 0.0))
            shot = target.shoot(0)
            if total is None:
                total = shot.copy()
            else:
                cv2.addWeighted(total, k / (k + 1), shot, 1 / (k + 1), 0, dst=total)
        assert total is not None
        self._street.place(t_s)
        target.aim(self._street.root, camera, (0.0, 0.0))
        marks = self._marks = cv2.flip(numbers(target.shoot(1)), 0)
        clean = cv2.flip(cv2.cvtColor(total, cv2.COLOR_BGRA2BGR), 0)
        candidates, distance = self._candidates(t_s, camera)
        bgr = self._optic(camera).apply(clean, marks, distance)
        visibility = self.scene.conditions.visibility_m
        return bgr, extract(marks, camera, candidates, visibility, least_px)

    def class_mask(self) -> np.ndarray:
        """Return the class of each pixel of the picture that was rendered last.

        Returns:
            uint8 (height, width), index into ``truth.MASK_CLASSES``.
        """
        return class_mask(self._marks, self._classes)

    def _target(self, camera: PinholeCamera) -> Target:
        size = camera.width, camera.height
        if size not in self._targets:
            self._targets[size] = Target(*size)
            self._targets[size].allow_numbers(len(self.scene.items) + GROUND)
        return self._targets[size]

    def _optic(self, camera: PinholeCamera) -> Optics:
        if camera not in self._optics:
            seed = self.scene.seed * 1009 + len(self._optics)
            self._optics[camera] = Optics(camera, self.scene.conditions, seed)
        return self._optics[camera]

    def _mask_classes(self) -> np.ndarray:
        """Return the class of the masks of each object number, uint8 (n,)."""
        scene = self.scene
        classes = [MASK_CLASSES.index('sky'), MASK_CLASSES.index('ground')]
        for item in scene.items:
            name = CLASSES[scene.bodies[item.shape].class_id] if item.is_body else 'scenery'
            classes.append(MASK_CLASSES.index(name))
        return np.array(classes, np.uint8)

    def _candidates(self, t_s: float, camera: PinholeCamera) -> tuple[list[Candidate], np.ndarray]:
        scene = self.scene
        distance = np.full(len(scene.items) + GROUND + 1, 1e4, np.float32)
        out = []
        for number, item in enumerate(scene.items, GROUND + 1):
            x, y, heading = scene.pose(item, t_s)
            far = math.hypot(x - camera.x_m, y - camera.y_m)
            distance[number] = far
            if item.is_body:
                c, s = math.cos(math.radians(heading)), math.sin(math.radians(heading))
                points = self._outlines[item.shape] @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
                points += (x, y, 0)
                out.append(Candidate(number, scene.bodies[item.shape].class_id, points, far))
        return out, distance

    def close(self) -> None:
        """Free the renderer's buffers; calling it twice is allowed."""
        for target in self._targets.values():
            target.close()
        self._targets.clear()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _outline(points: np.ndarray) -> np.ndarray:
    """Thin out a body's points, keeping the extreme ones of many directions."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(_OUTLINE_POINTS, 3))
    return points[np.unique((points @ directions.T).argmax(0))].astype(np.float64)
