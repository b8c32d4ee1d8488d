"""Print the reference of all parameters, or a first vehicle file for the cameras of a bag.

The reference is Markdown, made of the parameters' own declarations. With --from-bag the image
topics of a recording become the cameras of a vehicle file for this machine, to be looked over and
kept: python -m yolox_trt_ros parameters --from-bag my_bag --model my.onnx > my_car.param.yaml
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from yolox_trt_ros.compose import available_cores
from yolox_trt_ros.core.config import MAX_CAMERAS, Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import Parameter, table
from yolox_trt_ros.vehicle_files import flatten

HEAD = """# Parameters of a vehicle file

<!-- Written by: python -m yolox_trt_ros parameters > docs/parameters.md -->

A vehicle is one ROS parameter file that all nodes read, under `/**: ros__parameters:`. Start from a
packaged one ([laptop](../config/vehicles/laptop_8cam.param.yaml),
[desktop](../config/vehicles/desktop_8cam.param.yaml),
[Orin](../config/vehicles/orin_8cam.param.yaml)), or from a recording with
`python -m yolox_trt_ros parameters --from-bag BAG`. Names that nobody knows and values out of range
are refused, all of them at once. Those marked *live* may change while the node runs
(`ros2 param set /detector model.score_threshold 0.4`); the others are read when it is configured:
`ros2 lifecycle set /detector deactivate`, then `cleanup`, set them, `configure`, `activate`.
Cameras and lanes may join and leave their lists that way; the parameters of those that left are
forgotten.
"""
SECTIONS = {
    '': ('The vehicle', ''),
    'model.': ('Model', 'The network, and how its output becomes detections.'),
    'lanes.<name>.': ('Lanes', 'One block for each name in `lane_names`.'),
    'cameras.<name>.': ('Cameras', 'One block for each name in `camera_names`.'),
    'cameras.<name>.rig.': (
        'Where a camera sits',
        'Only the rendered world reads this. Vehicle coordinates: x forward, y left, z up, origin '
        'on the ground below the rear axle.',
    ),
    'cameras.<name>.sim.': ('What camera_sim plays for a camera', ''),
    'limits.': ('Limits', 'When [diagnostics](diagnostics.md) turn to WARN and ERROR.'),
    'sim.': ('What camera_sim plays', ''),
}
KINDS = {bool: 'bool', int: 'int', float: 'float', str: 'string', tuple: 'strings'}
IMAGES = {'sensor_msgs/msg/Image': 'raw', 'sensor_msgs/msg/CompressedImage': 'compressed'}
COMMON_PARTS = {'image', 'image_raw', 'image_color', 'image_rect', 'compressed', 'camera'}
"""Parts of a topic's name that tell nothing about which camera it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument('--from-bag', type=Path, metavar='BAG', help='write a vehicle file instead')
    parser.add_argument('--model', default='', help='with --from-bag: ONNX file or packaged name')


def run(args: argparse.Namespace) -> int:
    """Run the tool."""
    print(vehicle_file(args.from_bag, args.model) if args.from_bag else reference(), end='')
    return 0


def reference() -> str:
    """Return the reference as Markdown."""
    parts = [HEAD]
    groups: dict[str, list[Parameter]] = {}
    for parameter in table(Config):
        group = parameter.name[: parameter.name.rfind('.') + 1]
        groups.setdefault(group, []).append(parameter)
    for prefix in (*SECTIONS, *(group for group in groups if group not in SECTIONS)):
        title, words = SECTIONS.get(prefix, (prefix.rstrip('.'), ''))
        parts.append(f'\n## {title}\n')
        if words:
            parts.append(f'\n{words}\n')
        parts.append('\n| parameter | type | default | values | what |\n|---|---|---|---|---|\n')
        parts += (f'{_row(parameter)}\n' for parameter in groups[prefix])
    return ''.join(parts)


def _row(p: Parameter) -> str:
    values = ', '.join(f'`{choice}`' for choice in p.choices) or p.range_text()
    live = ' *live*' if p.runtime else ''
    # As YAML writes it.
    default = yaml.safe_dump(list(p.default) if p.kind is tuple else p.default).split('\n')[0]
    what = p.description.replace('|', '\\|')
    return f'| `{p.name}` | {KINDS[p.kind]} | `{default}` | {values} | {what}{live} |'


def vehicle_file(path: Path, model: str) -> str:
    """Return a vehicle file for the image topics of a bag, on CPU lanes of this machine.

    Raises:
        ConfigError: the bag has no images, or of more cameras than a vehicle may have.
        BagError: it cannot be read.
    """
    from yolox_trt_ros.bags.reader import Bag

    with Bag(path) as bag:
        seconds = max(1e-3, (bag.end_ns - bag.start_ns) / 1e9)
        topics = [t for t in bag.topics.values() if t.type in IMAGES and t.count]
        if not 1 <= len(topics) <= MAX_CAMERAS:
            there = ', '.join(f'{t.name} ({t.type})' for t in bag.topics.values()) or 'nothing'
            raise ConfigError(
                f'{path}: expected 1 to {MAX_CAMERAS} topics with images, got {len(topics)}; it '
                f'has {there}'
            )
    names = dict(zip(camera_names([t.name for t in topics]), topics, strict=True))
    lanes = [f'cpu{i}' for i in range(min(4, available_cores()))]
    cameras = {
        name: {
            'topic': topic.name,
            'transport': IMAGES[topic.type],
            'rate_hz': float(f'{max(0.01, (topic.count - 1) / seconds):.3g}'),
        }
        for name, topic in names.items()
    }
    parameters: dict[str, Any] = {
        'model': {'path': str(Path(model).resolve()) if Path(model).is_file() else model},
        'lane_names': lanes,
        'lanes': {name: {'device': 'cpu', 'threads': 1} for name in lanes},
        'camera_names': list(names),
        'cameras': cameras,
    }
    Config.from_parameters(dict(flatten('', parameters)))
    text = yaml.safe_dump({'/**': {'ros__parameters': parameters}}, sort_keys=False)
    return (
        f'# Cameras of {path.name}, lanes of this machine. docs/parameters.md has the rest.\n{text}'
    )


def camera_names(topics: list[str]) -> Iterator[str]:
    """Yield a name for each image topic: the parts of its path that tell cameras apart."""
    paths = [[part for part in topic.split('/') if part] for topic in topics]
    shared = set(paths[0]).intersection(*paths[1:]) if len(paths) > 1 else set()
    taken: set[str] = set()
    for path in paths:
        told = [part for part in path if part not in shared and part not in COMMON_PARTS]
        name = re.sub(r'\W', '_', '_'.join(told)) or 'camera'
        name = name if name[0].isalpha() else f'camera_{name.lstrip("_")}'
        free = next(n for n in _numbered(name) if n not in taken)
        taken.add(free)
        yield free


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f'{name}_{i}' for i in range(2, 2 + MAX_CAMERAS))
