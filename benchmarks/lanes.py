"""Lanes under load: synthetic streams at several rates through the pipeline, on 1 to N GPUs.

The bare detector loop comes first: every lane's detector, on a thread of its own, with its largest
batch and as many in flight as the lane allows. Rates are offered as multiples of what it makes.
The share is results per second over the bare loop's, or over what was offered if that is less. The
CPU time of the streams themselves is left out of that of a result.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pipeline import as_frame, test_images
from benchmarks.support.lane_chart import chart
from yolox_trt_ros.compose import lane_specs, load_model
from yolox_trt_ros.core.backends import device_kind
from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.schedule.lane import LaneSpec
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions
from yolox_trt_ros.vehicle_files import load_vehicle

SETTLE_S = 1.0
"""Before a run is counted: the scheduler learns what batches cost under load."""

TICK_S = 0.0005
"""The shortest sleep of the streams; what is due by then is offered at once."""

PICTURE = Path('build/bench_lanes.svg')
MEMORY = ('pinned', 'pageable')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', default='desktop_8cam', help='vehicle file or packaged name')
    parser.add_argument('--model', default='', help='ONNX file (default: the vehicle’s)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--size', type=int, nargs=2, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--streams', type=int, nargs='+', default=(8, 16))
    parser.add_argument(
        '--offered', type=float, nargs='+', default=(0.5, 1.0, 2.0, 4.0),
        help='images offered, as multiples of the bare loop (default: 0.5 1 2 4)',
    )  # fmt: skip
    parser.add_argument(
        '--gpus', type=int, nargs='+', default=(),
        help='numbers of GPUs, one lane on each (default: 1 to all; no effect on CPU lanes)',
    )  # fmt: skip
    parser.add_argument('--in-flight', type=int, default=0, help='default: the vehicle’s')
    parser.add_argument('--memory', nargs='+', choices=MEMORY, default=MEMORY)
    parser.add_argument('--seconds', type=float, default=3.0, help='length of one run')
    parser.add_argument('--picture', type=Path, default=PICTURE, help=f'(default: {PICTURE})')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return what each number of GPUs made of each load, and write the picture."""
    sys.setswitchinterval(0.0005)  # as the node does
    vehicle = load_vehicle(args.vehicle)
    wanted = {'path': args.model, 'labels': args.labels}
    model = load_model(build(ModelConfig, wanted) if args.model else vehicle.model)
    there = len(cuda_driver().devices)
    on_gpu = any(device_kind(lane.device) == 'cuda' for lane in vehicle.lanes)
    counts = args.gpus or (range(1, there + 1) if on_gpu else [0])
    gpus = [device.name for device in cuda_driver().devices]
    result: dict[str, Any] = {'model': model.path.name, 'image': list(args.size), 'gpus': gpus}
    result['runs'] = []
    for count in counts:
        config = _on_gpus(vehicle, count, args.in_flight) if on_gpu else vehicle
        for memory in args.memory if on_gpu else ['pageable']:
            images = _images(args.size, max(args.streams), memory)
            with _kept(lane_specs(config, model)) as specs:
                bare = bare_rate(specs, images, args.seconds)
                for streams, share in itertools.product(args.streams, args.offered):
                    load = Load(streams, bare * share, args.seconds)
                    run = pipeline_run(config, specs, images[:streams], load)
                    about = {'gpus': count, 'memory': memory, 'bare_per_s': round(bare, 1)}
                    row = about | {'streams': streams, 'offered': share} | run.figures(bare)
                    result['runs'].append(row)
                    print(row, flush=True)
                    args.save(result)
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.picture, chart(result))
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    table = [('GPUs', ', '.join(result['gpus']) or 'none'), ('model', result['model'])]
    for run in result['runs']:
        where = f'{run["gpus"]} GPUs, ' if run['gpus'] else ''
        sizes = ' '.join(f'{size}:{part:.0%}' for size, part in run['batch_sizes'].items())
        table.append((
            f'{where}{run["memory"]}, {run["streams"]} streams, {run["offered"]:g} × '
            f'{run["bare_per_s"]:.0f} offered',
            f'{run["per_s"]:.0f}/s = {run["share"]:.1%}; p50 {run["p50_ms"]:.1f} p95 '
            f'{run["p95_ms"]:.1f} p99 {run["p99_ms"]:.1f} ms; CPU {run["cpu_ms"]:.2f} ms; '
            f'frames in batches of {sizes}',
        ))  # fmt: skip
    return table


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered: streams, images per second of all together, and for how long."""

    streams: int
    per_s: float
    seconds: float


@dataclass(slots=True)
class Run:
    """What a pipeline made of a load.

    Attributes:
        load: what was asked for; ``offered``: images that really were.
        traces: of the results.
        elapsed_s: length.
        cpu_s: of the process, without the streams' own thread.
    """

    load: Load
    traces: list[FrameTrace] = field(default_factory=list)
    offered: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0

    def figures(self, bare: float) -> dict[str, Any]:
        """Return the figures of the run; ``bare`` is what the bare loop makes."""
        count = len(self.traces)
        per_s, offered_per_s = count / self.elapsed_s, self.offered / self.elapsed_s
        times = [trace.total_ns / 1e6 for trace in self.traces] or [0.0]
        p50, p95, p99 = np.percentile(times, (50, 95, 99)).round(2).tolist()
        sizes = Counter(trace.batch_size for trace in self.traces)
        lanes = Counter(trace.lane for trace in self.traces)
        return {
            'offered_per_s': round(offered_per_s, 1),
            'per_s': round(per_s, 1),
            'share': round(per_s / min(bare, offered_per_s), 4),
            'p50_ms': p50,
            'p95_ms': p95,
            'p99_ms': p99,
            'cpu_ms': round(self.cpu_s * 1e3 / max(1, count), 3),
            'batch_sizes': {size: round(n / count, 3) for size, n in sorted(sizes.items())},
            'lanes': {name: round(n / count, 3) for name, n in sorted(lanes.items())},
        }


def pipeline_run(
    config: Config, specs: Sequence[LaneSpec], images: list[np.ndarray], load: Load
) -> Run:
    """Offer a load to a pipeline and return what came of it."""
    run, counting = Run(load), threading.Event()
    traces: list[FrameTrace] = []

    def note(_frame: Frame, trace: FrameTrace) -> None:
        if counting.is_set():
            traces.append(trace)

    names = [f'stream_{i}' for i in range(load.streams)]
    cameras = [replace(config.cameras[0], name=name, lane='') for name in names]
    height, width = images[0].shape[:2]
    options = PipelineOptions(warmup_height=height, warmup_width=width)
    sink: Callable[..., None] = lambda frame, found: None  # noqa: E731
    with Pipeline(cameras, specs, sink, on_trace=note, options=options) as pipeline:
        streams = Streams(pipeline, names, images, load.per_s)
        streams.start()
        time.sleep(SETTLE_S)
        before, start, cpu = streams.state(), time.monotonic(), time.process_time()
        counting.set()
        time.sleep(load.seconds)
        counting.clear()
        after = streams.state()
        run.elapsed_s, spent = time.monotonic() - start, time.process_time() - cpu
        streams.stop()
    run.offered, own = (b - a for a, b in zip(before, after, strict=True))  # type: ignore[assignment]
    run.cpu_s, run.traces = spent - own, traces
    return run


class Streams:
    """A thread that offers images to a pipeline at a rate, one camera after the other.

    Args:
        pipeline: where to.
        names: of the cameras.
        images: one for each.
        per_s: images per second, of all cameras together.
    """

    def __init__(
        self, pipeline: Pipeline, names: Sequence[str], images: Sequence[np.ndarray], per_s: float
    ) -> None:
        self._pipeline, self._per_s = pipeline, per_s
        self._sources = list(zip(names, images, strict=True))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._offered, self._spent_s = 0, 0.0

    def start(self) -> None:
        """Begin to offer."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def state(self) -> tuple[int, float]:
        """Return images offered so far, and the thread's CPU time in seconds."""
        return self._offered, self._spent_s

    def _run(self) -> None:
        start = time.monotonic()
        for name, image in itertools.cycle(self._sources):
            ahead = self._offered / self._per_s - (time.monotonic() - start)
            if ahead > TICK_S and self._stop.wait(ahead):
                return
            if self._stop.is_set():
                return
            sequence = self._pipeline.next_sequence(name)
            self._pipeline.offer(as_frame(name, sequence, image))
            self._offered += 1
            self._spent_s = time.thread_time()


