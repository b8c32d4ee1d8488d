"""The packaged models: what their files promise, and that their cut forms are the same networks."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, shape_inference

from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.packaged_models import find_model
from yolox_trt_ros.sim.world.bodies import CLASSES

MODELS = Path(__file__).resolve().parents[1] / 'models'
NAMES = ('edge_n', 'edge_s')
SIZE = {'edge_n': (320, 480), 'edge_s': (608, 960)}
MIB = {'edge_n': 8, 'edge_s': 25}
DLA = {'Conv', 'Clip', 'Relu', 'MaxPool', 'Concat', 'Resize'}
"""Operators of the DLA's table that these networks need; sigmoids stay outside the cut graph."""


def load(name: str) -> onnx.ModelProto:
    return onnx.load(find_model(name))


def run(name: str, image: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        str(find_model(name)), providers=['CPUExecutionProvider']
    )
    return session.run(None, {'images': image})


def picture(name: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    coarse = rng.uniform(0, 255, (1, 3, SIZE[name][0] // 16, SIZE[name][1] // 16))
    return coarse.repeat(16, 2).repeat(16, 3).astype(np.float32)


@pytest.mark.parametrize('name', [n + s for n in NAMES for s in ('', '_cut')])
def test_files_are_valid_small_and_static(name):
    model = load(name)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [('', 13)]
    assert name not in MIB or find_model(name).stat().st_size <= MIB[name] * 2**20
    inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        dims = value.type.tensor_type.shape.dim
        assert all(d.dim_value > 0 for d in dims), f'{value.name} has no static shape'


@pytest.mark.parametrize('name', NAMES)
def test_the_cut_graph_runs_on_a_dla(name):
    graph = load(f'{name}_cut').graph
    weights = {w.name: w for w in graph.initializer}
    assert {n.op_type for n in graph.node} <= DLA
    for node in graph.node:
        about = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == 'MaxPool':
            assert max(about['kernel_shape']) <= 8 and max(about['pads']) <= 7
        if node.op_type == 'Concat':
            assert about['axis'] == 1
        if node.op_type == 'Resize':
            scales = numpy_helper.to_array(weights[node.input[2]])
            assert (about['mode'], scales.tolist()) == (b'nearest', [1, 1, 2, 2])
            assert about['coordinate_transformation_mode'] == b'asymmetric'
            assert about['nearest_mode'] == b'floor'
        if node.op_type == 'Clip':
            low, high = (float(numpy_helper.to_array(weights[i])) for i in node.input[1:])
            assert (low, high) == (0.0, 6.0)


@pytest.mark.parametrize('name', NAMES)
def test_outputs_and_what_the_file_says_of_itself(name):
    height, width = SIZE[name]
    anchors = sum((height // s) * (width // s) for s in (8, 16, 32))
    (whole,) = run(name, picture(name))
    assert whole.shape == (1, anchors, 5 + len(CLASSES))
    names = [o.name for o in load(f'{name}_cut').graph.output]
    assert names == [f'{k}_{s}' for s in (8, 16, 32) for k in ('reg', 'obj', 'cls')]
    for suffix, outputs, scores in (
        ('', 1, 'probability'),
        ('_cut', 9, 'logit'),
    ):
        spec = load_model_spec(find_model(name + suffix))
        assert (len(spec.head.outputs), spec.head.scores, spec.head.boxes) == (
            outputs,
            scores,
            'grid',
        )
        assert (spec.input.height, spec.input.width, spec.head.strides) == (
            height,
            width,
            (8, 16, 32),
        )
        assert spec.labels == CLASSES
    assert (MODELS / 'labels.txt').read_text().split() == list(CLASSES)


@pytest.mark.parametrize('name', NAMES)
def test_the_cut_form_is_the_same_network(name):
    image = picture(name)
    (whole,) = run(name, image)
    maps = run(f'{name}_cut', image)
    levels = []
    for reg, obj, cls in zip(maps[::3], maps[1::3], maps[2::3], strict=True):
        logits = np.concatenate([obj, cls], 1).astype(np.float64)
        level = np.concatenate([reg, 1 / (1 + np.exp(-logits))], 1)
        levels.append(level.reshape(1, level.shape[1], -1))
    assert np.allclose(whole, np.concatenate(levels, 2).transpose(0, 2, 1), atol=1e-4)


@pytest.mark.parametrize('name', NAMES)
def test_onnx_computes_what_the_training_framework_computed(name):
    expected = np.load(MODELS / f'{name}.pytorch.npy')
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, *SIZE[name])).astype(np.float32)
    (whole,) = run(name, image)
    step = -(-whole.shape[1] // len(expected))
    assert np.allclose(whole[0, ::step], expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_another_runtime_computes_the_same():
    """OpenCV's importer and kernels share nothing with ONNX Runtime's."""
    image = picture('edge_n')
    net = cv2.dnn.readNetFromONNX(str(MODELS / 'edge_n.onnx'))
    net.setInput(image)
    (whole,) = run('edge_n', image)
    assert np.allclose(net.forward(), whole, atol=1e-4 * np.abs(whole).max())


def test_the_small_model_fits_its_budget():
    inferred = shape_inference.infer_shapes(load('edge_n_cut')).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*inferred.value_info, *inferred.output)
    }
    weights = {w.name: list(w.dims) for w in inferred.initializer}
    operations = sum(
        2 * int(np.prod(shapes[n.output[0]])) * int(np.prod(weights[n.input[1]][1:]))
        for n in inferred.node
        if n.op_type == 'Conv'
    )
    assert operations <= 2.5e9
