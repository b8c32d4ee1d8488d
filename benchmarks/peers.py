"""TensorRT the way others use it, beside one lane of this package: images per second.

The plain program resizes one image on the CPU, infers it, and decodes and thins out with NumPy. One
node per camera is Autoware's way: a process for each camera with an engine of batch 1, the image
preprocessed by a fused kernel on the GPU. A lane takes what waits as one batch. All run engines of
the same network and precision on the same images, as fast as they can.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import deque
from typing import Any

import numpy as np

from benchmarks.pipeline import test_images
from benchmarks.support.plain_tensorrt import PlainProgram, tensorrt_infer
from yolox_trt_ros.compose import Model, engine_of_lane, load_model, make_detector, tensorrt_engine
from yolox_trt_ros.core import children
from yolox_trt_ros.core.config import EnginesConfig, LaneConfig, ModelConfig
from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.interruption import begin
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.detect.cuda.runtime import CudaDevice

WARM = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--model', default='edge_s', help='with its whole head (default: edge_s)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--precision', choices=('fp32', 'fp16'), default='fp16')
    parser.add_argument('--size', type=int, nargs=2, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--cameras', type=int, default=8)
    parser.add_argument('--seconds', type=float, default=5.0, help='length of each run')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return images per second and milliseconds of an image, for each way."""
    model = load_model(build(ModelConfig, {'path': args.model, 'labels': args.labels}))
    images = test_images(args.size[0], args.size[1], args.cameras)
    single, batched = _lane(args, 1), _lane(args, args.cameras)
    result: dict[str, Any] = {'gpu': CudaDevice(0).name, 'model': model.path.name, 'rows': {}}
    result['rows']['plain program'] = _plain(model, single, images, args.seconds)
    args.save(result)
    engine_of_lane(single, model, EnginesConfig())  # once, not in every process
    result['rows']['one node per camera'] = _nodes(args)
    args.save(result)
    detector = make_detector(batched, model)
    result['rows']['one lane, all cameras'] = _sustained(detector, images, 2, args.seconds)
    detector.close()
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    table = [('GPU', result['gpu']), ('model', result['model'])]
    for name, row in result['rows'].items():
        text = f'{row["per_s"]:.0f} images/s, {row["ms"]:.2f} ms median, {row["worst_ms"]:.2f} ms'
        table.append((name, f'{text} at most'))
    return table


def _lane(args: argparse.Namespace, batch: int) -> LaneConfig:
    return LaneConfig(
        'peer', device='cuda:0', backend='tensorrt', precision=args.precision, max_batch=batch,
        in_flight=2 if batch > 1 else 1,
    )  # fmt: skip


def _plain(
    model: Model, lane: LaneConfig, images: list[np.ndarray], seconds: float
) -> dict[str, float]:
    import cupy

    head: Any = model.spec.head
    if head.scores != 'probability' or head.boxes != 'grid' or len(head.outputs) != 1:
        raise ConfigError(f'--model: expected one with its whole head, got {model.path.name}')
    engine, _, _ = tensorrt_engine(lane, engine_of_lane(lane, model, EnginesConfig()))
    runtime = engine.module.Runtime(engine.logger)
    loaded = runtime.deserialize_cuda_engine(engine.content)
    limits = model.thresholds
    program = PlainProgram(
        tensorrt_infer(loaded, cupy), model.spec.input, head.strides, limits.score, limits.nms_iou
    )
    for image in images[:WARM]:
        program.detect(image)
    spans: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        program.detect(images[len(spans) % len(images)])
        spans.append(time.perf_counter() - begun)
    return _row(spans, len(spans) / sum(spans))


def _nodes(args: argparse.Namespace) -> dict[str, float]:
    """Run a process for each camera; all begin when the last one is ready."""
    command = [sys.executable, '-m', 'benchmarks.peers', args.model, args.labels, args.precision]
    command += [*map(str, args.size), str(args.seconds)]
    pipes: Any = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    nodes = [children.start(command, **pipes) for _ in range(args.cameras)]
    try:
        for node in nodes:
            assert node.stdout and node.stdout.readline() == 'ready\n', 'a node did not start'
        for node in nodes:
            assert node.stdin
            node.stdin.write('go\n')
            node.stdin.flush()
        found = [json.loads(node.stdout.readline()) for node in nodes if node.stdout]
    finally:
        for node in nodes:
            children.stop(node)
    return {
        'per_s': sum(row['per_s'] for row in found),
        'ms': float(np.median([row['ms'] for row in found])),
        'worst_ms': max(row['worst_ms'] for row in found),
    }


def _sustained(
    detector: LaneDetector, images: list[np.ndarray], in_flight: int, seconds: float
) -> dict[str, float]:
    frames = [_pinned(image) for image in images]
    for _ in range(WARM):
        detector.submit(frames).wait()
    running: deque[Any] = deque()
    spans: list[float] = []
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        running.append((time.perf_counter(), detector.submit(frames)))
        if len(running) == in_flight:
            begun, ticket = running.popleft()
            ticket.wait()
            spans.append(time.perf_counter() - begun)
    whole = time.monotonic() - start
    for _, ticket in running:
        ticket.wait()
    return _row(spans, len(spans) * len(frames) / whole)


def _pinned(image: np.ndarray) -> Frame:
    memory = CudaDevice(0).pinned(image.size, np.uint8)
    memory[:] = image.reshape(-1)
    return Frame.of(memory.reshape(image.shape))


def _row(spans: list[float], per_s: float) -> dict[str, float]:
    return {
        'per_s': round(per_s, 1),
        'ms': round(float(np.median(spans)) * 1e3, 3),
        'worst_ms': round(max(spans) * 1e3, 3),
    }


def node(path: str, labels: str, precision: str, *numbers: str) -> None:
    """Be the node of one camera: say that it is ready, wait for a line, run, print the row."""
    width, height, seconds = int(numbers[0]), int(numbers[1]), float(numbers[2])
    model = load_model(build(ModelConfig, {'path': path, 'labels': labels}))
    lane = LaneConfig('node', device='cuda:0', backend='tensorrt', precision=precision)
    detector = make_detector(lane, model)
    images = test_images(width, height, 1)
    detector.submit([_pinned(images[0])]).wait()
    print('ready', flush=True)
    sys.stdin.readline()
    print(json.dumps(_sustained(detector, images, 1, seconds)), flush=True)


if __name__ == '__main__':
    begin(0)
    node(*sys.argv[1:])
