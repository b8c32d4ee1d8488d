"""What the tests of signals start: nodes and tools, with what they need in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.ros.output.serialize_images import SerializedImage
from yolox_trt_ros.sim.encode import encode

ROOT = Path(__file__).resolve().parents[2]


CAMERAS, IMAGES = 2, 400


@dataclass(frozen=True)
class Subject:
    """What is started.

    Attributes:
        name: for the table.
        command: the program's arguments after ``python -m``.
        longest_s: time between start and signal, at most.
        phases: what it is doing, by words that it has written; the latest first.
        share: how often it is taken.
    """

    name: str
    command: Sequence[str]
    longest_s: float
    phases: Sequence[tuple[str, str]]
    share: int = 1


DETECTOR = (('detector active', 'active:'), ('detector configuring', '[detector]'))


def subjects(folder: Path) -> list[Subject]:
    """Return what is started; what it needs is written into a folder."""
    bag, vehicle = folder / 'bag', folder / 'two.param.yaml'
    write_vehicle(vehicle)
    write_bag(bag)
    laptop = str(ROOT / 'config/vehicles/laptop_8cam.param.yaml')
    node = 'yolox_trt_ros.ros.'
    source = str(folder / 'pictures')
    pictures = ['-p', f'sim.source:={source}']
    own, two = ['--ros-args', '--params-file', str(vehicle)], ['--vehicle', str(vehicle)]
    detector = [f'{node}detector_node', '--ros-args', '--params-file', laptop]
    inside = [f'{node}detector_node', *own, '-p', 'ingest:=simulated']
    camera_sim = [f'{node}camera_sim_node', *own]
    world = ['-p', 'sim.source:=world']
    tool = 'yolox_trt_ros'
    replayed = [tool, 'report', '--replay', str(bag), *two, '--out', '{new}.html']
    write_pictures(folder / 'pictures')
    return [
        Subject('detector, large model', [*detector, '-p', 'model.path:=edge_s'], 6.0, DETECTOR, 8),
        Subject('detector', detector, 6.0, DETECTOR, 4),
        Subject('detector with cameras in it', [*inside, *pictures], 6.0, DETECTOR, 2),
        Subject(
            'camera_sim', [*camera_sim, *pictures],
            4.0, [('playing', 'images/s'), ('opening', '[camera_sim]')], 2,
        ),
        Subject(
            'camera_sim, rendering', [*camera_sim, *world], 4.0, [('rendering', 'rendering')], 2
        ),
        Subject(
            'detector, rendering in it', [*inside, *world],
            8.0, [('rendering', 'rendering'), ('configuring', 'model ')], 1,
        ),
        Subject('overlay', [f'{node}overlay_node', *own], 4.0, [], 2),
        Subject(
            'replay', [tool, 'replay', str(bag), *two], 5.0, [('waiting for listeners', 'mcap')], 2
        ),
        Subject(
            'record', [tool, 'record', *two, '--output', '{new}'],
            5.0, [('recording', 'recording')], 2,
        ),
        Subject(
            'demo', [tool, 'demo', *two, '--out', '{new}', '--source', source],
            14.0, [('started', 'logs in')], 2,
        ),
        Subject('report --replay', replayed, 14.0, [('started', 'starting')], 1),
    ]  # fmt: skip


def write_vehicle(path: Path) -> None:
    """Write a vehicle of two small cameras."""
    flat: dict[str, Any] = {'camera_names': ['a', 'b'], 'lane_names': ['cpu']}
    for name in flat['camera_names']:
        flat |= {
            f'cameras.{name}.rate_hz': 5.0,
            f'cameras.{name}.sim.width': 320,
            f'cameras.{name}.sim.height': 240,
        }
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': flat}}))


def write_pictures(folder: Path) -> None:
    """Write a source for the cameras."""
    import cv2

    folder.mkdir()
    for number in range(3):
        picture = np.full((240, 320, 3), 40 * number, np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), picture)


def write_bag(path: Path) -> None:
    """Write a drive of 80 s."""
    image = encode(np.zeros((60, 80, 3), np.uint8), 'bgr8')
    with BagWriter(path) as bag:
        heads = {name: SerializedImage(name) for name in ('a', 'b')}
        for name in heads:
            bag.add_topic(f'/{name}/image_raw', 'sensor_msgs/msg/Image')
        for number in range(IMAGES):
            stamp = 10**18 + number * 200_000_000
            for name, head in heads.items():
                bag.write(f'/{name}/image_raw', stamp, head.write(image, stamp).data)
