"""The whole CUDA detector against the CPU detector.

On the CPU its kernels run with a CPU backend; on a GPU with ONNX Runtime's CUDA provider.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from host_device import HostBackend, HostDevice
from matching import differences
from test_letterbox import noise
from tiny_models import write_yolox

from yolox_trt_ros.core.backends import no_masks
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import (
    ConfigError,
    DropReason,
    FrameError,
    LaneError,
)
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend, batch_sizes
from yolox_trt_ros.detect.cuda.detector import CudaDetector
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.runtime import CudaDevice
from yolox_trt_ros.detect.cuda.step import CaptureError
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.half import to_half

PATIENCE_S = 20.0


def frame_of(image: np.ndarray, sequence: int = 0) -> Frame:
    height, width = image.shape[:2]
    data = image.reshape(-1)
    return Frame('front', sequence, 0, 0, '', 'bgr8', height, width, width * 3, data)


def jpeg_of(image: np.ndarray) -> Frame:
    height, width = image.shape[:2]
    data = cv2.imencode('.jpg', image)[1].reshape(-1)
    return Frame('front', 0, 0, 0, '', 'jpeg', height, width, 0, data)


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (90 + 8 * i, 120 + 10 * i, 3), np.uint8) for i in range(count)]


def rows(detections: Detections) -> list[tuple[float, ...]]:
    columns = (*detections.xyxy.T, detections.score, detections.class_id)
    return [tuple(float(v) for v in row) for row in zip(*columns, strict=True)]


def found(result: Any) -> list[tuple[float, ...]]:
    assert isinstance(result, Detected), result
    return rows(result.detections)


def detector_on(
    device: Any,
    path: Path,
    max_batch: int = 1,
    in_flight: int = 1,
    labels: Path | None = None,
    jpeg: GpuJpeg | None = None,
    thresholds: Callable[[], Thresholds] = Thresholds,
    masks: Callable[[str], bool] = no_masks,
) -> CudaDetector:
    spec, stream = load_model_spec(path, labels), device.stream()
    backend: Any
    if isinstance(device, HostDevice):
        backend = HostBackend(path, spec, max_batch)
    else:
        ort = pytest.importorskip('onnxruntime')
        if 'CUDAExecutionProvider' not in ort.get_available_providers():
            pytest.skip('ONNX Runtime has no CUDA provider: pip install onnxruntime-gpu')
        backend = OnnxRuntimeCudaBackend(path, spec, device, stream, max_batch)
    made = partial(CudaDetector, spec, device)
    more = thresholds, max_batch, in_flight, jpeg, '', masks
    try:
        return made(stream, backend, *more)
    except CaptureError:  # as a lane does, see detect.backends.onnxruntime_lane
        stream = device.stream()
        backend = OnnxRuntimeCudaBackend(path, spec, device, stream, max_batch)
        backend.recordable = False
        return made(stream, backend, *more)


@pytest.mark.parametrize('layout', ['concatenated', 'per_level'])
@pytest.mark.parametrize('boxes', ['grid', 'pixel'])
def test_same_detections_as_the_cpu(layout: str, boxes: str, tmp_path: Path, device: Any) -> None:
    if (layout, boxes) == ('per_level', 'pixel'):
        pytest.skip('a cut model leaves decoding to us')
    path = write_yolox(tmp_path / 'tiny.onnx', layout=layout, boxes=boxes)
    spec = load_model_spec(path)
    frames = [frame_of(p, i) for i, p in enumerate(pictures(3))]
    on_cpu = cpu_detector(path, spec, Thresholds, max_batch=3)
    on_gpu = detector_on(device, path, max_batch=3)
    expected = on_cpu.submit(frames).wait()
    for _ in range(3):  # each replays what was recorded
        got = on_gpu.submit(frames).wait()
        for a, b in zip(got, expected, strict=True):
            assert not differences(found(a), found(b), 0.98, 0.01)
    on_gpu.close()


def test_batches_in_flight_come_back_in_order(tiny: Path, device: Any) -> None:
    detector = detector_on(device, tiny, max_batch=2, in_flight=2)
    images = pictures(6)
    alone = [found(detector.submit([frame_of(image)]).wait()[0]) for image in images]
    for i in range(0, 4, 2):
        first = detector.submit([frame_of(images[i]), frame_of(images[i + 1])])
        second = detector.submit([frame_of(images[i + 2])])
        with pytest.raises(LaneError, match='2 batches in flight'):
            detector.submit([frame_of(images[0])])
        together = [found(r) for r in (*first.wait(), *second.wait())]
        for a, b in zip(together, alone[i : i + 3], strict=True):
            assert not differences(a, b)
    detector.close()
    detector.close()


def test_times_of_a_batch_are_in_order(tiny: Path, device: Any) -> None:
    detector = detector_on(device, tiny)
    last = 0
    for _ in range(4):
        (result,) = detector.submit([frame_of(pictures(1)[0])]).wait()
        assert isinstance(result, Detected)
        assert last <= result.begun_ns <= result.preprocessed_ns
        assert result.preprocessed_ns <= result.inferred_ns <= result.decoded_ns
        last = result.decoded_ns
    detector.close()


@pytest.mark.parametrize('recorded', [True, False])
def test_profilers_see_stages(
    recorded: bool, tiny: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostBackend, 'recordable', recorded)
    device = HostDevice(library)
    detector = detector_on(device, tiny)
    computed = ['preprocess', '/preprocess', 'infer', '/infer', 'decode', '/decode']
    assert device.marked[:6] == computed
    for _ in range(2):
        device.marked.clear()
        detector.submit([frame_of(pictures(1)[0])]).wait()
        inside = [] if recorded else computed
        batch = ['upload', '/upload', 'launch', *inside, '/launch', 'collect', '/collect']
        assert device.marked == batch
    detector.close()


def test_compressed_and_damaged_frames(tiny: Path, device: Any) -> None:
    spec = load_model_spec(tiny)
    image = pictures(1)[0]
    whole = jpeg_of(image)
    cut = Frame('front', 0, 0, 0, '', 'jpeg', *image.shape[:2], 0, whole.data[:-400])
    short = Frame('front', 0, 0, 0, '', 'bgr8', 90, 120, 360, whole.data[:100])
    detector = detector_on(device, tiny, max_batch=4)
    got = detector.submit([whole, cut, short, frame_of(image)]).wait()
    assert isinstance(got[1], FrameError) and got[1].reason is DropReason.UNDECODABLE
    assert isinstance(got[2], FrameError) and got[2].reason is DropReason.MALFORMED
    (expected,) = cpu_detector(tiny, spec, Thresholds).submit([whole]).wait()
    assert not differences(found(got[0]), found(expected), 0.98, 0.01)
    (expected,) = cpu_detector(tiny, spec, Thresholds).submit([frame_of(image)]).wait()
    assert not differences(found(got[3]), found(expected), 0.98, 0.01)
    detector.close()


def files(image: np.ndarray) -> dict[str, Frame]:
    """Return a picture as files of all kinds, with what their samples are."""
    height, width = image.shape[:2]
    grey, wide = image[:, :, 1], image.astype(np.uint16) * 16
    jpeg = cv2.imencode('.jpg', image)[1].reshape(-1)
    tables = jpeg.tobytes().index(b'\xff\xc4'), jpeg.tobytes().index(b'\xff\xda')
    contents: dict[str, tuple[str, np.ndarray, str]] = {
        'png': ('png', cv2.imencode('.png', image)[1].reshape(-1), ''),
        'webp': ('webp', cv2.imencode('.webp', image)[1].reshape(-1), ''),
        'mosaic': ('png', cv2.imencode('.png', grey)[1].reshape(-1), 'bayer_rggb8'),
        'mosaic in a JPEG': ('jpeg', cv2.imencode('.jpg', grey)[1].reshape(-1), 'bayer_grbg8'),
        'mosaic of 12 bits': (
            'png',
            cv2.imencode('.png', wide[:, :, 1])[1].reshape(-1),
            'bayer_gbrg16',
        ),
        'thermal': ('png', cv2.imencode('.png', wide[:, :, 1] + 7000)[1].reshape(-1), 'mono16'),
        'colour of 12 bits': ('png', cv2.imencode('.png', wide)[1].reshape(-1), 'bgr16'),
        'JPEG and a film': ('jpeg', np.concatenate((jpeg, np.arange(99_999).astype(np.uint8))), ''),
        'JPEG without its end': ('jpeg', jpeg[:-2], ''),
        'JPEG without tables': ('jpeg', np.delete(jpeg, slice(*tables)), ''),
        'JPEG behind half of one': ('jpeg', np.concatenate((jpeg[: len(jpeg) // 2], jpeg)), ''),
    }
    return {
        name: Frame('front', 0, 0, 0, '', kind, height, width, 0, data, content=content)
        for name, (kind, data, content) in contents.items()
    }


def test_files_of_all_kinds(tiny: Path, device: Any) -> None:
    frames = files(pictures(1)[0])
    spec = load_model_spec(tiny)
    detector = detector_on(device, tiny, max_batch=len(frames))
    on_cpu = cpu_detector(tiny, spec, Thresholds, max_batch=len(frames))
    for _ in range(2):  # with memory that is too small, and with memory that is not
        got, want = (d.submit(list(frames.values())).wait() for d in (detector, on_cpu))
        for name, a, b in zip(frames, got, want, strict=True):
            assert not differences(found(a), found(b), 0.97, 0.02), name
    detector.close()


def test_all_encodings_of_a_batch_and_growing_images(tiny: Path, device: Any) -> None:
    spec = load_model_spec(tiny)
    detector = detector_on(device, tiny, max_batch=len(RAW))
    on_cpu = cpu_detector(tiny, spec, Thresholds, max_batch=len(RAW))
    for height, width in ((40, 60), (120, 160), (80, 100)):
        frames = [noise(encoding, height, width, 5, seed=i) for i, encoding in enumerate(RAW)]
        got, want = (d.submit(frames).wait() for d in (detector, on_cpu))
        for a, b in zip(got, want, strict=True):
            assert not differences(found(a), found(b), 0.97, 0.02)
    detector.close()


def test_batches_of_a_wrong_size_are_refused(tiny: Path, device: Any) -> None:
    frames = [frame_of(picture) for picture in pictures(3)]
    detector = detector_on(device, tiny, max_batch=2, in_flight=2)
    running = detector.submit(frames[:1])
    for count in (0, 3):
        with pytest.raises(LaneError, match=f'expected 1 to 2 places, got {count}'):
            detector.submit(frames[:count])
    with pytest.raises(AttributeError):
        detector.submit([None])  # type: ignore[list-item]
    (again,) = detector.submit(frames[:1]).wait()
    (first,) = running.wait()
    assert found(first) == found(again)
    detector.close()
    with pytest.raises(LaneError, match='closed'):
        detector.submit(frames[:1])


def test_sizes_of_batches_that_are_run() -> None:
    assert batch_sizes(1) == [1]
    assert batch_sizes(6) == [1, 2, 3, 4, 5, 6]
    assert batch_sizes(16) == [1, 2, 3, 4, 5, 6, 7, 8, 12, 16]
    assert batch_sizes(20)[-3:] == [12, 16, 20]


@pytest.mark.parametrize('recordable', [True, False])
def test_one_graph_for_every_batch_and_all_thresholds(
    recordable: bool, tiny: Path, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From pixels to detections; without one, the same kernels are launched one by one."""
    if not recordable:
        backend = HostBackend if isinstance(device, HostDevice) else OnnxRuntimeCudaBackend
        monkeypatch.setattr(backend, 'recordable', False, raising=False)
    scores = iter((0.3, 0.6, 0.3, 0.0))
    detector = detector_on(device, tiny, 3, 2, thresholds=lambda: Thresholds(score=next(scores)))
    assert detector.recorded == recordable
    spec, frames = load_model_spec(tiny), [frame_of(p, i) for i, p in enumerate(pictures(3))]
    for count, score in ((3, 0.3), (2, 0.6), (1, 0.3), (3, 0.0)):
        on_cpu = cpu_detector(tiny, spec, lambda score=score: Thresholds(score), max_batch=3)
        got, want = (d.submit(frames[:count]).wait() for d in (detector, on_cpu))
        for a, b in zip(got, want, strict=True):
            assert not differences(found(a), found(b), 0.98, 0.01)
    detector.close()


