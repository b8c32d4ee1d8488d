"""Builds for DLAs and for TensorRT 8 and 10: what is asked of the builder, and what it logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from host_tensorrt_builder import Config, Network, host_tensorrt_builder
from tiny_models import write_yolox

from yolox_trt_ros.core.errors import ConfigError, EngineError
from yolox_trt_ros.engine.builder import Built, build_engine
from yolox_trt_ros.engine.calibration import read_calibration
from yolox_trt_ros.engine.model_facts import model_facts
from yolox_trt_ros.engine.options import BuildOptions
from yolox_trt_ros.engine.sparsity_log import SparseKernels
from yolox_trt_ros.engine.tensorrt_versions import TensorRT
from yolox_trt_ros.onnx_files import computes_in_half

CHW16, CHW32, LINEAR = 1 << 4, 1 << 5, 1 << 0


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    return write_yolox(
        tmp_path / 'cut.onnx', layout='per_level', scores='logit', strides=(8,), batch=1
    )


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_yolox(tmp_path / 'whole.onnx', scores='logit', batch=1)


def build(path: Path, version: str = '8.6.1', **options: Any) -> tuple[Built, Network, Config]:
    module = host_tensorrt_builder(version)
    built = build_engine(TensorRT(module), model_facts(path), BuildOptions(**options))
    network: Network = module.made[0].network
    return built, network, module.made[0].config


def table(path: Path, tmp_path: Path, *without: str, **keys: Any) -> Path:
    """Write a range table of a model, as `quantize` does."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    tensors = ['images', *(name for node in graph.node for name in node.output)]
    content = {
        'format': 'yolox_trt_ros.ranges', 'version': 1, 'model': path.name,
        'model_sha256': model_facts(path).sha256, 'method': 'minmax', 'pictures': 1,
        'keep_fp16': [], 'ranges': {name: 254.0 for name in tensors if name not in without}, **keys,
    }  # fmt: skip
    file = tmp_path / 'ranges.json'
    file.write_text(json.dumps(content))
    return file


def test_fp16_on_a_dla(cut: Path) -> None:
    built, network, config = build(cut, device='dla:1')
    assert config.flags == {'FP16', 'GPU_FALLBACK'}
    assert (config.default_device_type.name, config.DLA_core) == ('DLA', 1)
    assert not built.strongly_typed and not config.profiles
    image = network.inputs[0]
    assert (image.dtype.name, image.allowed_formats, image.shape[0]) == ('HALF', CHW16, 1)
    assert {(t.dtype.name, t.allowed_formats) for t in network.outputs} == {('HALF', LINEAR)}
    assert len(built.placement.loadables) == 1 and not built.placement.off_dla()
    assert [(t.dtype, t.layout) for t in built.tensors[:2]] == [
        ('float16', 'chw16'), ('float16', 'linear'),
    ]  # fmt: skip


def test_outputs_in_the_layout_of_a_dla(cut: Path) -> None:
    _, network, _ = build(cut, device='dla:0', native_outputs=True)
    assert {t.allowed_formats for t in network.outputs} == {CHW16}


@pytest.mark.parametrize('version', ['8.5.2', '8.6.1', '10.3.0'])
def test_int8_on_a_dla(cut: Path, tmp_path: Path, version: str) -> None:
    kept = 'box_8'
    calibration = read_calibration(table(cut, tmp_path, keep_fp16=[kept]))
    options = {'device': 'dla:0', 'precision': 'int8', 'calibration': calibration}
    built, network, config = build(cut, version, **options)
    assert config.flags == {'FP16', 'INT8', 'GPU_FALLBACK', 'PREFER_PRECISION_CONSTRAINTS'}
    image = network.inputs[0]
    assert (image.dtype.name, image.allowed_formats) == ('INT8', CHW32)
    assert built.tensors[0].quantum == 2.0
    tensors = [network.inputs[0], *(t for layer in network.layers for t in layer.outputs)]
    assert {t.dynamic_range for t in tensors} == {(-254.0, 254.0)}
    halves = [layer.outputs[0].name for layer in network.layers if layer.precision is not None]
    assert halves == [kept]
    assert {t.dtype.name for t in network.outputs} == {'HALF'}


