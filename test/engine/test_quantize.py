"""Calibration and INT8 models: ranges, Q/DQ, the accuracy gate, and what is refused."""

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from generated_yolox import cut, write_yolox
from labelled_world import write_labelled
from onnx import TensorProto, helper, numpy_helper

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.cli.pictures import bag_pictures
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.builder import build_engine
from yolox_trt_ros.engine.graph import SAME_RANGE, Graph
from yolox_trt_ros.engine.model_facts import model_facts
from yolox_trt_ros.engine.onnx_file import read_onnx, write_onnx
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.options import BuildOptions
from yolox_trt_ros.engine.qdq import insert_qdq, kept_layers, prepared
from yolox_trt_ros.engine.ranges import read_ranges
from yolox_trt_ros.engine.statistics import Method, Statistics, fixed_ranges, shared_ranges
from yolox_trt_ros.engine.surgery.optimize import operate

ROOT = Path(__file__).resolve().parents[2]


def silent(items: Iterable[Any], _: str) -> Iterable[Any]:
    return items


def identity_model(activation: str = '') -> onnx.ModelProto:
    """Return a 1x1 convolution that changes nothing, perhaps followed by an activation."""
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), 'w')
    nodes = [helper.make_node('Conv', ['images', 'w'], ['y'])]
    if activation:
        nodes.append(helper.make_node(activation, ['y'], ['z']))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 40, 50])
        for name in ('images', 'z' if activation else 'y')
    ]
    graph = helper.make_graph(nodes, 'g', values[:1], values[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp('world'), cameras=4)


@pytest.fixture(scope='module')
def written(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what the tool writes for edge_n_cut."""
    out = tmp_path_factory.mktemp('out') / 'int8'
    methods = ['minmax', 'percentile:99.99', 'fixed:6', 'percentile:60']
    gate = ['--coco', str(world), str(world / 'labels.json'), '--max-drop', '10']
    options = ['--keep', 'first', 'last', '--images', str(world), '--trt-version', '8.5.2']
    options += ['--method', *methods]
    command = ['quantize', 'edge_n_cut', '--output', str(out), *options, *gate]
    assert main(command) == 0
    return out


def test_every_file_is_there_and_says_what_it_is(edge_n_cut: Path, written: Path):
    names = {f.name for f in written.iterdir()}
    kinds = ('minmax', 'percentile-99.99', 'fixed-6', 'percentile-60')
    once = {'accuracy.json', 'scales.csv', 'layer_precisions.txt', 'edge_n_cut.fp16.onnx'}
    assert names == once | {
        f'edge_n_cut.{kind}{end}' for kind in kinds for end in ('.onnx', '.ranges.json', '.cache')
    }
    for kind in kinds:
        spec = load_model_spec(written / f'edge_n_cut.{kind}.onnx')
        assert (spec.head.scores, spec.head.per_level) == ('logit', True)
        assert spec.labels == load_model_spec(edge_n_cut).labels
    table = read_ranges(written / 'edge_n_cut.percentile-99.99.ranges.json')
    assert table.model_sha256 == hashlib.sha256(edge_n_cut.read_bytes()).hexdigest()
    assert (table.method, table.pictures) == ('percentile:99.99', 4)
    assert read_ranges(written / 'edge_n_cut.fixed-6.ranges.json').pictures == 0


def test_the_gate_measures_each_variant(written: Path):
    rows = {
        r['variant']: r for r in json.loads((written / 'accuracy.json').read_text())['variants']
    }
    assert list(rows)[:2] == ['fp32', 'fp16'] and len(rows) == 6
    assert rows['fp32']['map50'] > 0.6
    assert abs(rows['fp16']['drop']) < 1
    assert abs(rows['percentile:99.99']['drop']) < 5
    # Four tenths of all values cut off: the gate must see that.
    assert rows['percentile:60']['drop'] > 20


def test_too_large_a_drop_is_the_exit_code(world: Path, tmp_path: Path, capsys):
    gate = ['--coco', str(world), str(world / 'labels.json')]
    options = ['--method', 'percentile:60', '--images', str(world), '--pictures', '2']
    assert main(['quantize', 'edge_n_cut', '--output', str(tmp_path), *options, *gate]) == 3
    assert 'beyond 1.5' in capsys.readouterr().out


def test_ranges_cover_every_tensor_and_are_shared_where_dla_asks_for_it(
    edge_n_cut: Path, written: Path
):
    table = read_ranges(written / 'edge_n_cut.minmax.ranges.json')
    graph = Graph(read_onnx(edge_n_cut))
    assert list(table.ranges) == graph.tensors
    for node in graph.nodes:
        if node.op_type in SAME_RANGE:
            names = [n for n in [*node.input, *node.output] if n in table.ranges]
            assert len({table.ranges[n] for n in names}) == 1, node.name
        elif node.op_type == 'Clip':
            assert table.ranges[node.input[0]] == table.ranges[node.output[0]] <= 6


def test_kept_layers_have_no_pair(written: Path):
    table = read_ranges(written / 'edge_n_cut.minmax.ranges.json')
    assert len(table.keep_fp16) == 1 + 9
    model = read_onnx(written / 'edge_n_cut.minmax.onnx')
    dequantised = {n.output[0] for n in model.graph.node if n.op_type == 'DequantizeLinear'}
    for node in model.graph.node:
        if node.op_type == 'Conv':
            assert (node.input[1] in dequantised) is (node.output[0] not in table.keep_fp16)
    assert 'images' not in {n.input[0] for n in model.graph.node if n.op_type == 'QuantizeLinear'}


def test_the_box_branch_is_what_only_boxes_depend_on(edge_n_cut: Path):
    model = read_onnx(edge_n_cut)
    maps = [o.name for o in model.graph.output]
    kept = kept_layers(model, ['box'], load_model_spec(edge_n_cut).head.branches())
    assert {k for k in kept if k in maps} == {m for m in maps if not m.startswith('cls')}
    rest = [k for k in kept if k not in maps]
    assert len(rest) == 3 and all('reg_convs' in k for k in rest)


def test_a_model_that_is_not_cut(rtx, tmp_path: Path):
    whole = str(ROOT / 'models' / 'edge_n.onnx')
    options = ['--method', 'fixed:6', '--keep', 'box', 'last', '--no-gate']
    assert main(['quantize', whole, '--output', str(tmp_path), *options]) == 0
    table = read_ranges(tmp_path / 'edge_n.fixed-6.ranges.json')
    assert len(table.keep_fp16) == 9 + 3
    before = load_model_spec(Path(whole)).head
    after = load_model_spec(tmp_path / 'edge_n.fixed-6.onnx').head
    assert (after.scores, after.boxes) == (before.scores, before.boxes) == ('probability', 'grid')
    facts = model_facts(tmp_path / 'edge_n.fixed-6.onnx')
    built = build_engine(rtx, facts, BuildOptions(precision='int8'))
    assert [(t.name, t.shape) for t in built.tensors if t.output] == [('output', (1, 3150, 11))]


def test_pairs_are_at_inputs_and_weights_of_convolutions_only(edge_n_cut: Path):
    model = prepared(read_onnx(edge_n_cut))
    quantised = insert_qdq(model, fixed_ranges(model, 6, 255), [])
    onnx.checker.check_model(quantised)
    graph = quantised.graph
    values = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    readers = {n.output[0]: [] for n in graph.node if n.op_type == 'DequantizeLinear'}
    for node in graph.node:
        for name in node.input:
            readers.get(name, []).append(node.op_type)
        if node.op_type == 'QuantizeLinear':
            assert values[node.input[2]].dtype == np.int8 and not values[node.input[2]].any()
    assert all('Conv' in kinds for kinds in readers.values())
    outputs = {o.name for o in graph.output}
    assert not outputs & set(readers)
    convolutions = [n for n in graph.node if n.op_type == 'Conv']
    assert all(n.input[0] in readers and n.input[1] in readers for n in convolutions)
    assert all(values[n.input[2]].dtype == np.float32 for n in convolutions)


def test_qdq_computes_what_int8_does():
    model = identity_model()
    step = 10 / 127
    quantised = insert_qdq(prepared(model), {'images': 10.0, 'y': 10.0}, [])
    x = np.random.default_rng(0).normal(0, 6, (1, 3, 40, 50)).astype(np.float32)
    expected = np.clip(np.round(x / np.float32(step)), -128, 127) * step
    got = OnnxRun(quantised, literal=True)(x)['y']
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_tensorrt_builds_an_engine_of_it(rtx, written: Path, tmp_path: Path):
    path = written / 'edge_n_cut.percentile-99.99.onnx'
    built = build_engine(rtx, model_facts(path), BuildOptions(precision='int8'))
    assert sum(t.output for t in built.tensors) == 9
    old = operate(read_onnx(write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)), cut)
    model = prepared(old.final)
    statistics = Statistics(
        model, lambda: iter([np.full((3, 64, 64), 9, np.float32)]), False, silent
    )
    ranges = shared_ranges(model, statistics.ranges(Method('minmax'), silent))
    write_onnx(insert_qdq(model, ranges, []), tmp_path / 'q.onnx')
    build_engine(rtx, model_facts(tmp_path / 'q.onnx'), BuildOptions(precision='int8'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--method', 'minmax'], 'needs pictures'),
        (['--images', '/nowhere'], 'expected an image or a folder'),
        (['--bag', '/nowhere'], 'there is no such bag'),
        (['--world', 'val', '--pictures', '0'], 'expected at least 1'),
    ],
)
def test_missing_calibration_pictures(tmp_path: Path, capsys, options: list[str], message: str):
    command = ['quantize', 'edge_n_cut', '--output', str(tmp_path / 'o'), '--no-gate', *options]
    assert main(command) == 1
    assert message in capsys.readouterr().err


def test_pictures_that_cannot_be_read(tmp_path: Path, capsys):
    (tmp_path / 'a.jpg').write_bytes(b'not a picture')
    command = ['quantize', 'edge_n_cut', '--output', str(tmp_path / 'o'), '--no-gate']
    assert main([*command, '--images', str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert 'a.jpg: left out' in message and 'no usable picture' in message


def test_without_a_gate_nothing_is_rendered(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'yolox_trt_ros.sim.world.bodies', None)
    options = ['--method', 'fixed:6', '--no-gate', '--output', str(tmp_path)]
    assert main(['quantize', 'edge_n_cut', *options]) == 0
    assert (tmp_path / 'edge_n_cut.fixed-6.ranges.json').is_file()


def test_an_output_that_cannot_be_written(tmp_path: Path, capsys):
    (tmp_path / 'file').write_text('')
    options = ['--method', 'fixed:6', '--no-gate']
    assert main(['quantize', 'edge_n_cut', '--output', str(tmp_path / 'file'), *options]) == 1
    assert 'cannot be written' in capsys.readouterr().err


def test_a_bag_is_read_raw_and_compressed(edge_n_cut: Path, tmp_path: Path, capsys):
    picture = np.random.default_rng(0).integers(0, 255, (320, 480, 3), np.uint8)
    with BagWriter(tmp_path / 'bag') as bag:
        make, write = bag.definitions.make, bag.definitions.write
        stamp = make('builtin_interfaces/msg/Time', sec=1, nanosec=0)
        header = make('std_msgs/msg/Header', stamp=stamp, frame_id='c')
        raw = make(
            'sensor_msgs/msg/Image', header=header, height=320, width=480, encoding='bgr8',
            is_bigendian=0, step=1440, data=picture.reshape(-1),
        )  # fmt: skip
        png = cv2.imencode('.png', picture)[1].reshape(-1)
        bag.add_topic('/raw', 'sensor_msgs/msg/Image')
        bag.add_topic('/small', 'sensor_msgs/msg/CompressedImage')
        bag.add_topic('/other', 'std_msgs/msg/Header')
        for i, data in enumerate([png, png[:90], png]):
            small = make('sensor_msgs/msg/CompressedImage', header=header, format='png', data=data)
            bag.write('/raw', 10 + i, write(raw))
            bag.write('/small', 10 + i, write(small))
    image = load_model_spec(edge_n_cut).input
    inputs = list(bag_pictures(tmp_path / 'bag', None, 100).inputs(image))
    assert len(inputs) == 5 and 'left out' in capsys.readouterr().err
    for image in inputs:
        np.testing.assert_array_equal(image, picture.transpose(2, 0, 1))
    assert bag_pictures(tmp_path / 'bag', ['/raw'], 2).count == 2
    with pytest.raises(ConfigError, match='image topics there: /raw, /small'):
        bag_pictures(tmp_path / 'bag', ['/other'], 2)
