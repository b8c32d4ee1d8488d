"""Class masks on a GPU, against the CPU's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_device import HostDevice
from test_cuda_detector import detector_on, frame_of, pictures
from tiny_models import write_yolox

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.model import InputSpec, Letterbox, Thresholds
from yolox_trt_ros.core.segmentation import Segmentation, SegmentationSpec
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.cpu.segment import CpuSegmenter
from yolox_trt_ros.detect.cuda.batch import Pixels
from yolox_trt_ros.detect.cuda.segment import WINDOW, CudaSegmenter
from yolox_trt_ros.detect.model import load_model_spec

IMAGE = InputSpec('images', 0, 64, 96)
SIZES = [(64, 96), (50, 96), (64, 33), (128, 170)]
PART = (10, 4, 30, 40)


def random_map(kind: str, numbers: bool, rng: np.random.Generator) -> np.ndarray:
    """Return maps of four images, equal scores and numbers that are no classes among them."""
    if numbers:
        values = rng.integers(-3, 300, (4, 1, 16, 24))
        return np.clip(values, 0, 255).astype(kind) if kind == 'uint8' else values.astype(kind)
    return rng.integers(-4, 5, (4, 7, 16, 24)).astype(kind)


@pytest.mark.parametrize(
    ('kind', 'numbers'),
    [
        ('float32', False), ('float16', False), ('float32', True), ('float16', True),
        ('int32', True), ('int64', True), ('uint8', True),
    ],
)  # fmt: skip
@pytest.mark.parametrize('letterbox', ['top_left', 'centre', 'stretch'])
def test_the_kernel_chooses_as_the_cpu_does(
    kind: str, numbers: bool, letterbox: Any, device: Any
) -> None:
    rng = np.random.default_rng(5)
    values = random_map(kind, numbers, rng)
    if not numbers:
        values[0, 0, 0, 0] = values[1, 3] = np.nan
    image = InputSpec('images', 0, 64, 96, letterbox=letterbox)
    spec = SegmentationSpec('masks', values.shape[1:], 4, numbers)
    stream = device.stream()
    with stream:
        maps = device.array(values)
        if not isinstance(device, HostDevice):
            maps = maps.view(kind).reshape(values.shape)
        segmenter = CudaSegmenter(image, spec, device, maps, 4)
        batch = segmenter.new_masks()
        parts = [None, None, PART, None]
        sources = [
            (Pixels('bgr8', *size, 3 * size[1], part), 0)
            for size, part in zip(SIZES, parts, strict=True)
        ]
        segmenter.enqueue(sources, [True, True, True, False], batch, stream)
    stream.synchronize()
    empty = Detections.empty()
    found = segmenter.add([empty] * 4, batch)
    on_cpu = CpuSegmenter(image, spec)
    for i, (size, part) in enumerate(zip(SIZES[:3], parts, strict=False)):
        got, want = found[i].segmentation, on_cpu.mask(values, i, Letterbox.fit(*size, image, part))
        assert got and got.region == want.region
        assert (got.class_id == want.class_id).all()
    assert found[3].segmentation is None
    # One without a picture, and one that nobody wants, leave nothing behind.
    segmenter.enqueue([None, sources[1]], [True, False], batch, stream)
    assert all(one.segmentation is None for one in segmenter.add([empty] * 2, batch))
    segmenter.close()


def test_windows_lie_as_the_kernel_reads_them(library: Path) -> None:
    assert HostDevice(library).size_of('Window') == WINDOW.itemsize


@pytest.mark.parametrize('kind', ['scores', 'chosen'])
def test_same_masks_as_the_cpu(kind: str, tmp_path: Path, device: Any) -> None:
    path = write_yolox(tmp_path / 'tiny.onnx', segmentation=kind)
    spec = load_model_spec(path)
    frames = [frame_of(p, i) for i, p in enumerate(pictures(3))]
    on_cpu = cpu_detector(path, spec, Thresholds, 3, masks=lambda camera: True)
    on_gpu = detector_on(device, path, max_batch=3, masks=lambda camera: True)
    expected = on_cpu.submit(frames).wait()
    for _ in range(2):
        got = on_gpu.submit(frames).wait()
        for a, b in zip(got, expected, strict=True):
            ours, theirs = mask_in(a), mask_in(b)
            assert ours.region == theirs.region
            assert ours.class_id.shape == theirs.class_id.shape
            # Pixels may differ by one, and so may scores that are nearly equal.
            assert (ours.class_id == theirs.class_id).mean() > 0.98
    on_gpu.close()


def mask_in(result: Any) -> Segmentation:
    assert isinstance(result, Detected) and result.detections.segmentation
    return result.detections.segmentation


def test_nothing_is_launched_or_copied_while_nobody_wants_masks(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = HostDevice(library)
    wanted: set[str] = set()
    path = write_yolox(tmp_path / 'tiny.onnx', segmentation='scores')
    launched: list[str] = []
    detector = detector_on(device, path, masks=lambda camera: camera in wanted)
    run, copied = HostDevice._launch, device.upload
    copies: list[int] = []

    def launch(library: Any, name: str, *more: Any) -> None:
        launched.append(name)
        run(library, name, *more)

    def upload(target: int, source: int, size: int, stream: Any) -> None:
        copies.append(size)
        copied(target, source, size, stream)

    monkeypatch.setattr(HostDevice, '_launch', staticmethod(launch))
    monkeypatch.setattr(device, 'upload', upload)
    frame = frame_of(pictures(1)[0])
    detector.submit([frame]).wait()
    without = len(copies)
    assert not any('segment' in name for name in launched)
    wanted.add('front')
    (result,) = detector.submit([frame]).wait()
    height, width = mask_in(result).class_id.shape
    assert [name for name in launched if 'segment' in name] == ['segment<float, false>']
    assert len(copies) - without >= 1 and copies[-1] == height * width
    wanted.clear()
    (result,) = detector.submit([frame]).wait()
    assert isinstance(result, Detected) and result.detections.segmentation is None
    detector.close()
