"""TensorRT itself on a GPU: builds, the cache, the run time, and what an engine answers.

Run with ``pytest -m gpu test/engine`` where TensorRT and CuPy are installed. Engines are built at
the lowest optimisation level, of the first kernels that work, and shared.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generated_yolox import write_yolox
from matching import differences

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.compose import load_model, make_detector, tensorrt_engine
from yolox_trt_ros.core.config import EnginesConfig, LaneConfig, ModelConfig
from yolox_trt_ros.core.errors import EngineError, MissingDependencyError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.parameters import build
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.backends.tensorrt import TensorRtBackend
from yolox_trt_ros.detect.backends.tensorrt_run import EngineRun
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.compare import compare_engine, inner_tensors
from yolox_trt_ros.engine.cuda_devices import cuda_driver
from yolox_trt_ros.engine.lanes import lane_engine
from yolox_trt_ros.engine.onnx_file import read_onnx
from yolox_trt_ros.engine.tensorrt_versions import TensorRT, load_tensorrt
from yolox_trt_ros.tools import compare
from yolox_trt_ros.tools.detect import as_rows

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
WHOLE = ROOT / 'models' / 'edge_n.onnx'
LEAST_DB = {'fp32': 60.0, 'fp16': 35.0, 'int8': 10.0}
"""Of the head's maps against ONNX Runtime in FP32, on noise: the worst of them."""


@pytest.fixture(scope='module')
def trt() -> TensorRT:
    """Return a TensorRT that builds and runs here, RTX included where the GPU is one of its."""
    if problem := cuda_driver().problem:
        pytest.skip(problem)
    try:
        tensorrt = load_tensorrt()
        tensorrt.builder()
    except (MissingDependencyError, EngineError) as error:
        pytest.skip(str(error))
    pytest.importorskip('cupy')
    return tensorrt


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that the tests share, so that no engine is built twice."""
    return tmp_path_factory.mktemp('engines')


@pytest.fixture(scope='module')
def int8(edge_n_cut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what `quantize` writes for edge_n_cut and edge_n, without any picture."""
    out = tmp_path_factory.mktemp('int8')
    for model in (edge_n_cut, WHOLE):
        arguments = ['--method', 'fixed:6', '--no-gate', '--output', str(out)]
        version = load_tensorrt().version
        assert main(['quantize', str(model), *arguments, '--trt-version', version]) == 0
    return out


@pytest.fixture(scope='module')
def quick(trt: TensorRT, folder: Path) -> EnginesConfig:
    """Return where engines are kept that are built in a hurry."""
    return EnginesConfig(folder=str(folder), optimization_level=level(trt))


MODES = [
    ('edge_n_cut', 'fp32', ''),
    ('edge_n_cut', 'fp16', ''),
    ('edge_n_cut', 'int8', ''),
    ('edge_n_cut', 'int8', 'ranges.json'),
    ('edge_n_cut', 'int8', 'cache'),
    ('edge_n', 'fp16', ''),
    ('edge_n', 'int8', ''),
]
"""Model, precision, and the file with the ranges; INT8 without one has Q/DQ nodes."""


def lane_of(precision: str, **more: Any) -> LaneConfig:
    return LaneConfig('gpu', device='cuda:0', backend='tensorrt', precision=precision, **more)


def level(tensorrt: TensorRT) -> int:
    """Return the optimisation level of engines that only have to be right."""
    return 0 if tensorrt.has_levels else 3


def small_yolox(folder: Path) -> Path:
    """Return a YOLOX of ordinary layers whose batch is free."""
    return write_yolox(folder / 'm.onnx', 'nano', height=64, width=96, dims=['batch', 3, 64, 96])


