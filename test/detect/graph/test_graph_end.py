"""What exporters and optimisers put behind a head is followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edited_models import STRIDES, Edited, boxes, in_place, same, unread_output
from onnx import TensorProto, helper, numpy_helper
from tiny_models import HEIGHT, WIDTH, write_yolox

from yolox_trt_ros.detect.model import load_model_spec


def gather(m: Edited) -> None:
    m.ending(m.add('Gather', m.output, m.constant(np.arange(m.anchors)), axis=1))


def gather_back(m: Edited) -> None:
    """Columns in another order, and then in YOLOX's again."""
    order = np.roll(np.arange(int(m.shape[2])), 3)
    turned = m.add('Gather', m.output, m.constant(order), axis=2)
    m.ending(m.add('Gather', turned, m.constant(np.argsort(order)), axis=2))


def clip(m: Edited) -> None:
    m.ending(m.add('Clip', m.output, *(m.constant(np.float32(v)) for v in (-1e4, 1e4))))


def where(m: Edited) -> None:
    condition = m.constant(np.ones((1, 1, int(m.shape[2])), bool))
    m.ending(m.add('Where', condition, m.output, m.constant(np.float32(0))))


def times_one(m: Edited) -> None:
    m.ending(m.add('Mul', m.output, m.constant(np.float32(1))))


def as_large_as_another(m: Edited) -> None:
    """Take the shape from a tensor that is there for nothing else, as in-place writes do."""
    other = m.add('Neg', m.output)
    m.ending(m.add('Reshape', m.output, m.add('Shape', other)))


def to_half(m: Edited) -> None:
    m.ending(m.add('Cast', m.output, to=TensorProto.FLOAT16), TensorProto.FLOAT16)


def to_double(m: Edited) -> None:
    m.ending(m.add('Cast', m.output, to=TensorProto.DOUBLE), TensorProto.DOUBLE)


def no_shape(m: Edited) -> None:
    m.graph.output[0].type.tensor_type.ClearField('shape')


def symbolic(m: Edited) -> None:
    for dim, name in zip(m.graph.output[0].type.tensor_type.shape.dim, 'bac', strict=True):
        dim.dim_param = name


def branch(m: Edited) -> None:
    """Add an If whose condition is constant, as tracing leaves them."""
    branches = [
        helper.make_graph(
            [helper.make_node('Identity', [m.output], [f'way_{i}'])],
            f'graph_{i}',
            [],
            [helper.make_tensor_value_info(f'way_{i}', TensorProto.FLOAT, m.shape)],
        )
        for i in range(2)
    ]
    condition = m.constant(np.array(True))
    m.ending(m.add('If', condition, then_branch=branches[0], else_branch=branches[1]))


