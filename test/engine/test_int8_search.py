"""What stays out of INT8: the search, the measure that it follows, and what versions compute."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generated_yolox import write_yolox
from onnx import TensorProto, helper, numpy_helper

from yolox_trt_ros.core.errors import ConfigError, ModelError
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.bias_correction import bias_corrections, correct_biases
from yolox_trt_ros.engine.mse import least_error
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.qdq import insert_qdq, kept_layers, prepared
from yolox_trt_ros.engine.simulated_int8 import Int8Simulation, multiply_adds, rounded
from yolox_trt_ros.engine.statistics import Method, Statistics, shared_ranges
from yolox_trt_ros.evaluation.agreement import Agreement
from yolox_trt_ros.evaluation.int8_keep import Keep, choose, held_out, parse_keep
from yolox_trt_ros.evaluation.int8_search import SHARE, Search, Trials


def silent(items: Iterable[Any], _: str) -> Iterable[Any]:
    return items


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a small YOLOX of random weights, prepared, with pictures, statistics and ranges."""
    path = write_yolox(tmp_path_factory.mktemp('m') / 'm.onnx', 'nano', height=64, width=64)
    model = prepared(read_onnx(path))
    rng = np.random.default_rng(0)
    pictures = [rng.uniform(0, 255, (3, 64, 64)).astype(np.float32) for _ in range(3)]
    statistics = Statistics(model, lambda: pictures, True, silent)
    ranges = shared_ranges(model, statistics.ranges(Method('mse'), silent))
    return path, model, pictures, statistics, ranges


def test_versions_compute_what_the_written_models_do(small: Any) -> None:
    path, model, pictures, statistics, ranges = small
    biases = bias_corrections(model, statistics.means)
    simulation = Int8Simulation(model, ranges, biases)
    exact = list(OnnxRun(model, literal=True)(pictures[0][None]).values())
    none = simulation.version(simulation.layers)(pictures[0][None])
    for a, b in zip(none, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    # One layer at a time: a last bit that differs moves a rounding, and the next layers that.
    for layer in simulation.layers[::9]:
        kept = [other for other in simulation.layers if other != layer]
        written = prepared(read_onnx(path))
        correct_biases(written, biases, kept)
        quantised = OnnxRun(insert_qdq(written, ranges, kept), literal=True)
        expected = quantised(pictures[0][None]).values()
        got = simulation.version(kept)(pictures[0][None])
        for a, b, c in zip(expected, got, exact, strict=True):
            assert np.abs(b - a).max() < 0.02 * np.abs(b - c).max() + 1e-5


def test_weights_between_two_clips_are_rounded_once() -> None:
    """ONNX Runtime rounds floats between two pairs by itself, with one scale for a tensor."""
    rng = np.random.default_rng(2)
    sizes = np.logspace(0, -2, 8, dtype=np.float32)[:, None, None, None]
    weights = {
        'a': rng.normal(0, 0.1, (8, 3, 3, 3)).astype(np.float32) * sizes,
        'b': rng.normal(0, 1, (8, 8, 1, 1)).astype(np.float32) * sizes,
    }
    values = [numpy_helper.from_array(v, k) for k, v in weights.items()]
    values += [numpy_helper.from_array(np.float32(v), k) for k, v in (('low', 0), ('high', 6))]
    nodes = [
        helper.make_node('Conv', ['images', 'a'], ['x'], name='x'),
        helper.make_node('Clip', ['x', 'low', 'high'], ['x6']),
        helper.make_node('Conv', ['x6', 'b'], ['y'], name='y'),
    ]
    ends = [
        helper.make_tensor_value_info('images', TensorProto.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 8, 6, 6]),
    ]
    graph = helper.make_graph(nodes, 'g', ends[:1], ends[1:], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    picture = rng.uniform(0, 20, (1, 3, 8, 8)).astype(np.float32)
    ranges = {'images': 20.0, 'x': 6.0, 'x6': 6.0, 'y': 9.0}
    (got,) = Int8Simulation(model, ranges).version([])(picture)
    expected = OnnxRun(insert_qdq(prepared(model), ranges, []), literal=True)(picture)['y']
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_bias_correction_takes_back_the_mean_of_the_rounding() -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(0, 1, (6, 2, 1, 1)).astype(np.float32)  # three groups
    node = helper.make_node('Conv', ['images', 'w'], ['y'], group=3)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 6, 8, 8])
        for name in ('images', 'y')
    ]
    graph = helper.make_graph(
        [node], 'g', values[:1], values[1:], [numpy_helper.from_array(weight, 'w')]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    picture = rng.uniform(0, 255, (1, 6, 8, 8)).astype(np.float32)
    biases = bias_corrections(model, {'images': picture.mean(axis=(0, 2, 3))})
    exact = OnnxRun(model)(picture)['y'].mean(axis=(0, 2, 3))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(rounded(weight), 'w'))
    moved = OnnxRun(model)(picture)['y'].mean(axis=(0, 2, 3))
    correct_biases(model, biases, [])
    mended = OnnxRun(model)(picture)['y'].mean(axis=(0, 2, 3))
    assert np.abs(mended - exact).max() < 1e-3 < np.abs(moved - exact).max()


