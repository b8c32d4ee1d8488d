"""Which worlds train, validate and test a model: three ranges of seeds that never meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.sim.world.rig import PinholeCamera, default_rig
from yolox_trt_ros.sim.world.truth import GroundTruth
from yolox_trt_ros.sim.world.world import World

FIRST_SEED = {'train': 0, 'val': 100_000, 'test': 400_000}
"""First seed of each split; every split has room for 100,000 worlds. Worlds from 200,000 on tested
earlier models, worlds from 300,000 on are the vehicle files'."""
TIMES = 2
PER_WORLD = 8 * TIMES
"""Pictures of one world: eight cameras at two moments."""


def render_world(split: str, index: int) -> Iterator[tuple[PinholeCamera, np.ndarray, GroundTruth]]:
    """Yield the pictures of one world of a split: camera, uint8 BGR (640, 960, 3), ground truth.

    Raises:
        ConfigError: see :func:`render_masks`.
    """
    for camera, bgr, truth, _ in render_masks(split, index):
        yield camera, bgr, truth


def render_masks(
    split: str, index: int
) -> Iterator[tuple[PinholeCamera, np.ndarray, GroundTruth, np.ndarray]]:
    """Yield the same, and the class of each pixel: uint8 (640, 960), see ``truth.MASK_CLASSES``.

    Training worlds are seen by a rig whose poses and fields of view are disturbed at random, so
    that a model does not depend on the default rig; the others by the default rig itself.

    Raises:
        ConfigError: unknown split, or an index outside 0 to 99,999.
    """
    if split not in FIRST_SEED:
        raise ConfigError(f'world split "{split}" is unknown{did_you_mean(split, FIRST_SEED)}')
    if not 0 <= index < 100_000:
        raise ConfigError(f'world {index} of split {split}: expected 0 to 99999')
    seed = FIRST_SEED[split] + index
    rng = np.random.default_rng([seed, 2])
    with World(seed) as world:
        for t_s in np.sort(rng.uniform(0, 30, TIMES)):
            for camera in default_rig().values():
                seen = _disturbed(camera, rng) if split == 'train' else camera
                bgr, truth = world.render(float(t_s), seen)
                yield seen, bgr, truth, world.class_mask()


def _disturbed(camera: PinholeCamera, rng: np.random.Generator) -> PinholeCamera:
    zoom = float(rng.uniform(0.8, 1.3))
    return replace(
        camera,
        fx=camera.fx * zoom,
        fy=camera.fy * zoom,
        z_m=camera.z_m + float(rng.uniform(-0.2, 0.5)),
        yaw_deg=camera.yaw_deg + float(rng.normal(0, 8)),
        pitch_deg=camera.pitch_deg + float(rng.normal(0, 2)),
        roll_deg=float(rng.normal(0, 1)),
    )
