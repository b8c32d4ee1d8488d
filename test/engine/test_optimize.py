"""The surgery: what it makes of a YOLOX, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from generated_yolox import PATCHES, cut, write_yolox
from hypothesis import given, settings
from hypothesis import strategies as st
from matching import differences
from onnx import TensorProto, helper, numpy_helper

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.detector import Detector
from yolox_trt_ros.engine.dla_rules import forces_gpu, judge
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.surgery import RENAMED_KEY
from yolox_trt_ros.engine.surgery.optimize import operate
from yolox_trt_ros.engine.surgery.proof import prove, prove_resized
from yolox_trt_ros.tools.detect import as_rows

ROOT = Path(__file__).resolve().parents[2]
FULL = bool(os.environ.get('YOLOX_TRT_ROS_FULL'))
"""Whether to take the sizes that Megvii trains and all photographs: minutes instead of seconds."""
MAPS = [f'{part}_{stride}' for stride in (8, 16, 32) for part in ('reg', 'obj', 'cls')]


def random_pictures(shape: tuple[int, ...], count: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.uniform(0, 255, shape[1:]).astype(np.float32) for _ in range(count)]


def detections(path: Path, pictures: list[np.ndarray], score: float = 0.3) -> list[list]:
    with Detector(path, score_threshold=score, threads=2) as detect:
        return [as_rows(detect(picture)) for picture in pictures]


def threshold_of(found: list[list], count: int) -> float:
    """Return a score that about ``count`` detections exceed, far from any of them."""
    scores = np.sort([row[4] for rows in found for row in rows])[::-1]
    near = scores[int(0.9 * count) : int(1.1 * count)]
    gap = int(np.argmax(near[:-1] - near[1:]))
    return float(near[gap] + near[gap + 1]) / 2


@pytest.mark.parametrize(
    ('size', 'side', 'count'),
    [('tiny', 416, 50), ('s', 640, 50)] if FULL else [('tiny', 128, 50), ('s', 160, 6)],
)
def test_a_generated_yolox_fits_a_dla_and_detects_the_same(
    real, tmp_path, capsys, size, side, count
):
    """Random weights find nothing meaningful, but both graphs have to find the same of it."""
    before = write_yolox(tmp_path / f'{size}.onnx', size, height=side, width=side, classes=80)
    after = tmp_path / 'fit' / f'{size}.onnx'
    assert len(forces_gpu(judge(read_onnx(before)))) == 8 + 2 + 3 + 1 + 1
    assert main(['optimize', str(before), '--check-dla']) == 3
    assert main(['optimize', str(before), '--check-dla', '--output', str(after)]) == 0
    assert '0 force the GPU' in capsys.readouterr().out
    model = read_onnx(after)
    assert [o.name for o in model.graph.output] == MAPS
    kinds = [n.op_type for n in model.graph.node]
    assert set(kinds) == {'Conv', 'Sigmoid', 'Mul', 'Add', 'Concat', 'MaxPool', 'Resize'}
    assert kinds.count('MaxPool') == 3
    files = sorted((real / 'images').iterdir())[:count]
    pictures = [cv2.imread(str(file)) for file in files]
    score = threshold_of(detections(before, pictures[:5], 0.02), 40)
    old, new = detections(before, pictures, score), detections(after, pictures, score)
    total = sum(map(len, old))
    assert total > 4 * count, f'{total} boxes are too few to say anything'
    with capsys.disabled():
        print(f'\n{size} {side}x{side}: {total} boxes above {score:.3f} on {count} photographs')
    pairs = zip(files, new, old, strict=True)
    assert not [f'{f.name}: {p}' for f, n, o in pairs for p in differences(n, o, 0.99, 1e-3)]


def test_the_coco_model_detects_the_same_on_all_photographs(real, tmp_path):
    out, json_file = tmp_path / 'nano.onnx', tmp_path / 'nano.json'
    labels = ['--labels', str(real / 'coco_classes.txt')]
    few = tmp_path / 'few'
    few.mkdir()
    for file in sorted((real / 'images').iterdir())[:6]:
        (few / file.name).symlink_to(file)
    proof = ['--images', str(few), '--json', str(json_file), '--check-dla']
    model = str(real / 'yolox_nano_coco.onnx')
    code = main(['optimize', model, *labels, *proof, '--output', str(out)])
    report = json.loads(json_file.read_text())
    assert code == 0 and {v['device'] for v in report['layers']} == {'dla'}
    assert max(m['relative'] for m in report['maps']) < 1e-4
    found = tmp_path / 'found.json'
    images = ['--images', str(real / 'images')]
    assert main(['detect', '--model', str(out), *images, '--json', str(found)]) == 0
    rows = json.loads(found.read_text())['images']
    reference = json.loads((real / 'reference_detections.json').read_text())['images']
    assert len(rows) == 50
    for name, image in reference.items():
        assert not differences(rows[name]['detections'], image['class_aware']), name


def test_the_packaged_cut_form_is_what_the_command_writes(tmp_path, edge_n_cut):
    out = tmp_path / 'edge_n.onnx'
    assert main(['optimize', 'edge_n', '--output', str(out)]) == 0
    assert out.read_bytes() == edge_n_cut.read_bytes()
    spec = load_model_spec(out)
    assert spec.labels[0] == 'car' and (spec.head.per_level, spec.head.scores) == (True, 'logit')


@pytest.mark.parametrize(
    ('resize', 'decoded'),
    [('scales', False), ('scales', True), ('sizes', True), ('half_pixel', False)],
)
def test_exports_of_every_kind(tmp_path, resize, decoded):
    path = write_yolox(
        tmp_path / 'm.onnx', 'nano', resize=resize, decoded=decoded, sigmoid=not decoded,
        height=96, width=64,
    )  # fmt: skip
    original = read_onnx(path)
    surgery = operate(original, cut)
    prove(original, surgery, random_pictures(surgery.shape))
    assert not forces_gpu(judge(surgery.final))
    assert list(surgery.counts.values()) == [1, 2, 0 if resize == 'scales' else 2]
    scores, boxes = ('logit', 'pixel') if decoded else ('probability', 'grid')
    assert f'ends in {scores} scores and {boxes} boxes' in surgery.cut.summary


@settings(max_examples=3, deadline=None)
@given(st.permutations(PATCHES))
def test_the_order_of_the_focus_patches_is_read_from_the_graph(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp('order')
    path = write_yolox(folder / 'm.onnx', 'nano', order=order, height=64, width=64)
    original = read_onnx(path)
    surgery = operate(original, cut)
    assert surgery.counts['Focus and convolution → one convolution'] == 1
    prove(original, surgery, random_pictures(surgery.shape, 1))


def test_patches_that_are_not_focus_stay(tmp_path):
    order = ((0, 0), (0, 0), (1, 0), (1, 1))
    original = read_onnx(write_yolox(tmp_path / 'm.onnx', 'nano', order=order, height=64, width=64))
    surgery = operate(original, cut)
    assert surgery.counts['Focus and convolution → one convolution'] == 0
    assert {v.op for v in forces_gpu(judge(surgery.final))} == {'Slice'}


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([9, 11, 13, 15, 17, 21]), st.integers(6, 24), st.integers(6, 24))
def test_chains_of_narrow_pools_are_the_wide_pool_bit_for_bit(window, height, width):
    from onnxscript import ir

    from yolox_trt_ros.engine.surgery.rules import WidePoolToChain

    node = helper.make_node(
        'MaxPool', ['x'], ['y'], kernel_shape=[window] * 2, pads=[window // 2] * 4
    )
    value = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2, height, width]) for n in 'xy'
    ]
    graph = helper.make_graph([node], 'pool', value[:1], value[1:])
    wide = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    narrow = ir.from_proto(wide)
    assert WidePoolToChain.rule().apply_to_model(narrow) == 1
    x = np.random.default_rng(window).normal(size=(1, 2, height, width)).astype(np.float32)
    chain = ir.to_proto(narrow)
    assert not forces_gpu(judge(chain))
    np.testing.assert_array_equal(OnnxRun(wide)(x)['y'], OnnxRun(chain)(x)['y'])


def test_batch_and_size_are_fixed(tmp_path):
    path = write_yolox(tmp_path / 'm.onnx', 'nano', dims=['batch', 3, 160, 192])
    out = tmp_path / 'fit.onnx'
    options = ['--batch', '2', '--size', '256x128', '--output', str(out)]
    assert main(['optimize', str(path), *options, '--check-dla']) == 0
    spec = load_model_spec(out)
    assert (spec.input.batch, spec.input.height, spec.input.width) == (2, 128, 256)
    maps = OnnxRun(read_onnx(out))(np.zeros((2, 3, 128, 256), np.float32))
    assert maps['cls_16'].shape == (2, 3, 8, 16)


@pytest.mark.parametrize('built_in', [False, True])
def test_at_the_size_asked_for_it_is_the_original_at_that_size(tmp_path, capsys, built_in):
    resize = 'sizes' if built_in else 'scales'
    path = write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=96, resize=resize)
    out = tmp_path / 'fit.onnx'
    options = ['--size', '128x192', '--batch', '2', '--output', str(out)]
    assert main(['optimize', str(path), *options]) == 0
    message = capsys.readouterr().out
    if built_in:
        assert 'at 2 x 128x192 the original does not run, its own 96x64 is built in' in message
        return
    assert 'at 2 x 128x192: largest error' in message
    # The proof can fail: a weight of the new model moved, at that size alone.
    original = read_onnx(path)
    surgery = operate(original, cut, 2, (192, 128))
    pictures = random_pictures(surgery.asked, 1)
    (bias,) = (w for w in surgery.final.graph.initializer if w.name == last_bias(surgery.final))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1, bias.name))
    prove(original, surgery, random_pictures(surgery.shape, 1))
    with pytest.raises(ModelError, match='cls_32 by 1'):
        prove_resized(original, surgery, pictures)


def last_bias(model: onnx.ModelProto) -> str:
    (node,) = (n for n in model.graph.node if n.output[0] == 'cls_32')
    return node.input[2]


def test_an_open_size_has_to_be_given(tmp_path):
    path = write_yolox(tmp_path / 'm.onnx', 'nano', dims=['n', 3, 'h', 'w'])
    with pytest.raises(ModelError, match='--size 640x640'):
        operate(read_onnx(path), cut)
    surgery = operate(read_onnx(path), cut, size=(160, 192))
    prove(read_onnx(path), surgery, random_pictures(surgery.shape, 1))
    assert not forces_gpu(judge(surgery.final))


def test_relu6_only_when_asked_and_loudly(tmp_path, capsys):
    path = write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)
    out = tmp_path / 'fit.onnx'
    assert main(['optimize', str(path), '--relu6', '--output', str(out)]) == 0
    kinds = {n.op_type for n in read_onnx(out).graph.node}
    assert 'Sigmoid' not in kinds and 'Clip' in kinds
    assert 'RETRAINED' in capsys.readouterr().err


def test_the_original_names_of_the_maps_are_kept(tmp_path):
    original = read_onnx(write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64))
    props = {e.key: e.value for e in operate(original, cut).final.metadata_props}
    renamed = json.loads(props[RENAMED_KEY])
    produced = {name for node in original.graph.node for name in node.output}
    assert list(renamed) == MAPS and set(renamed.values()) <= produced


def test_a_difference_is_refused(tmp_path):
    original = read_onnx(write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64))
    surgery = operate(original, cut)
    (kernel,) = (w for w in surgery.same.graph.initializer if list(w.dims[1:]) == [3, 6, 6])
    # The patches' rows and columns exchanged: what reading YOLOX's order wrongly would give.
    wrong = numpy_helper.to_array(kernel).reshape(-1, 3, 3, 2, 3, 2).transpose(0, 1, 2, 5, 4, 3)
    wrong = np.ascontiguousarray(wrong).reshape(kernel.dims)
    kernel.CopyFrom(numpy_helper.from_array(wrong, kernel.name))
    with pytest.raises(ModelError, match='differs'):
        prove(original, surgery, random_pictures(surgery.shape, 1))


def test_another_tail_is_refused(tmp_path):
    original = read_onnx(write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64))
    last = original.graph.node[-1]
    last.output[0] = 'before'
    original.graph.node.append(helper.make_node('Tanh', ['before'], ['after']))
    original.graph.output[0].name = 'after'
    with pytest.raises(ModelError, match='is not what YOLOX makes of its head'):
        operate(original, cut)


def test_the_verdict_needs_neither_onnxruntime_nor_tensorrt(tmp_path):
    path = write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)
    program = (
        'import sys\n'
        'for name in ("onnxruntime", "onnxscript", "onnx_ir", "tensorrt"):\n'
        '    sys.modules[name] = None\n'
        'from yolox_trt_ros.__main__ import main\n'
        f'sys.exit(main(["optimize", {str(path)!r}, "--check-dla"]))'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 3, done.stderr
    assert '15 force the GPU' in done.stdout
