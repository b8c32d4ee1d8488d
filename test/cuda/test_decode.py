"""Decode and NMS on the device find what the CPU postprocessor finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from host_device import current_stream

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import InputSpec, Letterbox, ModelSpec, Thresholds
from yolox_trt_ros.detect.cpu.postprocess import CpuPostprocessor
from yolox_trt_ros.detect.cuda.batch import MAX_IMAGES, RULES, THRESHOLDS, BatchTable
from yolox_trt_ros.detect.cuda.postprocess import RESULT, WORK, CudaPostprocessor
from yolox_trt_ros.detect.heads.yolox.head import HEAD, YoloxHead

HEIGHT, WIDTH, CLASSES = 160, 224, 80
LOGIT = {'scores': 'logit'}


def spec(layout: str = 'concatenated', scores: str = 'probability', classes: int = CLASSES) -> Any:
    outputs = 9 if layout == 'per_level' else 1
    names = tuple(f'output {i}' for i in range(outputs))
    labels = tuple(f'class {i}' for i in range(classes))
    head = YoloxHead(names, classes, (8, 16, 32), scores, 'grid')  # type: ignore[arg-type]
    return ModelSpec(InputSpec('images', 0, HEIGHT, WIDTH), head, labels)


def with_head(model: ModelSpec, **changes: Any) -> ModelSpec:
    return replace(model, head=replace(model.head, **changes))


def anchors(model: ModelSpec) -> int:
    return model.head.anchors(model.input)  # type: ignore[attr-defined]


def random_head(model: ModelSpec, batch: int, seed: int, share: float = 0.05) -> np.ndarray:
    """Return [batch, anchors, 5 + classes]; about ``share`` of the anchors look like objects."""
    rng = np.random.default_rng(seed)
    classes = len(model.labels)
    head = rng.normal(0, 1, (batch, anchors(model), 5 + classes)).astype(np.float32)
    head[..., 2:4] = rng.normal(1, 0.5, (batch, anchors(model), 2))
    objects = rng.random((batch, anchors(model))) < share
    head[..., 4] = np.where(objects, rng.normal(2, 1, objects.shape), -6)
    head[..., 5:] -= 3
    image, anchor = np.nonzero(objects)
    head[image, anchor, 5 + rng.integers(0, min(classes, 4), len(image))] = 3
    if model.head.scores == 'probability':
        head[..., 4:] = 1 / (1 + np.exp(-head[..., 4:]))
    return head


def as_outputs(model: ModelSpec, head: np.ndarray) -> list[np.ndarray]:
    """Return a concatenated head as the model's own outputs."""
    if not model.head.per_level:
        return [head]
    maps, first = [], 0
    for rows, columns in model.head.grids(model.input):
        level = head[:, first : first + rows * columns].transpose(0, 2, 1)
        level = level.reshape(len(head), -1, rows, columns)
        maps += [level[:, :4], level[:, 4:5], level[:, 5:]]
        first += rows * columns
    return [np.ascontiguousarray(m) for m in maps]


def on_device(device: Any, array: np.ndarray) -> Any:
    memory = device.zeros(array.shape, array.dtype)
    if hasattr(memory, 'set'):
        memory.set(np.ascontiguousarray(array))
    else:
        memory[...] = array
    return memory


def run(
    device: Any,
    model: ModelSpec,
    head: np.ndarray,
    thresholds: Thresholds,
    boxes: list[Letterbox],
    repeat: int = 1,
    cameras: Sequence[str] = (),
) -> list[Detections]:
    outputs = [on_device(device, output) for output in as_outputs(model, head)]
    addresses = [device.address(output) for output in outputs]
    decode = CudaPostprocessor(model, device, addresses, head.dtype, len(head))
    result, batch = decode.new_result(), described(decode, device, boxes, thresholds, cameras)
    for _ in range(repeat):
        decode.enqueue(len(boxes), batch.address, device.address(result))
    if not isinstance(outputs[0], np.ndarray):
        outputs[0].device.synchronize()
    return decode.detections(result, batch, len(boxes))


