"""No kernel touches memory at an address that a GPU refuses, whatever the model's size.

The host build counts what is misaligned for its type. Outputs of the network lie at any multiple of
their own type here; nobody promises more for the images behind the first.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from host_device import HOST, HostDevice, build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_decode import described
from test_letterbox import noise
from test_letterbox import run as letterboxed

from yolox_trt_ros.core.model import InputSpec, Letterbox, ModelSpec, Thresholds
from yolox_trt_ros.detect.cuda.postprocess import CudaPostprocessor
from yolox_trt_ros.detect.cuda.preprocess import InputFormat
from yolox_trt_ros.detect.heads.yolox.head import YoloxHead

SANITIZE = ('-O0', '-fsanitize=alignment', str(HOST / 'alignment.cpp'))
TABLE = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope='module')
def strict(tmp_path_factory: pytest.TempPathFactory) -> HostDevice:
    folder = tmp_path_factory.mktemp('aligned')
    try:
        for file in ('letterbox.cu', 'yolox.cu'):
            build(folder, file, SANITIZE)
    except (AssertionError, FileNotFoundError) as error:
        pytest.skip(f'no compiler that checks alignment: {str(error)[-200:]}')
    return HostDevice(folder)


def misaligned(device: HostDevice, file: str) -> int:
    return int(device._library(file).misaligned_accesses())


def test_a_misaligned_access_is_counted(strict: HostDevice) -> None:
    library = strict._library('yolox.cu')
    memory = (ctypes.c_char * 16)()
    before = misaligned(strict, 'yolox.cu')
    library.read_misaligned(ctypes.byref(memory, 1))
    assert misaligned(strict, 'yolox.cu') == before + 1


def placed(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> np.ndarray:
    """Return random numbers at an address that is a multiple of their size and of nothing more."""
    values = rng.normal(0, 2, shape).astype(dtype)
    memory = np.zeros(values.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 32 + values.itemsize
    array = memory[start : start + values.nbytes].view(dtype).reshape(shape)
    array[...] = values
    return array


# Classes, rows and columns of 32 pixels, maps or one output, type, batch: odd ones of each.
MODELS = (
    (1, 1, 1, True, 'float16', 3),
    (2, 3, 1, False, 'float16', 2),
    (7, 1, 2, False, 'float32', 2),
    (80, 2, 1, True, 'float16', 1),
    (365, 1, 1, False, 'float16', 1),
)


@pytest.mark.parametrize(('classes', 'down', 'across', 'per_level', 'dtype', 'batch'), MODELS)
def test_outputs_of_any_model(
    strict: HostDevice,
    classes: int,
    down: int,
    across: int,
    per_level: bool,
    dtype: str,
    batch: int,
) -> None:
    names = tuple(f'output {i}' for i in range(9 if per_level else 1))
    head = YoloxHead(names, classes, (8, 16, 32), 'logit', 'grid')
    labels = tuple(f'class {i}' for i in range(classes))
    model = ModelSpec(InputSpec('images', 0, 32 * down, 32 * across), head, labels)
    rng = np.random.default_rng(0)
    outputs = [placed(shape, dtype, rng) for shape in head.batched(model.input, batch)]
    addresses = [strict.address(output) for output in outputs]
    decode = CudaPostprocessor(model, strict, addresses, np.dtype(dtype), batch)
    boxes = [Letterbox(0.5, 10, 20, 30, 40)] * batch
    result, table = decode.new_result(), described(decode, strict, boxes, Thresholds(0.5))
    before = misaligned(strict, 'yolox.cu')
    decode.enqueue(batch, table.address, strict.address(result))
    assert misaligned(strict, 'yolox.cu') == before
    assert any(len(one) for one in decode.detections(result, table, batch))


def test_inputs_of_any_model(strict: HostDevice) -> None:
    @TABLE
    @given(
        st.integers(1, 6),
        st.integers(1, 6),
        st.sampled_from(['float32', 'float16']),
        st.integers(3, 70),
        st.integers(3, 70),
        st.integers(0, 3),
    )
    def property_of(
        down: int, across: int, dtype: str, height: int, width: int, shift: int
    ) -> None:
        model = InputSpec('images', 0, 32 * down, 32 * across)
        frames = [noise('bgr8', height, width, seed=i) for i in range(3)]
        form = InputFormat(np.dtype(dtype))
        letterboxed(strict, model, [*frames], shift=shift, form=form)
        assert misaligned(strict, 'letterbox.cu') == before

    before = misaligned(strict, 'letterbox.cu')
    property_of()
