"""Render what is missing of the world's loops on all cores, each in a process of its own.

``python -m yolox_trt_ros.sim.prerender`` is such a process: jobs in a line of its standard input,
one line per finished picture on its standard output. It ends when the input does.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from yolox_trt_ros.core.errors import StoppedError, YoloxTrtRosError
from yolox_trt_ros.core.interruption import end_with, held_back
from yolox_trt_ros.sim.rig import PinholeCamera
from yolox_trt_ros.sim.world_source import Job, WorldSource, cache_folder, remove_drafts, render

MOST_WORKERS = 8
REPORT_EVERY = 50
DONE = 'done'
LOOK_S = 0.2
"""Longest time until it is noticed that nobody wants the pictures any more."""


def prerender(
    sources: Sequence[WorldSource],
    report: Callable[[str], None],
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Render what is missing of several loops.

    Args:
        sources: loops to complete.
        report: told in words how far it is.
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
    report(f'rendering {len(jobs)} pictures of the world, once; kept in {cache_folder()}')
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
def _workers(jobs: Sequence[Job], stopping: Callable[[], bool]) -> Iterator[Iterator[str]]:
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
        [sys.executable, '-m', 'yolox_trt_ros.sim.prerender'],
        stdin=subprocess.PIPE,
        stdout=answers,
        env=environ,
        text=True,
        # Ctrl-C is for the parent, which then ends its workers.
        start_new_session=True,
    )


def _ask(worker: subprocess.Popen[str], jobs: Sequence[Job]) -> None:
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


def _packed(job: Job) -> list[object]:
    return [job.seed, asdict(job.camera), job.t_s, str(job.file)]


def main() -> int:
    """Render the jobs of the standard input."""
    try:
        jobs = json.loads(sys.stdin.readline())
        end_with(sys.stdin.fileno())  # which the parent holds open as long as it lives
        for seed, camera, t_s, file in jobs:
            render(Job(seed, PinholeCamera(**camera), t_s, Path(file)))
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