def described(
    decode: CudaPostprocessor,
    device: Any,
    boxes: list[Letterbox],
    thresholds: Thresholds,
    cameras: Sequence[str] = (),
) -> BatchTable:
    batch = BatchTable(device)
    batch.record['images'] = len(boxes)
    for image, box in zip(batch.images, boxes, strict=False):
        image['letterbox'] = box.scales
        image['left'], image['top'] = box.left, box.top
        image['width'], image['height'] = box.source_width, box.source_height
    decode.describe(thresholds, cameras or [''] * MAX_IMAGES, batch)
    batch.upload(current_stream(device))
    return batch


def check(
    device: Any,
    model: ModelSpec,
    head: np.ndarray,
    thresholds: Thresholds,
    repeat: int = 1,
    boxes: list[Letterbox] | None = None,
    cameras: Sequence[str] = (),
) -> list[Detections]:
    """Compare with the CPU, set by set in order; return what was found."""
    boxes = boxes or [Letterbox(0.3 + 0.2 * i, 100, 200, 300, 400) for i in range(len(head))]
    got = run(device, model, head, thresholds, boxes, repeat, cameras)
    reference = CpuPostprocessor(model)
    outputs = as_outputs(model, head.astype(np.float32))
    with np.errstate(all='ignore'):
        want = [
            reference.detections(outputs, i, box, thresholds.of(camera))
            for i, (box, camera) in enumerate(zip(boxes, cameras or [''] * len(boxes), strict=True))
        ]
    for mine, theirs in zip(got, want, strict=True):
        assert mine.labels == theirs.labels
        assert len(mine) == len(theirs)
        # The exponentials of two libraries differ in the last place, so neighbours may swap.
        assert same(mine, theirs)
    return got


def same(a: Detections, b: Detections) -> bool:
    rows_a, rows_b = (
        sorted(zip(d.class_id.tolist(), *d.xyxy.round(2).T.tolist(), d.score.tolist(), strict=True))
        for d in (a, b)
    )
    return bool(
        np.allclose(rows_a, rows_b, rtol=1e-5, atol=0.02)
        and np.allclose(a.score, b.score, rtol=1e-5)
    )


def test_structures_have_the_kernels_sizes(device: Any) -> None:
    if not hasattr(device, 'size_of'):
        pytest.skip('the compiled sizes are asked of the host build')
    for name, dtype in (
        ('Head', HEAD),
        ('Rules', RULES),
        ('Thresholds', THRESHOLDS),
        ('Work', WORK),
        ('Result', RESULT),
    ):
        assert dtype.itemsize == device.size_of(name, 'yolox.cu'), name


@pytest.mark.parametrize('class_agnostic', [False, True])
@pytest.mark.parametrize('dtype', [np.float32, np.float16])
@pytest.mark.parametrize('scores', ['probability', 'logit'])
@pytest.mark.parametrize('layout', ['concatenated', 'per_level'])
def test_random_heads(
    layout: str, scores: str, dtype: type, class_agnostic: bool, device: Any
) -> None:
    model = spec(layout, scores)
    head = random_head(model, 3, seed=1).astype(dtype)
    found = check(device, model, head, Thresholds(class_agnostic=class_agnostic))
    assert all(len(detections) > 5 for detections in found)


@pytest.mark.parametrize('classes', [1, 3, 32, 33])
def test_any_number_of_classes(classes: int, device: Any) -> None:
    model = spec('per_level', 'logit', classes)
    assert len(check(device, model, random_head(model, 1, 2), Thresholds())[0]) > 5


def test_a_second_batch_finds_everything_reset(device: Any) -> None:
    model = spec()
    check(device, model, random_head(model, 2, 3), Thresholds(), repeat=3)