def noise(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (3, 320, 480)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize(('name', 'precision', 'ranges'), MODES, ids=lambda part: part or '-')
def test_engine_answers_as_the_model(
    name: str,
    precision: str,
    ranges: str,
    edge_n_cut: Path,
    trt: TensorRT,
    int8: Path,
    quick: EnginesConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if ranges and trt.strong_typing == 'always':
        pytest.skip(f'{trt} takes INT8 as Q/DQ nodes only')
    source = edge_n_cut if name == 'edge_n_cut' else WHOLE
    quantised = precision == 'int8' and not ranges
    model = int8 / f'{name}.fixed-6.onnx' if quantised else source
    file = str(int8 / f'{name}.fixed-6.{ranges}') if ranges else ''
    lane = lane_of(precision)
    engine = lane_engine(lane, model, replace(quick, ranges=file))
    content, device, core = tensorrt_engine(lane, engine)
    import cupy

    run = EngineRun(content, device, device.stream(), core, cupy)
    found = compare_engine(read_onnx(source), read_onnx(model), run, run.names, noise(2))
    run.close()
    with capsys.disabled():
        print(f'\n{name} {precision} {ranges}: worst {found[0].name} {found[0].sqnr_db:.1f} dB')
    assert found[0].sqnr_db > LEAST_DB[precision]


@pytest.mark.parametrize(('precision', 'inner'), [('fp32', 'all'), ('fp16', 'layers')])
def test_inner_tensors(edge_n_cut: Path, quick: EnginesConfig, precision: str, inner: Any) -> None:
    reference = read_onnx(edge_n_cut)
    marked = inner_tensors(reference, reference, inner)
    lane = lane_of(precision)
    engine = lane_engine(lane, edge_n_cut, quick, marked=marked)
    content, device, core = tensorrt_engine(lane, engine)
    import cupy

    run = EngineRun(content, device, device.stream(), core, cupy)
    assert set(run.names) == {*marked, *(o.name for o in reference.graph.output)}
    found = compare_engine(reference, reference, run, run.names, noise(1))
    run.close()
    assert len(found) == len(run.names)
    assert found[0].sqnr_db > LEAST_DB[precision], found[0]


def test_the_tool_compares_an_engine(
    trt: TensorRT, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    in_a_hurry = partial(EnginesConfig, optimization_level=level(trt))
    monkeypatch.setattr(compare, 'EnginesConfig', in_a_hurry)
    quantised = str(int8 / 'edge_n_cut.fixed-6.onnx')
    out = tmp_path / 'd.json'
    options = ['--device', 'cuda:0', '--precision', 'int8', '--pictures', '2', '--json', str(out)]
    assert main(['compare', 'edge_n_cut', quantised, *options]) == 0
    message = capsys.readouterr().out
    assert 'tensors inside it are marked' in message
    rows = [row['sqnr_db'] for row in json.loads(out.read_text())]
    assert len(rows) > 50 and rows == sorted(rows) and rows[0] > 5


def test_batches_of_every_size(quick: EnginesConfig, tmp_path: Path) -> None:
    path = small_yolox(tmp_path)
    spec = load_model_spec(path)
    lane = lane_of('fp32', max_batch=4)
    content, device, _ = tensorrt_engine(lane, lane_engine(lane, path, quick))
    stream = device.stream()
    backend = TensorRtBackend(content, spec, device, stream, 4)
    from yolox_trt_ros.detect.backends.onnxruntime import OnnxRuntimeCpuBackend

    values = np.random.default_rng(0).uniform(0, 255, (4, 3, spec.input.height, spec.input.width))
    values = values.astype(np.float32)
    reference = OnnxRuntimeCpuBackend(path, spec, len(values), threads=4)
    reference.input[:] = values
    reference.infer(len(values))
    expected = reference.outputs
    for count in (4, 1, 3, 2):
        with stream:
            backend.input[:count] = device.array(values[:count])
            for output in backend.outputs:
                output.fill(np.nan)
            backend.infer(count)
        stream.synchronize()
        for mine, theirs in zip(backend.outputs, expected, strict=True):
            np.testing.assert_allclose(mine[:count].get(), theirs[:count], rtol=1e-3, atol=1e-3)
            assert np.isnan(mine[count:].get()).all(), 'more was computed than asked for'
    times = backend.layer_times(3)
    assert backend.layers() and times and all(ms >= 0 for _, ms in times)
    backend.close()
    backend.close()


def test_photographs(quick: EnginesConfig, real: Path) -> None:
    """The COCO model in FP32 and FP16 gives the reference detections of the 50 photographs."""
    import cv2

    labels = str(real / 'coco_classes.txt')
    model = load_model(
        build(ModelConfig, {'path': str(real / 'yolox_nano_coco.onnx'), 'labels': labels})
    )
    reference = json.loads((real / 'reference_detections.json').read_text())['images']
    for precision, allowed, score in (('fp32', 0, 0.005), ('fp16', 6, 0.02)):
        lane = lane_of(precision, in_flight=2)
        detector = make_detector(lane, model, lane_engine(lane, model.path, quick))
        problems = []
        for name, image in reference.items():
            pixels = cv2.imread(str(real / 'images' / name))
            (result,) = detector.submit([Frame.of(pixels)]).wait()
            rows = as_rows(result.detections)
            problems += [
                f'{name} {p}' for p in differences(rows, image['class_aware'], 0.97, score)
            ]
        detector.close()
        assert len(problems) <= allowed, '\n'.join(problems)


def test_the_cache(trt: TensorRT, folder: Path, tmp_path: Path) -> None:
    path = small_yolox(tmp_path)
    auto = EnginesConfig(folder=str(tmp_path / 'engines'), optimization_level=level(trt))
    never, lane = replace(auto, build='never'), lane_of('fp16')
    with pytest.raises(EngineError, match='there is no engine for these settings'):
        lane_engine(lane, path, never)
    made = lane_engine(lane, path, auto)
    file = made.cache.path(made.key)
    assert made.key.tensorrt == f'{trt.name} {trt.version}'
    assert made.key.device_name == cuda_driver().devices[0].name
    content = file.read_bytes()
    assert lane_engine(lane, path, never).load().engine == content
    # Damaged: refused, or built anew.
    file.write_bytes(content[:-1000])
    with pytest.raises(EngineError, match='cut off'):
        lane_engine(lane, path, never)
    messages: list[str] = []
    lane_engine(lane, path, auto, on_event=messages.append)
    assert len(messages) == 1 and messages[0].endswith(': building it')
    # Of another machine: its name is another, and what differs is named.
    sidecar = json.loads(file.with_suffix('.json').read_text())
    sidecar['key']['device_name'] = 'Orin'
    file.with_suffix('.json').write_text(json.dumps(sidecar))
    with pytest.raises(EngineError, match="device_name is 'Orin', expected"):
        lane_engine(lane, path, never)


def test_an_engine_that_tensorrt_refuses(quick: EnginesConfig, tmp_path: Path) -> None:
    """What no checksum finds: bytes that were never an engine, and one of another version."""
    path = small_yolox(tmp_path)
    lane = lane_of('fp16')
    made = lane_engine(lane, path, quick)
    content, device, core = tensorrt_engine(lane, made)
    spec, stream = load_model_spec(path), device.stream()
    other = bytearray(content.content)
    other[4:32] = bytes(28)
    for wrong in (b'not an engine' * 100, bytes(other), content.content[:100]):
        with pytest.raises(EngineError, match='does not load it'):
            TensorRtBackend(replace(content, content=wrong), spec, device, stream, 1, core)
    TensorRtBackend(content, spec, device, stream, 1, core).close()


def test_the_command_measures(
    trt: TensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ['build', 'edge_n_cut', '--folder', str(tmp_path), '--json', '--layers']
    arguments += ['--optimization-level', str(level(trt))]
    assert main([*arguments, '--peak-tops', '1000']) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0 < report['time_ms']['median'] <= report['time_ms']['p99']
    assert 0 < report['efficiency'] < 1
    assert report['layers'] > 5 and len(report['layer_times_ms']) > 5
    assert report['borders']['images'] == 'linear'
    assert len(list(tmp_path.glob('*.engine'))) == 1


def test_cpu_and_gpu_agree_on_a_picture(quick: EnginesConfig) -> None:
    model = load_model(build(ModelConfig, {'path': 'edge_n_cut'}))
    picture = np.random.default_rng(1).integers(0, 256, (700, 1000, 3)).astype(np.uint8)
    frame = Frame.of(picture)
    low = replace(model.thresholds, score=0.01)
    model.thresholds = low
    cpu = cpu_detector(model.path, model.spec, lambda: low, threads=2)
    (expected,) = cpu.submit([frame]).wait()
    lane = lane_of('fp32')
    detector = make_detector(lane, model, lane_engine(lane, model.path, quick))
    for _ in range(3):
        (got,) = detector.submit([frame]).wait()
        rows = as_rows(got.detections), as_rows(expected.detections)
        assert not differences(*rows, 0.98, 0.01)
    detector.close()


def test_two_lanes_of_one_engine(quick: EnginesConfig) -> None:
    model = load_model(build(ModelConfig, {'path': 'edge_n_cut'}))
    rng = np.random.default_rng(4)
    shapes = [(700, 1000, 3), (480, 640, 3), (320, 480, 3)]
    frames = [Frame.of(rng.integers(0, 256, shape).astype(np.uint8)) for shape in shapes]
    lane = lane_of('fp16', in_flight=2)
    engine = lane_engine(lane, model.path, quick)
    model.thresholds = replace(model.thresholds, score=0.01)
    detectors = [make_detector(lane, model, engine) for _ in range(2)]
    for _ in range(3):
        tickets = [d.submit([frame]) for frame in frames[:2] for d in detectors]
        rows = [as_rows(ticket.wait()[0].detections) for ticket in tickets]
        assert not differences(rows[0], rows[1], 0.98, 0.01)
        assert not differences(rows[2], rows[3], 0.98, 0.01)
    for detector in detectors:
        detector.close()


def test_sparse_kernels_are_allowed(
    trt: TensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_yolox(tmp_path)
    arguments = ['build', str(path), '--folder', str(tmp_path), '--json', '--sparsity']
    arguments += ['--optimization-level', str(level(trt))]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['built_now'] and report['time_ms']['median'] > 0
