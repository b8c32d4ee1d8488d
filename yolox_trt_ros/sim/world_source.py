"""The rendered world as a camera's pictures: loops that are rendered once and kept on disk.

What is missing is rendered on all cores, each in a process of its own. Such a process is
``python -m yolox_trt_ros.sim.world_source``: jobs in a line of its standard input, one line per
finished picture on its standard output. It ends when the input does.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING
from zipfile import BadZipFile

import cv2
import numpy as np

from yolox_trt_ros.core.config import CameraConfig
from yolox_trt_ros.core.errors import ConfigError, FrameError, StoppedError, YoloxTrtRosError
from yolox_trt_ros.core.interruption import end_with, held_back
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.resources import cache_folder
from yolox_trt_ros.image_files import read_image, write_image
from yolox_trt_ros.sim.world.rig import PinholeCamera

if TYPE_CHECKING:
    from yolox_trt_ros.sim.world.truth import GroundTruth
    from yolox_trt_ros.sim.world.world import World

LOOP_S = 5.0
LOOP_HZ = 5.0
"""Length of the loop, and the most pictures per second that are rendered of it."""

DRAFT_S = 600.0
"""Age from which a draft is nobody's: a picture takes seconds."""

_JPEG_QUALITY = 95

MOST_WORKERS = 8
REPORT_EVERY = 50
DONE = 'done'
LOOK_S = 0.2
"""Longest time until it is noticed that nobody wants the pictures any more."""


@dataclass(frozen=True, slots=True)
class RenderJob:
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
        self._folder = cache_folder('world') / _key(seed, self._camera, self.rate_hz)

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

    def missing(self) -> list[RenderJob]:
        """Return the pictures that are still to be rendered: an empty file is none."""
        indices = range(self.count)
        return [self._job(i) for i in indices if not _filled(self._file(i, '.jpg'))]

    def _job(self, index: int) -> RenderJob:
        return RenderJob(self._seed, self._camera, index / self.rate_hz, self._file(index, ''))

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


def render(job: RenderJob) -> None:
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


def prerender(
    sources: Sequence[WorldSource],
    report: Callable[[str], None],
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Render what is missing of several loops.

    Args:
        sources: loops to complete.
        report: called with words on how far it is.
        stopping: asked now and then whether to give up.

    Raises:
        StoppedError: ``stopping`` said so.
        YoloxTrtRosError: the renderer is not installed, or the cache folder cannot be written.
    """
    jobs = [job for source in sources for job in source.missing()]
    if not jobs:
        return
    for folder in {job.file.parent for job in jobs}:
        remove_drafts(folder)
    kept = cache_folder('world')
    report(f'rendering {len(jobs)} pictures of the world, once; kept in {kept}')
    with _workers(jobs, stopping) as answers:
        for done, answer in enumerate(answers, 1):
            if answer != DONE:
                raise YoloxTrtRosError(answer)
            if done % REPORT_EVERY == 0 or done == len(jobs):
                report(f'rendered {done} of {len(jobs)} pictures')
    missing = sum(len(source.missing()) for source in sources)
    if missing:
        raise YoloxTrtRosError(f'the renderer ended with {missing} pictures missing')


@contextmanager
def _workers(jobs: Sequence[RenderJob], stopping: Callable[[], bool]) -> Iterator[Iterator[str]]:
    """Start the processes, yield their lines, and leave none of them running."""
    count = min(os.cpu_count() or 1, MOST_WORKERS, len(jobs))
    package = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, (str(package), os.environ.get('PYTHONPATH'))))
    reader, writer = os.pipe()
    workers: list[subprocess.Popen[str]] = []
    try:
        with os.fdopen(writer, 'wb') as answers:
            for number in range(count):
                workers.append(_worker(answers, {**os.environ, 'PYTHONPATH': path}))
                _ask(workers[-1], jobs[number::count])
        yield _lines(reader, stopping)
    finally:
        with held_back():
            for worker in workers:
                worker.kill()
                with suppress(BrokenPipeError):
                    worker.communicate()
            os.close(reader)


def _worker(answers: IO[bytes], environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-m', 'yolox_trt_ros.sim.world_source'],
        stdin=subprocess.PIPE,
        stdout=answers,
        env=environ,
        text=True,
        # Ctrl-C is for the parent, which then ends its workers.
        start_new_session=True,
    )


def _ask(worker: subprocess.Popen[str], jobs: Sequence[RenderJob]) -> None:
    assert worker.stdin
    # A worker that ended at once has said why; what it leaves undone is noticed later.
    with suppress(BrokenPipeError):
        print(json.dumps([_packed(job) for job in jobs]), file=worker.stdin, flush=True)


def _lines(reader: int, stopping: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of a pipe until nobody writes to it any more."""
    rest = b''
    while True:
        if stopping():
            raise StoppedError('the world is not rendered any further')
        if select.select([reader], [], [], LOOK_S)[0]:
            got = os.read(reader, 1 << 16)
            if not got:
                return
            *lines, rest = (rest + got).split(b'\n')
            yield from (line.decode() for line in lines)


def _packed(job: RenderJob) -> list[object]:
    return [job.seed, asdict(job.camera), job.t_s, str(job.file)]


def main() -> int:
    """Render the jobs of the standard input."""
    try:
        jobs = json.loads(sys.stdin.readline())
        end_with(sys.stdin.fileno())  # which the parent holds open as long as it lives
        for seed, camera, t_s, file in jobs:
            render(RenderJob(seed, PinholeCamera(**camera), t_s, Path(file)))
            _answer(DONE)
    except YoloxTrtRosError as error:
        _answer(' '.join(str(error).split()))
        return 1
    except BrokenPipeError:  # nobody waits for the pictures any more
        return 1
    return 0


def _answer(line: str) -> None:
    """Write a line in one piece: the workers share the pipe."""
    os.write(sys.stdout.fileno(), f'{line}\n'.encode())


if __name__ == '__main__':
    sys.exit(main())
