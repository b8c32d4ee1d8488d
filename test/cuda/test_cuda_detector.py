"""The whole CUDA detector against the CPU detector.

On the CPU its kernels run with a CPU backend; on a GPU with ONNX Runtime's CUDA provider.
"""

from __future__ import annotations

import mmap
import time
import weakref
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


@pytest.mark.parametrize('integrated', [False, True])
def test_a_header_that_lies_costs_no_memory(integrated: bool, tiny: Path, library: Path) -> None:
    device = HostDevice(library)
    device.integrated = integrated
    detector = detector_on(device, tiny, max_batch=3)
    image = pictures(1)[0]
    good = found(detector.submit([frame_of(image)]).wait()[0])
    device.most = 8 << 20
    liar = Frame('front', 0, 0, 0, '', 'jpeg', 16384, 16384, 0, jpeg_of(image).data)
    for frames in ([liar], [frame_of(image), liar, jpeg_of(image)]):
        for frame, result in zip(frames, detector.submit(frames).wait(), strict=True):
            if frame is liar:
                assert isinstance(result, FrameError)
                assert result.reason is DropReason.UNDECODABLE
            elif frame.encoding == 'bgr8':
                assert found(result) == good
            else:
                found(result)
    detector.close()


def test_an_image_that_there_is_no_memory_for_fails_alone(tiny: Path, library: Path) -> None:
    device = HostDevice(library)
    detector = detector_on(device, tiny, max_batch=3)
    image = pictures(1)[0]
    good = found(detector.submit([frame_of(image)]).wait()[0])
    device.most = 4 << 20
    large = np.zeros((1200, 1600, 3), np.uint8)
    for _ in range(2):
        for one in (frame_of(large), jpeg_of(large)):
            first, second, third = detector.submit([frame_of(image), one, frame_of(image)]).wait()
            assert isinstance(second, FrameError) and second.reason is DropReason.UNSUPPORTED
            assert 'no memory for an image of 1600x1200' in str(second)
            assert found(first) == found(third) == good
    device.most = 1 << 30
    found(detector.submit([frame_of(large)]).wait()[0])
    detector.close()


def test_batches_of_a_wrong_size_are_refused(tiny: Path, device: Any) -> None:
    frames = [frame_of(picture) for picture in pictures(3)]
    detector = detector_on(device, tiny, max_batch=2, in_flight=2)
    running = detector.submit(frames[:1])
    for count in (0, 3):
        with pytest.raises(LaneError, match=f'expected 1 to 2 frames, got {count}'):
            detector.submit(frames[:count])
    with pytest.raises(AttributeError):
        detector.submit([None])  # type: ignore[list-item]
    (again,) = detector.submit(frames[:1]).wait()
    (first,) = running.wait()
    assert found(first) == found(again)
    detector.close()
    with pytest.raises(LaneError, match='closed'):
        detector.submit(frames[:1])


def test_frames_are_let_go_with_their_results(tiny: Path, device: Any) -> None:
    """Their memory belongs to a ring of buffers that images are received into."""
    detector = detector_on(device, tiny)
    image = pictures(1)[0]
    memory = weakref.ref(image)
    ticket = detector.submit([frame_of(image)])
    del image
    assert memory() is not None
    ticket.wait()
    end = time.monotonic() + PATIENCE_S
    while memory() is not None:  # the thread that copied it may not have let go yet
        assert time.monotonic() < end
        time.sleep(0.001)
    detector.close()


def test_closing_gives_all_memory_back(tiny: Path, library: Path) -> None:
    device = HostDevice(library)
    before = device.held()
    detector = detector_on(device, tiny, max_batch=2, in_flight=2)
    last = detector.submit([frame_of(p) for p in pictures(2)])
    late = detector.submit([frame_of(p) for p in pictures(2)])
    want = [found(result) for result in last.wait()]
    assert device.held() > before
    detector.close()
    assert [found(result) for result in late.wait()] == want
    del late, last
    assert device.held() == before
    detector.close()
    assert device.given_back == 1


@pytest.mark.gpu
def test_closing_gives_the_memory_of_a_gpu_back(tiny: Path, cuda: CudaDevice) -> None:
    import cupy

    pools = cupy.get_default_memory_pool(), cupy.get_default_pinned_memory_pool()
    cuda.give_back()
    before = pools[0].total_bytes()
    detector = detector_on(cuda, tiny, max_batch=2, in_flight=2)
    detector.submit([frame_of(p) for p in pictures(2)]).wait()
    assert pools[0].total_bytes() > before
    detector.close()
    assert pools[0].total_bytes() <= before and pools[1].n_free_blocks() == 0


def test_sizes_of_images_are_remembered_within_bounds(
    tiny: Path, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches in flight, and those that see the same images again, keep what they point to."""
    monkeypatch.setattr('yolox_trt_ros.detect.cuda.preprocess.MAX_TEMPLATES', 3)
    detector = detector_on(device, tiny, max_batch=2, in_flight=2)
    on_cpu = CpuDetector(tiny, load_model_spec(tiny), Thresholds, max_batch=2)
    frames = [frame_of(picture) for picture in pictures(8)]
    waiting = []
    for first in (0, 2, 0, 4, 6, 0, 6, 2, 2, 2):
        batch = frames[first : first + 2]
        waiting.append((detector.submit(batch), on_cpu.submit(batch).wait()))
        if len(waiting) == 2:
            ticket, want = waiting.pop(0)
            for a, b in zip(ticket.wait(), want, strict=True):
                assert not differences(found(a), found(b), 0.98, 0.01)
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
def test_memory_of_decoded_images_is_kept_when_their_number_varies(cuda: CudaDevice) -> None:
    jpeg, stream, images = gpu_jpeg(), cuda.stream(), []  # type: ignore[var-annotated]
    whole = [jpeg_of(smooth(240, 320, seed)) for seed in range(4)]
    broken = Frame('front', 0, 0, 0, '', 'jpeg', 240, 320, 0, whole[0].data.copy())
    broken.data[2:600] = 7

    def addresses(frames: list[Frame]) -> list[int]:
        decoded = jpeg.decode(frames, images, stream)
        return [found[1] for found in decoded if not isinstance(found, FrameError)]

    first = addresses(whole[:3])
    assert len(set(first)) == 3
    assert addresses(whole[:1]) == first[:1]
    assert addresses(whole)[:3] == first and len(images) == 4
    assert addresses([broken]) == []
    assert len(addresses([whole[0], broken, whole[1]])) == 2
    assert addresses(whole[:3]) == addresses(whole[:3])


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
