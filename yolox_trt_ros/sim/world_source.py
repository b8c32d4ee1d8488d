"""The rendered world as a camera's pictures: a loop that is rendered once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.sim.rig import PinholeCamera

if TYPE_CHECKING:
    from yolox_trt_ros.sim.world.truth import GroundTruth
    from yolox_trt_ros.sim.world.world import World

LOOP_S = 5.0
LOOP_HZ = 5.0
"""Length of the loop, and the most pictures per second that are rendered of it."""

_JPEG_QUALITY = 95


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
        if not file.is_file():
            _render(self._seed, self._camera, index / self.rate_hz, self._file(index, ''))
        bgr = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ConfigError(f'{file}: damaged; remove it, and it is rendered again')
        return bgr

    def truth(self, index: int) -> GroundTruth:
        """Return what is to be seen in a picture of the loop, in pixels of that picture."""
        from yolox_trt_ros.sim.world.truth import GroundTruth

        if index not in self._truths:
            if not self._file(index, '.npz').is_file():
                self.picture(index)
            with np.load(self._file(index, '.npz')) as arrays:
                self._truths[index] = GroundTruth(**arrays)
        return self._truths[index]

    def key(self, index: int) -> Hashable:
        """Return the picture's file; see :meth:`Source.key`."""
        return self._file(index, '.jpg')

    def missing(self) -> list[tuple[int, PinholeCamera, float, Path]]:
        """Return what :func:`prerender` has to render."""
        return [
            (self._seed, self._camera, index / self.rate_hz, self._file(index, ''))
            for index in range(self.count)
            if not self._file(index, '.jpg').is_file()
        ]

    def _file(self, index: int, suffix: str) -> Path:
        return self._folder / f'{index:04d}{suffix}'


def pinhole(camera: CameraConfig) -> PinholeCamera:
    """Return the camera that a vehicle's configuration describes."""
    rig = asdict(camera.rig)
    width, height, hfov = rig.pop('width'), rig.pop('height'), rig.pop('hfov_deg')
    return PinholeCamera.from_fov(camera.name, width, height, hfov, **rig)


def prerender(sources: Sequence[WorldSource], report: Callable[[str], None]) -> None:
    """Render what is missing of several loops on all cores.

    Args:
        sources: loops to complete.
        report: told in words how far it is.

    Raises:
        ConfigError: the cache folder cannot be written.
        MissingDependencyError: the renderer is not installed.
    """
    jobs = [job for source in sources for job in source.missing()]
    if not jobs:
        return
    report(f'rendering {len(jobs)} pictures of the world, once; kept in {cache_folder()}')
    workers = min(os.cpu_count() or 1, 8, len(jobs))
    pool = ProcessPoolExecutor(workers, get_context('spawn'), _ignore_interrupt)
    try:
        for done in _done(pool, jobs):
            if done % 50 == 0 or done == len(jobs):
                report(f'rendered {done} of {len(jobs)} pictures')
    finally:
        pool.shutdown(cancel_futures=True)


def _done(
    pool: ProcessPoolExecutor, jobs: Sequence[tuple[int, PinholeCamera, float, Path]]
) -> Iterator[int]:
    futures = [pool.submit(_render, *job) for job in jobs]
    for done, future in enumerate(as_completed(futures), 1):
        future.result()
        yield done


def _ignore_interrupt() -> None:
    """Let the parent decide what Ctrl-C means; it reaches the whole process group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@lru_cache(maxsize=1)
def _world(seed: int) -> World:
    from yolox_trt_ros.sim.world.world import World

    return World(seed)


def _render(seed: int, camera: PinholeCamera, t_s: float, file: Path) -> None:
    """Render one picture and its truth into ``file``.jpg and .npz; the .jpg comes last."""
    bgr, truth = _world(seed).render(t_s, camera)
    arrays = {name: getattr(truth, name) for name in truth.__slots__}
    # A name of its own, so that a process that is killed half-way leaves no half file behind.
    draft = file.with_name(f'{file.name}.{os.getpid()}')
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(f'{draft}.npz', **arrays)
        cv2.imwrite(f'{draft}.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        for suffix in ('.npz', '.jpg'):
            os.replace(f'{draft}{suffix}', f'{file}{suffix}')
    except OSError as error:
        raise ConfigError(
            f'cannot keep rendered pictures: {error}; set XDG_CACHE_HOME to a writable folder'
        ) from error


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