@pytest.mark.parametrize('class_agnostic', [False, True])
def test_nothing_found(class_agnostic: bool, device: Any) -> None:
    model = spec('per_level', 'logit')
    head = np.full((2, anchors(model), 5 + CLASSES), -20, np.float32)
    found = check(device, model, head, Thresholds(class_agnostic=class_agnostic))
    assert [len(d) for d in found] == [0, 0]


@pytest.mark.parametrize('class_agnostic', [False, True])
def test_every_anchor_and_class_over_the_threshold(class_agnostic: bool, device: Any) -> None:
    """More candidates than NMS takes: the best are chosen, and of equals the first."""
    model = spec('per_level', 'logit')
    head = random_head(model, 2, 4)
    head[..., 4:] = 5
    head[1, ::3, 4:] = 6
    thresholds = Thresholds(score=0.5, nms_iou=1.0, class_agnostic=class_agnostic)
    thresholds = replace(thresholds, max_detections=5000)
    assert len(check(device, model, head, thresholds)[0]) > 700


def test_more_candidates_than_nms_takes_all_different(device: Any) -> None:
    model = spec('concatenated', 'logit')
    head = np.random.default_rng(5).normal(0, 2, (1, anchors(model), 5 + CLASSES))
    # Scores far enough apart that no rounding of an exponential decides which are the best.
    check(device, model, head.astype(np.float32), Thresholds(score=0.3, max_detections=100))


