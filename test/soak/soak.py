#!/usr/bin/env python3
"""Eight cameras that stop, change, restart and are killed: memory flat, counts exact.

The cameras publish from four processes, three of them killed now and then and started again; a
child receives natively with a real pipeline behind. At first it holds every image until no buffer
is left, in its rings and in the middleware: from then on a step in its memory is a leak and no
buffer made late. Ends with status 1 and a sentence if a message is unaccounted for or the child's
memory grows.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rclpy
from rclpy.node import Node
from soak_cameras import CAMERAS, COMPRESSED, DEPTH, DRIVERS, PERIOD_S, SPAWN, Driver, Shared

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.ros.dds import settings
from yolox_trt_ros.ros.input.native_ingest import NativeIngest
from yolox_trt_ros.ros.process import keep_large_buffers
from yolox_trt_ros.schedule.pipeline import LaneSpec, Pipeline

SIZE = (1920, 1280)
BUFFERS = 6
SEGMENT = 40
"""Raw images of the largest size that a process's shared memory holds."""
START_S = 150.0
"""Time for all processes to start and find each other on a busy machine."""
KILL_S = 10.0
"""Time between two kills, and before the first and after the last."""
FILL = 3 * (BUFFERS + DEPTH)
"""Images of each camera while the child holds them: more than its rings and the middleware take."""
WARM_UP = 0.2
"""Part of the time after which memory must be flat."""
GROWTH_MB = 8.0
"""Most growth over the rest of the time: by the line that fits the memory in use best."""


class Memory(NamedTuple):
    """What a process holds, MB.

    Attributes:
        own: resident pages of its own.
        used: of them, what the C allocator has given out: rings, the middleware's histories, NumPy.
        shared: resident pages of segments that it shares; the middleware's size bounds them.
    """

    own: float
    used: float
    shared: float


class Instant:
    """A detector that finds nothing, at once, and may be asked to hold what it was shown."""

    max_batch, about = 4, 'an instant'

    def __init__(self) -> None:
        self.holding = False
        self.held: list[Frame] = []

    def submit(self, frames: Sequence[Frame]) -> Instant:
        self._count = len(frames)
        if self.holding:
            self.held += frames
        return self

    def wait(self) -> list[Detected]:
        now = time.monotonic_ns()
        return [Detected(Detections.empty(), now, now, now, now)] * self._count

    def close(self) -> None:
        pass


def receive(pipe: Connection, shared: Shared) -> None:
    """Receive until told to stop; answer ``report`` with the accounts and the memory in use."""
    keep_large_buffers()
    rclpy.init()
    config = Config.from_parameters(
        {
            'camera_names': list(CAMERAS),
            'lane_names': ['lane'],
            'lanes.lane.max_batch': 4,
            **{f'cameras.{name}.reliability': 'reliable' for name in CAMERAS},
            **{f'cameras.{name}.depth': DEPTH for name in CAMERAS},
            **{f'cameras.{name}.transport': 'compressed' for name in COMPRESSED},
        }
    )
    node = Node('soak_receiver')
    detector = Instant()
    lane = LaneSpec(config.lanes[0], lambda: detector)
    with Pipeline(config.cameras, [lane], lambda *_: None) as pipeline:
        ingest = NativeIngest(node, config.cameras, pipeline, print, BUFFERS)
        while (message := hear(pipe, shared, pipeline, ingest)) != 'stop':
            detector.holding = message == 'hold'
            if message == 'release':
                detector.held.clear()
            if message == 'report':
                pipe.send((accounts(pipeline, ingest), memory()))
        ingest.close()
    rclpy.shutdown()


def hear(pipe: Connection, shared: Shared, pipeline: Pipeline, ingest: NativeIngest) -> str:
    """Return the next message, and tell the cameras what has come meanwhile."""
    while not pipe.poll(0.05):
        for tally, account in zip(shared.tallies, accounts(pipeline, ingest).values(), strict=True):
            tally.came = account['received'] + account['lost']
    message: str = pipe.recv()
    return message


def accounts(pipeline: Pipeline, ingest: NativeIngest) -> dict[str, dict[str, int]]:
    """Return what became of each camera's messages."""
    return {
        c.name: {
            'received': c.received,
            'settled': c.published + sum(c.dropped.values()) + c.waiting + c.in_flight,
            'lost': ingest.notes[c.name].lost or 0,
        }
        for c in pipeline.snapshot().cameras
    }


class MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of the C library."""

    _fields_ = [
        *((f'other_{index}', ctypes.c_size_t) for index in range(4)),
        ('hblkhd', ctypes.c_size_t),
        *((f'other_{index}', ctypes.c_size_t) for index in range(4, 6)),
        ('uordblks', ctypes.c_size_t),
        *((f'other_{index}', ctypes.c_size_t) for index in range(6, 8)),
    ]


def memory() -> Memory:
    """Return what this process holds."""
    lines = Path('/proc/self/status').read_text().splitlines()
    status = dict(line.split(':', 1) for line in lines)
    own, shared = (int(status[name].split()[0]) / 1e3 for name in ('RssAnon', 'RssShmem'))
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = MallInfo
    info = mallinfo()
    return Memory(own, (info.uordblks + info.hblkhd) / 1e6, shared)


def drive(
    pipe: Connection, shared: Shared, size: tuple[int, int], seconds: float, seed: int
) -> list[str]:
    """Run the cameras and return what is wrong."""
    chance = random.Random(seed)
    drivers = [Driver(names, size, shared) for names in DRIVERS]
    fill(pipe, drivers, shared)
    held: list[tuple[float, float]] = []
    start = message = time.monotonic()
    killed = start + KILL_S
    while (now := time.monotonic()) < start + seconds:
        for driver in drivers:
            driver.check()
        if now > killed + KILL_S and now < start + seconds - KILL_S:
            chance.choice(drivers[1:]).kill(chance.randrange(1 << 30))
            killed = now
        if now > message + max(1.0, seconds / 60):
            counts, has = ask(pipe)
            held.append((now - start, has.own))
            report(now - start, drivers, shared, counts, has)
            message = now
        time.sleep(0.1)
    shared.phase.value = 2
    for driver in drivers:
        driver.join()
    counts, has = ask(pipe)
    report(time.monotonic() - start, drivers, shared, counts, has)
    return [*miscounts(drivers, shared, counts), *growth(held, seconds)]


def fill(pipe: Connection, drivers: list[Driver], shared: Shared) -> None:
    """Have the largest images sent to a receiver that holds them, until every buffer was made."""
    pipe.send('hold')
    end = time.monotonic() + START_S
    while any(tally.sent < FILL for tally in shared.tallies):
        if time.monotonic() > end:
            raise TimeoutError(f'the cameras did not start within {START_S:g} s')
        for driver in drivers:
            driver.check()
        time.sleep(PERIOD_S)
    pipe.send('release')
    shared.phase.value = 1


def ask(pipe: Connection) -> tuple[dict[str, dict[str, int]], Memory]:
    """Return the receiver's accounts and memory."""
    pipe.send('report')
    answer: tuple[dict[str, dict[str, int]], Memory] = pipe.recv()
    return answer


def report(
    after_s: float, drivers: list[Driver], shared: Shared, counts: dict[str, Any], has: Memory
) -> None:
    """Print one line of progress."""
    sent, replaced = (sum(getattr(t, key) for t in shared.tallies) for key in ('sent', 'replaced'))
    kills = sum(driver.kills for driver in drivers)
    received, lost = (sum(a[key] for a in counts.values()) for key in ('received', 'lost'))
    print(
        f'{after_s:6.0f} s: sent {sent}, received {received}, overtaken in the middleware {lost}, '
        f'publishers replaced {replaced}, processes killed {kills}, memory {has.own:.1f} MB '
        f'(allocated {has.used:.1f}), shared {has.shared:.0f} MB',
        flush=True,
    )


def miscounts(
    drivers: list[Driver], shared: Shared, counts: dict[str, dict[str, int]]
) -> list[str]:
    """Return every camera whose counts do not add up.

    What a killed process has handed to its middleware and nobody has taken, nobody can count: at
    most its queue each time, as many in the receiver's middleware that its successor's replace, and
    the image that it was publishing, which may have gone or not.
    """
    wrong = []
    tail = 0
    for driver in drivers:
        for name in driver.names:
            account, tally = counts[name], shared.tallies[CAMERAS.index(name)]
            came = account['received'] + account['lost']
            tail += tally.begun - came
            if account['received'] != account['settled']:
                wrong.append(f'{name}: the pipeline does not add up: {account}')
            if not tally.sent - driver.kills * 2 * DEPTH <= came <= tally.begun:
                message = f'sent {tally.sent} of {tally.begun}, killed {driver.kills} times'
                wrong.append(f'{name}: {message}, accounted for {account}')
    kills = sum(driver.kills for driver in drivers)
    print(f'{kills} processes killed with two cameras each; gone with them: {tail} images')
    return wrong


def growth(held: list[tuple[float, float]], seconds: float) -> list[str]:
    """Return whether memory still grew after the warm-up.

    Args:
        held: times in seconds after the start, and the memory held then, MB.
        seconds: how long it went on.
    """
    flat = np.array([point for point in held if point[0] > WARM_UP * seconds])
    if len(flat) < 10:
        return [f'{seconds:g} s are too few to judge memory by']
    slope, _ = np.polyfit(*flat.T, 1)
    grown = slope * (flat[-1, 0] - flat[0, 0])
    print(f'growth {grown:+.1f} MB, {slope * 3600:+.1f} MB/h; at most {flat[:, 1].max():.1f} MB')
    return [f'memory grew by {grown:.1f} MB, at most {GROWTH_MB:g}'] if grown > GROWTH_MB else []


def write_profile(folder: Path, width: int, height: int) -> dict[str, str]:
    """Return the environment of processes whose segments are no larger than these cameras need."""
    environ = settings.environment('auto', {})
    ((variable, name),) = environ.items()
    size = f'<segment_size>{SEGMENT * width * height * 3}<'
    profile, count = re.subn(r'<segment_size>\d+<', size, Path(name).read_text())
    assert count == 1
    file = folder / 'fastdds.xml'
    file.write_text(profile)
    return {variable: str(file)}


def main() -> int:
    """Run for a while; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--seconds', type=float, default=3600.0)
    parser.add_argument('--seed', type=int, default=1)
    size = 'of the largest images; smaller ones cost less CPU time'
    parser.add_argument('--size', type=int, nargs=2, default=SIZE, metavar=('W', 'H'), help=size)
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(write_profile(Path(folder), *arguments.size))
        here, there = SPAWN.Pipe()
        shared = Shared()
        child = SPAWN.Process(target=receive, args=(there, shared), daemon=True)
        child.start()
        try:
            wrong = drive(here, shared, tuple(arguments.size), arguments.seconds, arguments.seed)
            here.send('stop')
            child.join(20)
        except KeyboardInterrupt:
            return 130
    for sentence in wrong:
        print(f'soak: {sentence}', file=sys.stderr)
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main())
