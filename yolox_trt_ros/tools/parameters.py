"""Print the reference of all parameters, or a first vehicle file: of a bag, or of Autoware's.

The reference is Markdown, made of the parameters' own declarations; with --schema it is a JSON
Schema, by which editors complete and check vehicle files. With --from-bag the image
topics of a recording become the cameras of a vehicle file for this machine, to be looked over and
kept: python -m yolox_trt_ros parameters --from-bag my_bag --model my.onnx > my_car.param.yaml
With --from-autoware the parameter files of autoware_tensorrt_yolox become a vehicle file that
says, as comments, what became of each of their keys.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from yolox_trt_ros.cli.bag_limits import add_bag_limits
from yolox_trt_ros.cli.camera_names import camera_names
from yolox_trt_ros.cli.from_autoware import (
    IMAGES,
    ROIS,
    Given,
    add_cameras,
    draft_of,
    read_files,
    report_of,
)
from yolox_trt_ros.compose import available_cores, load_model
from yolox_trt_ros.core.class_names import check_autoware
from yolox_trt_ros.core.config import MAX_CAMERAS, Config, ModelConfig
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import Parameter, build, table
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.resources import find_resource
from yolox_trt_ros.vehicle_files import SCHEMA, flatten, vehicle_schema

if TYPE_CHECKING:
    from yolox_trt_ros.bags.reader import Bag
    from yolox_trt_ros.ros.replay.bag_cameras import BagCamera, BagCameras

HEAD = """# Parameters of a vehicle file

<!-- Written by: python -m yolox_trt_ros parameters > docs/parameters.md -->

