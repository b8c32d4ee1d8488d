"""Decode and NMS against the slowest possible way to write them down."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.errors import LaneError
from yolox_trt_ros.core.model import InputSpec, Letterbox, ModelSpec, Thresholds
from yolox_trt_ros.detect.cpu.postprocess import MAX_CANDIDATES, CpuPostprocessor
from yolox_trt_ros.detect.heads.yolox.head import YoloxHead
from yolox_trt_ros.detect.nms import nms

CLASSES, HEIGHT, WIDTH = 4, 64, 96
STRIDES = (8, 16, 32)
BOX = Letterbox(0.4, HEIGHT, WIDTH, HEIGHT * 5 // 2, WIDTH * 5 // 2)
Row = tuple[float, float, float, float, float, int]


def spec(layout: str, scores: str, boxes: str) -> ModelSpec:
    outputs = tuple(f'output {i}' for i in range(9 if layout == 'per_level' else 1))
    head = YoloxHead(outputs, CLASSES, STRIDES, scores, boxes)  # type: ignore[arg-type]
    return ModelSpec(InputSpec('images', 0, HEIGHT, WIDTH), head, tuple('abcd'))


def random_maps(seed: int) -> list[np.ndarray]:
    """Return box, objectness and class logits per level: (1, channels, rows, columns)."""
    rng = np.random.default_rng(seed)
    maps = []
    for stride in STRIDES:
        shape = (HEIGHT // stride, WIDTH // stride)
        centre, size = rng.normal(0.5, 1, (2, *shape)), rng.normal(0.7, 0.5, (2, *shape))
        maps += [
            np.concatenate((centre, size)),
            rng.normal(0.5, 2, (1, *shape)),
            rng.normal(0, 2, (CLASSES, *shape)),
        ]
    return [m[None].astype(np.float32) for m in maps]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def head_outputs(maps: list[np.ndarray], of: ModelSpec) -> list[np.ndarray]:
    """Return the same head as a model of another kind would put it out."""
    maps = [m.astype(np.float64) for m in maps]
    if of.head.scores == 'probability':
        maps = [m if i % 3 == 0 else 1 / (1 + np.exp(-m)) for i, m in enumerate(maps)]
    if of.head.boxes == 'pixel':
        for level, stride in enumerate(STRIDES):
            m = maps[3 * level]
            y, x = np.mgrid[: m.shape[2], : m.shape[3]]
            m[0, :2] = (m[0, :2] + np.stack((x, y))) * stride
            m[0, 2:] = np.exp(m[0, 2:]) * stride
    if not of.head.per_level:
        levels = [np.concatenate(maps[i : i + 3], axis=1) for i in range(0, len(maps), 3)]
        maps = [np.concatenate([m.reshape(1, 5 + CLASSES, -1) for m in levels], axis=2)]
        maps = [maps[0].transpose(0, 2, 1)]
    return [m.astype(np.float32) for m in maps]


def candidates(maps: list[np.ndarray], t: Thresholds) -> list[Row]:
    """Return every box above the threshold, anchor by anchor."""
    rows = []
    for level, stride in enumerate(STRIDES):
        box, objectness, classes = (m[0].astype(float) for m in maps[3 * level : 3 * level + 3])
        for y, x in product(range(box.shape[1]), range(box.shape[2])):
            cx, cy = (box[0, y, x] + x) * stride, (box[1, y, x] + y) * stride
            w, h = math.exp(box[2, y, x]) * stride, math.exp(box[3, y, x]) * stride
            corners = (v / BOX.scale for v in (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
            xyxy = tuple(corners)
            scores = [sigmoid(objectness[0, y, x]) * sigmoid(c) for c in classes[:, y, x]]
            chosen = [scores.index(max(scores))] if t.class_agnostic else range(CLASSES)
            rows += [(*xyxy, scores[c], c) for c in chosen if scores[c] > t.score]
    return sorted(rows, key=lambda row: -row[4])


def iou(a: Sequence[float], b: Sequence[float], extra: int = 0) -> Fraction | float:
    """Return the overlap of two boxes; ``extra`` = 1 counts pixels as YOLOX's own NMS does."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + extra
    h = min(a[3], b[3]) - max(a[1], b[1]) + extra
    area_a, area_b = ((r[2] - r[0] + extra) * (r[3] - r[1] + extra) for r in (a, b))
    overlap = max(w, 0) * max(h, 0)
    union = area_a + area_b - overlap
    return overlap / union if union else 0


