"""Layer by layer comparison: figures of known differences, and matching of names."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from generated_yolox import cut, write_yolox
from host_tensorrt import engine_of, host_tensorrt
from onnx import numpy_helper
from test_runtime import HostMemory, Stream
from tiny_models import write_identity

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.backends.tensorrt import Engine
from yolox_trt_ros.detect.backends.tensorrt_run import EngineRun
from yolox_trt_ros.engine.builder import build_engine
from yolox_trt_ros.engine.compare import compare_engine, compare_models, inner_tensors
from yolox_trt_ros.engine.half import to_half
from yolox_trt_ros.engine.model_facts import model_facts
from yolox_trt_ros.engine.onnx_file import read_onnx, write_onnx
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.options import BuildOptions
from yolox_trt_ros.engine.provide import EngineRequest
from yolox_trt_ros.engine.surgery.optimize import operate

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(0, 255, (3, 320, 480)).astype(np.float32) for _ in range(2)]


def test_a_model_equals_itself(edge_n_cut: Path, pictures: list[np.ndarray]):
    found, unmatched = compare_models(read_onnx(edge_n_cut), read_onnx(edge_n_cut), pictures[:1])
    assert unmatched == 0 and len(found) == 145
    assert {d.sqnr_db for d in found} == {math.inf} and {d.largest for d in found} == {0.0}


def test_the_layer_that_changed_comes_first(edge_n_cut: Path, pictures: list[np.ndarray]):
    reference, other = read_onnx(edge_n_cut), read_onnx(edge_n_cut)
    (node,) = (n for n in other.graph.node if n.output[0] == 'cls_16')
    (bias,) = (w for w in other.graph.initializer if w.name == node.input[2])
    moved = numpy_helper.to_array(bias) + np.float32(3)
    bias.CopyFrom(numpy_helper.from_array(moved, bias.name))
    found, _ = compare_models(reference, other, pictures)
    assert found[0].name == 'cls_16' and found[0].op == 'Conv'
    assert found[0].largest == pytest.approx(3, abs=1e-4)
    assert all(d.sqnr_db == math.inf for d in found[1:])
    run = OnnxRun(reference)
    maps = np.stack([run(p[None])['cls_16'] for p in pictures]).astype(np.float64)
    assert found[0].sqnr_db == pytest.approx(10 * np.log10((maps**2).mean() / 9), abs=1e-3)
    cosine = (maps * (maps + 3)).sum() / np.sqrt((maps**2).sum() * ((maps + 3) ** 2).sum())
    assert found[0].cosine == pytest.approx(cosine, abs=1e-6)


def test_names_that_optimize_changed_are_found(tmp_path: Path):
    original = read_onnx(write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64))
    final = operate(original, cut).final
    picture = np.random.default_rng(0).uniform(0, 255, (3, 64, 64)).astype(np.float32)
    for a, b in ((original, final), (final, original)):
        found, _ = compare_models(a, b, [picture])
        assert min(d.sqnr_db for d in found) > 90
        names = {d.name for d in found}
        assert ('reg_8' in names) is (a is final)
        assert len(found) >= len(final.graph.node) - 1


def test_the_tool_writes_table_and_json(edge_n_cut: Path, tmp_path: Path, capsys):
    model = to_half(read_onnx(edge_n_cut), float32_borders=True)
    write_onnx(model, tmp_path / 'half.onnx')
    out = tmp_path / 'new' / 'd.json'
    options = ['--pictures', '1', '--rows', '5', '--rank', 'sqnr', '--json', str(out)]
    assert main(['compare', 'edge_n_cut', str(tmp_path / 'half.onnx'), *options]) == 0
    message = capsys.readouterr().out
    assert '145 tensors compared on 1 pictures of random numbers' in message
    rows = json.loads(out.read_text())
    assert len(rows) == 145 and message.count('Conv') + message.count('Clip') >= 5
    noise = [r['sqnr_db'] for r in rows if r['sqnr_db'] is not None]
    assert noise == sorted(noise) and noise[0] > 40


def test_two_models_that_have_nothing_in_common(edge_n_cut: Path, tmp_path: Path):
    shape = [1, 3, 320, 480]
    other = write_identity(tmp_path / 'o.onnx', {'images': shape}, {'elsewhere': shape})
    with pytest.raises(ModelError, match='no tensor of the same name'):
        compare_models(read_onnx(edge_n_cut), read_onnx(other), [])


def test_files_that_are_no_models(tmp_path: Path, capsys):
    (tmp_path / 'x.onnx').write_bytes(b'engine')
    assert main(['compare', 'edge_n_cut', str(tmp_path / 'x.onnx')]) == 1
    assert 'expected an ONNX model' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('kind', 'least_db'),
    [(('FLOAT', 'LINEAR'), 100), (('HALF', 'CHW16'), 50), (('INT8', 'CHW32'), 5)],
)
def test_an_engine_is_compared_in_the_form_that_it_takes(
    tmp_path: Path, kind: tuple[str, str], least_db: float
):
    path = write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=96)
    model = operate(read_onnx(path), cut).final
    marked = inner_tensors(model, model, 'layers')
    opened = tmp_path / 'marked.onnx'
    write_onnx(with_outputs(model, marked), opened)
    quanta = {'images': 2.0} if kind[0] == 'INT8' else {}
    # An inner tensor in a DLA's layout, padded: 5 channels of a head would be 16 or 32.
    kinds = {'images': kind, marked[3]: ('HALF', 'CHW16')}
    engine = Engine(
        host_tensorrt(), None, engine_of(opened, kinds=kinds, quanta=quanta), 'm.engine', quanta
    )
    run = EngineRun(engine, HostMemory(), Stream(), None, np)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (3, 64, 96)).astype(np.float32) for _ in range(2)]
    found = compare_engine(model, model, run, run.names, pictures)
    assert {d.name for d in found} == {*marked, *(o.name for o in model.graph.output)}
    noise = [d.sqnr_db for d in found if d.name != marked[3]]
    assert noise == sorted(noise) and noise[0] > least_db
    (padded,) = (d.sqnr_db for d in found if d.name == marked[3])
    assert min(least_db, 60) - 1 < padded < 90
    if kind[0] == 'INT8':
        # Steps of 2 up to 254: half of all pixels are off by 1.
        assert noise[0] < 60


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a model that gives out inner tensors as well, as a marked engine does."""
    values = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.extend(values[name] for name in names)
    return opened


