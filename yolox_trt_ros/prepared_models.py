"""Models in the form in which ONNX Runtime's CUDA provider runs them best, made once and kept.

A lane on a GPU does not run its model's file as it is: constants are folded, the head is cut where
that changes nothing, weights and activations become float16, and the batch axis is free. The
result is compared with the file on a few pictures before it is kept beside the engines, under a
key of everything that it depends on.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from yolox_trt_ros import __version__
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import MissingDependencyError, ModelError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.core.model_file import first_line
from yolox_trt_ros.core.prepared import PreparedModel
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.check import (
    THRESHOLDS,
    Difference,
    check_frames,
    compare,
    differs,
    found_in,
    refusal,
)
from yolox_trt_ros.detect.description import (
    about_segmentation,
    describe,
    description_of,
    sidecar_of,
)
from yolox_trt_ros.detect.graph.free_batch import content_of, freed, image_of
from yolox_trt_ros.detect.graph.tensors import INPUT_TYPES
from yolox_trt_ros.detect.model import head_cut, load_model_spec
from yolox_trt_ros.engine.cache import CachedEngine, EngineCache, EngineKey
from yolox_trt_ros.engine.half import to_half, widen_weights
from yolox_trt_ros.engine.model_facts import ModelFacts, model_facts
from yolox_trt_ros.engine.onnx_file import check_onnx, read_onnx
from yolox_trt_ros.engine.options import Precision, check_types, chosen_precision
from yolox_trt_ros.onnx_files import with_constants

if TYPE_CHECKING:
    from onnx import ModelProto

FORMAT = 2
"""Of what is made here; a change makes all of it anew."""

SUFFIX = '.onnx'
MAKERS = ('onnx', 'onnxruntime', 'onnxscript')
"""Packages that decide what comes out."""

Event = Callable[[str], None]


def prepared_model(
    path: Path,
    spec: ModelSpec,
    asked: str,
    cache: EngineCache,
    on_event: Event = lambda message: None,
) -> PreparedModel:
    """Return what a GPU's lane runs of a model; making it takes seconds, once.

    Args:
        path: the ONNX file.
        spec: what :func:`detect.model.load_model_spec` read from it.
        asked: one of ``core.config.PRECISIONS``. In ``fp32`` and ``int8`` the file itself is run.
        cache: of files that end in :data:`SUFFIX`.
        on_event: called with what is worth a line in the log.

    Raises:
        ModelError: the model has no such precision, or finds something else when it is prepared;
            the message has the figures and names ``fp32``.
        EngineError: the cache folder cannot be written, or others may write there.
        MissingDependencyError: no ONNX or ONNX Runtime.
    """
    facts = model_facts(path)
    precision = chosen_precision(asked, facts)
    check_types(facts, precision)
    if precision == 'int8' and not facts.quantised:
        raise ModelError(
            f'{path.name} has no Q/DQ nodes: run `python -m yolox_trt_ros quantize` for a model '
            'that has, or ask for precision fp16'
        )
    if precision in ('fp32', 'int8'):
        about = f'{path.name} as its file says, in {precision}'
        return PreparedModel(path, content_of(path, spec.input), spec, precision, (), about)
    made = cache.obtain(
        _key(facts, spec, precision),
        lambda: _make(facts, spec, precision, on_event),
        on_event=on_event,
    )
    return _read(made, facts, spec, precision)


def _key(facts: ModelFacts, spec: ModelSpec, precision: Precision) -> EngineKey:
    sidecar = sidecar_of(facts.path)
    flags = {
        'format': FORMAT,
        'package': __version__,
        'makers': {name: _version(name) for name in MAKERS},
        'sidecar': hashlib.sha256(sidecar.read_bytes()).hexdigest() if sidecar.is_file() else '',
        'head': spec.head.about(),
    }
    if spec.segmentation:
        flags['segmentation'] = spec.segmentation.output
    return EngineKey(
        facts.path.name, facts.sha256, f'onnxruntime {_version("onnxruntime")}', 'any', '', -1,
        precision, '', 0, True, flags,
    )  # fmt: skip


def _version(name: str) -> str:
    for package in (f'{name}-gpu', name) if name == 'onnxruntime' else (name,):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ''


def _make(
    facts: ModelFacts, spec: ModelSpec, precision: Precision, on_event: Event
) -> tuple[bytes, dict[str, Any]]:
    """Return the content of the prepared file, and what is to be said of it.

    Raises:
        ModelError: it does not find what the model finds.
    """
    begun = time.monotonic()
    path = facts.path
    model, whole = _cut(path, spec)
    if precision == 'fp16' and not facts.half:
        widen_weights(model)
        model = _half(path, model)
    check_onnx(model, path)
    content = _free_batch(model)
    expected, difference = _checked(path, spec, content, precision, bool(whole))
    on_event(
        f'{path.name} was prepared for {precision} in {time.monotonic() - begun:.1f} s, once'
        f'{f", its head left whole: {whole}" if whole else ""}; on {len(expected)} pictures: '
        f'{difference}'
    )
    rows = [np.column_stack((x.xyxy, x.score, x.class_id)).tolist() for x in expected]
    return content, {'whole': whole, 'difference': str(difference), 'expected': rows}


def _cut(path: Path, spec: ModelSpec) -> tuple[ModelProto, str]:
    """Return the model, its head cut if it can be, described; and why it is whole, or ''."""
    original = with_constants(read_onnx(path), spec.input.constants())
    # Names are the vehicle's business; the file only has to have some.
    names = [f'class {i}' for i in range(spec.head.classes)]
    about = description_of(path, original) | {'labels': names, 'head': spec.head.family}
    about |= about_segmentation(spec)
    about.pop('inputs', None)
    try:
        from yolox_trt_ros.engine.surgery.optimize import operate

        surgery = operate(original, lambda model: head_cut(path, model, about))
    except Exception as error:  # the rewriting library's errors share no base class
        describe(original, {**about, **spec.head.about()})
        return original, first_line(error)
    about.pop('outputs', None)
    describe(surgery.final, {**about, **surgery.cut.about})
    return surgery.final, ''


def _half(path: Path, model: ModelProto) -> ModelProto:
    try:
        return to_half(model)
    except MissingDependencyError:
        raise
    except Exception as error:  # of ONNX Runtime's converter
        raise ModelError(
            f'{path.name} cannot be converted to float16 ({first_line(error)}): ask for precision '
            'fp32 or tf32'
        ) from error


def _free_batch(model: ModelProto) -> bytes:
    """Return the model's content; where the graph works with its own batch size only, with that."""
    content = bytes(model.SerializeToString())
    return freed(type(model).FromString(content)) or content


