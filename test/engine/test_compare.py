"""Layer by layer comparison: figures of known differences, and matching of names."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from generated_yolox import write_yolox
from host_tensorrt import engine_of, host_tensorrt
from onnx import numpy_helper
from test_runtime import HostMemory, Stream
from tiny_models import write_identity
from tiny_models import write_yolox as write_tiny

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.backends.tensorrt import Engine, TensorRtBackend
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.compare import compare_models, compare_outputs
from yolox_trt_ros.engine.half import to_half
from yolox_trt_ros.engine.onnx_file import read_onnx, write_onnx
from yolox_trt_ros.engine.onnx_run import OnnxRun
from yolox_trt_ros.engine.surgery.optimize import operate
from yolox_trt_ros.tools._engine_run import EngineRun

ROOT = Path(__file__).resolve().parents[2]
CUT = ROOT / 'models' / 'edge_n_cut.onnx'


@pytest.fixture(scope='module')
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(0, 255, (3, 320, 480)).astype(np.float32) for _ in range(2)]


def test_a_model_equals_itself(pictures: list[np.ndarray]):
    found, unmatched = compare_models(read_onnx(CUT), read_onnx(CUT), pictures[:1])
    assert unmatched == 0 and len(found) == 145
    assert {d.sqnr_db for d in found} == {math.inf} and {d.largest for d in found} == {0.0}


def test_the_layer_that_changed_comes_first(pictures: list[np.ndarray]):
    reference, other = read_onnx(CUT), read_onnx(CUT)
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
    final = operate(original).final
    picture = np.random.default_rng(0).uniform(0, 255, (3, 64, 64)).astype(np.float32)
    for a, b in ((original, final), (final, original)):
        found, _ = compare_models(a, b, [picture])
        assert min(d.sqnr_db for d in found) > 90
        names = {d.name for d in found}
        assert ('reg_8' in names) is (a is final)
        assert len(found) >= len(final.graph.node) - 1


def test_the_tool_writes_table_and_json(tmp_path: Path, capsys):
    model = to_half(read_onnx(CUT), float32_borders=True)
    write_onnx(model, tmp_path / 'half.onnx')
    out = tmp_path / 'new' / 'd.json'
    options = ['--pictures', '1', '--rows', '5', '--json', str(out)]
    assert main(['compare', str(CUT), str(tmp_path / 'half.onnx'), *options]) == 0
    told = capsys.readouterr().out
    assert '145 tensors compared on 1 pictures of random numbers' in told
    rows = json.loads(out.read_text())
    assert len(rows) == 145 and told.count('Conv') + told.count('Clip') >= 5
    noise = [r['sqnr_db'] for r in rows if r['sqnr_db'] is not None]
    assert noise == sorted(noise) and noise[0] > 40


def test_two_models_that_have_nothing_in_common(tmp_path: Path):
    shape = [1, 3, 320, 480]
    other = write_identity(tmp_path / 'o.onnx', {'images': shape}, {'elsewhere': shape})
    with pytest.raises(ModelError, match='no tensor of the same name'):
        compare_models(read_onnx(CUT), read_onnx(other), [])


def test_files_that_are_no_models(tmp_path: Path, capsys):
    (tmp_path / 'x.onnx').write_bytes(b'engine')
    assert main(['compare', str(CUT), str(tmp_path / 'x.onnx')]) == 1
    assert 'expected an ONNX model' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('kind', 'least_db'),
    [(('FLOAT', 'LINEAR'), 100), (('HALF', 'CHW16'), 50), (('INT8', 'CHW32'), 5)],
)
def test_an_engine_is_compared_in_the_form_that_it_takes(
    tmp_path: Path, kind: tuple[str, str], least_db: float
):
    path = write_tiny(tmp_path / 'tiny.onnx', layout='per_level', scores='logit', batch=1)
    quanta = {'images': 2.0} if kind[0] == 'INT8' else {}
    content = engine_of(path, kinds={'images': kind}, quanta=quanta)
    engine = Engine(host_tensorrt(), None, content, 'tiny.engine', quanta)
    spec, memory = load_model_spec(path), HostMemory()
    stream = Stream(can_record=False)
    backend = TensorRtBackend(engine, spec, memory, stream, 1, None, np)  # type: ignore[arg-type]
    run = EngineRun(backend, spec, stream, np)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (3, 64, 96)).astype(np.float32) for _ in range(2)]
    found = compare_outputs(read_onnx(path), run, spec.outputs, pictures)
    assert len(found) == 9 and {d.op for d in found} == {'Conv'}
    noise = [d.sqnr_db for d in found]
    assert noise == sorted(noise) and noise[0] > least_db
    if kind[0] == 'INT8':
        # Steps of 2 up to 254: half of all pixels are off by 1.
        assert noise[0] < 60


def test_an_engine_needs_a_device(capsys):
    assert main(['compare', str(CUT)]) == 1
    assert '--device cuda:0' in capsys.readouterr().err