@pytest.mark.gpu
def test_a_device_that_is_not_there(cuda: CudaDevice) -> None:
    with pytest.raises(ConfigError, match='cuda:0'):
        CudaDevice(99)


@pytest.mark.parametrize('half', [False, True])
def test_photographs(half: bool, real: Path, tmp_path: Path, device: Any) -> None:
    """A device that is the CPU is slow: it sees every eighth of the fifty.

    In float16 another of two nearly equal boxes may be the one that suppression leaves.
    """
    path, labels = real / 'yolox_nano_coco.onnx', real / 'coco_classes.txt'
    on_cpu = cpu_detector(path, load_model_spec(path, labels), Thresholds)
    if half:
        if isinstance(device, HostDevice):
            pytest.skip('the backend in the place of a GPU computes in float32')
        model = to_half(onnx.load(str(path)))
        path = tmp_path / 'half.onnx'
        onnx.save(model, str(path))
    files = sorted((real / 'images').iterdir())
    detector = detector_on(device, path, labels=labels)
    iou, score = (0.75, 0.02) if half else (0.99, 0.005)
    problems = []
    for file in files[:: 8 if isinstance(device, HostDevice) else 1]:
        frame = frame_of(cv2.imread(str(file)))
        (got,), (want,) = (d.submit([frame]).wait() for d in (detector, on_cpu))
        mine, theirs = found(got), found(want)
        # What lies on the threshold may be found by one of the two alone.
        for these, those in ((mine, theirs), (theirs, mine)):
            clear = [row for row in those if row[4] > Thresholds().score + score]
            missing = differences(these, clear, iou, score)
            problems += [f'{file.name}: {p}' for p in missing if p.startswith('missing')]
    assert not problems
    detector.close()
