"""What images, lanes and memory of others cost the detector of CUDA lanes, and what comes back."""

from __future__ import annotations

import gc
import mmap
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged import DAMAGES, damaged_frame, no_collector
from host_device import HostDevice
from matching import differences
from test_cuda_detector import detector_on, found, frame_of, jpeg_of, pictures

from yolox_trt_ros.core.errors import DropReason, FrameError, LaneError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.cuda.pinned_memory import CudaPinnedMemory
from yolox_trt_ros.detect.cuda.runtime import CudaDevice
from yolox_trt_ros.detect.model import load_model_spec

PATIENCE_S = 20.0


@pytest.mark.parametrize('integrated', [False, True])
def test_pinned_frames(integrated: bool, tiny: Path, device: Any) -> None:
    """They travel without a copy on the host; an integrated GPU reads them where they are."""
    device.integrated = integrated
    image = pictures(1)[0]
    memory = device.pinned(image.size, np.uint8)
    memory[:] = image.reshape(-1)
    assert device.reach(memory) and device.reach(image) is None
    detector = detector_on(device, tiny)
    locked = frame_of(memory.reshape(image.shape))
    results = [detector.submit([frame]).wait()[0] for frame in (locked, frame_of(image))]
    assert found(results[0]) == found(results[1])
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


@pytest.mark.parametrize('integrated', [False, True])
def test_memory_for_every_batch_size_is_there_after_the_first_batch(
    integrated: bool, tiny: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pinning memory takes tens of milliseconds; a camera shall not wait for it on the road."""
    device = HostDevice(library)
    device.integrated = integrated
    detector = detector_on(device, tiny, max_batch=4)
    frames = [frame_of(image) for image in pictures(1) * 4]
    detector.submit(frames[:1]).wait()
    monkeypatch.setattr(device, 'pinned', None)
    for count in (2, 3, 4, 1):
        assert len([found(result) for result in detector.submit(frames[:count]).wait()]) == count
    detector.close()


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


def test_a_batch_that_nobody_waits_for_keeps_no_memory(tiny: Path, library: Path) -> None:
    """As when a lane fails: its memory is back before the lane is built again."""
    device = HostDevice(library)
    gc.collect()
    before = device.held()
    detector = detector_on(device, tiny, max_batch=2, in_flight=2)
    gc.disable()
    try:
        for _ in range(2):
            detector.submit([frame_of(p) for p in pictures(2)])
        detector.close()
        assert device.held() == before
    finally:
        gc.enable()


@pytest.mark.gpu
def test_a_gpu_says_that_it_has_no_more_memory(cuda: CudaDevice) -> None:
    with pytest.raises(MemoryError):
        cuda.pinned(1 << 46, np.uint8)
    with pytest.raises(MemoryError):
        cuda.zeros((1 << 46,), np.uint8)
    assert cuda.pinned(1, np.uint8).size == cuda.zeros((1,), np.uint8).size == 1


@pytest.mark.gpu
def test_closing_gives_the_memory_of_a_gpu_back(tiny: Path, cuda: CudaDevice) -> None:
    import cupy

    pools = cupy.get_default_memory_pool(), cuda._pinned_pool
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
    on_cpu = cpu_detector(tiny, load_model_spec(tiny), Thresholds, max_batch=2)
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


@pytest.mark.gpu
def test_memory_of_others_can_be_pinned(tiny: Path, cuda: CudaDevice) -> None:
    """As the buffers of received images are: mapped memory in huge pages where there are some."""
    locks, image = CudaPinnedMemory(), pictures(1)[0]
    memory = mmap.mmap(-1, 4 << 20)
    memory.madvise(mmap.MADV_HUGEPAGE)
    buffer = np.frombuffer(memory, np.uint8)
    buffer[: image.size] = image.reshape(-1)
    detector = detector_on(cuda, tiny)
    frame = frame_of(buffer[: image.size].reshape(image.shape))
    plain = found(detector.submit([frame]).wait()[0])
    assert cuda.reach(frame.data) is None
    address = buffer.ctypes.data
    locks.pin(address, len(memory))
    try:
        assert cuda.reach(frame.data)
        assert found(detector.submit([frame]).wait()[0]) == plain
        with pytest.raises(LaneError, match='did not pin 4 MiB'):
            locks.pin(address, len(memory))
    finally:
        locks.unpin(address)
    assert cuda.reach(frame.data) is None
    detector.close()


@pytest.mark.parametrize('kind', DAMAGES)
def test_an_error_that_is_kept_keeps_no_frame(tiny: Path, library: Path, kind: str) -> None:
    """Be the frame copied, decoded by the pool, or laid out anew for want of room."""
    detector = detector_on(HostDevice(library), tiny, max_batch=2)
    with no_collector():
        for also in (pictures(1)[0], np.zeros((400, 500, 3), np.uint8), pictures(1)[0]):
            frame = damaged_frame(kind)
            memory = weakref.ref(frame.data)
            results = detector.submit([frame_of(also), frame]).wait()
            del frame
            end = time.monotonic() + PATIENCE_S
            while memory() is not None:  # the thread that copied it may not have let go yet
                assert time.monotonic() < end
                time.sleep(0.001)
            found(results[0])
            assert isinstance(results[1], FrameError)
            assert results[1].__traceback__ is results[1].__context__ is None
    detector.close()


def test_a_frame_that_cannot_be_laid_out_is_not_remembered(tiny: Path, library: Path) -> None:
    detector = detector_on(HostDevice(library), tiny)
    with no_collector():
        data = np.zeros(8, np.uint8)
        memory = weakref.ref(data)
        huge = Frame('front', 0, 0, 0, '', 'bgr8', 16384, 16384, 1 << 20, data)
        (result,) = detector.submit([huge]).wait()
        del data, huge
        assert memory() is None
    assert isinstance(result, FrameError) and result.reason is DropReason.UNSUPPORTED
    detector.close()
