"""JPEG images decoded on the GPU, against OpenCV."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matching import differences
from test_cuda_detector import detector_on, files, found, frame_of, jpeg_of

from yolox_trt_ros.core.errors import DropReason, FrameError, MissingDependencyError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.cpu.decode import decode_compressed
from yolox_trt_ros.detect.cuda.jpeg import GpuJpeg
from yolox_trt_ros.detect.cuda.runtime import CudaDevice
from yolox_trt_ros.detect.model import load_model_spec


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
        for frame, decoded in zip(frames, jpeg.decode(frames, images, stream), strict=True):
            assert not isinstance(decoded, FrameError), decoded
            layout, address = decoded
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
    on_cpu = cpu_detector(tiny, load_model_spec(tiny), Thresholds, max_batch=4)
    frames = [whole, cut, broken, frame_of(image)]
    for _ in range(3):
        got, want = (d.submit(frames).wait() for d in (detector, on_cpu))
        for a, b in zip(got[1:3], want[1:3], strict=True):
            assert isinstance(a, FrameError) and isinstance(b, FrameError)
            assert a.reason is b.reason is DropReason.UNDECODABLE
        for a, b in ((got[0], want[0]), (got[3], want[3])):
            assert not differences(found(a), found(b), 0.95, 0.03)
    detector.close()


@pytest.mark.gpu
def test_habits_of_cameras_on_the_gpu(tiny: Path, cuda: CudaDevice) -> None:
    """Trailers, missing ends and tables, mosaics in files, and cuts without an end marker."""
    frames = files(smooth(240, 320, 1))
    whole = frames['JPEG without its end'].data
    for name, cut in (('cut', 3), ('half', len(whole) // 2)):
        frames[name] = replace(frames['JPEG without its end'], data=whole[:-cut])
    detector = detector_on(cuda, tiny, max_batch=len(frames), jpeg=gpu_jpeg())
    on_cpu = cpu_detector(tiny, load_model_spec(tiny), Thresholds, max_batch=len(frames))
    for _ in range(2):
        got, want = (d.submit(list(frames.values())).wait() for d in (detector, on_cpu))
        for name, a, b in zip(frames, got, want, strict=True):
            if name in ('cut', 'half'):
                assert isinstance(a, FrameError) and isinstance(b, FrameError), name
                assert a.reason is b.reason is DropReason.UNDECODABLE
            else:
                assert not differences(found(a), found(b), 0.95, 0.03), name
    detector.close()


@pytest.mark.gpu
def test_an_image_that_the_gpu_has_no_memory_for_fails_alone(cuda: CudaDevice) -> None:
    from cupy.cuda import runtime

    jpeg, stream, images = gpu_jpeg(), cuda.stream(), []  # type: ignore[var-annotated]
    good = jpeg_of(smooth(240, 320, 0))
    claims = good.data.copy()
    size = claims.tobytes().index(b'\xff\xc0') + 5
    claims[size : size + 4] = (0x40, 0, 0x40, 0)
    liar = Frame('front', 0, 0, 0, '', 'jpeg', 0x4000, 0x4000, 0, claims)
    jpeg.decode([good], images, stream)  # takes what it always needs
    everything = runtime.malloc(runtime.memGetInfo()[0] - (256 << 20))
    try:
        for _ in range(2):
            small, huge = jpeg.decode([good, liar], images, stream)
            assert not isinstance(small, FrameError), small
            assert isinstance(huge, FrameError) and huge.reason is DropReason.UNDECODABLE
    finally:
        runtime.free(everything)
