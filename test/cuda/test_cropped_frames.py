"""Parts of images: on the CPU as images of their own, on the device as on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matching import differences
from test_cuda_detector import detector_on, found
from test_letterbox import EIGHT_BIT, expected, noise, run, spec
from tiny_models import write_yolox

from yolox_trt_ros.core.errors import DropReason, FrameError, LaneError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.core.regions import edges_of
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.merged_parts import merged_parts
from yolox_trt_ros.detect.model import load_model_spec

PARTS = (0, 0, 60, 40), (7, 5, 96, 64), (31, 9, 33, 71), (1, 1, 1, 1), (140, 100, 10, 20)


@pytest.mark.parametrize(
    'changes',
    [{}, {'antialias': True}, {'letterbox': 'centre'}, {'interpolation': 'nearest'}],
    ids=str,
)
def test_the_cpu_sees_what_it_sees_of_the_part_alone(changes: dict[str, Any]) -> None:
    model = spec(**changes)
    frame = noise('bgr8', 120, 150)
    image = frame.data.reshape(120, 150, 3)
    for part in PARTS:
        left, top, width, height = part
        alone = Frame.of(np.ascontiguousarray(image[top : top + height, left : left + width]))
        np.testing.assert_array_equal(
            expected(model, replace(frame, part=part))[0], expected(model, alone)[0]
        )


@pytest.mark.parametrize(
    'changes',
    [{}, {'antialias': True}, {'letterbox': 'centre'}, {'interpolation': 'nearest'}],
    ids=str,
)
@pytest.mark.parametrize('encoding', EIGHT_BIT)
def test_the_kernel_sees_what_the_cpu_sees(
    encoding: str, changes: dict[str, Any], device: Any
) -> None:
    model = spec(**changes)
    frames = [replace(noise(encoding, 120, 150, 3), part=part) for part in (None, *PARTS)]
    for image, frame in zip(run(device, model, list(frames)), frames, strict=True):
        assert np.abs(image - expected(model, frame)[0]).max() <= 1, frame.part


def test_boxes_lie_in_the_image(tmp_path: Path, device: Any) -> None:
    path = write_yolox(tmp_path / 'tiny.onnx')
    model = load_model_spec(path)
    rules = Rules.of_all(model.labels, 0.3)
    rules = replace(rules, edges=edges_of(['rows -60']))
    limits = Thresholds(0.3, rules=rules)
    whole = noise('bgr8', 120, 150)
    image = whole.data.reshape(120, 150, 3)
    frames = [replace(whole, part=(40, 30, 96, 64)), whole]
    gpu = detector_on(device, path, max_batch=2, thresholds=lambda: limits)
    cpu = cpu_detector(path, model, lambda: limits, max_batch=2)
    for mine, theirs in zip(gpu.submit(frames).wait(), cpu.submit(frames).wait(), strict=True):
        assert not differences(found(mine), found(theirs), 0.98, 0.01)
        assert found(theirs)
    gpu.close()
    alone = Frame.of(np.ascontiguousarray(image[30:94, 40:136]))
    plain = cpu_detector(path, model, lambda: Thresholds(0.3))
    moved = [
        (x1 + 40, y1 + 30, x2 + 40, y2 + 30, *rest)
        for x1, y1, x2, y2, *rest in found(plain.submit([alone]).wait()[0])
    ]
    below = [row for row in moved if (row[1] + row[3]) / 2 >= 60]
    assert 0 < len(below) < len(moved)
    free = replace(limits, rules=None)
    every = found(cpu_detector(path, model, lambda: free).submit(frames[:1]).wait()[0])
    assert not differences(every, moved, 0.999, 1e-4)


CROPS = (40, 30, 96, 64), (0, 60, 70, 50)


def test_crops_are_places_of_the_batch_and_their_boxes_the_image_s(
    tmp_path: Path, device: Any
) -> None:
    path = write_yolox(tmp_path / 'tiny.onnx')
    model = load_model_spec(path)
    limits = Thresholds(0.3)
    whole, other = noise('bgr8', 120, 150), noise('nv12', 96, 130)
    damaged = replace(whole, data=whole.data[:9], crops=CROPS[:1])
    frames = [other, replace(whole, crops=CROPS), damaged, replace(other, crops=((2, 4, 96, 64),))]
    gpu = detector_on(device, path, max_batch=8, thresholds=lambda: limits)
    cpu = cpu_detector(path, model, lambda: limits, max_batch=8)
    mine, theirs = gpu.submit(frames).wait(), cpu.submit(frames).wait()
    for one in mine, theirs:
        assert len(one) == 4 and isinstance(one[2], FrameError)
        assert one[2].reason is DropReason.MALFORMED
    for i in (0, 1, 3):
        assert not differences(found(mine[i]), found(theirs[i]), 0.98, 0.01)
    single = [
        cpu.submit([replace(whole, part=part)]).wait()[0].detections for part in (None, *CROPS)
    ]
    expected = merged_parts(single, frames[1], limits)
    np.testing.assert_array_equal(theirs[1].detections.xyxy, expected.xyxy)
    assert len(single[0]) < len(expected) < sum(map(len, single))
    # The next batch has none: nothing of the crops is left in it.
    plain = gpu.submit([whole]).wait()[0]
    assert not differences(found(plain), found(cpu.submit([whole]).wait()[0]), 0.98, 0.01)
    gpu.close()


def test_an_image_with_crops_is_uploaded_once_and_needs_room(tmp_path: Path, device: Any) -> None:
    gpu = detector_on(device, write_yolox(tmp_path / 'tiny.onnx'), max_batch=2)
    frame = replace(noise('bgr8', 120, 150), crops=CROPS[:1])
    gpu.submit([frame]).wait()
    slot = next(slot for slot in gpu._slots if slot.batch.sources)
    (_, first), (pixels, second) = slot.batch.sources
    assert first == second and pixels.part == CROPS[0]
    with pytest.raises(LaneError, match='expected 1 to 2 places, got 3'):
        gpu.submit([replace(frame, crops=CROPS)])
    gpu.close()
