"""Dense heads of every coding: the device finds what the CPU finds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from test_decode import described, on_device, same

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.head import HeadSpec
from yolox_trt_ros.core.model import InputSpec, Letterbox, ModelSpec, Thresholds
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.detect.cpu.postprocess import CpuPostprocessor
from yolox_trt_ros.detect.cuda.postprocess import CudaPostprocessor
from yolox_trt_ros.detect.heads.dense.head import (
    HEAD,
    AnchorSet,
    Boxes,
    DenseHead,
    OutputLayout,
    Place,
)

HEIGHT, WIDTH, CLASSES = 96, 160, 7
GRIDS = [(12, 20, 8.0), (6, 10, 16.0), (3, 5, 32.0)]
IMAGE = InputSpec('images', 0, HEIGHT, WIDTH, letterbox='centre')


@dataclass(frozen=True, slots=True)
class AnyDense(DenseHead):
    family: ClassVar[str] = 'any'


@dataclass(frozen=True, slots=True)
class FinalDense(DenseHead):
    suppressed: ClassVar[bool] = True


def flat(boxes: Boxes, scores: str, objectness: bool, last: bool, apart: bool) -> AnyDense:
    """Return a head of decoded boxes: one output or two, anchors on either axis."""
    count = sum(rows * columns for rows, columns, _ in GRIDS)
    rated = CLASSES + objectness + (scores == 'softmax')
    sizes = [4, rated] if apart else [4 + rated]
    layouts = [OutputLayout((count, n) if last else (n, count), last) for n in sizes]
    output, begin = (1, 0) if apart else (0, 4)
    level = AnchorSet(
        count,
        Place(0, sizes[0]),
        Place(output, sizes[-1], begin + objectness),
        Place(output, sizes[-1], begin) if objectness else None,
    )
    names = tuple(f'output {i}' for i in range(len(sizes)))
    return AnyDense(names, CLASSES, tuple(layouts), (level,), boxes, scores)  # type: ignore[arg-type]


def maps(
    boxes: Boxes, scores: str, objectness: bool, last: bool, shapes: int = 1,
    reach: tuple[float, float, float] = (2.0, 2.0, 2.0),
) -> AnyDense:  # fmt: skip
    """Return a head of one map per level, ``shapes`` anchors to a cell, channels on either end."""
    channels = 4 * boxes.bins + objectness + CLASSES
    layouts, levels = [], []
    for i, (rows, columns, stride) in enumerate(GRIDS):
        cells = rows * columns
        if last:
            layouts.append(OutputLayout((shapes, rows, columns, channels), True))
        else:
            layouts.append(OutputLayout((shapes * channels, rows, columns), False))
        for k in range(shapes):
            count, channel, anchor = (channels, 0, k * cells) if last else (
                shapes * channels, k * channels, 0,
            )  # fmt: skip

            def place(first: int, i: int = i, count: int = count, channel: int = channel,
                      anchor: int = anchor) -> Place:  # fmt: skip
                return Place(i, count, channel + first, anchor)

            levels.append(
                AnchorSet(
                    cells,
                    place(0),
                    place(4 * boxes.bins + objectness),
                    place(4 * boxes.bins) if objectness else None,
                    columns,
                    (stride, stride * 1.25),
                    (10.0 + 9 * k, 17.0 + 5 * i),
                    reach[i],
                )
            )
    names = tuple(f'output {i}' for i in range(len(GRIDS)))
    return AnyDense(names, CLASSES, tuple(layouts), tuple(levels), boxes, scores)  # type: ignore[arg-type]


def random_outputs(head: DenseHead, batch: int, seed: int) -> list[np.ndarray]:
    """Return outputs with some clear objects among many anchors that are none."""
    rng = np.random.default_rng(seed)
    outputs = [np.zeros(s, np.float32) for s in head.batched(IMAGE, batch)]

    def view(place: Place, anchors: int, channels: int, image: int) -> Any:
        whole = outputs[place.output] if head.unbatched else outputs[place.output][image]
        last = head.layouts[place.output].channels_last
        rows = whole.reshape(-1, place.channels) if last else whole.reshape(place.channels, -1).T
        return rows[place.anchor :][:anchors, place.channel : place.channel + channels]

    logits = head.scores != 'probability'
    for image in range(batch):
        for level in head.levels:
            size = level.anchors
            objects = rng.random(size) < 0.1
            classes = rng.normal(-4, 1, (size, head.classes + (head.scores == 'softmax')))
            classes[objects, rng.integers(0, 3, objects.sum())] = rng.normal(2, 1, objects.sum())
            sure = np.where(objects, rng.normal(2, 1, size), -6)[:, None]
            if head.boxes.coding in ('centre', 'corners'):
                first = rng.uniform(0, [WIDTH, HEIGHT], (size, 2))
                second = rng.uniform(5, 40, (size, 2))
                second = first + second if head.boxes.coding == 'corners' else second
                boxes = np.concatenate((first, second), axis=1) / (head.boxes.unit * 2)
            else:
                boxes = rng.normal(0.5, 0.6, (size, 4 * head.boxes.bins))
                boxes *= 20 if head.boxes.pixels else 1
            if not logits:
                classes, sure = (1 / (1 + np.exp(-n)) for n in (classes, sure))
            view(level.box, size, boxes.shape[1], image)[:] = boxes
            view(level.scores, size, classes.shape[1], image)[:] = classes
            if level.objectness is not None:
                view(level.objectness, size, 1, image)[:] = sure
    return outputs


def check(
    device: Any, head: HeadSpec, outputs: list[np.ndarray], limits: Thresholds | None = None
) -> list[Detections]:
    """Compare device and CPU; return what was found."""
    limits = limits or Thresholds(max_detections=1000)
    model = ModelSpec(IMAGE, head, tuple(f'class {i}' for i in range(head.classes)))
    batch = 1 if getattr(head, 'unbatched', False) else len(outputs[0])
    boxes = [Letterbox.fit(70 + 50 * i, 200, IMAGE) for i in range(batch)]
    kind = next(o.dtype for o in outputs if o.dtype.kind == 'f')
    there = [on_device(device, output) for output in outputs]
    decode = CudaPostprocessor(model, device, [device.address(o) for o in there], kind, batch)
    result, table = decode.new_result(), described(decode, device, boxes, limits)
    for _ in range(2):
        decode.enqueue(batch, table.address, device.address(result))
    if not isinstance(there[0], np.ndarray):
        there[0].device.synchronize()
    got = decode.detections(result, table, batch)
    reference = CpuPostprocessor(model)
    for i, (mine, box) in enumerate(zip(got, boxes, strict=True)):
        theirs = reference.detections(outputs, i, box, limits)
        assert len(mine) == len(theirs)
        assert same(mine, theirs)
    return got


PIXELS = (1.0, 1.0)
FRACTIONS = (float(WIDTH), float(HEIGHT))
FLAT = [
    flat(Boxes('centre'), 'probability', objectness=False, last=False, apart=False),
    flat(Boxes('centre'), 'probability', objectness=True, last=True, apart=False),
    flat(Boxes('centre', FRACTIONS), 'logit', objectness=False, last=True, apart=True),
    flat(Boxes('centre', FRACTIONS), 'softmax', objectness=False, last=True, apart=True),
    flat(Boxes('corners'), 'probability', objectness=False, last=False, apart=True),
    flat(Boxes('corners', FRACTIONS), 'logit', objectness=True, last=False, apart=False),
]
MAPS = [
    maps(Boxes('distances'), 'logit', objectness=False, last=False),
    maps(Boxes('distances', bins=16), 'logit', objectness=False, last=False),
    maps(Boxes('distances', pixels=True, offset=0.0), 'probability', False, last=True),
    maps(Boxes('grid'), 'logit', objectness=True, last=False),
    maps(Boxes('anchors', squashed=True), 'logit', True, last=False, shapes=3),
    maps(Boxes('anchors', squashed=True), 'logit', True, last=True, shapes=3),
    maps(
        Boxes('anchors', exponential=True, squashed=True),
        'logit',
        True,
        False,
        2,
        reach=(1.2, 1.1, 1.05),
    ),
    maps(Boxes('anchors'), 'probability', True, last=False, shapes=3),
]


def named(head: DenseHead) -> str:
    boxes = head.boxes
    return f'{boxes.coding}-{head.scores}-{boxes.bins}-{len(head.levels)}-{head.layouts[0].shape}'


def test_structure_has_the_kernels_size(device: Any) -> None:
    if not hasattr(device, 'size_of'):
        pytest.skip('the compiled sizes are asked of the host build')
    assert HEAD.itemsize == device.size_of('Head', 'dense.cu')


@pytest.mark.parametrize('class_agnostic', [False, True])
@pytest.mark.parametrize('dtype', [np.float32, np.float16])
@pytest.mark.parametrize('head', [*FLAT, *MAPS], ids=named)
def test_random_heads(head: DenseHead, dtype: type, class_agnostic: bool, device: Any) -> None:
    outputs = [o.astype(dtype) for o in random_outputs(head, 2, seed=1)]
    limits = Thresholds(class_agnostic=class_agnostic, max_detections=1000)
    assert all(len(found) > 5 for found in check(device, head, outputs, limits))


@pytest.mark.parametrize('head', [FLAT[0], FLAT[3], MAPS[1]], ids=named)
def test_undefined_and_infinite_numbers(head: DenseHead, device: Any) -> None:
    outputs = random_outputs(head, 1, seed=2)
    rng = np.random.default_rng(3)
    for output in outputs:
        for value in (np.nan, np.inf, -np.inf):
            places = rng.integers(0, output.size, output.size // 300)
            output.reshape(-1)[places] = value
        if head.scores == 'probability':  # an infinite probability is no score
            output[np.isposinf(output)] = np.nan
    with np.errstate(all='ignore'):
        (found,) = check(device, head, outputs)
    assert len(found) > 5 and np.isfinite(found.xyxy).all()


def test_equal_scores_go_to_the_lower_anchor_and_class(device: Any) -> None:
    outputs = random_outputs(FLAT[0], 1, seed=4)
    outputs[0][:, 4:] = 0.5
    for class_agnostic in (False, True):
        limits = Thresholds(class_agnostic=class_agnostic, max_detections=50)
        check(device, FLAT[0], outputs, limits)


def test_outputs_without_an_axis_for_the_batch(device: Any) -> None:
    head = replace(FLAT[1], unbatched=True)
    assert len(check(device, head, random_outputs(head, 1, seed=5))[0]) > 5


def test_final_boxes_do_not_suppress_each_other(device: Any) -> None:
    source = FLAT[0]
    head = FinalDense(
        source.outputs, CLASSES, source.layouts, source.levels, source.boxes, source.scores
    )
    outputs = random_outputs(head, 1, seed=6)
    outputs[0][:, :4] = outputs[0][:, :4, :1]  # all boxes are one
    assert len(check(device, source, outputs)[0]) <= CLASSES
    assert len(check(device, head, outputs)[0]) > 2 * CLASSES


def test_final_boxes_of_classes_with_one_name_suppress_each_other(device: Any) -> None:
    source = FLAT[0]
    head = FinalDense(
        source.outputs, CLASSES, source.layouts, source.levels, source.boxes, source.scores
    )
    outputs = random_outputs(head, 2, seed=6)
    outputs[0][:, :4] = outputs[0][:, :4, :1]  # all boxes are one
    plain = Thresholds(max_detections=1000)
    ids = np.array([0, 1, 1, 3, 4, 5, 6], np.int32)
    scores = np.full(CLASSES, plain.score, np.float32)
    merged = Rules(scores, ids, tuple(f'class {i}' for i in range(CLASSES)))
    before = check(device, head, outputs, plain)
    after = check(device, head, outputs, Thresholds(plain.score, max_detections=1000, rules=merged))
    for one, two in zip(before, after, strict=True):
        rivals = np.isin(one.class_id, [1, 2])
        assert rivals.sum() > 5
        assert (two.class_id == 1).sum() == 1 and not (two.class_id == 2).any()
        assert two.score[two.class_id == 1][0] == one.score[rivals].max()
        assert np.array_equal(two.score[two.class_id != 1], one.score[~rivals])
    left = Rules(
        np.where(np.arange(CLASSES) == 1, np.inf, scores).astype(np.float32), ids, merged.labels
    )
    alone = check(device, head, outputs, Thresholds(plain.score, max_detections=1000, rules=left))
    for one, two in zip(before, alone, strict=True):  # the other that has the name is left out
        assert (two.class_id == 1).sum() == (one.class_id == 2).sum() > 1


def test_more_levels_than_the_kernels_hold_are_refused(device: Any) -> None:
    head = replace(MAPS[0], levels=MAPS[0].levels * 6)
    model = ModelSpec(IMAGE, head, ())
    with pytest.raises(ConfigError, match='at most 16 levels, got 18'):
        CudaPostprocessor(model, device, [0, 0, 0], np.float32, 1)
