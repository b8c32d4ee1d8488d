"""2:4 sparsity: the pattern, what stays dense and why, and errors that others make good."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.engine.error_compensation import compensated
from yolox_trt_ros.engine.layer_inputs import hessians
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.sparsity import (
    chosen_layers,
    is_sparse,
    largest_two,
    sparse_layers,
    sparsify,
)

WEIGHTS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.sampled_from([4, 8]), st.integers(1, 2), st.integers(1, 2)),
    elements=st.floats(-4, 4, width=16),
)


def silent(items: Any, _: str) -> Any:
    return items


@settings(max_examples=30, deadline=None)
@given(weights=WEIGHTS)
def test_the_two_largest_of_four_stay(weights: np.ndarray) -> None:
    sparse = largest_two(weights)
    assert is_sparse(sparse)
    kept = sparse != 0
    np.testing.assert_array_equal(sparse[kept], weights[kept])
    # TensorRT's own check, as its developer guide has it.
    k, c, r, s = weights.shape
    for index in np.ndindex(k, c // 4, r, s):
        four = weights[index[0], index[1] * 4 : index[1] * 4 + 4, index[2], index[3]]
        stay = sparse[index[0], index[1] * 4 : index[1] * 4 + 4, index[2], index[3]]
        assert np.count_nonzero(stay) <= 2
        assert np.abs(stay).sum() == pytest.approx(np.sort(np.abs(four))[2:].sum(), rel=1e-5)


def test_the_pattern_is_along_the_input_channels() -> None:
    weights = np.ones((2, 4, 1, 4), np.float32)
    weights[..., :2] = 0  # two of each four neighbours in a row of the kernel, not of channels
    assert not is_sparse(weights)
    assert not is_sparse(np.zeros((2, 6, 1, 1), np.float32))


def network(seed: int = 0) -> onnx.ModelProto:
    """Return Conv 3→16, stride 2; Relu; Conv 16→8, dilated; grouped Conv 8→8; Conv 8→6."""
    rng = np.random.default_rng(seed)
    shapes = {'a': (16, 3, 3, 3), 'b': (8, 16, 3, 3), 'c': (8, 4, 1, 1), 'd': (6, 8, 1, 1)}
    values = [
        numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node('Conv', ['images', 'a'], ['ya'], 'A', strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node('Relu', ['ya'], ['ra']),
        helper.make_node('Conv', ['ra', 'b'], ['yb'], 'B', dilations=[2, 1], pads=[2, 1, 2, 0]),
        helper.make_node('Conv', ['yb', 'c'], ['yc'], 'C', group=2),
        helper.make_node('Conv', ['yc', 'd'], ['yd'], 'D'),
    ]
    ends = [
        helper.make_tensor_value_info('images', TensorProto.FLOAT, [1, 3, 16, 16]),
        helper.make_tensor_value_info('yd', TensorProto.FLOAT, [1, 6, 8, 7]),
    ]
    graph = helper.make_graph(nodes, 'g', ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    smooth = rng.uniform(0, 1, (6, 3, 4, 4)).astype(np.float32)
    return list(smooth.repeat(4, axis=2).repeat(4, axis=3))


def test_layers_that_stay_dense_say_why() -> None:
    model = network()
    layers = {x.name: x for x in sparse_layers(model)}
    assert [x.refusal for x in layers.values()] == [
        '3 inputs, no multiple of 16',
        '',
        'groups: TensorRT has no sparse kernel for them',
        '8 inputs, no multiple of 16',
    ]
    assert not layers['B'].quicker  # 16 · 9 inputs are few
    assert [x.name for x in chosen_layers(list(layers.values()), [])] == ['B']
    with pytest.raises(ModelError, match='no convolution can be 2:4 sparse here'):
        chosen_layers(list(layers.values()), ['yb'])
    with pytest.raises(ModelError, match='--dense "b2": the model has no such convolution'):
        chosen_layers(list(layers.values()), ['b2'])


def test_the_sums_are_those_of_the_convolutions_inputs() -> None:
    """The energy of a layer's output follows from them: tr(W H Wᵀ)."""
    model, seen = network(), pictures()
    found = hessians(model, ['ya', 'yb'], seen)
    for name, weight in (('ya', 'a'), ('yb', 'b')):
        opened = OnnxRun(model, [name])
        outputs = np.stack([opened(x[None])[name][0] for x in seen])
        values = numpy_helper.to_array(next(w for w in model.graph.initializer if w.name == weight))
        rows = np.moveaxis(values, 1, -1).reshape(len(values), -1)
        energy = np.einsum('ij,jk,ik->i', rows, found[name], rows)
        # Places are drawn with repetition: as many as there are, so the mean is near.
        expected = (outputs**2).sum(axis=(0, 2, 3))
        assert energy.sum() == pytest.approx(expected.sum(), rel=0.15)


def test_others_make_good_what_is_removed() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(0, 1, (4000, 6)) @ rng.normal(0, 1, (6, 32)) + 0.1 * rng.normal(
        0, 1, (4000, 32)
    )
    weights = rng.normal(0, 1, (10, 8, 2, 2)).astype(np.float32)
    hessian = mixed.T @ mixed
    sparse, lost = compensated(weights, hessian)
    assert is_sparse(sparse) and np.count_nonzero(sparse) == sparse.size // 2

    def error(candidate: np.ndarray) -> float:
        change = np.moveaxis(candidate - weights, 1, -1).reshape(10, -1)
        dense = np.moveaxis(weights, 1, -1).reshape(10, -1)
        return float(((mixed @ change.T) ** 2).sum() / ((mixed @ dense.T) ** 2).sum())

    assert lost == pytest.approx(error(sparse), rel=1e-3)
    assert error(sparse) < 0.2 * error(largest_two(weights))


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    weights = np.ones((2, 4, 1, 1), np.float32)
    sparse, lost = compensated(weights, np.zeros((4, 4)))
    assert is_sparse(sparse) and np.isfinite(sparse).all() and lost == 0


@pytest.mark.parametrize('with_pictures', [False, True])
def test_a_model_becomes_sparse_in_place(with_pictures: bool) -> None:
    model, seen = network(), pictures()
    exact = OnnxRun(model)(seen[0][None])['yd']
    chosen = chosen_layers(sparse_layers(model), [])
    lost = sparsify(model, chosen, (lambda: seen) if with_pictures else None, silent)
    assert [x.sparse for x in sparse_layers(model)] == [False, True, False, False]
    onnx.checker.check_model(model, full_check=True)
    assert list(lost) == (['yb'] if with_pictures else [])
    assert not np.allclose(OnnxRun(model)(seen[0][None])['yd'], exact)


def test_numbers_that_are_not_finite_are_named() -> None:
    broken = np.full((3, 16, 16), np.inf, np.float32)
    with pytest.raises(ModelError, match='convolution ya: reads numbers that are not finite'):
        hessians(network(), ['ya'], [broken])