def suppress(
    rows: Sequence[Sequence[float]], limit: float, groups: Sequence[int], extra: int = 0
) -> list[int]:
    """Return which rows (best first) greedy NMS keeps."""
    keep: list[int] = []
    for i, row in enumerate(rows):
        rivals = (k for k in keep if groups[k] == groups[i])
        if all(iou(rows[k], row, extra) <= limit for k in rivals):
            keep.append(i)
    return keep


KINDS = [
    ('per_level', 'logit', 'grid'),
    ('per_level', 'probability', 'grid'),
    ('concatenated', 'logit', 'grid'),
    ('concatenated', 'probability', 'grid'),
    ('concatenated', 'probability', 'pixel'),
    ('concatenated', 'logit', 'pixel'),
]


@pytest.mark.parametrize('class_agnostic', [False, True])
@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('kind', KINDS, ids='-'.join)
def test_every_kind_of_head_decodes_to_the_same(
    kind: tuple[str, str, str], seed: int, class_agnostic: bool
) -> None:
    t = Thresholds(0.25, 0.5, class_agnostic, max_detections=1000)
    maps = random_maps(seed)
    rows = candidates(maps, t)
    classes = [0] * len(rows) if class_agnostic else [row[5] for row in rows]
    expected = [rows[i] for i in suppress(rows, t.nms_iou, classes)]
    assert 10 < len(expected) < len(rows), 'the case decides nothing'

    model = spec(*kind)
    outputs = head_outputs(maps, model)
    post = CpuPostprocessor(model)
    post.check(outputs, 1)
    found = post.detections(outputs, 0, BOX, t)
    assert found.class_id.tolist() == [row[5] for row in expected]
    np.testing.assert_allclose(found.score, [row[4] for row in expected], rtol=1e-4)
    np.testing.assert_allclose(found.xyxy, [row[:4] for row in expected], rtol=1e-4, atol=1e-2)


def test_the_best_come_first_and_no_more_than_asked() -> None:
    model = spec(*KINDS[0])
    outputs = head_outputs(random_maps(0), model)
    every = CpuPostprocessor(model).detections(outputs, 0, BOX, Thresholds(max_detections=1000))
    few = CpuPostprocessor(model).detections(outputs, 0, BOX, Thresholds(max_detections=3))
    assert (np.diff(every.score) <= 0).all()
    assert np.array_equal(few.xyxy, every.xyxy[:3])


def test_images_of_a_batch_do_not_mix() -> None:
    model = spec(*KINDS[3])
    heads = [head_outputs(random_maps(seed), model)[0] for seed in (1, 2)]
    post = CpuPostprocessor(model)
    for i, head in enumerate(heads):
        alone = post.detections([head], 0, BOX, Thresholds())
        together = post.detections([np.concatenate(heads)], i, BOX, Thresholds())
        assert np.array_equal(alone.xyxy, together.xyxy)


@pytest.mark.parametrize('kind', KINDS, ids='-'.join)
def test_nothing_found(kind: tuple[str, str, str]) -> None:
    model = spec(*kind)
    maps = random_maps(0)
    for objectness in maps[1::3]:
        objectness[:] = -9
    found = CpuPostprocessor(model).detections(head_outputs(maps, model), 0, BOX, Thresholds())
    assert len(found) == 0