def coarsest_first(m: Edited) -> None:
    counts = [m.anchors * c // 21 for c in (16, 4, 1)]
    parts = m.add('Split', m.output, m.constant(np.array(counts)), outputs=3, axis=1)
    names = [f'{parts[:-1]}{i}' for i in (2, 1, 0)]
    m.ending(m.add('Concat', *names, axis=1))


def quantised(m: Edited) -> None:
    """Store the output in steps so fine that no box changes."""
    m.model.opset_import[0].version = 21
    scale, zero = m.constant(np.float32(1e-3)), m.constant(np.int16(0))
    m.ending(m.add('DequantizeLinear', m.add('QuantizeLinear', m.output, scale, zero), scale, zero))


SAME = (
    in_place, gather, gather_back, clip, where, times_one,
    as_large_as_another, to_double, no_shape, symbolic,
    branch, coarsest_first, unread_output,
)  # fmt: skip


@pytest.mark.parametrize('edit', SAME, ids=lambda e: e.__name__)
def test_the_same_boxes(
    tmp_path: Path, picture: np.ndarray, edit: Callable[[Edited], None]
) -> None:
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    _, expected = boxes(path, None, picture)
    m = Edited(path)
    edit(m)
    onnx.save(m.model, str(path))
    spec, found = boxes(path, None, picture)
    assert len(expected) > 5
    assert same(expected, found)
    assert spec.head.boxes == ('pixel' if edit is in_place else 'grid')
    assert spec.head.strides == (STRIDES[::-1] if edit is coarsest_first else STRIDES)


def test_constants_in_a_file_beside_the_model(tmp_path: Path, picture: np.ndarray) -> None:
    """Grids and indices of a decoding end are large enough for exporters to put them there."""
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    _, expected = boxes(path, None, picture)
    m = Edited(path)
    in_place(m)
    onnx.save_model(
        m.model, str(path), save_as_external_data=True, location='m.data', size_threshold=256
    )
    beside = {
        w.name
        for w in onnx.load(str(path), load_external_data=False).graph.initializer
        if w.external_data
    }
    assert any(name.startswith('added_') for name in beside)
    spec, found = boxes(path, None, picture)
    assert spec.head.boxes == 'pixel'
    assert same(expected, found)


@pytest.mark.parametrize(
    'edit', [in_place, gather, clip, where, to_half, quantised], ids=lambda e: e.__name__
)
def test_the_real_model_finds_what_it_found(
    tmp_path: Path, real: Path, edit: Callable[[Edited], None]
) -> None:
    labels = real / 'coco_classes.txt'
    image = cv2.imread(str(min((real / 'images').iterdir())))
    _, expected = boxes(real / 'yolox_nano_coco.onnx', labels, image)
    m = Edited(real / 'yolox_nano_coco.onnx')
    edit(m)
    onnx.save(m.model, str(tmp_path / 'm.onnx'))
    _, found = boxes(tmp_path / 'm.onnx', labels, image)
    assert len(expected) == 7
    assert same(expected, found, 1.0)


@pytest.mark.parametrize('level', ['ORT_ENABLE_BASIC', 'ORT_ENABLE_EXTENDED'])
def test_saved_by_onnx_runtime(tmp_path: Path, picture: np.ndarray, level: str) -> None:
    """It merges the sigmoids into the head's convolutions, which onnx does not know."""
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    _, expected = boxes(path, None, picture)
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(tmp_path / 'o.onnx')
    options.log_severity_level = 4
    ort.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    if level == 'ORT_ENABLE_EXTENDED':
        kinds = {node.op_type for node in onnx.load(str(tmp_path / 'o.onnx')).graph.node}
        assert 'FusedConv' in kinds
    spec, found = boxes(tmp_path / 'o.onnx', None, picture)
    assert spec.head.scores == 'probability'
    assert same(expected, found)


@pytest.mark.parametrize('form', ['QDQ', 'QOperator'])
def test_quantised_by_onnx_runtime(tmp_path: Path, form: str) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]
        left = 4

        def get_next(self) -> dict[str, np.ndarray] | None:
            self.left -= 1
            rng = np.random.default_rng(self.left + 1)
            image = rng.uniform(0, 255, (1, 3, HEIGHT, WIDTH)).astype(np.float32)
            return {'images': image} if self.left >= 0 else None

    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    out = tmp_path / 'q.onnx'
    quantize_static(str(path), str(out), Images(), quant_format=QuantFormat[form])
    spec = load_model_spec(out)
    assert (spec.head.scores, spec.head.boxes, spec.head.strides) == (
        'probability',
        'grid',
        STRIDES,
    )


def test_bias_apart_from_its_convolution(tmp_path: Path, picture: np.ndarray) -> None:
    """As Paddle writes it."""
    path = write_yolox(tmp_path / 'm.onnx', batch=1)
    _, expected = boxes(path, None, picture)
    m = Edited(path)
    for node in [n for n in m.graph.node if n.op_type == 'Conv']:
        (bias,) = (w for w in m.graph.initializer if w.name == node.input[2])
        name = m.constant(numpy_helper.to_array(bias).reshape(1, -1, 1, 1))
        result, plain = node.output[0], f'{node.output[0]}_plain'
        del node.input[2]
        node.output[0] = plain
        place = list(m.graph.node).index(node) + 1
        m.graph.node.insert(place, helper.make_node('Add', [name, plain], [result]))
    onnx.save(m.model, str(path))
    assert same(expected, boxes(path, None, picture)[1])
