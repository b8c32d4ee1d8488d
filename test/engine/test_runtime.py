"""The TensorRT backend: layouts, batches, names and order of calls, with a stand-in for TensorRT.

What only a GPU can show stands in docs/orin.md.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_tensorrt import COMPONENTS, DTYPES, HostEngine, engine_of, host_tensorrt, strides_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorrt_wheels import ROOT, rtx_environment
from tiny_models import HEIGHT, WIDTH, write_yolox

from yolox_trt_ros.core.errors import ConfigError, EngineError, ModelError
from yolox_trt_ros.detect.backends.onnxruntime import OnnxRuntimeCpuBackend
from yolox_trt_ros.detect.backends.tensorrt import Engine, TensorRtBackend
from yolox_trt_ros.detect.backends.tensorrt_tensors import EngineTensor
from yolox_trt_ros.detect.model import load_model_spec


class Stream:
    """A stream whose work is done at once."""

    ptr = 7

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def synchronize(self) -> None:
        pass


class HostMemory:
    """The part of a device that the backend uses; arrays are NumPy's."""

    def zeros(self, shape: Any, dtype: Any) -> np.ndarray:
        return np.zeros(tuple(shape), dtype)

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data


def backend_of(
    path: Path, max_batch: int = 1, core: int | None = None, **description: Any
) -> TensorRtBackend:
    content = engine_of(path, **description)
    quanta = description.get('quanta', {})
    engine = Engine(host_tensorrt(), None, content, 'tiny.engine', quanta)
    device: Any = HostMemory()
    spec = load_model_spec(path)
    return TensorRtBackend(engine, spec, device, Stream(), max_batch, core, np)


@pytest.fixture(params=['per_level', 'concatenated'])
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_yolox(tmp_path / 'tiny.onnx', layout=request.param, scores='logit')


def images(count: int) -> np.ndarray:
    pixels = np.random.default_rng(count).integers(0, 256, (count, 3, HEIGHT, WIDTH))
    return pixels.astype(np.float32)


def expected_of(path: Path, values: np.ndarray) -> list[np.ndarray]:
    backend = OnnxRuntimeCpuBackend(path, load_model_spec(path), len(values), threads=1)
    backend.input[:] = values
    backend.infer(len(values))
    return backend.outputs


def compare(backend: TensorRtBackend, path: Path, count: int, **tolerance: float) -> None:
    values = images(count)
    backend.input[:count] = values
    backend.infer(count)
    for mine, theirs in zip(backend.outputs, expected_of(path, values), strict=True):
        np.testing.assert_allclose(mine[:count].astype(np.float32), theirs, **tolerance)


def test_fixed_batch(tiny: Path) -> None:
    backend = backend_of(tiny, 2, core=1, batch=2)
    assert backend.form.layout == 'nchw' and backend.output_dtype == np.float32
    compare(backend, tiny, 2, rtol=1e-6)


@pytest.mark.parametrize('profiles', [1, 3], ids=['shared profile', 'a profile for each size'])
def test_free_batch(tiny: Path, profiles: int) -> None:
    backend = backend_of(tiny, 3, batch=-1, most=3, profiles=profiles)
    assert backend.sizes == [1, 2, 3]
    for count in (3, 1, 2):
        compare(backend, tiny, count, rtol=1e-6)


def test_graphs_hold_what_a_gpu_does_but_not_a_dla(tiny: Path) -> None:
    assert backend_of(tiny).recordable
    backend = backend_of(tiny, core=1)
    assert not backend.recordable
    assert engine_behind(backend).core == 1


