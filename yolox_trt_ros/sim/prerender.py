"""Render what is missing of the world's loops on all cores, each in a process of its own.

``python -m yolox_trt_ros.sim.prerender`` is such a process: jobs on its standard input, one line
per finished picture on its standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, cast

from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.sim.rig import PinholeCamera
from yolox_trt_ros.sim.world_source import Job, WorldSource, cache_folder, render

MOST_WORKERS = 8
REPORT_EVERY = 50
DONE = 'done'


def prerender(sources: Sequence[WorldSource], report: Callable[[str], None]) -> None:
    """Render what is missing of several loops.

    Args:
        sources: loops to complete.
        report: told in words how far it is.

    Raises:
        YoloxTrtRosError: the renderer is not installed, or the cache folder cannot be written.
    """
    jobs = [job for source in sources for job in source.missing()]
    if not jobs:
        return
    report(f'rendering {len(jobs)} pictures of the world, once; kept in {cache_folder()}')
    with _workers(jobs) as answers:
        for done, answer in enumerate(answers, 1):
            if answer != DONE:
                raise YoloxTrtRosError(answer)
            if done % REPORT_EVERY == 0 or done == len(jobs):
                report(f'rendered {done} of {len(jobs)} pictures')
    missing = sum(len(source.missing()) for source in sources)
    if missing:
        raise YoloxTrtRosError(f'the renderer ended with {missing} pictures missing')


@contextmanager
def _workers(jobs: Sequence[Job]) -> Iterator[Iterator[str]]:
    """Start the processes, yield their lines, and leave none of them running."""
    count = min(os.cpu_count() or 1, MOST_WORKERS, len(jobs))
    package = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, (str(package), os.environ.get('PYTHONPATH'))))
    reader, writer = os.pipe()
    workers = [
        subprocess.Popen(
            [sys.executable, '-m', 'yolox_trt_ros.sim.prerender'],
            stdin=subprocess.PIPE,
            stdout=writer,
            env={**os.environ, 'PYTHONPATH': path},
            text=True,
            # Ctrl-C is for the parent, which then ends its workers.
            start_new_session=True,
        )
        for _ in range(count)
    ]
    os.close(writer)
    answers = open(reader, encoding='utf-8')  # noqa: SIM115  # closed below, after its writers
    try:
        for number, worker in enumerate(workers):
            share = json.dumps([_packed(job) for job in jobs[number::count]])
            # A worker that ended at once has said why; what it leaves undone is noticed later.
            with suppress(BrokenPipeError), cast(IO[str], worker.stdin) as stdin:
                stdin.write(share)
        yield (line.rstrip('\n') for line in answers)
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()
        answers.close()


def _packed(job: Job) -> list[object]:
    return [job.seed, asdict(job.camera), job.t_s, str(job.file)]


def main() -> int:
    """Render the jobs of the standard input."""
    try:
        for seed, camera, t_s, file in json.load(sys.stdin):
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