class Kept:
    """A detector that outlives the lanes it serves, one after the other; see :class:`LaneDetector`.

    Args:
        spec: of the lane on a GPU that makes it.
    """

    def __init__(self, spec: LaneSpec) -> None:
        self._spec, self._detector = spec, spec.factory()
        self.max_batch, self.about = self._detector.max_batch, self._detector.about
        self.submit = self._detector.submit

    def again(self) -> Kept:
        """Return it to a new lane's thread, for which its GPU becomes the current one."""
        from yolox_trt_ros.detect.cuda.runtime import CudaDevice

        CudaDevice(int(self._spec.config.device.removeprefix('cuda:')))
        return self

    def close(self) -> None:
        """Stay open for the next lane."""

    def end(self) -> None:
        """Free the device."""
        self.again()._detector.close()


@contextmanager
def _kept(specs: Sequence[LaneSpec]) -> Iterator[list[LaneSpec]]:
    """Give lanes whose detectors on GPUs are made once: that takes longer than a run."""
    made: dict[str, Kept] = {}

    def factory(spec: LaneSpec) -> LaneDetector:
        name = spec.config.name
        if name not in made:
            made[name] = Kept(spec)
        return made[name].again()

    try:
        yield [
            replace(spec, factory=partial(factory, spec))
            if device_kind(spec.config.device) == 'cuda'
            else spec
            for spec in specs
        ]
    finally:
        for kept in made.values():
            kept.end()