def test_half_precision(tiny: Path) -> None:
    spec = load_model_spec(tiny)
    kinds = dict.fromkeys((spec.input.name, *spec.head.outputs), ('HALF', 'LINEAR'))
    backend = backend_of(tiny, core=0, kinds=kinds)
    assert backend.form.dtype == np.float16 and backend.output_dtype == np.float16
    compare(backend, tiny, 1, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ('kind', 'layout', 'form'),
    [
        ('HALF', 'CHW16', 'chw16'),
        ('INT8', 'CHW32', 'chw32'),
        ('INT8', 'DLA_HWC4', 'hwc4'),
        ('HALF', 'DLA_HWC4', 'hwc4'),
        ('HALF', 'DLA_LINEAR', 'nchw'),
    ],
)
def test_inputs_as_a_dla_wants_them(tmp_path: Path, kind: str, layout: str, form: str) -> None:
    path = write_yolox(tmp_path / 'm.onnx', layout='per_level', scores='logit')
    spec = load_model_spec(path)
    quanta = {spec.input.name: 2.0} if kind == 'INT8' else {}
    kinds = {spec.input.name: (kind, layout)}
    backend = backend_of(path, core=0, kinds=kinds, quanta=quanta)
    assert (backend.form.layout, backend.form.dtype) == (form, DTYPES[kind])
    values = images(1) // 2 * 2 if quanta else images(1)
    stored = values / backend.form.quantum
    if form == 'nchw':
        backend.input[...] = stored
    else:
        backend.input[..., :3] = np.moveaxis(stored, 1, -1).reshape(*backend.input.shape[:-1], 3)
    if kind == 'INT8':  # 0…254 in steps of 2 does not reach beyond int8
        assert stored.max() <= 127
    backend.infer(1)
    for mine, theirs in zip(backend.outputs, expected_of(path, values), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('kind', ['HALF', 'INT8'])
@pytest.mark.parametrize('layout', ['CHW16', 'CHW32', 'DLA_LINEAR'])
def test_outputs_as_a_dla_leaves_them(tmp_path: Path, kind: str, layout: str) -> None:
    labels = [f'c{i}' for i in range(37)]  # no multiple of any vector
    path = write_yolox(tmp_path / 'm.onnx', layout='per_level', scores='logit', labels=labels)
    spec = load_model_spec(path)
    kinds = dict.fromkeys(spec.head.outputs, (kind, layout))
    quanta = dict.fromkeys(spec.head.outputs, 0.125) if kind == 'INT8' else {}
    backend = backend_of(path, core=0, kinds=kinds, quanta=quanta)
    assert backend.output_dtype == np.float16
    assert [t.format for t in backend.tensors] == ['LINEAR'] + [layout] * 9
    compare(backend, path, 1, atol=0.07 if quanta else 2e-3, rtol=2e-3)


def test_padded_input_is_refused() -> None:
    tensor = EngineTensor('images', np.dtype(np.float16), 'DLA_LINEAR', (1, 3, 60, 90),
                          strides_of((1, 3, 60, 90), 'DLA_LINEAR', np.float16), 1)  # fmt: skip
    with pytest.raises(ModelError, match=r'pads its DLA_LINEAR input .*rebuild it'):
        tensor.input_format(1.0)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(['CHW16', 'CHW32', 'DLA_LINEAR', 'DLA_HWC4', 'LINEAR']),
    st.sampled_from(['HALF', 'INT8']),
    st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 5), st.integers(1, 40)),
)
def test_unpacking(layout: str, kind: str, shape: tuple[int, ...]) -> None:
    if layout == 'DLA_HWC4':
        shape = (shape[0], min(shape[1], 4), *shape[2:])
    dtype = np.dtype(DTYPES[kind])
    wide = COMPONENTS.get(layout, 1)
    tensor = EngineTensor('t', dtype, layout, shape, strides_of(shape, layout, dtype), wide)
    raw = np.random.default_rng(0).integers(-99, 99, tensor.size).astype(dtype)
    out = np.zeros(shape, np.float32)
    tensor.unpack(raw, out, 0.5)
    n, c, y, x = np.indices(shape)
    at = n * tensor.strides[0] + c // wide * tensor.strides[1] + y * tensor.strides[2]
    np.testing.assert_array_equal(out, raw[(at + x * tensor.strides[3]) * wide + c % wide] * 0.5)
    if tensor.plain:
        np.testing.assert_array_equal(out, raw.reshape(shape) * 0.5)