def _checked(
    path: Path, spec: ModelSpec, content: bytes, precision: Precision, whole: bool
) -> tuple[tuple[Detections, ...], Difference]:
    """Return what the model finds on a CPU, and how far what is prepared is from that there.

    Raises:
        ModelError: farther than its precision explains.
    """
    frames = check_frames(spec.input)
    expected = _found(path, spec, frames)
    with TemporaryDirectory(prefix='yolox_trt_ros_') as folder:
        draft = Path(folder) / path.name
        draft.write_bytes(content)
        try:
            found = _found(draft, _spec(draft, content, spec, whole), frames)
        except ModelError as error:
            raise ModelError(
                f'{path.name} does not run in {precision}: {error}: ask for precision fp32'
            ) from error
    difference = compare(expected, found)
    if differs(difference, spec.head):
        raise ModelError(refusal(path.name, precision, 'cpu', difference))
    return expected, difference


def _found(path: Path, spec: ModelSpec, frames: Sequence[Frame]) -> tuple[Detections, ...]:
    threads = len(os.sched_getaffinity(0))
    detector = cpu_detector(path, spec, lambda: THRESHOLDS, spec.input.batch or 1, threads)
    try:
        return found_in(detector, frames)
    finally:
        detector.close()


def _read(
    made: CachedEngine, facts: ModelFacts, spec: ModelSpec, precision: Precision
) -> PreparedModel:
    whole = bool(made.facts['whole'])
    ours = _spec(made.path, made.engine, spec, whole)
    head = 'its head whole' if whole else f'cut before its head ({len(ours.head.outputs)} maps)'
    about = f'{facts.path.name} in {precision}, {head}'
    expected = tuple(_detections(rows) for rows in made.facts['expected'])
    return PreparedModel(made.path, made.engine, ours, precision, expected, about)


def _spec(path: Path, content: bytes, spec: ModelSpec, whole: bool) -> ModelSpec:
    """Return how a prepared file is fed and read; a whole head is what it was."""
    if not whole:
        read = load_model_spec(path)
        image = replace(read.input, antialias=spec.input.antialias)
        masks = read.segmentation
        if masks and spec.segmentation:
            masks = replace(masks, labels=spec.segmentation.labels)
        return replace(spec, input=image, head=read.head, left_out=(), segmentation=masks)
    tensor = image_of(onnx.load_model_from_string(content)).type.tensor_type
    dtype = INPUT_TYPES[onnx.TensorProto.DataType.Name(tensor.elem_type)]
    batch = max(0, tensor.shape.dim[0].dim_value)
    return replace(spec, input=replace(spec.input, dtype=dtype, batch=batch, further=()))


def _detections(rows: list[list[float]]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(
        np.ascontiguousarray(table[:, :4]), table[:, 4].copy(), table[:, 5].astype(np.int32)
    )