def bare_rate(specs: Sequence[LaneSpec], images: list[np.ndarray], seconds: float) -> float:
    """Return images per second of the lanes' detectors, all at once, without a pipeline."""
    ready = threading.Barrier(len(specs))
    with ThreadPoolExecutor(len(specs)) as threads:
        lanes = [threads.submit(_bare_lane, spec, images, seconds, ready) for spec in specs]
    return sum(lane.result() for lane in lanes)


def _bare_lane(
    spec: LaneSpec, images: list[np.ndarray], seconds: float, ready: threading.Barrier
) -> float:
    try:
        detector = spec.factory()
    except Exception:
        ready.abort()
        raise
    try:
        size, depth = min(spec.config.max_batch, len(images)), spec.config.in_flight
        frames = [as_frame('bare', i, image) for i, image in enumerate(images[:size])]
        for _ in range(3):
            detector.submit(frames).wait()
        ready.wait()
        running = deque(detector.submit(frames) for _ in range(depth - 1))
        done, start = 0, time.monotonic()
        while time.monotonic() - start < seconds:
            running.append(detector.submit(frames))
            done += len(running.popleft().wait())
        elapsed = time.monotonic() - start
        for ticket in running:
            ticket.wait()
        return done / elapsed
    finally:
        detector.close()


def _on_gpus(vehicle: Config, count: int, in_flight: int) -> Config:
    """Return the vehicle with its first GPU lane on each of so many GPUs, and no other lane."""
    lane = next(lane for lane in vehicle.lanes if device_kind(lane.device) == 'cuda')
    lane = replace(lane, in_flight=in_flight or lane.in_flight)
    lanes = [replace(lane, name=f'gpu{i}', device=f'cuda:{i}') for i in range(count)]
    return replace(vehicle, lanes=tuple(lanes), lane_names=tuple(x.name for x in lanes))


def _images(size: tuple[int, int], count: int, memory: str) -> list[np.ndarray]:
    images = test_images(*size, count)
    return list(_pinned(images)) if memory == 'pinned' else images


def _pinned(images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    from yolox_trt_ros.detect.cuda.runtime import CudaDevice

    device = CudaDevice(0)
    for image in images:
        memory = device.pinned(image.size, np.uint8)
        memory[:] = image.reshape(-1)
        yield memory.reshape(image.shape)