def test_calibration_cache_goes_to_a_calibrator(cut: Path, tmp_path: Path) -> None:
    file = tmp_path / 'c.cache'
    file.write_text('TRT-8601-EntropyCalibration2\nimages: 3f800000\n')
    options = {'device': 'dla:0', 'precision': 'int8', 'calibration': read_calibration(file)}
    built, _, config = build(cut, **options)
    assert config.int8_calibrator.read_calibration_cache() == file.read_bytes()
    assert config.int8_calibrator.get_batch(['images']) is None
    assert built.tensors[0].quantum == 1.0


def test_table_of_another_network(cut: Path, tmp_path: Path) -> None:
    calibration = read_calibration(table(cut, tmp_path, 'class_8'))
    with pytest.raises(ConfigError, match=r'no range for 1 of the network’s tensors \(class_8\)'):
        build(cut, device='dla:0', precision='int8', calibration=calibration)


def test_fallback_is_reported(whole: Path) -> None:
    built, _, _ = build(whole, device='dla:0')
    assert 'Unsupported on DLA' in dict(built.placement.fallbacks).values()
    assert 'output' in built.placement.off_dla()
    assert built.warnings and not any('[GpuLayer]' in w for w in built.warnings)


def test_strict_build_names_the_layers(whole: Path, cut: Path) -> None:
    with pytest.raises(EngineError, match=r'cannot run on the DLA: .*flat_\d+.*, output;'):
        build(whole, device='dla:0', strict_dla=True)
    _, _, config = build(cut, device='dla:0', strict_dla=True)
    assert 'GPU_FALLBACK' not in config.flags


def test_core_that_is_not_there(cut: Path) -> None:
    with pytest.raises(EngineError, match=r'dla:2: TensorRT 8\.6\.1 finds 2 DLA cores'):
        build(cut, device='dla:2')


@pytest.mark.parametrize(
    ('version', 'options', 'flags', 'strong'),
    [
        ('8.6.1', {'precision': 'fp32'}, set(), False),
        ('8.6.1', {'precision': 'fp16'}, {'FP16'}, False),
        ('8.6.1', {'sparsity': True}, {'FP16', 'SPARSE_WEIGHTS'}, False),
        ('10.3.0', {'precision': 'fp16'}, set(), True),
        ('10.3.0', {'precision': 'fp16', 'typing': 'weak'}, {'FP16'}, False),
    ],
)
def test_gpu(
    cut: Path, version: str, options: dict[str, Any], flags: set[str], strong: bool
) -> None:
    built, network, config = build(cut, version, **options)
    assert config.flags == flags and built.strongly_typed is strong
    assert network.flags == (0b11 if strong else 0b01)
    # FP32 is not TensorFloat-32.
    assert config.cleared == ({'TF32'} if options.get('precision') == 'fp32' else set())


def test_free_batch_without_shared_profiles(cut: Path) -> None:
    """TensorRT 8.5 lets no two contexts share a profile, so each batch size has its own."""
    _, network, config = build(cut, '8.5.2', batch=3, dynamic=True)
    assert network.inputs[0].shape[0] == -1
    sizes = [[shape[0] for shape in p.shapes['images']] for p in config.profiles]
    assert sizes == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]
    _, _, config = build(cut, '10.3.0', batch=3, dynamic=True)
    assert [[s[0] for s in p.shapes['images']] for p in config.profiles] == [[1, 3, 3]]


def test_memory_pools(cut: Path) -> None:
    _, _, config = build(
        cut, device='dla:0', workspace_mib=100, dla_sram_kib=512, dla_local_dram_mib=1024,
        dla_global_dram_mib=256,
    )  # fmt: skip
    assert config.pools == {
        'WORKSPACE': 100 << 20, 'DLA_MANAGED_SRAM': 512 << 10, 'DLA_LOCAL_DRAM': 1 << 30,
        'DLA_GLOBAL_DRAM': 256 << 20,
    }  # fmt: skip
    with pytest.raises(ConfigError, match='expected a power of two for DLA_LOCAL_DRAM'):
        build(cut, device='dla:0', dla_local_dram_mib=1000)


