"""Files of wrong content where the package reads them: one sentence that names the place."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_trt_ros.core.errors import ConfigError, FrameError, YoloxTrtRosError
from yolox_trt_ros.datasets.formats import read_labelled
from yolox_trt_ros.engine.ranges import RangeTable, read_ranges
from yolox_trt_ros.image_files import read_image, write_image
from yolox_trt_ros.sim.sources import FolderSource, VideoSource
from yolox_trt_ros.testing.golden_file import read_golden
from yolox_trt_ros.vehicle_files import load_profile, load_vehicle

GOLDEN: dict[str, Any] = {
    'format': 1,
    'tolerances': {'iou': 0.95, 'score': 0.02, 'allowed_misses': 0},
    'cameras': {
        'front': [
            {'stamp_ns': 1, 'detections': [{'class': 'car', 'score': 0.5, 'box': [1, 2, 3, 4]}]}
        ]
    },
}
COCO: dict[str, Any] = {
    'categories': [{'id': 1, 'name': 'car'}],
    'images': [{'id': 7, 'file_name': 'front/1.jpg'}],
    'annotations': [{'id': 1, 'image_id': 7, 'category_id': 1, 'bbox': [0, 0, 5, 5]}],
}
RANGES = json.loads(RangeTable('m.onnx', 'aa', 'minmax', 4, ('x',), {'x': 1.0}).to_json())
ODD = (None, True, -1, 0.5, 'text', [], [1], {}, {'a': 1}, [[[]]], 10**30)
READERS: list[tuple[Callable[[Path], object], dict[str, Any]]] = [
    (read_golden, GOLDEN),
    (read_ranges, RANGES),
]


def variants(content: Any) -> list[Any]:
    """Return the content with each of its values replaced, left out or doubled in turn."""
    found: list[Any] = []
    if isinstance(content, dict):
        for key, value in content.items():
            rest = {k: v for k, v in content.items() if k != key}
            found += [rest, *({**content, key: odd} for odd in ODD)]
            found += [{**content, key: inner} for inner in variants(value)]
    elif isinstance(content, list):
        for i, value in enumerate(content):
            around = content[:i], content[i + 1 :]
            found += [[*around[0], *around[1]], [*content, value]]
            found += [[*around[0], inner, *around[1]] for inner in (*ODD, *variants(value))]
    return found


@pytest.mark.parametrize(('read', 'content'), READERS, ids=['golden', 'ranges'])
def test_values_of_wrong_types_are_named(
    read: Callable[[Path], object], content: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / 'file.json'
    file.write_text(json.dumps(content))
    read(file)
    refused = 0
    for variant in variants(content):
        file.write_text(json.dumps(variant))
        try:
            read(file)
        except YoloxTrtRosError as error:
            refused += 1
            assert str(error).startswith(str(file)) and '\n' not in str(error)
            assert 'Error' not in str(error), 'names of exceptions are no sentence'
    assert refused > len(variants(content)) / 2


def test_values_of_wrong_types_in_coco_labels_are_refused_or_counted(tmp_path: Path) -> None:
    file = tmp_path / 'file.json'
    for variant in variants(COCO):
        file.write_text(json.dumps(variant))
        try:
            data = read_labelled(file, format='coco')
        except ConfigError as error:
            assert str(error).startswith(str(file)) and '\n' not in str(error)
            assert 'Error' not in str(error), 'names of exceptions are no sentence'
            continue
        boxes = sum(len(image.boxes) for image in data.images)
        entries = len(variant['annotations'])
        assert boxes + data.faults.counts.total() >= entries


@pytest.mark.parametrize('read', [load_vehicle, load_profile])
def test_vehicles_and_profiles_of_any_bytes(read: Callable[[str], object], tmp_path: Path) -> None:
    file = tmp_path / 'file.yaml'
    for content in (
        b'', b'\xff\xfe', b'- 1', b'/**: 3', b'/**: {ros__parameters: [1]}', b'lanes: {a: 3}',
        b'name: 3\nlanes: {a: {device: cpu, cost_ms: {1: 2.0}}}', b'name: a\nname: b\nlanes: {}',
        b'name: a\nlanes: {3: {device: cpu, cost_ms: {1: 2.0}}}', b'name: 2020-01-01',
        b'name: a\nsources: text\nlanes: {a: {device: cpu, cost_ms: {1: 2.0}}}',
        b'name: a\nlanes: {a: {device: [], cost_ms: {yes: 2.0}}}', b'a: &a [*a]', b'\0',
    ):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=r'^[^\n]*file\.yaml[^\n]*$'):
            read(str(file))
    pipe = tmp_path / 'pipe.yaml'
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match='got a pipe'):
        read(str(pipe))


def test_images_of_any_name_and_content(tmp_path: Path) -> None:
    picture = np.full((9, 15, 3), 50, np.uint8)
    file = tmp_path / os.fsdecode(b'a\xff.png')
    write_image(file, picture)
    assert np.array_equal(read_image(file), picture)
    assert np.array_equal(FolderSource(tmp_path).picture(0), picture)
    whole = bytearray(file.read_bytes())
    whole[16:24] = (40_000).to_bytes(4, 'big') * 2
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, 'big')
    file.write_bytes(whole)
    for content, message in ((whole, 'OpenCV refuses it|not an image'), (b'', 'not an image')):
        file.write_bytes(content)
        with pytest.raises(FrameError, match=message):
            read_image(file)
        with pytest.raises(ConfigError, match=r'a\\xff\.png: '):
            FolderSource(tmp_path).picture(0)
    video = tmp_path / os.fsdecode(b'\xff.mp4')
    video.write_bytes(b'')
    with pytest.raises(ConfigError, match='rename it'):
        VideoSource(video)
    with pytest.raises(YoloxTrtRosError, match='cannot be written'):
        write_image(tmp_path / 'a.nothing', picture)
    with pytest.raises(YoloxTrtRosError, match='cannot be written'):
        write_image(tmp_path / 'wide.jpg', np.zeros((1, 70_000, 3), np.uint8))
    assert cv2.imread(str(tmp_path / 'wide.jpg')) is None
