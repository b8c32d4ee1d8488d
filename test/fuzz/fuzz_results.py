"""Result messages of somebody else: drawn by the overlay, gathered for a report, judged.

The overlay gets them from the middleware, so types are right and values are not. A bag may bring
definitions of its own along, so that a report may be given any fields at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from harness import Target
from mutation import NUMBERS, TEXTS, altered, odd_value

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.messages import names_of, stamp_ns_of
from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.draw.boxes import draw_on
from yolox_trt_ros.draw.captions import draw_caption, draw_table
from yolox_trt_ros.evaluation.judge import Judge
from yolox_trt_ros.report.findings import figures, findings
from yolox_trt_ros.report.gather import Gatherer
from yolox_trt_ros.report.page import html
from yolox_trt_ros.report.picture import png
from yolox_trt_ros.ros.overlay.camera import OverlayNames, caption_of
from yolox_trt_ros.ros.overlay.output import status_lines

FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e308, -1e308, float('inf'), float('-inf'), float('nan'))
HEADER = {'stamp': {'sec': 1_700_000_000, 'nanosec': 5}, 'frame_id': 'cam'}
DETECTION = {
    'header': HEADER,
    'bbox': {
        'center': {'position': {'x': 9.0, 'y': 9.0}, 'theta': 0.0}, 'size_x': 4.0, 'size_y': 4.0,
    },
    'results': [
        {
            'hypothesis': {'class_id': '1', 'score': 0.5},
            'pose': {'pose': {'position': {'x': 0.0, 'y': 0.0, 'z': 5.0}}},
        }
    ],
    'id': '',
}  # fmt: skip
DETECTIONS = {'header': HEADER, 'detections': [DETECTION, DETECTION]}
LATENCY = {
    'header': HEADER, 'camera': 'front', 'lane': 'gpu', 'batch_size': 1, 'drops': 0,
    'total_ns': 9, 'age_ns': 9, **{f'{stage}_ns': 5 for stage in STAGES},
}  # fmt: skip
CAMERA = {
    'name': 'front', 'level': 0, 'message': 'fine', 'lane': 'gpu', 'ran_on': ['gpu'],
    'ran_frames': [3], 'priority': 1.0, 'deadline_ms': 90.0, 'rate_in_hz': 10.0,
    'rate_out_hz': 9.0, 'received': 9, 'published': 8, 'waiting': 0, 'in_flight': 1,
    'drop_reasons': ['replaced'], 'drop_counts': [1], 'deadline_misses': 0, 'stamp_jumps': 0,
    'last_stamp': HEADER['stamp'], 'age_ns': 5, 'stages': ['total'], 'p50_ns': [1],
    'p95_ns': [1], 'p99_ns': [1], 'max_ns': [1],
}  # fmt: skip
LANE = {
    'name': 'gpu', 'device': 'cuda:0', 'backend': 'tensorrt', 'state': 'running', 'note': '',
    'cameras': ['front'], 'utilisation': 0.5, 'processed': 9, 'batches': 9, 'mean_batch': 1.0,
    'failures': 0, 'restarts': 0, 'cost_batch_sizes': [1], 'cost_ns': [1],
}  # fmt: skip
STATUS = {'header': HEADER, 'cameras': [CAMERA], 'lanes': [LANE], 'placement_reason': ''}
LABELS = {'header': HEADER, 'class_map': [{'class_id': 1, 'class_name': 'car'}], 'threshold': 0.5}
KINDS: dict[str, dict[str, Any]] = {
    'latency': LATENCY, 'status': STATUS, 'detections': DETECTIONS, 'labels': LABELS,
}  # fmt: skip
Messages = list[tuple[str, Any]]


def alike(value: object, source: random.Random) -> object:
    """Return another value that the middleware would let through in this place."""
    if isinstance(value, dict):
        changed = dict(value)
        for _ in range(source.choice((1, 1, 2, 4))):
            key = source.choice(list(changed))
            changed[key] = source.randrange(256) if key == 'level' else alike(changed[key], source)
        return changed
    if isinstance(value, list):
        kind = source.randrange(8)
        if kind == 0:
            return []
        if kind == 1:
            return value * (1500 if source.random() < 0.01 else source.choice((2, 3, 70)))
        return [alike(item, source) for item in value]
    if isinstance(value, str):
        return source.choice((*TEXTS, '0', '2', 'x' * 101, str(2**31), str(source.random())))
    if isinstance(value, float):
        return source.choice((*FLOATS, source.gauss(0.0, 100.0)))
    small = source.choice((0, 1, 3, 4, 200, 255))
    return source.choice((small, 2**31 - 1, *NUMBERS)) * source.choice((1, 1, -1))


def message(content: object) -> Any:
    """Return nested mappings as an object with fields, as message libraries make them."""
    if isinstance(content, dict):
        return SimpleNamespace(**{str(key): message(value) for key, value in content.items()})
    if isinstance(content, list):
        if content and all(type(item) is float for item in content):
            return np.array(content)
        return [message(item) for item in content]
    return content


def make_typed(source: random.Random) -> Messages:
    """Return messages with hostile values of the right types."""
    made: Messages = [
        (kind, message(alike(KINDS[kind], source) if source.random() < 0.7 else KINDS[kind]))
        for kind in KINDS
    ]
    return source.sample(made, len(made))


def make_any(source: random.Random) -> Messages:
    """Return messages with hostile values, and with other fields and types than they should."""
    made = make_typed(source) + make_typed(source)
    for _ in range(source.randrange(4)):
        kind = source.choice(list(KINDS))
        content: object = KINDS[kind]
        for _ in range(source.choice((1, 1, 3))):
            content = altered(content, source)
        made.append((kind, message(content if source.random() < 0.95 else odd_value(source))))
    return made


def draw(made: Messages) -> None:
    """Do with messages what the overlay does."""
    names, image = OverlayNames(), np.zeros((48, 64, 3), np.uint8)
    for kind, found in made:
        try:
            if kind == 'labels':
                names.learn(names_of(found))
            elif kind == 'status':
                draw_table(image, 'cameras and lanes', status_lines(found))
            elif kind == 'latency':
                stamp_ns_of(found)
                draw_caption(image, caption_of(found))
            else:
                draw_on(image, names.read(found), names)
                stamp_ns_of(found)
        except ConfigError:
            continue


def gathered(made: Messages) -> Gatherer:
    """Return a report's gatherer with the messages."""
    gatherer = Gatherer(None, ('person',))
    for kind, found in made:
        if kind == 'detections':
            gatherer.add_detections('front', found)
        elif kind != 'labels':  # a report gets its names from who reads the messages
            getattr(gatherer, f'add_{kind}')(found)
    return gatherer


