"""Ranges of tensors: statistics, range tables and calibration caches."""

import struct
from pathlib import Path

import numpy as np
import pytest
from generated_yolox import cut, write_yolox
from hypothesis import given, settings
from hypothesis import strategies as st
from test_quantize import identity_model, silent

from yolox_trt_ros.core.errors import ConfigError, ModelError
from yolox_trt_ros.engine.graph import Graph
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.qdq import prepared
from yolox_trt_ros.engine.ranges import RangeTable, read_ranges
from yolox_trt_ros.engine.statistics import Method, Statistics, fixed_ranges
from yolox_trt_ros.engine.surgery.optimize import operate


def ranges_of(pictures: list[np.ndarray], *methods: str) -> list[float]:
    statistics = Statistics(identity_model(), lambda: iter(pictures), True, silent)
    assert statistics.pictures == len(pictures)
    return [statistics.ranges(Method.parse(m), silent)['y'] for m in methods]


@settings(max_examples=6, deadline=None)
@given(st.floats(0.1, 50), st.integers(0, 1000))
def test_statistics_of_known_values(spread: float, seed: int):
    rng = np.random.default_rng(seed)
    pictures = [rng.normal(0, spread * k, (3, 40, 50)).astype(np.float32) for k in (1, 3, 2)]
    values = np.abs(np.stack(pictures))
    top, high, low = ranges_of(pictures, 'minmax', 'percentile:99.9', 'percentile:90')
    assert top == values.max()
    step = values.max() / 1000
    for found, percent in ((high, 99.9), (low, 90)):
        below = np.percentile(values, percent, method='lower')
        above = np.percentile(values, percent, method='higher')
        assert below - step < found < above + step


def test_entropy_cuts_off_rare_large_values():
    rng = np.random.default_rng(0)
    picture = rng.laplace(0, 1, (3, 40, 50)).astype(np.float32)
    top, entropy, most = ranges_of([picture], 'minmax', 'entropy', 'percentile:99')
    assert most < entropy < 0.95 * top


def test_a_tensor_that_is_always_zero_gets_a_range():
    zero = np.zeros((3, 40, 50), np.float32)
    assert all(r > 0 for r in ranges_of([zero], 'minmax', 'percentile:99', 'entropy'))


def test_fixed_ranges_need_relu6(tmp_path: Path):
    silu = read_onnx(write_yolox(tmp_path / 's.onnx', 'nano', height=64, width=64))
    with pytest.raises(ModelError, match='which no clip bounds by 6'):
        fixed_ranges(silu, 6, 255)
    relu6 = read_onnx(write_yolox(tmp_path / 'r.onnx', 'nano', height=64, width=64, act='relu6'))
    final = operate(relu6, cut).final
    ranges, graph = fixed_ranges(final, 6, 255), Graph(final)
    assert ranges['images'] == 255 and set(ranges) == set(graph.tensors)
    assert {ranges[n.output[0]] for n in graph.nodes if n.op_type == 'Clip'} <= {6, 12, 18, 24}
    with pytest.raises(ModelError, match='bounds by 5'):
        fixed_ranges(relu6, 5, 255)


def test_an_old_opset_is_brought_up_without_renaming(tmp_path: Path):
    path = write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)
    old = operate(read_onnx(path), cut).final
    new = prepared(old)
    assert [o.version for o in new.opset_import] == [13]
    assert Graph(new).tensors == Graph(old).tensors
    x = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 64)).astype(np.float32)
    before, after = OnnxRun(old)(x), OnnxRun(new)(x)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-5)


def test_the_calibration_cache_is_tensorrts():
    table = RangeTable('m.onnx', 'x', 'minmax', 1, (), {'images': 1.0, 'conv': 127.0})
    lines = table.calibration_cache('8.5.2').decode().splitlines()
    assert lines == ['TRT-8502-EntropyCalibration2', 'images: 3c010204', 'conv: 3f800000']
    assert table.calibration_cache('10.3.0').startswith(b'TRT-100300-')
    # What TensorRT's own sample shows for the probabilities of a softmax, whose range is 1.
    sample = struct.unpack('>f', bytes.fromhex('3c010a14'))[0]
    assert sample == pytest.approx(1 / 127, rel=1e-3)
    with pytest.raises(ModelError, match='three numbers'):
        table.calibration_cache('10')


def test_a_range_table_survives_the_file(tmp_path: Path):
    table = RangeTable('m.onnx', 'ab', 'entropy', 3, ('y',), {'images': 255.0, 'y': 0.25})
    path = tmp_path / 'r.json'
    path.write_text(table.to_json())
    assert read_ranges(path) == table and read_ranges(path).digest() == table.digest()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'line 1: not JSON'),
        ('[]', 'expected an object'),
        ('{"format": "other", "version": 1}', 'expected a range table'),
        ('{"format": "yolox_trt_ros.ranges", "version": 9}', 'ranges 1, got .*9'),
    ],
)
def test_other_files_are_no_range_tables(tmp_path: Path, content: str, message: str):
    path = tmp_path / 'r.json'
    path.write_text(content)
    with pytest.raises(ModelError, match=message):
        read_ranges(path)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('-1', 'expected a range table'),
        ('0', 'expected a range table'),
        ('NaN', 'expected a finite number'),
        ('"much"', 'expected a range table'),
    ],
)
def test_ranges_are_positive_numbers(tmp_path: Path, value: str, message: str):
    table = RangeTable('m.onnx', 'ab', 'entropy', 3, (), {'images': 77.5})
    path = tmp_path / 'r.json'
    path.write_text(table.to_json().replace('77.5', value))
    with pytest.raises(ModelError, match=message):
        read_ranges(path)


@pytest.mark.parametrize(
    'text', ['max', 'percentile', 'percentile:0', 'percentile:101', 'fixed', 'minmax:3', 'fixed:x']
)
def test_misspelt_methods(text: str):
    with pytest.raises(ConfigError, match='expected minmax, entropy'):
        Method.parse(text)
