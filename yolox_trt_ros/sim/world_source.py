"""The rendered world as a camera's pictures: a loop that is rendered once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import cv2
import numpy as np

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import ConfigError, FrameError, YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.image_files import read_image, write_image
from yolox_trt_ros.sim.rig import PinholeCamera

if TYPE_CHECKING:
    from yolox_trt_ros.sim.world.truth import GroundTruth
    from yolox_trt_ros.sim.world.world import World

LOOP_S = 5.0
LOOP_HZ = 5.0
"""Length of the loop, and the most pictures per second that are rendered of it."""

DRAFT_S = 600.0
"""Age from which a draft is nobody's: a picture takes seconds."""

_JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to render.

    Attributes:
        seed: of the world.
        camera: that sees it.
        t_s: world time, seconds.
        file: where it goes, without suffix.
    """

    seed: int
    camera: PinholeCamera
    t_s: float
    file: Path


class WorldSource:
    """One camera's loop through the rendered street.

    All cameras of one seed and one loop show the same five seconds, so that a car that leaves
    one picture enters the next camera's.

    Args:
        seed: of the world.
        camera: configuration with the rig.

    Raises:
        ConfigError: the rig makes no camera.
    """

    def __init__(self, seed: int, camera: CameraConfig) -> None:
        self.rate_hz = min(LOOP_HZ, camera.rate_hz)
        self.count = max(1, round(LOOP_S * self.rate_hz))
        self._seed = seed
        self._camera = pinhole(camera)
        self._truths: dict[int, GroundTruth] = {}
        self._folder = cache_folder() / _key(seed, self._camera, self.rate_hz)

    def picture(self, index: int) -> np.ndarray:
        """Return a picture of the loop, rendered if need be; see :meth:`Source.picture`."""
        file = self._file(index, '.jpg')
        with suppress(FrameError):  # not there yet, or cut by a power failure
            return read_image(file)
        render(self._job(index))
        try:
            return read_image(file)
        except FrameError as error:
            raise ConfigError(f'{one_line(file)}: rendered again, and still: {error}') from error

    def truth(self, index: int) -> GroundTruth:
        """Return what is to be seen in a picture of the loop, in pixels of that picture."""
        from yolox_trt_ros.sim.world.truth import GroundTruth

        if index not in self._truths:
            try:
                arrays = self._arrays(index)
            except (
                OSError,
                EOFError,
                ValueError,
                BadZipFile,
            ):  # not there yet, or cut by a power failure
                render(self._job(index))
                arrays = self._arrays(index)
            self._truths[index] = GroundTruth(**arrays)
        return self._truths[index]

    def _arrays(self, index: int) -> dict[str, np.ndarray]:
        with np.load(self._file(index, '.npz')) as arrays:
            return dict(arrays)

    def key(self, index: int) -> Hashable:
        """Return the picture's file; see :meth:`Source.key`."""
        return self._file(index, '.jpg')

    def missing(self) -> list[Job]:
        """Return the pictures that are still to be rendered: an empty file is none."""
        indices = range(self.count)
        return [self._job(i) for i in indices if not _filled(self._file(i, '.jpg'))]

    def _job(self, index: int) -> Job:
        return Job(self._seed, self._camera, index / self.rate_hz, self._file(index, ''))

    def _file(self, index: int, suffix: str) -> Path:
        return self._folder / f'{index:04d}{suffix}'


def _filled(file: Path) -> bool:
    with suppress(OSError):
        return file.stat().st_size > 0
    return False


def pinhole(camera: CameraConfig) -> PinholeCamera:
    """Return the camera that a vehicle's configuration describes."""
    rig = asdict(camera.rig)
    width, height, hfov = rig.pop('width'), rig.pop('height'), rig.pop('hfov_deg')
    return PinholeCamera.from_fov(camera.name, width, height, hfov, **rig)


@lru_cache(maxsize=1)
def _world(seed: int) -> World:
    from yolox_trt_ros.sim.world.world import World

    return World(seed)


def render(job: Job) -> None:
    """Render one picture and its truth into files; the picture comes last.

    Raises:
        ConfigError: the cache folder cannot be written.
        MissingDependencyError: the renderer is not installed.
    """
    bgr, truth = _world(job.seed).render(job.t_s, job.camera)
    arrays = {name: getattr(truth, name) for name in truth.__slots__}
    # A name of its own, so that a process that is killed half-way leaves no half picture behind.
    draft = job.file.with_name(f'{job.file.name}.{os.getpid()}')
    try:
        job.file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(f'{draft}.npz', **arrays)
        write_image(Path(f'{draft}.jpg'), bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        for suffix in ('.npz', '.jpg'):
            os.replace(f'{draft}{suffix}', f'{job.file}{suffix}')
    except (OSError, YoloxTrtRosError) as error:
        raise ConfigError(
            f'cannot keep rendered pictures: {error}; set XDG_CACHE_HOME to a writable folder'
        ) from error


def remove_drafts(folder: Path) -> None:
    """Remove what killed processes were writing in a folder; what may still be written stays."""
    for draft in folder.glob('*.*.*'):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > DRAFT_S:
                draft.unlink()


def cache_folder() -> Path:
    """Return where rendered pictures are kept, after the XDG base directory specification."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'yolox_trt_ros' / 'world'


@lru_cache(maxsize=1)
def _renderer_version() -> str:
    """Return a digest of the renderer's sources: another renderer draws other pictures."""
    digest = hashlib.sha256()
    for file in sorted((Path(__file__).parent / 'world').glob('*.py')):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _key(seed: int, camera: PinholeCamera, rate_hz: float) -> str:
    what = [seed, asdict(camera), rate_hz, _renderer_version()]
    return f'{camera.name}-{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]}'