def gather(made: Messages) -> None:
    """Take messages in and find out what a report says of them."""
    recording = gathered(made).recording('/\x1b[31m<b>')
    for finding in findings(recording):
        assert 'nan ms' not in finding.text, finding.text
    figures(recording)


def report(made: Messages) -> None:
    """Make the page of a report, and of some its picture."""
    recording = gathered(made).recording('/\x1b[31m<b>')
    page = html(recording)
    assert '<script>alert' not in page and '\x1b' not in page
    if recording.cameras and len(made) % 4 == 0:
        png(recording)


def judge(made: Messages) -> None:
    """Compare detections with a ground truth that is as hostile."""
    judged = Judge(('person', 'car'), ('car',))
    for i, (kind, found) in enumerate(made):
        if kind == 'detections':
            (judged.add_truth if i % 2 else judged.add_found)('front', found)
    judged.ambiguous()
    judged.check_usable()


def make_boxes(source: random.Random) -> tuple[Detections, tuple[int, int]]:
    """Return boxes as no detector finds them, and the size of a picture."""
    n = source.choice((0, 1, 3))
    values = [source.choice((*FLOATS, source.gauss(0.0, 100.0))) for _ in range(5 * n)]
    with np.errstate(over='ignore'):
        numbers = np.array(values).astype(np.float32).reshape(n, 5)
    classes = np.array([source.choice((-(2**31), -1, 0, 2**31 - 1)) for _ in range(n)], np.int32)
    found = Detections(numbers[:, :4], numbers[:, 4], classes)
    return found, source.choice(((1, 1), (1, 300), (300, 1), (24, 32)))


def draw_boxes(made: tuple[Detections, tuple[int, int]]) -> None:
    """Draw them."""
    found, size = made
    draw_on(np.zeros((*size, 3), np.uint8), found, OverlayNames())


def targets() -> list[Target]:
    """Return the targets."""
    feeds: list[tuple[str, Callable[..., object], Callable[..., object], float]] = [
        ('results_drawn', make_typed, draw, 0.02),
        ('boxes_drawn', make_boxes, draw_boxes, 0.1),
        ('results_judged', make_any, judge, 0.005),
        ('results_gathered', make_any, gather, 0.01),
        ('results_reported', make_any, report, 0.0005),
    ]
    made = partial(Target, errors=(ConfigError,), seconds=30.0, setup=partial(cv2.setNumThreads, 0))
    return [made(name, make, feed, share=share) for name, make, feed, share in feeds]


TARGETS = targets()