def test_layers(tiny: Path) -> None:
    backend = backend_of(tiny, 2, core=0, batch=-1, most=2)
    assert backend.layers() == 2
    assert backend.layer_times(4) == [('one', 0.5), ('two', 1.5)]


def engine_behind(backend: TensorRtBackend) -> HostEngine:
    engine: HostEngine = backend._engine
    return engine


def test_closing_frees_everything(tiny: Path) -> None:
    backend = backend_of(tiny)
    engine = engine_behind(backend)
    context, kept = weakref.ref(engine.contexts[0]), weakref.ref(engine)
    engine.contexts.clear()
    del engine
    backend.close()
    backend.close()
    gc.collect()
    assert context() is None and kept() is None


def test_what_does_not_fit(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r'takes up to 2 images, not 3'):
        backend_of(tiny, 3, batch=2)
    with pytest.raises(ConfigError, match=r'takes up to 2 images, not 3'):
        backend_of(tiny, 3, batch=-1, most=2)
    with pytest.raises(EngineError, match='expected one of 2 DLA cores of this machine, got dla:2'):
        backend_of(tiny, core=2)
    name = load_model_spec(tiny).head.outputs[0]
    with pytest.raises(ModelError, match=f'nothing says what a step of {name} stands for'):
        backend_of(tiny, core=0, kinds={name: ('INT8', 'LINEAR')})
    with pytest.raises(ModelError, match='the engine has BF16 in LINEAR'):
        backend_of(tiny, kinds={name: ('BF16', 'LINEAR')})


def test_engine_of_another_model(tmp_path: Path) -> None:
    whole = write_yolox(tmp_path / 'whole.onnx')
    cut = write_yolox(tmp_path / 'cut.onnx', layout='per_level')
    engine = Engine(host_tensorrt(), None, engine_of(cut), 'cut.engine', {})
    device: Any = HostMemory()
    with pytest.raises(ModelError, match=r'cut\.engine: expected .*output.*another model'):
        TensorRtBackend(engine, load_model_spec(whole), device, Stream(), 1)
    broken = Engine(host_tensorrt(), None, b'{', 'broken.engine', {})
    with pytest.raises(EngineError, match=r'broken\.engine: TensorRT 0 does not load it'):
        TensorRtBackend(broken, load_model_spec(cut), device, Stream(), 1)


REAL = """
import sys
from pathlib import Path
from yolox_trt_ros.core.errors import EngineError
from yolox_trt_ros.detect.backends.tensorrt import Engine, TensorRtBackend
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.builder import build_engine
from yolox_trt_ros.engine.model_facts import model_facts
from yolox_trt_ros.engine.options import BuildOptions
from yolox_trt_ros.engine.tensorrt_versions import load_tensorrt
tensorrt, path = load_tensorrt(), Path(sys.argv[1])
built = build_engine(tensorrt, model_facts(path), BuildOptions())
contents = {'whole': built.engine, 'cut': built.engine[:9000], 'text': b'no engine'}
for name, content in contents.items():
    engine = Engine(tensorrt.module, tensorrt.logger, content, name, {})
    try:
        TensorRtBackend(engine, load_model_spec(path), None, None, 1)
    except EngineError as error:
        print(error)
"""


def test_real_runtime_says_what_is_wrong(rtx_folder: Path, tmp_path: Path) -> None:
    """Without a GPU even a good engine is refused, and a bad one must not crash the process."""
    path = write_yolox(tmp_path / 'm.onnx', layout='per_level')
    done = subprocess.run(
        [sys.executable, '-c', REAL, str(path)], cwd=ROOT, capture_output=True, text=True,
        env=rtx_environment(rtx_folder), timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(':')[0] for line in lines] in (['whole', 'cut', 'text'], ['cut', 'text'])
    assert all('TensorRT 1.7.1.116 does not load it' in line for line in lines)
