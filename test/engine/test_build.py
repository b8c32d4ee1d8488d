"""Engines built by TensorRT-RTX, and everything that can be wrong before and after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_models import Graph, write_model, write_yolox

from yolox_trt_ros.core.errors import ConfigError, EngineError, ModelError
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine import tensorrt_versions
from yolox_trt_ros.engine.builder import build_engine, in_background
from yolox_trt_ros.engine.calibration import Calibration, read_calibration
from yolox_trt_ros.engine.cuda_devices import CudaDriver
from yolox_trt_ros.engine.flops import gflops
from yolox_trt_ros.engine.model_facts import ModelFacts, model_facts
from yolox_trt_ros.engine.options import BuildOptions, strongly_typed
from yolox_trt_ros.engine.progress import Phases
from yolox_trt_ros.engine.tensorrt_versions import TensorRT
from yolox_trt_ros.packaged_models import find_model

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / 'models'
HEAD = ['reg_8', 'obj_8', 'cls_8', 'reg_16', 'obj_16', 'cls_16', 'reg_32', 'obj_32', 'cls_32']


@pytest.mark.parametrize(
    ('name', 'outputs'), [('edge_n', ['output']), ('edge_n_cut', HEAD)], ids=['whole', 'cut']
)
def test_float_engines(rtx: TensorRT, name: str, outputs: list[str]) -> None:
    model = model_facts(find_model(name))
    sizes = {}
    for precision, dtype in (('fp32', 'float32'), ('fp16', 'float16')):
        built = build_engine(rtx, model, BuildOptions(precision=precision))  # type: ignore[arg-type]
        assert built.strongly_typed and not built.placement.known
        assert [t.name for t in built.tensors if t.output] == outputs
        assert {t.dtype for t in built.tensors} == {dtype}
        sizes[precision] = len(built.engine)
    # That half the bits are really gone shows in the weights: precision is no label.
    assert sizes['fp16'] < 0.8 * sizes['fp32']


def test_model_whose_weights_are_stored_in_half_computes_in_what_is_asked(rtx: TensorRT) -> None:
    model = model_facts(MODELS / 'edge_s.onnx')
    assert not model.half
    wide, half = (
        build_engine(rtx, model, BuildOptions(precision=p))  # type: ignore[arg-type]
        for p in ('fp32', 'fp16')
    )
    assert len(half.engine) < 0.7 * len(wide.engine)
    assert {t.dtype for t in half.tensors} == {'float16'}


def test_int8_engine(rtx: TensorRT, quantised: Path) -> None:
    model = model_facts(quantised)
    assert model.quantised
    built = build_engine(rtx, model, BuildOptions(precision='int8'))
    assert [t.name for t in built.tensors if t.output] == HEAD


def test_batches(rtx: TensorRT, tmp_path: Path) -> None:
    # The file says 1; nothing in this graph needs it to be.
    model = model_facts(write_yolox(tmp_path / 'm.onnx', layout='per_level', batch=1))
    fixed = build_engine(rtx, model, BuildOptions(batch=3))
    assert {t.shape[0] for t in fixed.tensors} == {3}
    assert {t.layout for t in fixed.tensors} == {'linear'}
    free = build_engine(rtx, model, BuildOptions(batch=4, dynamic=True))
    assert {t.shape[0] for t in free.tensors} == {-1}


def test_batch_that_is_built_into_the_model(rtx: TensorRT, tmp_path: Path) -> None:
    graph = Graph()
    shape = graph.constant('shape', np.array([1, -1], np.int64))
    graph.add('Reshape', ['images', shape], 'flat')
    path = write_model(tmp_path / 'm.onnx', graph, {'images': [1, 3, 8, 8]}, {'flat': [1, 192]})
    model = model_facts(path)
    build_engine(rtx, model, BuildOptions(precision='fp32'))
    with pytest.raises(ConfigError, match=r'batches of 2.*"flat" is \(1, 384\)'):
        build_engine(rtx, model, BuildOptions(precision='fp32', batch=2))


def test_progress_grows_and_nears_the_end(rtx: TensorRT, edge_n_cut: Path) -> None:
    messages: list[float] = []
    build_engine(
        rtx,
        model_facts(edge_n_cut),
        BuildOptions(),
        lambda fraction, phase: messages.append(fraction),
    )
    assert len(messages) > 20
    assert messages == sorted(messages)
    assert 0.7 < messages[-1] <= 1.0


def test_stopped_build(rtx: TensorRT, edge_n_cut: Path) -> None:
    seen: list[float] = []
    with pytest.raises(EngineError, match=r'edge_n_cut\.onnx: the build was stopped'):
        build_engine(
            rtx,
            model_facts(edge_n_cut),
            BuildOptions(),
            lambda fraction, phase: seen.append(fraction),
            cancelled=lambda: bool(seen) and seen[-1] > 0.1,
        )
    assert seen[-1] < 0.5


def test_background_passes_results_and_errors_on() -> None:
    assert in_background(lambda report, cancelled: cancelled()) is False
    with pytest.raises(EngineError, match='as it is'):
        in_background(lambda report, cancelled: (_ for _ in ()).throw(EngineError('as it is')))


def test_report_that_raises_ends_a_build_in_the_background() -> None:
    def fail(fraction: float, phase: str) -> None:
        raise EngineError(f'{phase} is enough')

    def work(report: Any, cancelled: Any) -> None:
        while not cancelled():
            report(0.5, 'half')
        raise EngineError('the build was stopped')

    with pytest.raises(EngineError, match='half is enough'):
        in_background(work, fail)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    cut_off = tmp_path / 'cut.onnx'
    cut_off.write_bytes((MODELS / 'edge_n.onnx').read_bytes()[:5000])
    text = tmp_path / 'text.onnx'
    text.write_text('not a model')
    for path in (cut_off, text, tmp_path / 'missing.onnx'):
        with pytest.raises(ModelError, match=path.name):
            model_facts(path)


def test_operator_that_tensorrt_does_not_know(rtx: TensorRT, tmp_path: Path) -> None:
    node = helper.make_node('Bernoulli', ['images'], ['noise'])
    sizes = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in
             ('images', 'noise')]  # fmt: skip
    path = tmp_path / 'odd.onnx'
    graph = helper.make_graph([node], 'odd', sizes[:1], sizes[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)]), str(path))
    with pytest.raises(
        ModelError, match=r'odd\.onnx: TensorRT-RTX .* cannot read it: Bernoulli "noise"'
    ):
        build_engine(rtx, model_facts(path), BuildOptions(precision='fp32'))


@pytest.mark.parametrize(
    ('driver', 'message'),
    [
        (CudaDriver(problem='no NVIDIA driver'), r'with its driver is needed \(no NVIDIA driver\)'),
        (CudaDriver('13.0'), 'there is a GPU, so its installation is damaged or does not fit'),
    ],
    ids=['no GPU', 'a GPU'],
)
def test_tensorrt_that_does_not_start(
    rtx: TensorRT, monkeypatch: pytest.MonkeyPatch, driver: CudaDriver, message: str
) -> None:
    def builder(logger: Any) -> None:
        logger.log(rtx.module.ILogger.Severity.ERROR, 'validateCaskKLibDigest failed')
        raise TypeError('factory function returned nullptr')

    monkeypatch.setattr(rtx.module, 'Builder', builder)
    monkeypatch.setattr(tensorrt_versions, 'cuda_driver', lambda: driver)
    with pytest.raises(EngineError, match=f'{message}.*; it says: validateCaskKLibDigest failed'):
        rtx.builder()


def test_dla_that_is_not_there(rtx: TensorRT, edge_n_cut: Path) -> None:
    with pytest.raises(EngineError, match=r'dla:0: TensorRT-RTX .* finds no DLA cores'):
        build_engine(rtx, model_facts(edge_n_cut), BuildOptions(device='dla:0'))


# -- which options go together ---------------------------------------------------------------

PLAIN = ModelFacts(Path('m.onnx'), 'abc', quantised=False, half=False)
QDQ, HALF = replace(PLAIN, quantised=True), replace(PLAIN, half=True)
TABLE = Calibration(Path('r.json'), 'x', {'images': 1.0})
WRONG: Sequence[tuple[str, ModelFacts, dict[str, Any], str]] = [
    ('never', PLAIN, {'typing': 'strong'}, 'strong needs TensorRT 10'),
    ('always', PLAIN, {'typing': 'weak'}, 'is always strongly typed'),
    ('option', PLAIN, {'device': 'dla:0', 'precision': 'fp32'}, 'fp16 or int8, not in fp32'),
    ('option', PLAIN, {'device': 'dla:0', 'dynamic': True}, 'one fixed size'),
    ('option', PLAIN, {'strict_dla': True}, 'are for a DLA'),
    ('option', PLAIN, {'batch': 0}, 'expected 1 or more'),
    ('option', HALF, {'precision': 'fp32'}, 'float16 model'),
    ('option', QDQ, {'precision': 'fp16'}, 'is quantised'),
    ('never', QDQ, {'device': 'dla:0', 'precision': 'int8'}, 'takes no Q/DQ nodes'),
    ('option', QDQ, {'device': 'dla:0', 'precision': 'int8'}, 'takes no Q/DQ nodes'),
    ('always', PLAIN, {'precision': 'int8'}, 'has no Q/DQ nodes'),
    ('option', PLAIN, {'precision': 'int8'}, 'has no Q/DQ nodes'),
    ('never', PLAIN, {'precision': 'int8'}, 'needs a range table'),
    ('never', PLAIN, {'calibration': TABLE}, 'precision fp16 needs none'),
    ('never', QDQ, {'calibration': TABLE, 'precision': 'int8'}, 'has its ranges in Q/DQ nodes'),
    ('always', PLAIN, {'calibration': TABLE, 'precision': 'int8'}, 'as Q/DQ nodes only'),
    (
        'never',
        PLAIN,
        {'calibration': replace(TABLE, model_sha256='other'), 'precision': 'int8'},
        'made for another model',
    ),
]


@pytest.mark.parametrize(('typing', 'model', 'options', 'message'), WRONG)
def test_options_that_contradict(
    typing: str, model: ModelFacts, options: dict[str, Any], message: str
) -> None:
    tensorrt: Any = SimpleNamespace(strong_typing=typing)
    with pytest.raises((ConfigError, ModelError), match=message):
        strongly_typed(tensorrt, model, BuildOptions(**options))


@pytest.mark.parametrize(
    ('typing', 'options', 'strong'),
    [
        ('never', {}, False),
        ('always', {}, True),
        ('option', {}, True),
        ('option', {'typing': 'weak'}, False),
        ('option', {'device': 'dla:1'}, False),
        ('always', {'device': 'dla:1'}, True),
        ('option', {'precision': 'int8', 'calibration': TABLE}, False),
    ],
)
def test_typing(typing: str, options: dict[str, Any], strong: bool) -> None:
    tensorrt: Any = SimpleNamespace(strong_typing=typing)
    assert strongly_typed(tensorrt, PLAIN, BuildOptions(**options)) is strong


# -- calibration files -----------------------------------------------------------------------


def test_tensorrt_calibration_cache(tmp_path: Path) -> None:
    file = tmp_path / 'c.cache'
    file.write_text('TRT-8502-EntropyCalibration2\nimages: 3c008912\na: b: 40000000\n')
    calibration = read_calibration(file)
    assert calibration.cache == file.read_bytes()
    assert calibration.ranges == pytest.approx({'images': 0.99634, 'a: b': 254.0}, rel=1e-4)
    assert calibration.quantum('a: b') == 2.0
    with pytest.raises(ConfigError, match=r'no range for 2 of .*\(x, y\)'):
        calibration.check_covers(['images', 'x', 'y'])


@pytest.mark.parametrize(
    'content', ['', 'hello', 'TRT-8502-EntropyCalibration2\na: zz', 'TRT-1-Calibration\na: 0', '{']
)
def test_damaged_calibration(tmp_path: Path, content: str) -> None:
    file = tmp_path / 'c.cache'
    file.write_text(content)
    with pytest.raises((ConfigError, ModelError), match=r'c\.cache'):
        read_calibration(file)


# -- progress and work -----------------------------------------------------------------------


def test_phases_in_phases() -> None:
    messages: list[tuple[float, str]] = []
    phases = Phases(lambda fraction, name: messages.append((round(fraction, 3), name)))
    phases.start('all', None, 4)
    phases.start('half', 'all', 2)
    phases.step('half', 0)
    phases.finish('half')
    phases.step('never begun', 0)
    phases.step('all', 1)
    phases.finish('all')
    assert messages == [(0.125, 'half'), (0.25, 'half'), (0.5, 'all')]


def test_work_of_a_model(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', strides=(8,))
    # One convolution each for 4 + 1 + 3 channels: 8x8 kernels over 3 channels, 8x12 cells.
    assert gflops(path) == 2 * 8 * (8 * 12) * (3 * 8 * 8) / 1e9
    spec = load_model_spec(path)
    assert spec.head.anchors(spec.input) == 96


def test_work_of_yolox_nano(real: Path) -> None:
    # The authors give 1.08 GFLOPs, with what is no convolution.
    assert gflops(real / 'yolox_nano_coco.onnx') == pytest.approx(1.08, rel=0.05)


# -- the command -----------------------------------------------------------------------------


def command(rtx_folder: Path | None, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    paths = [str(ROOT), *([str(rtx_folder)] if rtx_folder else [])]
    environ = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    return subprocess.Popen(
        [sys.executable, '-m', 'yolox_trt_ros', 'build', *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, **options,
    )  # fmt: skip


def test_command(rtx_folder: Path, tmp_path: Path) -> None:
    arguments = ('edge_n_cut', '--folder', str(tmp_path), '--json')
    done = command(rtx_folder, *arguments)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    report = json.loads(out)
    engine = Path(report['engine'])
    assert engine.stat().st_size == report['bytes']
    assert report['built_now'] and report['time'].startswith('not measured: no GPU')
    again = command(rtx_folder, *arguments)
    assert not json.loads(again.communicate(timeout=60)[0])['built_now']


def test_command_is_interrupted(rtx_folder: Path, tmp_path: Path) -> None:
    running = command(rtx_folder, 'edge_s', '--precision', 'fp32', '--folder', str(tmp_path))
    while not list(tmp_path.glob('*.lock')):  # it has begun
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert 'interrupted' in err and 'Traceback' not in err
    assert [f.suffix for f in tmp_path.iterdir()] == ['.lock']


def test_command_without_tensorrt(tmp_path: Path) -> None:
    done = command(None, 'edge_n_cut', '--folder', str(tmp_path))
    _, err = done.communicate(timeout=60)
    if done.returncode == 0:
        pytest.skip('TensorRT is installed here')
    assert done.returncode == 1
    assert 'TensorRT is not installed' in err and 'On a Jetson' in err
