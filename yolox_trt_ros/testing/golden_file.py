"""Golden detections as readable JSON, with their tolerances."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import member, of_kind, read_json
from yolox_trt_ros.testing.results import Replayed, Result

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What counts as the same.

    Attributes:
        iou: least overlap of a box with its golden box.
        score: largest difference of their scores.
        allowed_misses: boxes of the whole replay that may be missing or extra. Images without a
            result, or with one that the golden does not know, are never allowed.
    """

    iou: float = 0.95
    score: float = 0.02
    allowed_misses: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.iou <= 1 and 0 <= self.score <= 1 and self.allowed_misses >= 0):
            raise ConfigError(
                f'tolerances: expected iou above 0 and at most 1, score 0 to 1 and allowed_misses '
                f'0 or more, got {self}'
            )


def golden_text(replayed: Replayed, tolerances: Tolerances) -> str:
    """Return a golden as JSON with one line per image, so that a diff shows what changed."""
    head = {
        'format': FORMAT,
        'bag': replayed.bag.name,
        'box': 'left, top, right, bottom in pixels of the image',
        'tolerances': asdict(tolerances),
    }
    lines = [f' {json.dumps(key)}: {json.dumps(value)},' for key, value in head.items()]
    lines.append(' "cameras": {')
    cameras = []
    for camera, results in replayed.cameras.items():
        images = ',\n'.join(f'   {json.dumps(_image(r, replayed.labels))}' for r in results)
        cameras.append(
            f'  {json.dumps(camera)}: [\n{images}\n  ]' if images else f'  {json.dumps(camera)}: []'
        )
    return '\n'.join(['{', *lines, ',\n'.join(cameras), ' }', '}']) + '\n'


def _image(result: Result, labels: Sequence[str]) -> dict[str, Any]:
    d = result.detections
    return {
        'stamp_ns': result.stamp_ns,
        **({'repeat': result.repeat} if result.repeat else {}),
        'detections': [
            {
                'class': labels[class_id],
                'score': round(float(score), 4),
                'box': [round(float(v), 2) for v in box],
            }
            for box, score, class_id in zip(d.xyxy, d.score, d.class_id, strict=True)
        ],
    }


@dataclass(frozen=True, slots=True)
class Golden:
    """What a golden file says.

    Attributes:
        cameras: results by camera.
        tolerances: that they are compared with, unless a test says otherwise.
        labels: class names by number: the model's, and behind them those that it does not know.
    """

    cameras: dict[str, list[Result]]
    tolerances: Tolerances
    labels: tuple[str, ...]


def read_golden(file: Path, labels: Sequence[str] = ()) -> Golden:
    """Return a golden that was written by :func:`golden_text`, perhaps edited by hand.

    Args:
        file: where it is.
        labels: the model's class names.

    Raises:
        ConfigError: it is not such a file.
    """
    where = f'{one_line(file)}: not a golden file'
    content = read_json(file, what='a golden file')
    if member(content, 'format', int, where) != FORMAT:
        raise ConfigError(f'{where}: expected format {FORMAT}, got {content["format"]}')
    numbers = {name: i for i, name in enumerate(labels)}
    cameras = {
        camera: _camera(images, numbers, f'{where}: {shown(camera)}')
        for camera, images in member(content, 'cameras', dict, where).items()
    }
    given = member(content, 'tolerances', dict, where)
    return Golden(cameras, _tolerances(given, where), tuple(numbers))


def _tolerances(given: dict[str, Any], where: str) -> Tolerances:
    kinds = {field.name: type(field.default) for field in fields(Tolerances)}
    for name in given:
        if name not in kinds:
            raise ConfigError(
                f'{where}: tolerances: unknown key {shown(name)}{did_you_mean(name, kinds)}'
            )
        member(given, name, kinds[name], f'{where}: tolerances')
    try:
        return Tolerances(**given)
    except ConfigError as error:
        raise ConfigError(f'{where}: {error}') from error


def _camera(images: Any, numbers: dict[str, int], where: str) -> list[Result]:
    results = []
    for number, image in enumerate(of_kind(images, list, where), 1):
        place = f'{where}, image {number}'
        stamp_ns = member(image, 'stamp_ns', int, place)
        rows = member(image, 'detections', list, place)
        repeat = member({'repeat': 0, **image}, 'repeat', int, place)
        results.append(Result(stamp_ns, _read(rows, numbers, place), repeat))
    return results


def _read(rows: list[Any], numbers: dict[str, int], where: str) -> Detections:
    xyxy, score, class_id = [], [], []
    for row in rows:
        label = member(row, 'class', str, where)
        class_id.append(numbers.setdefault(label, len(numbers)))
        score.append(member(row, 'score', float, where))
        box = member(row, 'box', list, where)
        if len(box) != 4:
            raise ConfigError(f'{where}: box: expected 4 numbers, got {shown(box)}')
        xyxy.append([of_kind(v, float, f'{where}: box') for v in box])
    return Detections(
        np.array(xyxy, np.float32).reshape(-1, 4),
        np.array(score, np.float32),
        np.array(class_id, np.int32),
    )
