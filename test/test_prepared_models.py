"""What a GPU's lane runs in place of its model's file: how it is made, kept, and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from tiny_models import write_yolox

from yolox_trt_ros import prepared_models
from yolox_trt_ros.cli.pictures import random_inputs
from yolox_trt_ros.core.config import PRECISIONS, Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, ModelError
from yolox_trt_ros.core.prepared import PreparedModel
from yolox_trt_ros.detect.backends.onnxruntime_run import PreparedRun
from yolox_trt_ros.detect.check import COMPARED, compare
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.cache import EngineCache
from yolox_trt_ros.engine.compare import compare_engine, inner_tensors
from yolox_trt_ros.engine.half import to_half
from yolox_trt_ros.onnx_files import computes_in_half
from yolox_trt_ros.prepared_models import SUFFIX, prepared_model

pytest.importorskip('onnxscript', reason='heads are cut with onnxscript')


def prepare(path: Path, folder: Path, asked: str = 'auto', said: list[str] | None = None):
    spec = load_model_spec(path)
    cache = EngineCache(folder / 'cache', suffix=SUFFIX)
    return prepared_model(path, spec, asked, cache, (said if said is not None else []).append)


def loaded(prepared: PreparedModel) -> onnx.ModelProto:
    model = onnx.load_model_from_string(prepared.content)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize('layout', ['concatenated', 'per_level'])
@pytest.mark.parametrize('batch', ['batch', 1, 3])
@pytest.mark.parametrize('asked', ['auto', 'tf32'])
def test_heads_are_cut_batches_free_and_weights_halved(
    tmp_path: Path, layout: str, batch: int | str, asked: str
) -> None:
    path = write_yolox(tmp_path / 'm.onnx', layout=layout, batch=batch)
    prepared = prepare(path, tmp_path, asked)
    model, spec = loaded(prepared), prepared.spec
    half = asked == 'auto'
    assert prepared.precision == ('fp16' if half else 'tf32')
    assert spec.input.dtype == ('float16' if half else 'float32') and spec.input.batch == 0
    assert computes_in_half(model) == half
    assert len(spec.head.outputs) == 9 and 'cut' in prepared.about
    assert spec.labels == load_model_spec(path).labels
    assert len(prepared.expected) == 3 and min(map(len, prepared.expected)) >= COMPARED


def test_what_was_made_is_kept_and_found_again(tmp_path: Path) -> None:
    path, said = write_yolox(tmp_path / 'm.onnx'), []
    first = prepare(path, tmp_path, said=said)
    assert len(said) == 2 and 'prepared for fp16' in said[1] and '0 of' in said[1]
    again = prepare(path, tmp_path, said=said)
    assert len(said) == 2 and again.content == first.content and again.path == first.path
    for one, other in zip(first.expected, again.expected, strict=True):
        np.testing.assert_array_equal(one.xyxy, other.xyxy)


def test_another_precision_model_or_version_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    made = [prepare(path, tmp_path), prepare(path, tmp_path, 'tf32')]
    monkeypatch.setattr(prepared_models, '__version__', '0')
    made.append(prepare(path, tmp_path))
    path.with_suffix('.yaml').write_text('scale: 0.5\n')
    made.append(prepare(path, tmp_path))
    made.append(prepare(write_yolox(path, seed=1), tmp_path))
    assert len({one.path for one in made}) == len(made)
    assert made[3].spec.input.scale == 0.5


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    path, said = write_yolox(tmp_path / 'm.onnx'), []
    first = prepare(path, tmp_path)
    first.path.write_bytes(first.content[:-1] + b'?')
    assert prepare(path, tmp_path, said=said).content == first.content
    assert 'is damaged' in said[0]


@pytest.mark.parametrize('asked', ['fp32'])
def test_fp32_is_the_file_itself(tmp_path: Path, asked: str) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    prepared = prepare(path, tmp_path, asked)
    assert prepared.content == onnx.load(path).SerializeToString() and not prepared.expected
    assert not (tmp_path / 'cache').exists()


def test_numbers_that_float16_does_not_hold_are_refused_with_figures(tmp_path: Path) -> None:
    """A factor of 1e5 becomes 65504, which is another model; in tf32 it is none."""
    path = write_yolox(tmp_path / 'm.onnx')
    scale(path, 1e5)
    with pytest.raises(ModelError, match=r'without a counterpart.* ask for precision fp32'):
        prepare(path, tmp_path)
    assert not list((tmp_path / 'cache').glob('*.onnx'))
    assert prepare(path, tmp_path, 'tf32').precision == 'tf32'


def scale(path: Path, factor: float) -> None:
    """Multiply the image by a factor and divide it by that again, which float32 holds."""
    model = onnx.load(path)
    graph = model.graph
    for name, value in (('large', factor), ('small', 1 / factor)):
        graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == 'images':
                node.input[i] = 'images_again'
    up = onnx.helper.make_node('Mul', ['images', 'large'], ['images_large'])
    down = onnx.helper.make_node('Mul', ['images_large', 'small'], ['images_again'])
    graph.node.insert(0, down)
    graph.node.insert(0, up)
    onnx.save(model, path)


def test_a_float16_model_stays_what_it_is(tmp_path: Path) -> None:
    whole = onnx.load(write_yolox(tmp_path / 'm.onnx'))
    path = tmp_path / 'half.onnx'
    onnx.save(to_half(whole), path)
    prepared = prepare(path, tmp_path)
    assert prepared.precision == 'fp16' and computes_in_half(loaded(prepared))
    for asked in ('fp32', 'tf32'):
        with pytest.raises(ModelError, match='float16 model: ask for precision fp16'):
            prepare(path, tmp_path, asked)


@pytest.mark.parametrize('kind', ['scores', 'chosen'])
def test_class_masks_stay_unless_they_are_switched_off(tmp_path: Path, kind: str) -> None:
    path = write_yolox(tmp_path / 'm.onnx', segmentation=kind)
    prepared = prepare(path, tmp_path)
    masks = prepared.spec.segmentation
    assert masks == load_model_spec(path).segmentation and 'cut' in prepared.about
    outputs = {output.name for output in loaded(prepared).graph.output}
    assert outputs == {*prepared.spec.head.outputs, 'masks'}
    spec = load_model_spec(path, segmentation=False)
    without = prepared_model(path, spec, 'fp16', EngineCache(tmp_path / 'cache', suffix=SUFFIX))
    assert without.spec.segmentation is None and len(loaded(without).graph.output) == 9


def test_int8_needs_q_dq_nodes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='has no Q/DQ nodes: run'):
        prepare(write_yolox(tmp_path / 'm.onnx'), tmp_path, 'int8')


def test_without_onnxscript_the_head_stays_whole_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, 'yolox_trt_ros.engine.surgery.optimize', None)
    said: list[str] = []
    prepared = prepare(write_yolox(tmp_path / 'm.onnx'), tmp_path, said=said)
    assert len(prepared.spec.head.outputs) == 1 and 'its head whole' in prepared.about
    assert 'its head left whole: ' in said[1]
    assert computes_in_half(loaded(prepared))


def test_layers_of_a_prepared_model_are_compared_with_the_model(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    prepared, reference = prepare(path, tmp_path), onnx.load(path)
    model = loaded(prepared)
    inner = inner_tensors(reference, model, 'all')
    run = PreparedRun(prepared, inner, onnxruntime, ['CPUExecutionProvider'])
    assert set(inner) <= set(run.names) and len(run.names) >= len(prepared.spec.head.outputs)
    pictures = list(random_inputs(load_model_spec(path).input, 2))
    compared = compare_engine(reference, model, run, run.names, pictures)
    assert len(compared) >= 9 and all(one.sqnr_db > 30 for one in compared)
    assert any(one.sqnr_db < 100 for one in compared), 'float16 leaves traces'


def found(*rows: tuple[float, ...]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32))


BOX = (10.0, 10.0, 50.0, 50.0)


@pytest.mark.parametrize(
    ('other', 'missing'),
    [
        ((*BOX, 0.9, 1), 0),
        ((*BOX, 0.88, 1), 0),
        ((*BOX, 0.8, 1), 2),
        ((*BOX, 0.9, 2), 2),
        ((12.0, 10.0, 52.0, 50.0, 0.9, 1), 0),
        ((40.0, 10.0, 80.0, 50.0, 0.9, 1), 2),
    ],
)
def test_what_counts_as_the_same(other: tuple[float, ...], missing: int) -> None:
    difference = compare([found((*BOX, 0.9, 1))], [found(other)])
    assert (difference.compared, difference.missing) == (2, missing)


def test_nothing_found_is_missed(tmp_path: Path) -> None:
    assert compare([found((*BOX, 0.9, 1))], [found()]).missing == 1
    assert compare([found()], [found()]).compared == 0


@pytest.mark.parametrize('precision', PRECISIONS)
def test_a_cpu_lane_computes_as_the_file_says(precision: str) -> None:
    flat = {
        'camera_names': ['front'],
        'lane_names': ['a'],
        'lanes.a.device': 'cpu',
        'lanes.a.precision': precision,
    }
    if precision in ('auto', 'fp32'):
        assert Config.from_parameters(flat).lanes[0].precision == precision
        return
    with pytest.raises(ConfigError, match=r'lanes\.a\.precision: a cpu lane .* got ' + precision):
        Config.from_parameters(flat)
    flat |= {'lanes.a.device': 'cuda:0'}
    assert Config.from_parameters(flat).lanes[0].precision == precision


def test_labels_and_antialias_are_those_of_the_vehicle(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    spec = load_model_spec(path)
    named = replace(spec, labels=('a', *spec.labels[1:]))
    named = replace(named, input=replace(spec.input, antialias=True))
    cache = EngineCache(tmp_path / 'cache', suffix=SUFFIX)
    prepared = prepared_model(path, named, 'auto', cache)
    assert prepared.spec.labels == named.labels and prepared.spec.input.antialias