A vehicle is one ROS parameter file that all nodes read, under `/**: ros__parameters:`. Start from a
packaged one ([laptop](../config/vehicles/laptop_8cam.param.yaml),
[desktop](../config/vehicles/desktop_8cam.param.yaml),
[desktop with two GPUs](../config/vehicles/desktop_2gpu_8cam.param.yaml),
[Orin](../config/vehicles/orin_8cam.param.yaml),
[Autoware](../config/vehicles/autoware_8cam.param.yaml)), from a recording with
`python -m yolox_trt_ros parameters --from-bag BAG`, or from [Autoware's](autoware.md) parameter
files with `--from-autoware`. All unknown names and values out of range are reported together. An
integer is accepted for a float.

An editor with a YAML language server (in VS Code: the extension "YAML") completes, explains and
checks a vehicle file by the schema that its first line names; packaged files name
[`config/vehicle.schema.json`](../config/vehicle.schema.json). For a file elsewhere:

```bash
python -m yolox_trt_ros parameters --schema > vehicle.schema.json
sed -i '1i # yaml-language-server: $schema=vehicle.schema.json' my_car.param.yaml
```

Parameters marked *live* may change while the node runs (`ros2 param set /detector
model.score_threshold 0.4`). The node reads the others when it is configured: `ros2 lifecycle set
/detector deactivate`, then `cleanup`, set them, `configure`, `activate`. The file is not read
again; `ros2 param dump /detector` writes the present values as a file that nodes and tools read.

Setting an unknown name or an invalid value fails at once. If a parameter contradicts another one,
`configure` fails with a message, and may be tried again. Setting a parameter to its present value
is no change, so `ros2 param load` of the node's own file always succeeds. Camera_sim and overlay
read all parameters at their start.

A file may describe more cameras, lanes and models than `camera_names`, `lane_names`, `model_names`
list; the others rest, and so does a camera with `enabled: false`. All may be added to and removed
from the lists without a restart; parameters of removed ones that ran are forgotten.

Sections other than `/**` are read as ROS does: by the nodes that they name, the last one wins.
Tools read what is for a node called `detector`.
"""
SECTIONS = {
    '': ('The vehicle', ''),
    'model.': ('Model', 'The network, and how its output becomes detections.'),
    'models.<name>.': ('Further models', 'One block for each name in `model_names`.'),
    'lanes.<name>.': ('Lanes', 'One block for each name in `lane_names`.'),
    'cameras.<name>.': ('Cameras', 'One block for each name in `camera_names`.'),
    'cameras.<name>.rig.': (
        'Where a camera sits',
        "For the rendered world, and the place of a camera in the overlay's mosaic. Vehicle "
        'coordinates: x forward, y left, z up, origin on the ground below the rear axle.',
    ),
    'cameras.<name>.sim.': ('What camera_sim plays for a camera', ''),
    'tracking.': ('Tracking', 'Numbers for objects that stay: [tracking](tracking.md).'),
    'limits.': ('Limits', 'Above these [diagnostics](diagnostics.md) report WARN and ERROR.'),
    'sim.': ('What camera_sim plays', ''),
}
KINDS = {bool: 'bool', int: 'int', float: 'float', str: 'string', tuple: 'strings'}
SCHEMA_COMMENT = 'yaml-language-server: $schema='
"""How a YAML file names its schema to an editor."""
TIMEOUT_MS = next(p.default for p in table(Config) if p.name == 'cameras.<name>.timeout_ms')
QUIET_PERIODS = 3.0
"""Periods of a slow camera after which it is silent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--schema', action='store_true', help='print a JSON Schema, for editors')
    what.add_argument(
        '--from-bag',
        type=Path,
        metavar='BAG',
        help='write a vehicle file for the cameras of this bag',
    )
    what.add_argument(
        '--from-autoware',
        type=Path,
        nargs='+',
        metavar='FILE',
        help='write a vehicle file from parameter files of Autoware’s YOLOX node, such as '
        'yolox_tiny.param.yaml ml_package_yolox.param.yaml, or their manifest',
    )
    both = parser.add_argument_group('with --from-bag or --from-autoware')
    both.add_argument('--model', default='', help='ONNX file or packaged name')
    both.add_argument('--labels', default='', help='text file, one class name a line')
    theirs = parser.add_argument_group('with --from-autoware')
    theirs.add_argument('--class-map', default='', help='their roi_label_remap.csv')
    theirs.add_argument(
        '--cameras', type=int, default=MAX_CAMERAS, help=f'how many (default: {MAX_CAMERAS})'
    )
    theirs.add_argument(
        '--image-topic', default=IMAGES, help=f'{{i}} is the camera’s number (default: {IMAGES})'
    )
    theirs.add_argument('--rois-topic', default=ROIS, help=f'the same (default: {ROIS})')
    theirs.add_argument(
        '--compressed',
        action='store_true',
        help='take IMAGE_TOPIC/compressed; Autoware’s decompressor is not needed then',
    )
    group = parser.add_argument_group('with --from-bag')
    group.add_argument(
        '--topics',
        nargs='+',
        default=[],
        metavar='T',
        help='take only these image topics: names or patterns such as "/CAM_*"',
    )
    group.add_argument(
        '--remap', nargs='+', default=[], metavar='A:=B', help='write B where topic A was recorded'
    )
    add_bag_limits(parser)


def run(args: argparse.Namespace) -> int:
    """Run the tool."""
    if args.from_autoware:
        print(of_autoware(args), end='')
        return 0
    if args.schema:
        print(json.dumps(vehicle_schema(), indent=1, ensure_ascii=False))
        return 0
    if not args.from_bag:
        print(reference(), end='')
        return 0
    from yolox_trt_ros.bags.selection import remappings

    remap = remappings(args.remap)
    print(vehicle_file(args.from_bag, args.model, args.labels, args.topics, remap), end='')
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
    values = ', '.join(f'`{choice}`' for choice in p.choices if choice) or p.range_text()
    live = ' *live*' if p.runtime else ''
    # As YAML writes it.
    default = yaml.safe_dump(list(p.default) if p.kind is tuple else p.default).split('\n')[0]
    what = p.description.replace('|', '\\|')
    return f'| `{p.name}` | {KINDS[p.kind]} | `{default}` | {values} | {what}{live} |'


def vehicle_file(
    path: Path,
    model: str = '',
    labels: str = '',
    topics: Sequence[str] = (),
    remap: Mapping[str, str] | None = None,
) -> str:
    """Return a vehicle file for the cameras of a bag, on CPU lanes of this machine.

    Args:
        path: the bag.
        model, labels: what it is to run; empty: the packaged model.
        topics: only these, see :func:`_bag_cameras.cameras_in`.
        remap: recorded names to those that the cameras are to have.

    Raises:
        ConfigError: the bag has no cameras, or more than a vehicle may have.
        ModelError: the model cannot be used.
        BagError: the bag cannot be read, or has no such topic.
    """
    from yolox_trt_ros.bags.reader import Bag
    from yolox_trt_ros.ros.replay.bag_cameras import cameras_in

    given = {'path': _whole(model), 'labels': _whole(labels)}
    given = {name: value for name, value in given.items() if value}
    load_model(build(ModelConfig, given))  # shows now what configure would tell
    remap = remap or {}
    with Bag(path) as bag:
        bag.require([*remap])
        found = cameras_in(bag, topics)
        if not 1 <= len(found.taken) <= MAX_CAMERAS:
            raise ConfigError(_wrong_count(bag, found))
    named = [remap.get(c.topic.name, c.topic.name) for c in found.taken]
    names = list(camera_names(named))
    lanes = [f'cpu{i}' for i in range(min(4, available_cores()))]
    parameters: dict[str, Any] = {
        'model': given or {'path': ''},
        'lane_names': lanes,
        'lanes': {name: {'device': 'cpu', 'threads': 1} for name in lanes},
        'camera_names': names,
        'cameras': {
            name: _camera(camera, topic)
            for name, camera, topic in zip(names, found.taken, named, strict=True)
        },
    }
    Config.from_parameters(dict(flatten('', parameters)))
    text = yaml.safe_dump({'/**': {'ros__parameters': parameters}}, sort_keys=False)
    return f'{_comments(path, dict(zip(names, found.taken, strict=True)), found.left_out)}{text}'


def of_autoware(args: argparse.Namespace) -> str:
    """Return a vehicle file from parameter files of Autoware's YOLOX node.

    Raises:
        ConfigError: a file cannot be read, a value is none of its key's, or the model's classes
            are none of Autoware's.
        ModelError: the model is here, and cannot be used.
    """
    if not 1 <= args.cameras <= MAX_CAMERAS:
        raise ConfigError(f'--cameras: expected 1 to {MAX_CAMERAS}, got {args.cameras}')
    given = read_files(args.from_autoware)
    said = {'model_path': args.model, 'label_path': args.labels, 'roi_remap_path': args.class_map}
    given += (Given(k, _whole(v), Path('command line')) for k, v in said.items() if v)
    draft = draft_of(given)
    add_cameras(draft, args.cameras, args.image_topic, args.rois_topic, args.compressed)
    config = Config.from_parameters(draft.parameters)
    if os.path.isfile(config.model.path):
        rules = load_model(config.model).rules
        check_autoware(rules.labels[i] for i in rules.wanted)
    elif config.model.path:
        draft.todo.append(
            f'{one_line(config.model.path)} is not on this machine: it was not looked at'
        )
    for key, near in draft.unknown.items():
        print(f'{one_line(key)}: no key of Autoware’s YOLOX node{near}', file=sys.stderr)
    comments = ''.join(f'# {_one_line(line)}\n' for line in report_of(draft, given))
    parameters = {'/**': {'ros__parameters': nested(draft.parameters)}}
    return comments + yaml.safe_dump(parameters, sort_keys=False)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted names and values as nested dictionaries."""
    root: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split('.')
        inner = root
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return root


def _whole(file: str) -> str:
    return str(Path(file).resolve()) if Path(file).is_file() else file


def _camera(camera: BagCamera, topic: str) -> dict[str, Any]:
    block: dict[str, Any] = {
        'topic': topic,
        'transport': camera.transport,
        'encoding': camera.encoding,
        'width': camera.width,
        'height': camera.height,
        'rate_hz': camera.rate_hz,
    }
    silence_ms = QUIET_PERIODS * 1000.0 / camera.rate_hz
    if silence_ms > TIMEOUT_MS:  # a slow camera is not a silent one
        block['timeout_ms'] = round(silence_ms, 1)
    return block


def _comments(path: Path, cameras: Mapping[str, BagCamera], left_out: Mapping[str, str]) -> str:
    """Return what a reader of the file wants to know, as comments."""
    named = cameras.items()
    schema = find_resource('config', SCHEMA).resolve()
    lines = [
        *([f'{SCHEMA_COMMENT}{schema}'] if schema.is_file() else []),
        f'Cameras of {path.name}, lanes of this machine. docs/parameters.md has the rest.',
        'Rates: median distance of the header stamps; of the times of receipt where these do not '
        'rise.',
        *(f'  {name}: {c.topic.name}, images: {c.topic.count}' for name, c in named),
    ]
    if left_out:
        lines.append(
            'Left out (of a camera that is there raw and compressed, the raw topic is taken unless '
            'it has fewer images; --topics NAME takes a topic all the same):'
        )
        lines += [f'  {name}: {why}' for name, why in left_out.items()]
    return ''.join(f'# {_one_line(line)}\n' for line in lines)


def _one_line(text: str) -> str:
    """Return text of a bag so that it cannot end the comment it stands in."""
    return ''.join(c if c.isprintable() else '?' for c in text)


def _wrong_count(bag: Bag, found: BagCameras) -> str:
    taken = [camera.topic.name for camera in found.taken]
    problem = f'{bag.path}: expected 1 to {MAX_CAMERAS} topics with images, got {len(taken)}'
    if taken:
        return (
            f'{problem}: choose with --topics, by names or patterns such as '
            f"'{taken[0].rpartition('/')[0]}/*': {', '.join(taken)}"
        )
    left_out = '; '.join(f'{name}: {why}' for name, why in found.left_out.items())
    there = ', '.join(f'{t.name} ({t.type})' for t in bag.topics.values()) or 'nothing'
    return f'{problem}; it has {there}' + (f'. Left out: {left_out}' if left_out else '')
