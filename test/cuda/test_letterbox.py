"""The fused kernel writes what OpenCV's separate steps write, for every encoding and layout."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from host_device import current_stream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolox_trt_ros.core.encodings import RAW
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import InputSpec, Letterbox
from yolox_trt_ros.detect.cpu.preprocess import CpuPreprocessor, bgr_image
from yolox_trt_ros.detect.cuda.batch import BATCH, IMAGE, BatchTable, Pixels, Source
from yolox_trt_ros.detect.cuda.preprocess import TARGET, CudaPreprocessor, InputFormat

HEIGHT, WIDTH = 64, 96
EIGHT_BIT = [name for name, layout in RAW.items() if not layout.narrow]
TABLE = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def spec(**changes: Any) -> InputSpec:
    return InputSpec(**{'name': 'images', 'batch': 0, 'height': HEIGHT, 'width': WIDTH, **changes})


def noise(encoding: str, height: int, width: int, padding: int = 0, seed: int = 0) -> Frame:
    """Return a frame of random bytes, the last row without its padding."""
    layout = RAW[encoding]
    height += height % layout.height_multiple
    width += width % layout.width_multiple
    step = layout.min_step(width) + padding
    step += step % 2 if encoding in ('i420', 'yv12') else 0
    size = layout.size(height, width, step)
    data = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    return Frame('front', seed, 0, 0, '', encoding, height, width, step, data)


def run(
    device: Any, model: InputSpec, frames: list[Frame | None], shift: int = 0, **options: Any
) -> np.ndarray:
    """Return the input tensor; images lie `shift` bytes off alignment."""
    form = options.get('form') or InputFormat()
    sources: list[Source | None] = []
    kept = []
    for frame in frames:
        if frame is None:
            sources.append(None)
            continue
        memory = device.pinned(len(frame.data) + 64, np.uint8)
        memory[16 + shift : 16 + shift + len(frame.data)] = frame.data
        kept.append(memory)
        pixels = Pixels(frame.encoding, frame.height, frame.width, frame.step, frame.part)
        sources.append((pixels, device.address(memory) + 16 + shift))
    shape = form.shape(len(frames), model.height, model.width)
    target = device.zeros(shape, form.dtype)
    target.fill(77)
    preprocessor = CudaPreprocessor(model, device, **options)
    batch = BatchTable(device)
    preprocessor.describe(sources, batch)
    batch.upload(current_stream(device))
    preprocessor.enqueue(len(frames), batch.address, device.address(target))
    return target.get() if hasattr(target, 'get') else target


def expected(model: InputSpec, frame: Frame) -> tuple[np.ndarray, Letterbox]:
    preprocessor = CpuPreprocessor(model)
    target = preprocessor.new_input(1)[0]
    return target, preprocessor.write(frame, target)


def test_structures_have_the_kernels_sizes(device: Any) -> None:
    if not hasattr(device, 'size_of'):
        pytest.skip('the compiled sizes are asked of the host build')
    for name, dtype in (('Image', IMAGE), ('Batch', BATCH), ('Target', TARGET)):
        assert dtype.itemsize == device.size_of(name), name


@pytest.mark.parametrize('encoding', EIGHT_BIT)
def test_every_encoding_at_every_size(encoding: str, device: Any) -> None:
    @TABLE
    @given(
        st.integers(3, 300),
        st.integers(3, 300),
        st.integers(0, 7),
        st.integers(0, 3),
        st.sampled_from(['bgr', 'rgb']),
    )
    def check(height: int, width: int, padding: int, shift: int, colour: str) -> None:
        model = spec(colour=colour)
        frame = noise(encoding, height, width, padding)
        got = run(device, model, [frame], shift)
        want, _ = expected(model, frame)
        # The same bytes as from OpenCV's own loops; what some build replaces them by may round
        # otherwise now and then.
        assert np.abs(got[0] - want).max() <= 1
        assert (got[0] != want).mean() < 0.001

    check()


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.parametrize('encoding', EIGHT_BIT)
def test_tiny_and_thin_images(encoding: str, antialias: bool, device: Any) -> None:
    sizes = (1, 1), (1, 40), (40, 1), (2, 2), (2, 300), (300, 2), (1, 700), (700, 1), (3, 3)
    model, frames = spec(antialias=antialias), [noise(encoding, *size) for size in sizes]
    for image, frame in zip(run(device, model, list(frames)), frames, strict=True):
        assert np.abs(image - expected(model, frame)[0]).max() <= 1, frame


def test_a_batch_of_everything_in_one_launch(device: Any) -> None:
    frames: list[Frame | None] = [
        noise(encoding, 60 + 7 * i, 90 + 11 * i, i, seed=i) for i, encoding in enumerate(EIGHT_BIT)
    ]
    frames.insert(3, None)
    frames += [noise('bgr8', 50, 70, seed=50 + i) for i in range(6)]
    got = run(device, spec(pad=100), frames)
    assert len(got) == len(frames) == len(EIGHT_BIT) + 7
    for image, frame in zip(got, frames, strict=True):
        if frame is None:
            assert (image == 100).all()
        else:
            assert np.abs(image - expected(spec(pad=100), frame)[0]).max() <= 1


FORMS = [
    InputFormat(np.float32, 'nchw'),
    InputFormat(np.float16, 'nchw'),
    InputFormat(np.int8, 'nchw', quantum=2.0),
    InputFormat(np.float16, 'chw16'),
    InputFormat(np.int8, 'chw32', quantum=2.0),
    InputFormat(np.float16, 'hwc4'),
    InputFormat(np.int8, 'hwc4', quantum=2.0),
    InputFormat(np.float32, 'hwc4'),
    InputFormat(np.int8, 'chw16', quantum=2.0),
]
# Of every encoding one image that shrinks a little and one that shrinks by more than two.
EVERYTHING = [
    noise(encoding, times * (77 + i), times * (53 + 9 * i), i, seed=i)
    for i, encoding in enumerate(EIGHT_BIT)
    for times in (1, 3)
]


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.parametrize('form', FORMS, ids=str)
def test_every_encoding_in_every_type_and_layout(
    form: InputFormat, antialias: bool, device: Any
) -> None:
    model = spec(antialias=antialias)
    got = run(device, model, list(EVERYTHING), form=form)
    if form.layout == 'nchw':
        planes = got
    else:
        planes = np.moveaxis(got.reshape(len(got), HEIGHT, WIDTH, -1), -1, 1)
        assert not planes[:, 3:].any(), 'channels behind the third are zero'
    plain = run(device, model, list(EVERYTHING))
    for image, frame in zip(plain, EVERYTHING, strict=True):
        assert np.abs(image - expected(model, frame)[0]).max() <= 1
    if form.dtype == np.int8:
        plain = np.clip(np.round(plain / form.quantum), -128, 127)
    np.testing.assert_array_equal(planes[:, :3].astype(np.float64), plain)


NORMAL = {'scale': 1 / 255, 'mean': (0.4, 0.5, 0.6), 'std': (0.2, 0.3, 0.4)}


@pytest.mark.parametrize('colour', ['bgr', 'rgb'])
@pytest.mark.parametrize('dtype', [np.float32, np.float16, np.int8])
def test_mean_and_deviation(dtype: Any, colour: str, device: Any) -> None:
    model = spec(colour=colour, **NORMAL)
    quantum = model.largest / 127 if dtype == np.int8 else 1.0
    frames: list[Frame | None] = [noise('bgr8', 99, 131), noise('rgb8', 40, 30), None]
    got = run(device, model, frames, form=InputFormat(dtype, quantum=quantum)) * quantum
    # A pixel may differ by 1 of 255 here and there, and all by half a step of their type.
    pixel, rounded = 1 / 255 / 0.2, {'f': 1e-6, 'e': 1.1e-3, 'b': 0.501 * quantum}
    bound = rounded[np.dtype(dtype).char]
    for image, frame in zip(got, frames, strict=True):
        border = CpuPreprocessor(model).new_input(1)[0]
        apart = np.abs(image - (expected(model, frame)[0] if frame else border))
        assert apart.max() <= pixel + bound
        assert (apart > bound).mean() < 0.001


def test_network_input_wider_than_a_block(device: Any) -> None:
    model = spec(height=160, width=224)
    frame = noise('bgr8', 333, 447, 5)
    got = run(device, model, [frame])
    assert np.abs(got[0] - expected(model, frame)[0]).max() <= 1


def test_the_same_launch_for_fewer_images(device: Any) -> None:
    """As a recorded one is replayed: places behind the last image are left alone."""
    model, form = spec(), InputFormat()
    preprocessor, batch = CudaPreprocessor(model, device), BatchTable(device)
    target = device.zeros(form.shape(3, HEIGHT, WIDTH), form.dtype)
    for count in (3, 1):
        target.fill(77)
        preprocessor.describe([None] * count, batch)
        batch.upload(current_stream(device))
        preprocessor.enqueue(3, batch.address, device.address(target))
        got = target.get() if hasattr(target, 'get') else target
        assert (got[:count] == model.pad).all() and (got[count:] == 77).all()


@pytest.mark.parametrize('encoding', EIGHT_BIT)
def test_antialiasing_averages_what_shrinks_by_more_than_two(encoding: str, device: Any) -> None:
    big, small = noise(encoding, 401, 603), noise(encoding, 80, 100)
    model = spec(antialias=True)
    got = run(device, model, [big, small])
    box = Letterbox.fit(big.height, big.width, spec())
    mean = cv2.resize(bgr_image(big), (box.width, box.height), interpolation=cv2.INTER_AREA)
    inside = got[0][:, : box.height, : box.width].transpose(1, 2, 0)
    assert np.abs(inside - mean.astype(int)).max() <= 1
    for image, frame in zip(got, (big, small), strict=True):
        assert np.abs(image - expected(model, frame)[0]).max() <= 1
    assert np.array_equal(got[1], run(device, spec(), [small])[0])


@pytest.mark.parametrize('interpolation', ['bilinear', 'nearest', 'area'])
@pytest.mark.parametrize('letterbox', ['centre', 'stretch'])
def test_every_place_and_interpolation(letterbox: str, interpolation: str, device: Any) -> None:
    # Areas of whole pixels have means that lie halfway between two values.
    most = 0.05 if interpolation == 'area' else 0.001

    @TABLE
    @given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(['bgr8', 'nv12', 'mono8']))
    def check(height: int, width: int, encoding: str) -> None:
        model = spec(letterbox=letterbox, interpolation=interpolation, colour='rgb', pad=9)
        frames = [noise(encoding, height, width), noise('rgb8', width, height)]
        for image, frame in zip(run(device, model, list(frames)), frames, strict=True):
            want, _ = expected(model, frame)
            assert np.abs(image - want).max() <= 1
            assert (image != want).mean() < most

    check()


def test_types_no_kernel_writes_are_refused(device: Any) -> None:
    with pytest.raises(ConfigError, match='float64'):
        CudaPreprocessor(spec(), device, InputFormat(np.float64))