@pytest.mark.parametrize('threshold', [0.0, 1.0])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 200.0, 86.45, -200.0])
@pytest.mark.parametrize('kind', KINDS[:3], ids='-'.join)
def test_a_broken_network_gives_no_broken_boxes(
    kind: tuple[str, str, str], value: float, threshold: float
) -> None:
    model = spec(*kind)
    outputs = head_outputs(random_maps(0), model)
    for output in outputs:
        output[..., ::2] = value
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = CpuPostprocessor(model).detections(outputs, 0, BOX, Thresholds(threshold))
    assert np.isfinite(found.xyxy).all()
    assert np.isfinite(found.score).all()


def test_a_network_that_fires_everywhere_is_bounded() -> None:
    model = spec('concatenated', 'probability', 'grid')
    model = replace(model, input=InputSpec('images', 0, 640, 640))
    post = CpuPostprocessor(model)
    head = np.ones((1, *model.head.shapes(model.input)[0]), np.float32)
    t = Thresholds(0.1, 1.0, max_detections=10**6)
    assert len(post.detections([head], 0, BOX, t)) == MAX_CANDIDATES


@pytest.mark.parametrize('kind', KINDS[1:4:2], ids='-'.join)
def test_output_of_another_shape_is_refused(kind: tuple[str, str, str]) -> None:
    model = spec(*kind)
    outputs = head_outputs(random_maps(0), model)
    post = CpuPostprocessor(model)
    for wrong in (outputs[:-1], [o[..., :-1] for o in outputs], [*outputs, outputs[0]]):
        with pytest.raises(LaneError, match='expected shapes'):
            post.check(wrong, 1)
    with pytest.raises(LaneError, match='expected shapes'):
        post.check(outputs, 2)


SIDE = st.integers(0, 8)
INTEGER_BOX = st.tuples(SIDE, SIDE, SIDE, SIDE).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(
    st.lists(st.tuples(INTEGER_BOX, st.integers(0, 2)), max_size=25),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    st.booleans(),
)
def test_nms_against_brute_force(
    boxes: list[tuple[tuple[int, int, int, int], int]], limit: float, grouped: bool
) -> None:
    # Small integers and these limits are exact in float32, so that ties are ties.
    rows = [[Fraction(v) for v in box] for box, _ in boxes]
    groups = [group if grouped else 0 for _, group in boxes]
    xyxy = np.array([box for box, _ in boxes], np.float32).reshape(-1, 4)
    kept = nms(xyxy, limit, np.array(groups, np.int64) if grouped else None)
    assert kept.tolist() == suppress(rows, limit, groups)


def test_yolox_counts_one_pixel_more() -> None:
    # Its demo takes a box's width for x2 - x1 + 1. Two boxes of 4 x 4 pixels, 1.6 apart: ...
    small = np.array([[0, 0, 4, 4], [1.6, 0, 5.6, 4]], np.float32)
    assert nms(small, 0.45).tolist() == [0, 1]
    assert suppress(small.tolist(), 0.45, [0, 0], extra=1) == [0]
    # ... of 40 x 40 pixels, ten times as far apart, the verdict is the same.
    large = small * 10
    assert nms(large, 0.45).tolist() == suppress(large.tolist(), 0.45, [0, 0], extra=1) == [0, 1]


def test_boxes_are_clipped_only_if_asked_to_and_after_suppression() -> None:
    model = spec('concatenated', 'probability', 'pixel')
    head = np.zeros((1, *model.head.shapes(model.input)[0]), np.float32)
    head[0, :2, :6] = [[4, 4, 16, 16, 1, 0.9], [WIDTH, 20, 10, 10, 1, 0.8]]
    free, clipped = (
        CpuPostprocessor(model).detections([head], 0, BOX, Thresholds(clip_boxes=clip))
        for clip in (False, True)
    )
    width = BOX.source_width
    assert free.xyxy.tolist() == [[-10, -10, 30, 30], [width - 12.5, 37.5, width + 12.5, 62.5]]
    assert clipped.xyxy.tolist() == [[0, 0, 30, 30], [width - 12.5, 37.5, width, 62.5]]