def test_what_a_layer_gives_out(edge_n_cut: Path, tmp_path: Path):
    silu = operate(
        read_onnx(write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)), cut
    ).final
    for model, count in ((silu, None), (read_onnx(edge_n_cut), 145 - 9)):
        kinds = {n.output[0]: n.op_type for n in model.graph.node}
        outputs = {o.name for o in model.graph.output}
        every = inner_tensors(model, model, 'all')
        assert set(every) == set(kinds) - outputs and count in (None, len(every))
        layers = inner_tensors(model, model, 'layers')
        assert {kinds[n] for n in layers} <= {'Mul', 'Clip', 'Add', 'Concat', 'MaxPool', 'Resize'}
        # Each convolution gives out one tensor: its activation's.
        convolutions = sum(k == 'Conv' for n, k in kinds.items() if n not in outputs)
        assert sum(kinds[n] in ('Mul', 'Clip') for n in layers) == convolutions
        assert inner_tensors(model, model, 'none') == ()


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_tensorrt_marks_inner_tensors(edge_n_cut: Path, rtx, quantised: Path, precision: str):
    reference = read_onnx(edge_n_cut)
    path = quantised if precision == 'int8' else edge_n_cut
    other = read_onnx(path)
    marked = inner_tensors(reference, other, 'layers')
    assert len(marked) > 50
    options = BuildOptions(precision=precision, marked=marked)  # type: ignore[arg-type]
    built = build_engine(rtx, model_facts(path), options)
    given = {t.name: t for t in built.tensors if t.output}
    assert set(given) == {*marked, *(o.name for o in reference.graph.output)}
    kind = 'float16' if precision == 'fp16' else 'float32'
    assert {t.dtype for t in given.values()} == {kind}
    values = OnnxRun(reference, list(given))(np.zeros((1, 3, 320, 480), np.float32))
    assert {n: t.shape for n, t in given.items()} == {n: values[n].shape for n in given}


def test_a_marked_engine_is_another_engine(edge_n_cut: Path, rtx):
    model, whole = model_facts(edge_n_cut), BuildOptions()
    two = replace(whole, marked=('a', 'b')), replace(whole, marked=('b', 'a'))
    keys = [EngineRequest(rtx, model, o).key() for o in (whole, *two)]
    assert keys[0].stem() != keys[1].stem() == keys[2].stem()
    assert keys[1].differences(json.loads(json.dumps(asdict(keys[2])))) == []


def test_an_engine_needs_a_device(capsys):
    assert main(['compare', 'edge_n_cut']) == 1
    assert '--device cuda:0' in capsys.readouterr().err
