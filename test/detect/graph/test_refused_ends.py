"""An end of a graph that is no head is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edited_models import CLASSES, STRIDES, Edited, in_place
from onnx import TensorProto, helper
from tiny_models import HEIGHT, WIDTH, write_yolox

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.model import load_model_spec


def cut_off(m: Edited) -> None:
    m.ending(m.add('Clip', m.output, m.constant(np.float32(0))))


def masked(m: Edited) -> None:
    condition = m.add('Greater', m.output, m.constant(np.float32(0.3)))
    m.ending(m.add('Where', condition, m.output, m.constant(np.float32(0))))


def doubled(m: Edited) -> None:
    m.ending(m.add('Mul', m.output, m.constant(np.float32(2))))


def other_columns(m: Edited) -> None:
    order = np.roll(np.arange(int(m.shape[2])), 1)
    m.ending(m.add('Gather', m.output, m.constant(order), axis=2))


def rounded(m: Edited) -> None:
    m.ending(m.add('Cast', m.output, to=TensorProto.INT32), TensorProto.INT32)


def transposed(m: Edited) -> None:
    shape = [m.shape[0], m.shape[2], m.shape[1]]
    m.ending(m.add('Transpose', m.output, perm=[0, 2, 1]), shape=shape)


def one_score(m: Edited) -> None:
    """[batch, 4 + classes, anchors], as YOLOv8 has it."""
    scores = m.add('Mul', m.columns(4, 5), m.columns(5, 5 + CLASSES))
    joined = m.add('Concat', m.columns(0, 4), scores, axis=2)
    shape = [1, 4 + CLASSES, m.anchors]
    m.ending(m.add('Transpose', joined, perm=[0, 2, 1]), shape=shape)


def corners(m: Edited) -> None:
    in_place(m)
    m.output = m.graph.output[0].name
    half = m.add('Mul', m.columns(2, 4), m.constant(np.float32(0.5)))
    low, high = (m.add(kind, m.columns(0, 2), half) for kind in ('Sub', 'Add'))
    m.ending(m.add('Concat', low, high, m.columns(4, 5 + CLASSES), axis=2))


def fractions(m: Edited) -> None:
    in_place(m)
    size = np.ones(5 + CLASSES, np.float32)
    size[:4] = WIDTH, HEIGHT, WIDTH, HEIGHT
    m.ending(m.add('Div', m.graph.output[0].name, m.constant(size)))


def twice(m: Edited) -> None:
    m.also(m.add('Identity', m.output))


def suppressed(m: Edited) -> None:
    scores = m.add('Transpose', m.columns(5, 5 + CLASSES), perm=[0, 2, 1])
    m.ending(m.add('NonMaxSuppression', m.columns(0, 4), scores), TensorProto.INT64, ['n', 3])


def plugin(m: Edited) -> None:
    m.graph.node.append(
        helper.make_node('EfficientNMS_TRT', [m.output], ['num', 'boxes', 'scores', 'classes'])
    )
    m.ending('boxes', shape=[1, 100, 4])


def loop(m: Edited) -> None:
    body = helper.make_graph(
        [helper.make_node('Identity', [name], [f'{name}_out']) for name in ('go', 'x')],
        'body',
        [
            helper.make_tensor_value_info('i', TensorProto.INT64, []),
            helper.make_tensor_value_info('go', TensorProto.BOOL, []),
            helper.make_tensor_value_info('x', TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info('go_out', TensorProto.BOOL, []),
            helper.make_tensor_value_info('x_out', TensorProto.FLOAT, None),
        ],
    )
    m.ending(m.add('Loop', '', m.constant(np.array(True)), m.output, body=body))


def step_of_one(m: Edited) -> None:
    scale, zero = m.constant(np.float32(1)), m.constant(np.uint8(0))
    m.ending(m.add('DequantizeLinear', m.add('QuantizeLinear', m.output, scale, zero), scale, zero))


def another_scale(m: Edited) -> None:
    scale, zero = m.constant(np.float32(0.02)), m.constant(np.uint8(0))
    q = m.add('QuantizeLinear', m.output, scale, zero)
    m.ending(m.add('DequantizeLinear', q, m.constant(np.float32(0.03)), zero))


def levels(m: Edited) -> None:
    q = m.add('QuantizeLinear', m.output, m.constant(np.float32(0.02)), m.constant(np.uint8(0)))
    m.ending(q, TensorProto.UINT8)


def enormous(m: Edited) -> None:
    shape = m.constant(np.array([1 << 20, 1 << 20]))
    total = m.add('ReduceSum', m.add('ConstantOfShape', shape), keepdims=0)
    m.ending(m.add('Add', m.output, total))


NAMES_KEYS = r'is unknown: .*"scores" \(probability or logit\) and "boxes" \(grid or pixel\)'
REFUSED = {
    cut_off: NAMES_KEYS, masked: NAMES_KEYS, doubled: NAMES_KEYS, other_columns: NAMES_KEYS,
    rounded: 'holds int32',
    transposed: r'\[1, 8, 126\] is transposed.*optimize',
    one_score: 'whose objectness and classes are one already',
    corners: 'its boxes are corners in pixels',
    fractions: 'its boxes are fractions of the image',
    twice: 'all are YOLOX’s: name one in "outputs"',
    suppressed: r'suppresses boxes inside its graph \(NonMaxSuppression',
    plugin: r'suppresses boxes inside its graph \(EfficientNMS_TRT',
    loop: 'has a Loop .*nothing bounds how often',
    step_of_one: 'stored in steps of 1, which no score survives',
    another_scale: 'read with another scale',
    levels: 'holds quantised numbers',
    enormous: 'more than this machine can hold',
}  # fmt: skip


@pytest.mark.parametrize(
    ('edit', 'message'), REFUSED.items(), ids=lambda x: getattr(x, '__name__', '')
)
def test_refused(tmp_path: Path, edit: Callable[[Edited], None], message: str) -> None:
    m = Edited(write_yolox(tmp_path / 'm.onnx', batch=1))
    edit(m)
    onnx.save(m.model, str(m.path))
    with pytest.raises(ModelError, match=message) as caught:
        load_model_spec(m.path)
    assert '\n' not in str(caught.value)


def test_what_is_reported_in_the_description_is_believed(tmp_path: Path) -> None:
    m = Edited(write_yolox(tmp_path / 'm.onnx', batch=1))
    masked(m)
    onnx.save(m.model, str(m.path))
    m.path.with_suffix('.yaml').write_text('scores: probability')
    with pytest.raises(ModelError, match=r'or give "boxes" \(grid or pixel\) in m\.yaml'):
        load_model_spec(m.path)
    m.path.with_suffix('.yaml').write_text('scores: probability\nboxes: grid')
    spec = load_model_spec(m.path)
    assert (spec.head.scores, spec.head.boxes, spec.head.strides) == (
        'probability',
        'grid',
        STRIDES,
    )
