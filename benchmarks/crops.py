"""Recall of far objects: a crop in full resolution against a larger input of the same cost.

One camera of the rendered world in a size that the model's input does not have, as on vehicles.
Three ways to look at it: the whole image; the same with a crop beside it, which is one place of a
batch more; and the whole image by the same weights with an input of twice the pixels. CPU time of
one image says what each costs. What the world labels is from 16 pixels of height in the camera's
own image on; objects claim detections of their class at an IoU of 0.5.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.resized_model import write_resized
from yolox_trt_ros.cli.numbers import number
from yolox_trt_ros.datasets.faults import Faults
from yolox_trt_ros.datasets.labelled import LabelledBoxes
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.evaluation.confusion import PictureOutcome, above
from yolox_trt_ros.evaluation.measure import (
    LabelledPictures,
    LabelledSample,
    shared_classes,
)
from yolox_trt_ros.evaluation.measure import (
    measure as run_on,
)
from yolox_trt_ros.packaged_models import find_model

LEAST_PX = 16.0
SPANS_M = ((0, 30), (30, 60), (60, 80), (80, math.inf), (60, math.inf))
TIMED = 5
MULTIPLE = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--model', default='edge_s', help='of a fixed input (default: edge_s)')
    parser.add_argument('--split', choices=('val', 'test'), default='test')
    parser.add_argument('--worlds', type=number(1, 1e5, int), default=24)
    parser.add_argument('--camera', default='front_wide', help='of the default rig')
    parser.add_argument('--size', nargs=2, type=int, default=(1920, 1280), metavar=('W', 'H'))
    parser.add_argument('--crop', default='', help='default: the model’s input at 50%%,45%%')
    parser.add_argument('--score', type=number(0, 1), default=0.3)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return recall by distance, wrong detections and CPU time of one image for each."""
    path = find_model(args.model)
    with tempfile.TemporaryDirectory() as folder, Detector(str(path), threads=1) as whole:
        size = whole.model.spec.input
        crop = args.crop or f'{size.width}x{size.height}@50%,45%'
        sides = [_scaled(side) for side in (size.width, size.height)]
        larger = write_resized(path, Path(folder) / f'{path.stem}_larger.onnx', *sides)
        options: dict[str, Any] = {'score_threshold': args.score, 'threads': 1}
        labels = str(path.parent / 'labels.txt')
        makers = {
            'whole image': lambda: Detector(str(path), **options),
            f'and crop {crop}': lambda: Detector(str(path), crops=[crop], **options),
            f'input {sides[0]}x{sides[1]}': lambda: Detector(str(larger), labels=labels, **options),
        }
        detectors = [make() for make in makers.values()]
        try:
            result = _measured(args, detectors)
        finally:
            for detector in detectors:
                detector.close()
    looks = dict(zip(makers, result.pop('looks'), strict=True))
    return {'camera': f'{args.camera} {args.size[0]}x{args.size[1]}', **result, 'looks': looks}


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table of a result."""
    table = [('camera', result['camera']), ('images', str(result['images']))]
    table += [(f'labels, {span}', str(count)) for span, count in result['labels'].items()]
    for name, look in result['looks'].items():
        recall = ', '.join(
            f'{span} {"–" if share is None else f"{share:.3f}"}'
            for span, share in look['recall'].items()
        )
        table.append((name, f'{look["cpu_ms"]:.0f} ms CPU; wrong {look["wrong"]}; {recall}'))
    return table


def _scaled(side: int) -> int:
    """Return a side of an input of twice the pixels."""
    return round(side * math.sqrt(2) / MULTIPLE) * MULTIPLE


def _measured(args: argparse.Namespace, detectors: list[Detector]) -> dict[str, Any]:
    pictures = _pictures(args)
    shared = shared_classes(detectors[0].labels, pictures)
    labels, found = run_on(detectors, shared, pictures)
    distance = np.concatenate([truth.distance_m[~truth.ignored] for truth in labels])
    looks = []
    for results, cpu_ms in zip(found, _cpu_ms(args, detectors), strict=True):
        right, wrong = [], 0
        for truth, every in zip(labels, results, strict=True):
            counted = above(every, args.score)
            outcome = PictureOutcome(truth, counted)
            right.append(outcome.right(truth, counted[2])[~truth.ignored])
            wrong += int(outcome.wrong.sum())
        hits = np.concatenate(right)
        recall = {}
        for low, high in SPANS_M:
            inside = (distance >= low) & (distance < high)
            recall[_span(low, high)] = (
                round(float(hits[inside].mean()), 4) if inside.any() else None
            )
        looks.append({'recall': recall, 'wrong': wrong, 'cpu_ms': round(cpu_ms, 1)})
    counts = {
        _span(low, high): int(((distance >= low) & (distance < high)).sum())
        for low, high in SPANS_M
    }
    return {'images': len(labels), 'labels': counts, 'looks': looks}


def _span(low: float, high: float) -> str:
    return f'{low} m on' if math.isinf(high) else f'{low} to {high} m'


def _pictures(args: argparse.Namespace) -> LabelledPictures:
    from yolox_trt_ros.sim.world.bodies import CLASSES

    def samples() -> Iterator[LabelledSample]:
        for index in range(args.worlds):
            for k, (bgr, truth) in enumerate(_seen(args, index)):
                boxes = LabelledBoxes(
                    truth.xyxy, truth.class_id, truth.ignored, None, truth.distance_m
                )
                yield LabelledSample(f'world {index}, {k}', bgr, boxes)

    return LabelledPictures('world', tuple(CLASSES), 2 * args.worlds, samples, Faults())


def _seen(args: argparse.Namespace, index: int) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield two pictures of a world, at the moments at which its split has it."""
    from yolox_trt_ros.sim.world.dataset import FIRST_SEED, TIMES
    from yolox_trt_ros.sim.world.rig import default_rig
    from yolox_trt_ros.sim.world.world import World

    seed = FIRST_SEED[args.split] + index
    camera = default_rig(*args.size)[args.camera]
    with World(seed) as world:
        for t_s in np.sort(np.random.default_rng([seed, 2]).uniform(0, 30, TIMES)):
            yield world.render(float(t_s), camera, LEAST_PX)


def _cpu_ms(args: argparse.Namespace, detectors: list[Detector]) -> list[float]:
    """Return the median CPU time of one image for each, in milliseconds, in turns."""
    image = next(_seen(args, 0))[0]
    spent: list[list[float]] = [[] for _ in detectors]
    for _ in range(TIMED):
        for detector, times in zip(detectors, spent, strict=True):
            begun_ns = time.process_time_ns()
            detector(image)
            times.append((time.process_time_ns() - begun_ns) / 1e6)
    return [float(np.median(times)) for times in spent]