def test_only_what_is_half_counts_as_half(cut: Path) -> None:
    assert not computes_in_half(onnx.load(str(cut)))


@pytest.mark.parametrize('kept', [b'unreadable', b'damaged'])
def test_timings_that_tensorrt_refuses_are_left_out(
    cut: Path, kept: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    module = host_tensorrt_builder('10.3.0')
    with caplog.at_level('INFO', 'yolox_trt_ros'):
        built = build_engine(TensorRT(module), model_facts(cut), BuildOptions(), timing_cache=kept)
    assert module.made[0].config.timing_caches == [kept, b'']
    assert built.timing_cache == b'timings' and not built.warnings
    assert 'timings of earlier builds are not used' in caplog.text


def test_timings_that_tensorrt_takes(cut: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = host_tensorrt_builder('10.3.0')
    with caplog.at_level('INFO', 'yolox_trt_ros'):
        build_engine(TensorRT(module), model_facts(cut), BuildOptions(), timing_cache=b'kept')
    assert module.made[0].config.timing_caches == [b'kept']
    assert not caplog.text


def test_tensorrt_8_keeps_no_timings(cut: Path) -> None:
    """8.6.0 on an H200 refused those of every earlier build, with two errors in the log."""
    module = host_tensorrt_builder('8.6.0')
    built = build_engine(TensorRT(module), model_facts(cut), BuildOptions(), timing_cache=b'kept')
    assert built.timing_cache == b'' and not module.made[0].config.timing_caches


@pytest.mark.parametrize(
    ('version', 'sources'), [('8.6.1', 0b11000), ('8.5.2', 0b11111), ('10.3.0', 0b11111)]
)
def test_libraries_that_tensorrt_does_not_use_are_left_out(
    cut: Path, version: str, sources: int
) -> None:
    _, _, config = build(cut, version)
    assert config.tactic_sources == sources


def test_sparse_kernels_are_counted_where_they_are_asked_for(cut: Path) -> None:
    assert build(cut)[0].sparsity is None
    assert build(cut, sparsity=True)[0].sparsity == SparseKernels(2, 1, ('b',))


def test_optimization_level(cut: Path) -> None:
    _, _, config = build(cut, optimization_level=1)
    assert config.builder_optimization_level == 1
    with pytest.raises(ConfigError, match=r'needs TensorRT 8\.6 or later, this is TensorRT 8\.5'):
        build(cut, '8.5.2', optimization_level=1)
    flags = BuildOptions().flags()
    assert BuildOptions(optimization_level=1).flags() == {**flags, 'optimization_level': 1}


def test_logger_never_raises(cut: Path) -> None:
    """TensorRT 8 writes "Exception caught in log()" to the terminal, and may abort."""
    tensorrt = TensorRT(host_tensorrt_builder())

    def fail(line: str) -> None:
        raise RuntimeError(line)

    with tensorrt.listening(fail) as log:
        tensorrt.logger.log(tensorrt.module.ILogger.Severity.ERROR, 'as it is')
    assert log.problems == ['as it is']


def test_progress_without_a_monitor(cut: Path) -> None:
    reports: list[tuple[float, str]] = []
    model = model_facts(cut)
    build_engine(
        TensorRT(host_tensorrt_builder()), model, BuildOptions(), lambda *r: reports.append(r)
    )
    fractions = [fraction for fraction, _ in reports]
    layers = len(onnx.load(str(cut)).graph.node)
    assert fractions == sorted(fractions) and len(fractions) == layers + 1
    assert reports[0][1].startswith(f'layer 1 of {layers}: ') and reports[0][0] < 0.1
    assert reports[-1] == (0.95, 'kernels are chosen')
