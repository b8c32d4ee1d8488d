"""What the pipeline costs: eight cameras fed in process against the bare detector in a loop."""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from yolox_trt_ros.compose import Model, lane_specs, load_model
from yolox_trt_ros.core.config import Config, ModelConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import LaneDetector
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.schedule.pipeline import Pipeline
from yolox_trt_ros.vehicle_files import load_vehicle

FEED_HZ = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--vehicle', default='laptop_8cam', help='vehicle file or packaged name')
    parser.add_argument('--model', default='', help='ONNX file (default: the packaged model)')
    parser.add_argument('--labels', default='', help='text file, one class name a line')
    parser.add_argument('--size', type=int, nargs=2, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--seconds', type=float, default=5.0, help='length of one round')
    parser.add_argument('--rounds', type=int, default=3, help='rounds of each, alternating')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return results per second of both, round by round, and their ratio."""
    config = load_vehicle(args.vehicle)
    model = load_model(build(ModelConfig, {'path': args.model, 'labels': args.labels}))
    width, height = args.size
    images = test_images(width, height, len(config.cameras))
    bare: list[float] = []
    piped: list[float] = []
    # Alternating, and the ratio of medians, because a machine's speed drifts.
    for _ in range(args.rounds):
        bare.append(bare_rate(config, model, images, args.seconds))
        piped.append(pipeline_rate(config, model, images, args.seconds)[0])
    return {
        'lanes': [lane.name for lane in config.lanes],
        'image': list(args.size),
        'bare_loop_per_s': [round(v, 2) for v in bare],
        'pipeline_per_s': [round(v, 2) for v in piped],
        'ratio': round(float(np.median(piped) / np.median(bare)), 4),
    }


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    return [
        ('bare detector loop, results/s', f'{np.median(result["bare_loop_per_s"]):.1f}'),
        ('pipeline, eight cameras, results/s', f'{np.median(result["pipeline_per_s"]):.1f}'),
        ('pipeline / bare loop', f'{result["ratio"]:.3f}'),
    ]


def test_images(width: int, height: int, count: int) -> list[np.ndarray]:
    """Return smooth random images, uint8 (height, width, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 24, 36, 3), np.uint8)
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in coarse]


def bare_rate(config: Config, model: Model, images: list[np.ndarray], seconds: float) -> float:
    """Return results per second of the lanes' detectors, each called in a loop of its own."""
    # On a thread of its own: making a detector lowers the priority of the thread that does, which
    # threads started from there inherit.
    with ThreadPoolExecutor(1) as own:
        return own.submit(_bare_rate, config, model, images, seconds).result()


def _bare_rate(config: Config, model: Model, images: list[np.ndarray], seconds: float) -> float:
    detectors = [spec.factory() for spec in lane_specs(config, model)]
    for detector in detectors:
        detector.submit([as_frame('warm', 0, images[0])]).wait()
    counts = [0] * len(detectors)
    start = time.monotonic()

    def loop(which: int, detector: LaneDetector) -> None:
        for i in itertools.count():
            if time.monotonic() - start >= seconds:
                return
            detector.submit([as_frame('bare', i, images[i % len(images)])]).wait()
            counts[which] += 1

    threads = [threading.Thread(target=loop, args=(i, d)) for i, d in enumerate(detectors)]
    run_all(threads)
    rate = sum(counts) / (time.monotonic() - start)
    for detector in detectors:
        detector.close()
    return rate


def pipeline_rate(
    config: Config, model: Model, images: list[np.ndarray], seconds: float
) -> tuple[float, float]:
    """Feed the pipeline in process, every camera faster than it can follow.

    Returns:
        Results per second, and CPU milliseconds of this process per result.
    """
    published = 0

    def sink(_frame: Frame, _found: Detections) -> None:
        nonlocal published
        with counting:
            published += 1

    counting = threading.Lock()
    with Pipeline(config.cameras, lane_specs(config, model), sink) as pipeline:
        offer = _feeder(pipeline, config, images)
        stop = threading.Event()
        feeder = threading.Thread(target=_feed, args=(offer, len(config.cameras), stop))
        feeder.start()
        time.sleep(0.5)
        first, start, cpu = published, time.monotonic(), time.process_time()
        time.sleep(seconds)
        count = published - first
        elapsed, spent = time.monotonic() - start, time.process_time() - cpu
        stop.set()
        feeder.join()
    return count / elapsed, spent * 1e3 / max(1, count)


def _feeder(pipeline: Pipeline, config: Config, images: list[np.ndarray]) -> Callable[[int], None]:
    names = [camera.name for camera in config.cameras]

    def offer(i: int) -> None:
        name = names[i % len(names)]
        pipeline.offer(as_frame(name, pipeline.next_sequence(name), images[i % len(images)]))

    return offer


def _feed(offer: Callable[[int], None], cameras: int, stop: threading.Event) -> None:
    period = 1 / (FEED_HZ * cameras)
    due = time.monotonic()
    for i in itertools.count():
        due += period
        if stop.wait(max(0.0, due - time.monotonic())):
            return
        offer(i)


def as_frame(camera: str, sequence: int, image: np.ndarray) -> Frame:
    """Return a BGR image as a frame that arrives now."""
    height, width = image.shape[:2]
    now = time.monotonic_ns()
    return Frame(
        camera, sequence, now, now, '', 'bgr8', height, width, width * 3, image.reshape(-1)
    )


def run_all(threads: list[threading.Thread]) -> None:
    """Start threads and wait for all of them."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
