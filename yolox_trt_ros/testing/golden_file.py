"""Golden detections as readable JSON, with the tolerances they are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
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
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        if content['format'] != FORMAT:
            raise ValueError(f'format {content["format"]}, expected {FORMAT}')
        tolerances = Tolerances(**content['tolerances'])
        numbers = {name: i for i, name in enumerate(labels)}
        cameras = {
            name: [_result(image, numbers) for image in images]
            for name, images in content['cameras'].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f'{file}: not a golden file: {type(error).__name__}: {error}') from error
    return Golden(cameras, tolerances, tuple(numbers))


def _result(image: Mapping[str, Any], numbers: dict[str, int]) -> Result:
    return Result(int(image['stamp_ns']), _read(image, numbers), int(image.get('repeat', 0)))


def _read(image: Mapping[str, Any], numbers: dict[str, int]) -> Detections:
    rows = image['detections']
    return Detections(
        np.array([row['box'] for row in rows], np.float32).reshape(-1, 4),
        np.array([row['score'] for row in rows], np.float32),
        np.array([numbers.setdefault(row['class'], len(numbers)) for row in rows], np.int32),
    )
