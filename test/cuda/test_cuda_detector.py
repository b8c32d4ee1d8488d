"""The whole CUDA detector against the CPU detector.

On the CPU its kernels run with a CPU backend; on a GPU with ONNX Runtime's CUDA provider.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
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

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import (
    ConfigError,
    DropReason,
    FrameError,
    LaneError,
    MissingDependencyError,
)
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend, batch_sizes
from yolox_trt_ros.detect.cpu.detector import CpuDetector
from yolox_trt_ros.detect.cpu.preprocess import decode_compressed
from yolox_trt_ros.detect.cuda.detector import CudaDetector
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.page_locks import CudaPageLocks
from yolox_trt_ros.detect.cuda.runtime import CudaDevice
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.half import to_half


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
    return CudaDetector(spec, device, stream, backend, thresholds, max_batch, in_flight, jpeg)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_yolox(tmp_path / 'tiny.onnx', scores='logit')


@pytest.mark.parametrize('layout', ['concatenated', 'per_level'])
@pytest.mark.parametrize('boxes', ['grid', 'pixel'])
def test_same_detections_as_the_cpu(layout: str, boxes: str, tmp_path: Path, device: Any) -> None:
    if (layout, boxes) == ('per_level', 'pixel'):
        pytest.skip('a cut model leaves decoding to us')
    path = write_yolox(tmp_path / 'tiny.onnx', layout=layout, boxes=boxes)
    spec = load_model_spec(path)
    frames = [frame_of(p, i) for i, p in enumerate(pictures(3))]
    on_cpu = CpuDetector(path, spec, Thresholds, max_batch=3)
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
        assert last <= result.preprocessed_ns <= result.inferred_ns <= result.decoded_ns
        last = result.decoded_ns
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
    (expected,) = CpuDetector(tiny, spec, Thresholds).submit([whole]).wait()
    assert not differences(found(got[0]), found(expected), 0.98, 0.01)
    (expected,) = CpuDetector(tiny, spec, Thresholds).submit([frame_of(image)]).wait()
    assert not differences(found(got[3]), found(expected), 0.98, 0.01)
    detector.close()


@pytest.mark.parametrize('integrated', [False, True])
def test_page_locked_frames(integrated: bool, tiny: Path, device: Any) -> None:
    """They travel without a copy on the host; an integrated GPU reads them where they are."""
    device.integrated = integrated
    image = pictures(1)[0]
    memory = device.page_locked(image.size, np.uint8)
    memory[:] = image.reshape(-1)
    assert device.reach(memory) and device.reach(image) is None
    detector = detector_on(device, tiny)
    locked = frame_of(memory.reshape(image.shape))
    results = [detector.submit([frame]).wait()[0] for frame in (locked, frame_of(image))]
    assert found(results[0]) == found(results[1])
    detector.close()


def test_all_encodings_of_a_batch_and_growing_images(tiny: Path, device: Any) -> None:
    spec = load_model_spec(tiny)
    detector = detector_on(device, tiny, max_batch=len(RAW))
    on_cpu = CpuDetector(tiny, spec, Thresholds, max_batch=len(RAW))
    for height, width in ((40, 60), (120, 160), (80, 100)):
        frames = [noise(encoding, height, width, 5, seed=i) for i, encoding in enumerate(RAW)]
        got, want = (d.submit(frames).wait() for d in (detector, on_cpu))
        for a, b in zip(got, want, strict=True):
            assert not differences(found(a), found(b), 0.97, 0.02)
    detector.close()


def test_sizes_of_batches_that_are_run() -> None:
    assert batch_sizes(1) == [1]
    assert batch_sizes(6) == [1, 2, 4, 6]
    assert batch_sizes(16) == [1, 2, 4, 8, 16]


def gpu_jpeg() -> GpuJpeg:
    try:
        return GpuJpeg(0)
    except MissingDependencyError as error:
        pytest.skip(str(error))


def smooth(height: int, width: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.gpu
def test_the_gpu_decodes_jpeg_images_as_opencv_does(cuda: CudaDevice) -> None:
    import cupy

    jpeg, stream, images = gpu_jpeg(), cuda.stream(), []  # type: ignore[var-annotated]
    for size in ((480, 640), (121, 333), (480, 640)):
        frames = [jpeg_of(smooth(*size, seed)) for seed in range(3)]
        for frame, found in zip(frames, jpeg.decode(frames, images, stream), strict=True):
            assert not isinstance(found, FrameError), found
            layout, address = found
            stream.synchronize()
            host = np.empty((layout.height, layout.step), np.uint8)
            cupy.cuda.runtime.memcpy(host.ctypes.data, address, host.nbytes, 2)
            pixels = host[:, : layout.width * 3].reshape(*size, 3).astype(int)
            apart = np.abs(pixels - decode_compressed(frame))
            assert apart.mean() < 1 and np.percentile(apart, 99.9) <= 4


@pytest.mark.gpu
def test_jpeg_images_among_others_on_the_gpu(tiny: Path, cuda: CudaDevice) -> None:
    image = smooth(240, 320, 1)
    whole = jpeg_of(image)
    cut = Frame('front', 0, 0, 0, '', 'jpeg', 240, 320, 0, whole.data[:-400])
    broken = Frame('front', 0, 0, 0, '', 'jpeg', 240, 320, 0, whole.data.copy())
    broken.data[2:600] = 7
    detector = detector_on(cuda, tiny, max_batch=4, jpeg=gpu_jpeg())
    on_cpu = CpuDetector(tiny, load_model_spec(tiny), Thresholds, max_batch=4)
    frames = [whole, cut, broken, frame_of(image)]
    for _ in range(3):
        got, want = (d.submit(frames).wait() for d in (detector, on_cpu))
        for a, b in zip(got[1:3], want[1:3], strict=True):
            assert isinstance(a, FrameError) and isinstance(b, FrameError)
            assert a.reason is b.reason is DropReason.UNDECODABLE
        for a, b in ((got[0], want[0]), (got[3], want[3])):
            assert not differences(found(a), found(b), 0.95, 0.03)
    detector.close()


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
        on_cpu = CpuDetector(tiny, spec, lambda score=score: Thresholds(score), max_batch=3)
        got, want = (d.submit(frames[:count]).wait() for d in (detector, on_cpu))
        for a, b in zip(got, want, strict=True):
            assert not differences(found(a), found(b), 0.98, 0.01)
    detector.close()


@pytest.mark.gpu
def test_memory_of_others_can_be_page_locked(tiny: Path, cuda: CudaDevice) -> None:
    """As the buffers of received images are: mapped memory in huge pages where there are some."""
    locks, image = CudaPageLocks(), pictures(1)[0]
    memory = mmap.mmap(-1, 4 << 20)
    memory.madvise(mmap.MADV_HUGEPAGE)
    buffer = np.frombuffer(memory, np.uint8)
    buffer[: image.size] = image.reshape(-1)
    detector = detector_on(cuda, tiny)
    frame = frame_of(buffer[: image.size].reshape(image.shape))
    plain = found(detector.submit([frame]).wait()[0])
    assert cuda.reach(frame.data) is None
    address = buffer.ctypes.data
    locks.lock(address, len(memory))
    try:
        assert cuda.reach(frame.data)
        assert found(detector.submit([frame]).wait()[0]) == plain
        with pytest.raises(LaneError, match='did not lock 4 MiB'):
            locks.lock(address, len(memory))
    finally:
        locks.unlock(address)
    assert cuda.reach(frame.data) is None
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
    on_cpu = CpuDetector(path, load_model_spec(path, labels), Thresholds)
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
