"""What exporters and optimisers put behind a head is followed, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import HEIGHT, LABELS, WIDTH, Graph, head, write_model, write_yolox

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.detector import Detector

STRIDES = (8, 16, 32)
CLASSES = len(LABELS)


class Edited:
    """A model whose outputs are changed, node by node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = onnx.load(str(path))
        self.graph = self.model.graph
        (output,) = self.graph.output
        self.output = output.name
        self.shape = [d.dim_value or d.dim_param for d in output.type.tensor_type.shape.dim]

    def constant(self, value: np.ndarray) -> str:
        name = f'added_{len(self.graph.initializer)}'
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f'added_{kind}_{len(self.graph.node)}_{i}' for i in range(outputs)]
        self.graph.node.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0]

    def ending(self, name: str, kind: int = TensorProto.FLOAT, shape: object = None) -> None:
        del self.graph.output[:]
        self.also(name, kind, shape)

    def also(self, name: str, kind: int = TensorProto.FLOAT, shape: object = None) -> None:
        self.graph.output.append(helper.make_tensor_value_info(name, kind, shape or self.shape))

    def columns(self, first: int, last: int) -> str:
        bounds = [self.constant(np.array([v])) for v in (first, last, 2)]
        return self.add('Slice', self.output, *bounds)

    @property
    def anchors(self) -> int:
        return int(self.shape[1])

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        (image,) = self.graph.input
        height, width = (d.dim_value for d in image.type.tensor_type.shape.dim[2:])
        cells, strides = [], []
        for s in STRIDES:
            y, x = np.mgrid[: height // s, : width // s]
            cells.append(np.stack((x.ravel(), y.ravel()), axis=1))
            strides.append(np.full((x.size, 1), s))
        return np.concatenate(cells)[None].astype('f4'), np.concatenate(strides)[None].astype('f4')


def in_place(m: Edited) -> None:
    """Write ``outputs[..., :2] = (… + grid) * stride; outputs[..., 2:4] = exp(…) * stride``."""
    grid, strides = map(m.constant, m.grid())
    centre = m.add('Mul', m.add('Add', m.columns(0, 2), grid), strides)
    size = m.add('Mul', m.add('Exp', m.columns(2, 4)), strides)
    last = m.output
    for first, value in ((0, centre), (2, size)):
        places = np.meshgrid([0], range(m.anchors), range(first, first + 2), indexing='ij')
        last = m.add('ScatterND', last, m.constant(np.stack(places, -1)), value)
    m.ending(last)


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


def unread_output(m: Edited) -> None:
    convolution = next(n for n in m.graph.node if n.op_type == 'Conv')
    m.also(m.add('Sigmoid', convolution.output[0]), shape=['n', 'c', 'h', 'w'])


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


def boxes(path: Path, labels: Path | None, image: np.ndarray) -> tuple[ModelSpec, np.ndarray]:
    with Detector(path, labels=labels or '', threads=2) as detect:
        d = detect(image)
    return detect.model.spec, np.column_stack((d.xyxy, d.score, d.class_id))


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)


def same(a: np.ndarray, b: np.ndarray, tolerance: float = 0.5) -> bool:
    return (
        a.shape == b.shape
        and bool((a[:, 5] == b[:, 5]).all())
        and float(np.abs(a[:, :4] - b[:, :4]).max(initial=0)) < tolerance
        and float(np.abs(a[:, 4] - b[:, 4]).max(initial=0)) < 5e-3
    )


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


TELLS_KEYS = r'cannot be told: .*"scores" \(probability or logit\) and "boxes" \(grid or pixel\)'
REFUSED = {
    cut_off: TELLS_KEYS, masked: TELLS_KEYS, doubled: TELLS_KEYS, other_columns: TELLS_KEYS,
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


def test_what_is_told_in_the_description_is_believed(tmp_path: Path) -> None:
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


def three_maps(path: Path, order: Sequence[int], names: Sequence[str], sigmoid: bool) -> Path:
    """Write a model of four classes whose maps stand in another order."""
    graph = Graph()
    outputs: dict[str, list[int | str]] = {}
    for stride in STRIDES:
        maps = head(graph, 'images', stride, 4, 0)
        for place in order:
            name = f'{names[place]}_{stride}'
            kind = 'Sigmoid' if sigmoid and place else 'Identity'
            graph.add(kind, [maps[place]], name)
            outputs[name] = [1, (4, 1, 4)[place], HEIGHT // stride, WIDTH // stride]
    for node in graph.nodes:  # names that say nothing
        for i, name in enumerate(node.input):
            node.input[i] = name.replace('box', 'p').replace('class', 'q')
        if node.op_type == 'Conv':
            node.output[0] = node.output[0].replace('box', 'p').replace('class', 'q')
    for weight in graph.weights:
        weight.name = weight.name.replace('box', 'p').replace('class', 'q')
    (path.parent / 'labels.txt').write_text('a\nb\nc\nd\n')
    return write_model(path, graph, {'images': [1, 3, HEIGHT, WIDTH]}, outputs)


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_maps_of_four_classes(tmp_path: Path, picture: np.ndarray, order: Sequence[int]) -> None:
    plain = three_maps(tmp_path / 'plain.onnx', (0, 1, 2), ('reg', 'obj', 'cls'), False)
    _, expected = boxes(plain, None, picture)
    for i, (names, sigmoid) in enumerate((('xyz', True), (('bbox', 'obj', 'cls'), False))):
        path = three_maps(tmp_path / f'{i}.onnx', order, names, sigmoid)
        assert same(expected, boxes(path, None, picture)[1])
    path = three_maps(tmp_path / 'm.onnx', order, 'xyz', False)
    with pytest.raises(ModelError, match=r'nothing tells which of .*name all outputs in "outputs"'):
        load_model_spec(path)
    listed = ', '.join(f'{name}_{stride}' for stride in STRIDES for name in 'xyz')
    path.with_suffix('.yaml').write_text(f'outputs: [{listed}]')
    assert same(expected, boxes(path, None, picture)[1])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('outputs: [outptu]', 'is none of its outputs — did you mean "output"'),
        ('outputs: [output, output]', 'expected one, or box, objectness and class'),
        ('outputs: output', 'outputs: expected list'),
    ],
)
def test_bad_outputs_key(tmp_path: Path, text: str, message: str) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    path.with_suffix('.yaml').write_text(text)
    with pytest.raises(ModelError, match=message):
        load_model_spec(path)


def test_left_out_outputs_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    m = Edited(write_yolox(tmp_path / 'm.onnx', batch=1))
    unread_output(m)
    onnx.save(m.model, str(m.path))
    spec = load_model_spec(m.path)
    assert len(spec.left_out) == 1
    assert f'its outputs {spec.left_out[0]} are left out' in caplog.text


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