def test_the_range_of_least_error() -> None:
    edges = np.linspace(0, 10, 2049)
    values = np.abs(np.random.default_rng(0).normal(0, 1, 100_000))
    values = np.append(values, 8.0)  # far out: it is cheaper to clip it a little
    counts, _ = np.histogram(values, edges)

    def error(top: float) -> float:
        step = top / 127
        return float(((values - np.minimum(np.rint(values / step), 127) * step) ** 2).sum())

    found = least_error(counts, edges)
    tried = {top: error(top) for top in np.linspace(1, 10, 91)}
    assert error(found) < 1.1 * min(tried.values()) and found < 7.5
    assert str(Method.parse('mse')) == 'mse'


class Landscape:
    """Losses that are known: each layer costs something, and one only beside another."""

    layers = tuple('abcdef')
    pictures = range(4)

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def version(self, kept: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(kept)

    def loss(self, kept: tuple[str, ...], count: int) -> float:
        self.asked.append(kept)
        costs = {'a': 0.3, 'b': 0.1, 'c': 0.02, 'd': 0.0, 'e': 0.0, 'f': 0.4}
        return sum(cost for layer, cost in costs.items() if layer not in kept)


WORK = {'a': 10, 'b': 10, 'c': 10, 'd': 900, 'e': 10, 'f': 60}


def searched(most: int | None, file: Path | None = None) -> tuple[Any, Landscape]:
    landscape: Any = Landscape()
    trials = Trials({'minmax': landscape, 'mse': landscape}, landscape, 'x', file)
    return Search(trials, WORK, silent).run(most), landscape


def test_the_search_keeps_what_helps_within_its_share(tmp_path: Path) -> None:
    found, _ = searched(None)
    assert list(found.alone)[:3] == ['f', 'a', 'b']
    assert [set(step.kept) for step in found.steps] == [set(), {'a'}, {'a', 'b'}, {'a', 'b', 'c'}]
    assert SHARE * sum(WORK.values()) < 60, 'f is too much work to be kept'
    assert found.best().share == pytest.approx(1 - 30 / 1000)
    assert searched(1)[0].best().kept == ('a',)


def test_the_search_resumes(tmp_path: Path) -> None:
    file = tmp_path / 'trials.json'
    first, landscape = searched(None, file)
    again, other = searched(None, file)
    assert landscape.asked and not other.asked and first == again
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, 'about': 'another model'}))
    assert searched(None, file)[1].asked


def test_what_no_longer_helps_is_given_up() -> None:
    class Turning(Landscape):
        def loss(self, kept: tuple[str, ...], count: int) -> float:
            self.asked.append(kept)
            if {'b', 'c'} <= set(kept):
                return 0.05 + 0.001 * ('a' in kept)
            return 0.5 - 0.2 * ('a' in kept) - 0.1 * ('b' in kept) - 0.05 * ('c' in kept)

    landscape: Any = Turning()
    found = Search(Trials({'mse': landscape}, landscape), WORK, silent).run(None)
    assert set(found.best().kept) == {'b', 'c'}
    always = Search(Trials({'mse': landscape}, landscape), WORK, silent).run(None, ['a'])
    assert set(always.best().kept) == {'a', 'b', 'c'}


def test_agreement_is_full_with_itself_and_none_with_nothing(small: Any) -> None:
    path, _, pictures, *_ = small
    spec = load_model_spec(path)
    shape = spec.head.batched(spec.input, 1)[0]
    sure = np.zeros(shape, np.float32)
    sure[0, 5, :2], sure[0, 5, 2:4], sure[0, 5, 4:6] = 0.5, 1.0, 0.9
    half = sure.copy()
    half[0, 5, 5] = 0.45
    agreement = Agreement(spec, pictures, lambda _: [sure])
    assert agreement.loss(lambda _: [sure]) == pytest.approx(0)
    assert agreement.loss(lambda _: [np.zeros(shape, np.float32)]) == 1
    assert agreement.loss(lambda _: [half]) == pytest.approx(1 / 3, abs=1e-3)


def test_choose_writes_its_table_and_picture(small: Any, tmp_path: Path, capsys: Any) -> None:
    path, model, pictures, _, ranges = small
    versions = {'mse': ranges}
    found = choose(
        load_model_spec(path), model, versions, {}, pictures[:1], Keep(auto=True, most=1), [],
        tmp_path, 'digest', silent,
    )  # fmt: skip
    content = json.loads((tmp_path / 'sensitivity.json').read_text())
    assert len(content['alone']) == len(found.alone) == len(multiply_adds(model))
    assert (tmp_path / 'sensitivity.png').read_bytes().startswith(b'\x89PNG')
    assert '<- chosen' in capsys.readouterr().out


def test_names_and_numbers_of_keep(small: Any) -> None:
    _, model, *_ = small
    assert parse_keep(['first', 'auto:3', 'Conv_1']) == Keep(('first',), ('Conv_1',), True, 3)
    assert parse_keep(['auto']).most is None and not parse_keep([]).auto
    for wrong in ('auto:0', 'auto:x', 'auto:'):
        with pytest.raises(ConfigError, match='expected auto, or auto:N'):
            parse_keep([wrong])
    node = [n for n in model.graph.node if n.op_type == 'Conv'][2]
    assert kept_layers(model, [], [], [node.name]) == [node.output[0]]
    assert kept_layers(model, [], [], [node.output[0]]) == [node.output[0]]
    with pytest.raises(ModelError, match='has no such convolution'):
        kept_layers(model, [], [], ['nowhere'])
    assert len(held_out(25)) == 8 and len(held_out(128)) == 16
    with pytest.raises(ConfigError, match='at least 6'):
        held_out(5)