@pytest.mark.parametrize('count', [1, 31, 32, 33, 64, 1023, 1024, 1025])
def test_numbers_of_candidates_around_the_blocks(count: int, device: Any) -> None:
    model = spec('concatenated', 'probability', classes=3)
    rng = np.random.default_rng(count)
    head = np.zeros((1, anchors(model), 8), np.float32)
    places = rng.permutation(anchors(model) * 3)[:count]
    head[0, :, 4] = 1
    head[0, places // 3, 5 + places % 3] = np.linspace(0.4, 0.9, count)
    head[0, :, :4] = rng.normal(0, 0.7, (anchors(model), 4))
    check(device, model, head, Thresholds(max_detections=1000))


def test_equal_boxes_and_equal_scores(device: Any) -> None:
    """Ties go to the lower anchor, then the lower class; equal boxes leave one."""
    model = spec('concatenated', 'probability', classes=4)
    head = np.zeros((1, anchors(model), 9), np.float32)
    head[0, :200, 4:] = 1
    for class_agnostic in (False, True):
        check(device, model, head, Thresholds(class_agnostic=class_agnostic, max_detections=1000))


def test_overlap_exactly_on_the_threshold_is_kept(device: Any) -> None:
    model = with_head(spec('concatenated', 'probability', classes=1), boxes='pixel')
    head = np.zeros((1, anchors(model), 6), np.float32)
    head[0, :2] = [[10, 10, 16, 16, 1, 0.9], [10, 14, 16, 8, 1, 0.8]]  # one half of the other
    box = [Letterbox(1.0, 10, 10, 10, 10)]
    at, below = (
        len(run(device, model, head, Thresholds(nms_iou=iou), box)[0]) for iou in (0.5, 0.4999)
    )
    assert (at, below) == (2, 1)


@pytest.mark.parametrize('scores', ['probability', 'logit'])
@pytest.mark.parametrize('class_agnostic', [False, True])
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_undefined_and_infinite_numbers(scores: str, class_agnostic: bool, device: Any) -> None:
    model = spec('concatenated', scores)
    head = random_head(model, 1, 6, share=0.2)
    rng = np.random.default_rng(7)
    for value in (np.nan, np.inf, -np.inf):
        image, anchor, column = (rng.integers(0, n, 400) for n in head.shape)
        head[image, anchor, column % 12] = value
    # An infinite probability outranks all; the CPU then sorts inf, which is no detection score.
    if scores == 'probability':
        head[..., 4:][np.isposinf(head[..., 4:])] = np.nan
    thresholds = Thresholds(class_agnostic=class_agnostic, max_detections=1000)
    found = check(device, model, head, thresholds)[0]
    assert len(found) > 5 and np.isfinite(found.xyxy).all()


def test_boxes_too_large_to_be_any(device: Any) -> None:
    """Their areas would overflow; both sides refuse them at the same size."""
    model = with_head(spec('concatenated', 'probability', classes=1), boxes='pixel')
    head = np.zeros((1, anchors(model), 6), np.float32)
    head[0, :4] = [
        [10, 10, 16, 16, 1, 0.9],
        [300, 10, 9e5, 16, 1, 0.8],
        [10, 300, 16, 1e6, 1, 0.7],
        [-1e6, 30, 16, 16, 1, 0.6],
    ]
    assert len(check(device, model, head, Thresholds())[0]) == 2


def test_boxes_end_at_the_border_if_asked_to(device: Any) -> None:
    model = spec('concatenated', 'logit')
    head = random_head(model, 2, 10)
    free = check(device, model, head, Thresholds())
    clipped = check(device, model, head, Thresholds(clip_boxes=True))
    for a, b in zip(free, clipped, strict=True):
        assert (a.xyxy < 0).any() and (a.xyxy[:, 2] > 400).any(), 'the case has none to clip'
        assert np.array_equal(a.score, b.score)
        np.testing.assert_array_equal(b.xyxy, np.clip(a.xyxy, 0, [400, 300, 400, 300]))


@pytest.mark.parametrize('letterbox', ['centre', 'stretch'])
def test_boxes_of_every_place_of_the_image(letterbox: str, device: Any) -> None:
    model = spec('per_level', 'logit')
    head = random_head(model, 3, 12)
    sizes = (300, 400), (33, 700), (160, 224)
    fed = replace(model.input, letterbox=letterbox)
    check(device, model, head, Thresholds(), boxes=[Letterbox.fit(*size, fed) for size in sizes])


def test_max_detections_keeps_the_best(device: Any) -> None:
    model = spec()
    head = random_head(model, 1, 8)
    few = check(device, model, head, Thresholds(max_detections=7))[0]
    many = check(device, model, head, Thresholds())[0]
    assert len(few) == 7
    assert np.array_equal(few.score, many.score[:7])


def test_thresholds_at_the_ends_of_their_range(device: Any) -> None:
    model = spec('per_level', 'logit', classes=2)
    head = random_head(model, 1, 9)
    check(device, model, head, Thresholds(score=0.0, max_detections=1000))
    assert len(check(device, model, head, Thresholds(score=1.0))[0]) == 0


def test_the_same_launches_for_fewer_images_and_other_thresholds(device: Any) -> None:
    """As recorded ones are replayed: places behind the last image get no detections."""
    model = spec('per_level', 'logit')
    head = random_head(model, 3, 11)
    outputs = [on_device(device, output) for output in as_outputs(model, head)]
    addresses = [device.address(output) for output in outputs]
    decode = CudaPostprocessor(model, device, addresses, head.dtype, 3)
    result, boxes = decode.new_result(), [Letterbox(1.0, 160, 224, 160, 224)] * 3
    counts = []
    for images, score in ((3, 0.3), (1, 0.3), (3, 0.6)):
        batch = described(decode, device, boxes[:images], Thresholds(score=score))
        decode.enqueue(3, batch.address, device.address(result))
        current_stream(device).synchronize()
        counts.append([len(found) for found in decode.detections(result, batch, 3)])
    assert min(counts[0]) > 5
    assert counts[1] == [counts[0][0], 0, 0]
    assert all(0 < few < many for few, many in zip(counts[2], counts[0], strict=True))


def test_heads_no_kernel_reads_are_refused(device: Any) -> None:
    model = with_head(spec(), strides=(4, 8, 16, 32, 64))
    with pytest.raises(ConfigError, match='at most 4 strides'):
        CudaPostprocessor(model, device, [0], np.float32, 1)
