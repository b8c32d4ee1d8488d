"""Text files that somebody else wrote: YAML, JSON, and what reads them."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from harness import Target
from mutation import TEXTS, altered, damaged

from yolox_trt_ros.cli.from_autoware import add_cameras, draft_of, read_files, report_of
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError, ModelError
from yolox_trt_ros.core.text_files import read_json
from yolox_trt_ros.datasets.formats import read_labelled
from yolox_trt_ros.detect.class_map import read_class_map
from yolox_trt_ros.detect.labels import read_labels
from yolox_trt_ros.detect.mask_files import read_mask_boxes, read_mask_colors
from yolox_trt_ros.engine.ranges import RangeTable, read_ranges
from yolox_trt_ros.testing.golden_file import read_golden
from yolox_trt_ros.vehicle_files import load_profile, load_vehicle, parameter_sections
from yolox_trt_ros.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[2]
YAML_PIECES = (
    '&a [*a]', '&a x', '*a', '<<: *a', '<<: {a: 1}', '!!python/object:os.system x', '!!binary aGk=',
    '2026-01-01', '9' * 5000, '1:30:00', '0x' + 'f' * 99, '.inf', '-.nan', '? [1, 2]\n: 3', '---\n',
    '--- !x', '%YAML 9.9\n', '[' * 200, '{' * 200, '- ' * 200, '"\\ud800"', '"\\x00"', '| \n x',
    '\t', ' ', '\n', ':', '- ', '#', '"', "'", '\0', '\ufeff', '\u2028', '@', '`', '/**: ', 'yes',
    '&b [&c [&d [1, 1], *d, *d], *c, *c]', '!!set {a, b}', '!!int "x"', '!!float ""', '!!bool 3',
    '1_000', '0o17', '+1', '.5e', '~', '!!omap [a: 1]', '!!timestamp x', '!!null 1', '=',
)  # fmt: skip
JSON_PIECES = (
    'NaN', '-Infinity', '1e999', '9' * 5000, '[' * 3000, '{"a":' * 300, '"\\ud800"', '"\\u0000"',
    'null', ',', ':', '"', '{}', '[]', '\\', '\ufeff', '-', '1e', '0x1', 'true', "'", '//',
)  # fmt: skip
RANGES = json.loads(RangeTable('m.onnx', 'aa', 'minmax', 4, ('x',), {'x': 1.0}).to_json())
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
    'categories': [{'id': 1, 'name': 'car'}, {'id': 'b', 'name': 'bus'}],
    'images': [{'id': 7, 'file_name': 'front/1.jpg'}],
    'annotations': [
        {
            'id': 1, 'image_id': 7, 'category_id': 1, 'bbox': [0, 0, 5, 5], 'iscrowd': 0,
            'distance_m': 3.5,
        }
    ],
}  # fmt: skip
BDD: list[dict[str, Any]] = [
    {
        'name': 'a.jpg',
        'size': {'width': 64, 'height': 48},
        'labels': [
            {
                'category': 'car', 'attributes': {'crowd': False},
                'box2d': {'x1': 1, 'y1': 2.5, 'x2': 9, 'y2': 8},
            },
            {'category': 'lane', 'poly2d': [{'vertices': [[1, 2]]}]},
        ],
    }
]  # fmt: skip
VOC = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotation><filename>a.jpg</filename><size><width>64'
    '</width><height>48</height></size><object><name>car</name><difficult>0</difficult><bndbox>'
    '<xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>'
)
XML_PIECES = (
    '<!DOCTYPE a [<!ENTITY b "c">]>', '&b;', '<a>' * 3000, '</a>', '<![CDATA[', ']]>', '<!--',
    '-->', '<?xml version="1.0" encoding="utf-7"?>', 'nan', '-1', '1e999', '9' * 400, '\ud800',
    '\0', '<', '&',
)  # fmt: skip
PROFILE = {
    'name': 'a',
    'description': 'x',
    'sources': ['here'],
    'lanes': {
        'gpu': {
            'device': 'cuda:0', 'cost_ms': {1: 2.0, 4: 5.0}, 'slowdown': [1.0, 1.5], 'jitter': 0.1,
        }
    },
}  # fmt: skip
VEHICLE = {
    '/**': {
        'ros__parameters': {
            'camera_names': ['front'],
            'lane_names': ['cpu0'],
            'cameras': {'front': {'topic': '/front/image_raw', 'rate_hz': 10.0}},
            'lanes': {'cpu0': {'device': 'cpu', 'backend': 'onnxruntime'}},
            'model': {'path': 'm.onnx'},
        }
    }
}
PNG = cv2.imencode('.png', np.zeros((48, 64, 3), np.uint8))[1].tobytes()
AUTOWARE = {
    '/**': {
        'ros__parameters': {
            'model_path': '$(env HOME)/m.onnx', 'precision': 'int8', 'clip_value': 6.0, 'gpu_id': 0,
            'calibration_algorithm': 'Entropy', 'roi_overlay_segmentation_label': {'CAR': True},
        }
    }
}  # fmt: skip
CLASS_MAP = {'car': 'vehicle', 'human': ['person', 'rider'], 'kite': None}
NAMES = {'names': {0: 'car', 1: 'bus'}, 'labels': ['car', 'bus']}
Reader = Callable[[Path], object]


@cache
def texts(folder: str) -> list[str]:
    """Return the packaged files of a kind."""
    return [file.read_text() for file in sorted((ROOT / 'config' / folder).glob('*.yaml'))]


def replaced_values(text: str, source: random.Random) -> str:
    """Return YAML with other values behind some colons."""
    lines = text.split('\n')
    for _ in range(source.choice((1, 1, 2, 5))):
        i = source.randrange(len(lines))
        key, colon, _ = lines[i].partition(':')
        lines[i] = f'{key}{colon or ":"} {source.choice((*YAML_PIECES, *TEXTS))}'
    return '\n'.join(lines)


def dumped(content: object, source: random.Random) -> str:
    """Return nested values as YAML of one style or another, or as JSON."""
    if source.random() < 0.2:
        try:
            return str(yaml.dump(content, allow_unicode=True))
        except yaml.YAMLError:
            pass
    return json.dumps(content, default=repr, ensure_ascii=source.random() < 0.5)


def make_file(seed: object, pieces: tuple[str, ...], folder: str, source: random.Random) -> bytes:
    """Return a file in which a value, a piece of text or some bytes are wrong."""
    kind = source.random()
    if folder and kind < 0.2:
        text = replaced_values(source.choice(texts(folder)), source)
    else:
        content = seed
        for _ in range(source.choice((0, 1, 1, 1, 2, 6))):
            content = altered(content, source)
        text = dumped(content, source)
    if kind > 0.6:
        at = source.randrange(len(text) + 1)
        text = text[:at] + source.choice(pieces) + text[at + source.choice((0, 0, 1, 9)) :]
    raw = text.encode('utf-8', 'surrogatepass')
    return damaged(raw, source) if 0.4 < kind < 0.6 else raw


def feed(read: Reader, suffix: str, raw: bytes) -> None:
    """Write a file and read it; what is refused is refused in one sentence."""
    memory = '/dev/shm' if Path('/dev/shm').is_dir() else None
    with tempfile.NamedTemporaryFile(suffix=suffix, dir=memory) as file:
        file.write(raw)
        file.flush()
        try:
            read(Path(file.name))
        except (ConfigError, ModelError) as error:
            said = str(error)
            assert len(said) < 20_000, 'an error of a book'
            assert said.replace('\n', '').isprintable(), 'an error with control characters'
            raise


def target(
    name: str, read: Reader, seed: object, pieces: tuple[str, ...], suffix: str, folder: str = ''
) -> Target:
    """Return the target of one reader."""
    make, feeding = partial(make_file, seed, pieces, folder), partial(feed, read, suffix)
    return Target(name, make, feeding, (ConfigError, ModelError), 30.0, 1024, share=0.01)


def read_autoware(path: Path) -> None:
    """Make a vehicle of a parameter file of Autoware."""
    given = read_files([path])
    draft = draft_of(given)
    add_cameras(draft, 2)
    assert all(line.isprintable() for line in report_of(draft, given))
    Config.from_parameters(draft.parameters)


def make_xml(source: random.Random) -> bytes:
    """Return labels of Pascal VOC in which text or bytes are wrong."""
    text = VOC
    for _ in range(source.choice((0, 1, 1, 3))):
        at = source.randrange(len(text) + 1)
        piece = source.choice((*XML_PIECES, *TEXTS))
        text = text[:at] + piece + text[at + source.choice((0, 0, 1, 9)) :]
    raw = text.encode(source.choice(('utf-8', 'utf-8', 'utf-16')), 'surrogatepass')
    return damaged(raw, source) if source.random() < 0.4 else raw


def make_darknet(source: random.Random) -> bytes:
    """Return darknet labels of a picture in which words or bytes are wrong."""
    words = ['0', '0.5', '0.5', '0.25', '0.25\n1', '0.1', '0.1', '0.05', '0.02\n']
    for _ in range(source.choice((0, 1, 1, 3))):
        words[source.randrange(len(words))] = source.choice((*JSON_PIECES, *TEXTS, '-1', '7\n0'))
    raw = ' '.join(words).encode('utf-8', 'surrogatepass')
    return damaged(raw, source) if source.random() < 0.4 else raw


def feed_darknet(raw: bytes) -> None:
    """Write a folder of darknet labels and read it."""
    memory = '/dev/shm' if Path('/dev/shm').is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        (folder / 'a.png').write_bytes(PNG)
        (folder / 'a.txt').write_bytes(raw)
        (folder / 'obj.names').write_text('car\nbus\n')
        data = read_labelled(folder)
        assert all(s.isprintable() for s in data.faults.sentences())


TARGETS = [
    target('yaml', read_yaml, VEHICLE, YAML_PIECES, '.yaml', 'vehicles'),
    target('json', read_json, GOLDEN, JSON_PIECES, '.json'),
    target(
        'vehicle_files', lambda path: load_vehicle(str(path)), VEHICLE, YAML_PIECES, '.param.yaml',
        'vehicles',
    ),
    target('autoware_files', read_autoware, AUTOWARE, YAML_PIECES, '.param.yaml'),
    target('parameter_files', parameter_sections, VEHICLE, YAML_PIECES, '.yaml', 'vehicles'),
    target(
        'engine_profiles', lambda path: load_profile(str(path)), PROFILE, YAML_PIECES, '.yaml',
        'profiles',
    ),
    target('goldens', partial(read_golden, labels=('car',)), GOLDEN, JSON_PIECES, '.json'),
    target('ranges', read_ranges, RANGES, JSON_PIECES, '.json'),
    target('coco_labels', partial(read_labelled, format='coco'), COCO, JSON_PIECES, '.json'),
    target('bdd100k_labels', partial(read_labelled, format='bdd100k'), BDD, JSON_PIECES, '.json'),
    Target(
        'voc_labels', make_xml, partial(feed, read_labelled, '.xml'), (ConfigError, ModelError),
        30.0, 1024, share=0.01,
    ),
    Target(
        'darknet_labels', make_darknet, feed_darknet, (ConfigError, ModelError), 30.0, 1024,
        share=0.01,
    ),
    target('label_names', read_labels, NAMES, YAML_PIECES, '.yaml'),
    target('label_lines', read_labels, ['car', 'bus'], YAML_PIECES, '.txt'),
    target('class_maps', read_class_map, CLASS_MAP, YAML_PIECES, '.yaml'),
    target('mask_colors', read_mask_colors, ['id,name,r,g,b', '0,a,1,2,3'], YAML_PIECES, '.csv'),
    target(
        'mask_boxes', partial(read_mask_boxes, classes=4), ['n,id', 'car,1'], YAML_PIECES, '.csv'
    ),
    target('class_map_rows', read_class_map, ['car,1', 'bus,vehicle'], YAML_PIECES, '.csv'),
]  # fmt: skip
